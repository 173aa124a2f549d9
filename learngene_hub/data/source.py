"""One way in for any image data set: say where it is, get the classes asked for as one tensor.

All splits of a source are pooled and cut by class, since evolution splits by class. Decoded images are cached.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from learngene_hub.data.cache import cache_folder, find_cached, store
from learngene_hub.data.decode import MOST_ENCODED, decode_image
from learngene_hub.data.glyphs import draw_glyphs
from learngene_hub.data.image_set import ImageSet, refuse_repeated, shorten
from learngene_hub.data.rows import Part, open_hub, open_local
from learngene_hub.data.splits import PRESETS, find_preset
from learngene_hub.errors import DataError
from learngene_hub.files import expanded, is_there, read_inside, visible_files
from learngene_hub.progress import Reporter, SilentReporter
from learngene_hub.rng import generator

GLYPHS = "glyphs"
GLYPHS_PER_CLASS = 200

_FORMAT = 3  # raise it when the same source gives other pixels
_BATCH = 128  # rows held encoded at a time; photos have megabytes
_CHUNK = 16  # rows a thread decodes in one go: small images would spend their time on handing over
_NAMED = 3  # corrupt images named in a message
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SILENT = SilentReporter()


@dataclass(frozen=True)
class DataSource:
    """Where images come from and what is made of them.

    Attributes:
        preset: a name out of `PRESETS`; None: `path` says it all.
        path: a file or folder (Parquet, Arrow, class folders of images), or the name of a data set on the Hub; with a
            preset, a local copy of it.
        image_size: side of every image, in pixels.
        revision: branch, tag or commit on the Hub; None: the newest, looked up when nothing is cached.
        image_column: column of images; None: "image" or "img".
        label_column: column of labels; None: "label" or "fine_label".
        on_corrupt: what to do about an image that cannot be decoded.
        images_per_class: glyphs: how many to draw of each class, 200 if None; else: at most so many, drawn at random.
        seed: seed of the glyphs, or of the images drawn.

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
            found = f"{self.image_size} and {self.images_per_class}"
            raise DataError(f"data.image_size and data.images_per_class must be at least 1, got {found}")
        if self.on_corrupt not in ("refuse", "skip"):
            raise DataError(f"data.on_corrupt must be 'refuse' or 'skip', got {self.on_corrupt!r}")


class SourceFields(Protocol):
    """What a recipe and a gene both say of their images; see `DataSource`."""

    @property
    def preset(self) -> str | None: ...  # noqa: D102
    @property
    def image_size(self) -> int: ...  # noqa: D102
    @property
    def revision(self) -> str | None: ...  # noqa: D102
    @property
    def image_column(self) -> str | None: ...  # noqa: D102
    @property
    def label_column(self) -> str | None: ...  # noqa: D102
    @property
    def on_corrupt(self) -> Literal["refuse", "skip"]: ...  # noqa: D102
    @property
    def images_per_class(self) -> int | None: ...  # noqa: D102


def source_of(fields: SourceFields, *, path: str | None, seed: int) -> DataSource:
    """The source that the section of a recipe or the record of a gene describes, found at `path`."""
    return DataSource(
        preset=fields.preset,
        path=path,
        image_size=fields.image_size,
        revision=fields.revision,
        image_column=fields.image_column,
        label_column=fields.label_column,
        on_corrupt=fields.on_corrupt,
        images_per_class=fields.images_per_class,
        seed=seed,
    )


