"""One entry point for any image data set: give its place, get labels and encoded images.

All splits of a source are pooled, since evolution splits by class, unless the source has a role.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from learngene_hub.core.errors import DataError
from learngene_hub.core.files import expanded, is_there, visible_files
from learngene_hub.core.progress import Reporter
from learngene_hub.data.fetch import commit_of
from learngene_hub.data.rows import Part, open_hub, open_local
from learngene_hub.data.splits import PRESETS
from learngene_hub.hub.address import near_data, refuse_unknown_data
from learngene_hub.recipe.sections import GLYPHS

GLYPHS_PER_CLASS = 200


@dataclass(frozen=True)
class DataSource:
    """Where images come from and how they are read.

    Attributes:
        preset: a name in `PRESETS`; None: only `path` counts.
        path: a file or folder (Parquet, Arrow, class folders of images), or the name of a data set on the Hub; with a
            preset, a local copy of it; None: the preset alone.
        image_size: side of every image, in pixels, >= 1.
        revision: branch, tag or commit on the Hub; None: the main branch. Without an answer it means what it last did.
        image_column: column of images; None: "image" or "img".
        label_column: column of labels; None: "label" or "fine_label".
        on_corrupt: what to do about an image that cannot be decoded.
        images_per_class: >= 1; glyphs drawn per class, 200 if None; of other data, the size of a random sample at most.
        seed: random seed of the glyphs or of the sample.
        role: only those splits, or files of a folder of tables, whose names have this role (`train`, `val` or `test`);
            None: all.

    Raises:
        DataError: there is neither preset nor path, the preset is unknown or takes no path, or `on_corrupt` is neither
            of its values.
    """

    preset: str | None
    path: str | None
    image_size: int
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    images_per_class: int | None = None
    seed: int = 0
    role: str | None = None

    def __post_init__(self) -> None:
        if self.preset is None and self.path is None:
            raise DataError("expected a preset, such as glyphs, or the path of images, found neither")
        if self.preset is not None and self.preset not in PRESETS:
            raise DataError(f"No preset {self.preset!r}. Presets: {', '.join(PRESETS)}")
        if self.preset == GLYPHS and self.path is not None:
            raise DataError(f"Preset {GLYPHS!r} is drawn, not read: leave out data.path={self.path}")
        if self.on_corrupt not in ("refuse", "skip"):
            raise DataError(f"data.on_corrupt must be 'refuse' or 'skip', got {self.on_corrupt!r}")


def source_of(section: Any, *, path: str | None, seed: int) -> DataSource:  # noqa: ANN401 - one of two models
    """The source described by the section `data` of a recipe or by the record of a gene, at `path`."""
    described = {field.name for field in fields(DataSource)} - {"path", "seed", "role"}
    return DataSource(path=path, seed=seed, **{name: getattr(section, name) for name in described})


@contextmanager
def opened(source: DataSource, reporter: Reporter) -> Iterator[list[Part]]:
    """Open the files or splits of a `source` that is not drawn, with labels and encoded images.

    `reporter` shows the size of a data set of the Hub and the progress of its download.

    Raises:
        DataError: they cannot be found or read.
        HubError: they exceed the download limit, or the server's answer is not valid.
    """
    place = place_of(source)
    columns = {"image_column": source.image_column, "label_column": source.label_column}
    if isinstance(place, Path):
        opening = open_local(place, **columns)
    else:
        opening = open_hub(place, revision=source.revision, reporter=reporter, **columns)
    with opening as parts:
        yield [part for part in parts if source.role in (None, part.role)]


def place_of(source: DataSource) -> Path | str:
    """Where the images of a `source` that is not drawn are: a local path, or the name of a data set on the Hub.

    Raises:
        DataError: the path does not exist.
    """
    if source.path is None:
        hub_id = PRESETS[source.preset].hub_id if source.preset else None
        assert hub_id is not None  # a preset or a path is given, and our callers draw glyphs
        return hub_id
    path = expanded(source.path)
    if not is_there(path) and source.preset is not None:
        title = PRESETS[source.preset].title
        advice = near_data(source.path) or "; leave the path out to fetch it from the Hub"
        raise DataError(f"expected a local copy of {title}, found no file or folder {source.path}{advice}")
    refuse_unknown_data(source.path, presets=tuple(PRESETS))
    return path if is_there(path) else source.path


def pinned(source: DataSource, reporter: Reporter) -> DataSource:
    """The same source, at the commit that its revision means now if it is a data set of the Hub.

    `reporter` is told if the Hub does not answer, and the commit is that of the cache.

    Raises:
        DataError: the source is a path that does not exist.
    """
    if source.preset == GLYPHS or isinstance(place := place_of(source), Path):
        return source
    return replace(source, revision=commit_of(place, source.revision, reporter))


def fingerprint(source: DataSource) -> dict[str, object]:
    """JSON-compatible dict that identifies a `pinned` source and changes when its files change.

    Raises:
        DataError: the source is a path that does not exist.
        OSError: a file cannot be looked at.
    """
    if source.preset == GLYPHS:
        return {"preset": GLYPHS}
    path = place_of(source)
    if isinstance(path, str):
        return {"hub": path, "revision": source.revision}
    files = [path] if path.is_file() else visible_files(path)
    facts = [(str(file.relative_to(path)), file.stat()) for file in files]
    listing = json.dumps([[name, stat.st_size, stat.st_mtime_ns] for name, stat in facts])
    digest = hashlib.sha256(listing.encode()).hexdigest()
    return {"path": str(path.resolve()), "files": len(files), "names_sizes_times_sha256": digest}
