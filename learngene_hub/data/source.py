"""One entry point for any image data set: give its place, get labels and encoded images.

All splits of a source are pooled, since evolution splits by class.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from learngene_hub.core.errors import DataError
from learngene_hub.core.files import expanded, is_there, visible_files
from learngene_hub.core.progress import Reporter
from learngene_hub.data.rows import Part, open_hub, open_local
from learngene_hub.data.splits import PRESETS, find_preset
from learngene_hub.hub.address import near_data, refuse_unknown_data

GLYPHS = "glyphs"
GLYPHS_PER_CLASS = 200


@dataclass(frozen=True)
class DataSource:
    """Where images come from and how they are read.

    Attributes:
        preset: a name in `PRESETS`; None: only `path` counts.
        path: a file or folder (Parquet, Arrow, class folders of images), or the name of a data set on the Hub; with a
            preset, a local copy of it.
        image_size: side of every image, in pixels.
        revision: branch, tag or commit on the Hub; None: the cached version, or the newest if none is cached.
        image_column: column of images; None: "image" or "img".
        label_column: column of labels; None: "label" or "fine_label".
        on_corrupt: what to do about an image that cannot be decoded.
        images_per_class: glyphs drawn per class, 200 if None; of other data, a random sample of at most this size.
        seed: random seed of the glyphs or of the sample.

    Raises:
        DataError: neither a preset nor a path is given, the preset is unknown, or a number is below 1.
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

    def __post_init__(self) -> None:
        if self.preset is None and self.path is None:
            raise DataError("No data: give data.preset= (such as glyphs) or data.path=")
        if self.preset is not None:
            find_preset(self.preset)
        if self.preset == GLYPHS and self.path is not None:
            raise DataError(f"Preset {GLYPHS!r} is drawn, not read: leave out data.path={self.path}")
        if self.image_size < 1 or (self.images_per_class is not None and self.images_per_class < 1):
            got = f"{self.image_size} and {self.images_per_class}"
            raise DataError(f"data.image_size and data.images_per_class must be at least 1, got {got}")
        if self.on_corrupt not in ("refuse", "skip"):
            raise DataError(f"data.on_corrupt must be 'refuse' or 'skip', got {self.on_corrupt!r}")


def source_of(section: Any, *, path: str | None, seed: int) -> DataSource:  # noqa: ANN401 - one of two models
    """The source described by the section `data` of a recipe or by the record of a gene, at `path`."""
    described = {field.name for field in fields(DataSource)} - {"path", "seed"}
    return DataSource(path=path, seed=seed, **{name: getattr(section, name) for name in described})


def opened(source: DataSource, reporter: Reporter) -> AbstractContextManager[list[Part]]:
    """Open the files or splits of a `source` that is not drawn, with labels and encoded images.

    `reporter` shows the size of a data set of the Hub and the progress of its download.

    Raises:
        DataError: they cannot be found or read.
        HubError: they exceed the download limit, take too long, or the server's answer is not valid.
    """
    local, hub_id = _place(source)
    if local is not None:
        return open_local(local, image_column=source.image_column, label_column=source.label_column)
    preset = None if source.preset is None else find_preset(source.preset)
    return open_hub(
        hub_id,
        revision=source.revision,
        image_column=source.image_column or (preset.image_column if preset else None),
        label_column=source.label_column or (preset.label_column if preset else None),
        reporter=reporter,
    )


def local_path(source: DataSource) -> Path | None:
    """Local path of a `source` that is not drawn; None: it is a data set of the Hub.

    Raises:
        DataError: the path does not exist.
    """
    return _place(source)[0]


def fingerprint(source: DataSource) -> dict[str, object]:
    """JSON-compatible dict that identifies a source and changes when its files change.

    Raises:
        DataError: the source is a path that does not exist.
        OSError: a file cannot be looked at.
    """
    if source.preset == GLYPHS:
        return {"preset": GLYPHS}
    path, hub_id = _place(source)
    if path is None:
        return {"hub": hub_id, "revision": source.revision}
    files = [path] if path.is_file() else visible_files(path)
    facts = [(str(file.relative_to(path)), file.stat()) for file in files]
    listing = json.dumps([[name, stat.st_size, stat.st_mtime_ns] for name, stat in facts])
    digest = hashlib.sha256(listing.encode()).hexdigest()
    return {"path": str(path.resolve()), "files": len(files), "names_sizes_times_sha256": digest}


def _place(source: DataSource) -> tuple[Path | None, str]:
    """(local path, "") or (None, name on the Hub)."""
    if source.path is None:
        assert source.preset not in (None, GLYPHS)  # DataSource sees to the one, our callers to the other
        return None, PRESETS[source.preset].hub_id or ""
    path = expanded(source.path)
    if not is_there(path) and source.preset is not None:
        title = PRESETS[source.preset].title
        advice = near_data(source.path) or "; leave the path out to fetch it from the Hub"
        raise DataError(f"expected a local copy of {title}, found no file or folder {source.path}{advice}")
    refuse_unknown_data(source.path)
    return (path, "") if is_there(path) else (None, source.path)