def load_classes(
    source: DataSource, names: Sequence[str], *, cache_dir: Path | None = None, reporter: Reporter = _SILENT
) -> ImageSet:
    """The images of some classes, from the cache or decoded now.

    A data set of the Hub without a revision is not looked up again once it is cached. Where the cache cannot be
    written, a warning says so.

    Args:
        source: where the images come from.
        names: classes to load, each at most once; their order is that of the labels.
        cache_dir: where decoded images are kept; None: `cache_folder()`.
        reporter: told about progress, and about corrupt images that are skipped.

    Returns:
        All images of those classes, in the order of the source; no class is without images.

    Raises:
        DataError: the source cannot be read, has no image of a class, or holds corrupt images and
            `source.on_corrupt` is "refuse".
    """
    refuse_repeated(names, "The list of classes to load")
    folder = cache_folder() if cache_dir is None else cache_dir
    origin = _origin(source, names)
    if (cached := find_cached(origin, folder)) is not None:
        return cached
    if source.preset == GLYPHS:
        count = source.images_per_class or GLYPHS_PER_CLASS
        made = draw_glyphs(names, image_size=source.image_size, images_per_class=count, seed=source.seed)
    else:
        made = _decode_classes(source, names, reporter)
    try:
        store(made, origin, folder)
    except OSError as error:
        reporter.warn(f"Decoded images are not kept: cannot write {folder} ({error}). Set LEARNGENE_CACHE to a folder")
    return made


def opened(source: DataSource) -> AbstractContextManager[list[Part]]:
    """The files or splits of a `source` that is not drawn, with labels and encoded images.

    Raises:
        DataError: they cannot be had or read.
    """
    local, hub_id = _place(source)
    if local is not None:
        return open_local(local, image_column=source.image_column, label_column=source.label_column)
    preset = find_preset(source.preset) if source.preset is not None else None
    image_column = source.image_column or (preset.image_column if preset else None)
    label_column = source.label_column or (preset.label_column if preset else None)
    return open_hub(hub_id, revision=source.revision, image_column=image_column, label_column=label_column)


def local_path(source: DataSource) -> Path | None:
    """Where a `source` that is not drawn lies on this machine; None: it is a data set of the Hub.

    Raises:
        DataError: it is a path, and nothing is there.
    """
    return _place(source)[0]


@dataclass(frozen=True)
class _Wanted:
    """One row to be decoded."""

    part: int
    row: int
    label: int


def _decode_classes(source: DataSource, names: Sequence[str], reporter: Reporter) -> ImageSet:
    with opened(source) as parts:
        wanted = _wanted(parts, names, source)
        images = torch.empty(len(wanted), 3, source.image_size, source.image_size, dtype=torch.uint8)
        reasons: dict[int, str] = {}  # place in `wanted` -> where and why
        with reporter.task("decoding", len(wanted), "img") as bar, ThreadPoolExecutor(_threads()) as pool:
            for homes, places, cells in _encoded(parts, wanted):
                chunks = [cells[start : start + _CHUNK] for start in range(0, len(cells), _CHUNK)]
                done = pool.map(partial(_attempt_each, size=source.image_size, homes=homes), chunks)
                for place, cell, result in zip(places, cells, chain.from_iterable(done), strict=True):
                    if isinstance(result, str):
                        reasons[place] = _complaint(parts, wanted[place], names, cell, result)
                    else:
                        images[place] = result
                bar.advance(len(places))
    labels = torch.tensor([row.label for row in wanted], dtype=torch.int64)
    if reasons:
        _report_corrupt(reasons, len(wanted), source, reporter)
        sound = torch.tensor([place not in reasons for place in range(len(wanted))])
        images, labels = images[sound], labels[sound]
    _refuse_empty(labels, names)
    return ImageSet(images, labels, tuple(names))


def _wanted(parts: Sequence[Part], names: Sequence[str], source: DataSource) -> list[_Wanted]:
    """The rows of the named classes in the order of the source, at most `images_per_class` of each."""
    label_of = {name: label for label, name in enumerate(names)}
    rows = [
        _Wanted(number, row, label_of[name])
        for number, part in enumerate(parts)
        for row, name in enumerate(part.classes())
        if name in label_of
    ]
    labels = torch.tensor([row.label for row in rows], dtype=torch.int64)
    _refuse_empty(labels, names)
    if source.images_per_class is None:
        return rows
    kept: list[int] = []
    for label, name in enumerate(names):
        places = (labels == label).nonzero().flatten()
        order = torch.randperm(len(places), generator=generator(source.seed, "images", name))
        kept += places[order[: source.images_per_class]].tolist()
    return [rows[place] for place in sorted(kept)]


def _encoded(
    parts: Sequence[Part], wanted: Sequence[_Wanted]
) -> Iterator[tuple[tuple[Path, ...], list[int], list[Any]]]:
    """Batches of (folders of their files, places in `wanted`, encoded images)."""
    place_of = {(row.part, row.row): place for place, row in enumerate(wanted)}
    for number, part in enumerate(parts):
        start = 0
        for batch in part.batches(part.image_column, _BATCH):
            rows = [row for row in range(len(batch)) if (number, start + row) in place_of]
            if rows:
                yield part.homes, [place_of[number, start + row] for row in rows], batch.take(rows).to_pylist()
            start += len(batch)


def _attempt_each(cells: Sequence[Any], *, size: int, homes: Sequence[Path]) -> list[Tensor | str]:
    return [_attempt(cell, size, homes) for cell in cells]


def _attempt(cell: Any, size: int, homes: Sequence[Path]) -> Tensor | str:  # noqa: ANN401 - bytes, a dictionary, None
    """The decoded image, or why there is none."""
    try:
        encoded = cell["bytes"] if isinstance(cell, dict) else cell
        if encoded is None:
            path = cell and cell.get("path")
            if not path:
                return "the cell is empty"
            encoded = read_inside(Path(path), homes, most=MOST_ENCODED)
        return decode_image(encoded, size)
    except (DataError, OSError) as error:
        return str(error)


def _complaint(parts: Sequence[Part], row: _Wanted, names: Sequence[str], cell: Any, reason: str) -> str:  # noqa: ANN401
    path = cell.get("path") if isinstance(cell, dict) else None
    file = f", path {path}" if path else ""
    return f"{parts[row.part].where} row {row.row} (class {names[row.label]!r}{file}): {reason}"


def _report_corrupt(reasons: dict[int, str], total: int, source: DataSource, reporter: Reporter) -> None:
    first = "; ".join(reasons[place] for place in sorted(reasons)[:_NAMED])
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    found = f"{len(reasons)} of {total} images cannot be decoded: {first}{more}"
    if source.on_corrupt == "refuse":
        raise DataError(
            f"{found}. Mend them, or leave them out with data.on_corrupt=skip (fine-tuning: --on-corrupt skip)"
        )
    reporter.warn(f"Left out: {found}")


def _refuse_empty(labels: Tensor, names: Sequence[str]) -> None:
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise DataError(
            f"The data set has no image of: {shorten(empty)}. `learngene data preview` shows those it has; `learngene "
            "evaluate` judges on other classes with --protocol transfer --target"
        )


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


def _place(source: DataSource) -> tuple[Path | None, str]:
    """(local path, "") or (None, name on the Hub)."""
    if source.path is None:
        assert source.preset not in (None, GLYPHS)  # DataSource sees to the one, our callers to the other
        return None, PRESETS[source.preset].hub_id or ""
    path = expanded(source.path)
    if is_there(path):
        return path, ""
    if source.preset is None and _HUB_ID.fullmatch(source.path):
        return None, source.path
    raise DataError(
        f"No file or folder {source.path}. Expected a Parquet or Arrow file, a folder of those, a folder of class "
        "folders of images, or the name of a data set on the Hugging Face Hub, such as uoft-cs/cifar100"
    )


def _origin(source: DataSource, names: Sequence[str]) -> dict[str, object]:
    """All that the pixels depend on, in JSON types."""
    is_drawn = source.preset == GLYPHS or source.images_per_class is not None
    return {
        "format": _FORMAT,
        "from": _fingerprint(source),
        "image_size": source.image_size,
        "classes": list(names),
        "columns": [source.image_column, source.label_column],
        "on_corrupt": source.on_corrupt,
        "images_per_class": source.images_per_class,
        "seed": source.seed if is_drawn else None,
    }


def _fingerprint(source: DataSource) -> dict[str, object]:
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
