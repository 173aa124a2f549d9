"""Load the images of some classes of a source as one tensor: from the cache, or decoded and then cached."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learngene_hub.core.errors import DataError
from learngene_hub.core.files import read_inside
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.core.rng import generator
from learngene_hub.data.cache import Decoded, cache_folder, image_store
from learngene_hub.data.decode import MOST_ENCODED, decode_image
from learngene_hub.data.extras import optional_module
from learngene_hub.data.glyphs import draw_glyphs
from learngene_hub.data.image_set import ImageSet, shorten
from learngene_hub.data.rows import Part
from learngene_hub.data.source import GLYPHS_PER_CLASS, DataSource, fingerprint, opened, pinned
from learngene_hub.recipe.sections import GLYPHS

_FORMAT = 4  # raise it when the same source gives other pixels
_BATCH = 128  # rows held encoded at a time; photos have megabytes
_CHUNK = 16  # rows a thread decodes in one go: small images would spend their time on handing over
_NAMED = 3  # corrupt images named in a message
_LOGS = LoggingReporter()
REPAIR = "Repair or remove them"


def load_classes(
    source: DataSource,
    names: Sequence[str],
    *,
    reporter: Reporter = _LOGS,
    may_lack: bool = False,
    advice: str = REPAIR,
) -> ImageSet:
    """Load the images of some classes, from the cache or by decoding them.

    A data set of the Hub is cached by its commit, which is asked for. A warning says if the cache cannot be written.

    Args:
        source: where the images come from.
        names: classes to load, each at most once; their order is that of the labels.
        reporter: reports progress, the size of a data set of the Hub before it is fetched, and corrupt images that are
            skipped, also of cached data; the default logs warnings.
        may_lack: whether a class may have no image, or none that can be decoded.
        advice: what to do about corrupt images, at the end of the error.

    Returns:
        All images of these classes, in the order of the source; every class has at least one, unless it `may_lack`.

    Raises:
        DataError: the source cannot be read, has no image of a class, or holds corrupt images and
            `source.on_corrupt` is "refuse".
    """
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"The list of classes to load names a class more than once: {shorten(repeated)}")
    source, store = pinned(source, reporter), image_store(cache_folder(), reporter)
    with reporter.task("reading images", None):
        decoded = store.get(_origin(source, names), lambda: _made(source, names, reporter, may_lack, advice))
    if not may_lack:
        _refuse_empty(decoded.images.labels, names, decoded.left_out and f", since {decoded.left_out}")
    if decoded.left_out:
        reporter.warn(f"Left out of {source.path or source.preset}: {decoded.left_out}")
    return decoded.images


def _made(source: DataSource, names: Sequence[str], reporter: Reporter, may_lack: bool, advice: str) -> Decoded:
    """The images, drawn or decoded."""
    if source.preset != GLYPHS:
        return _decode_classes(source, names, reporter, may_lack, advice)
    count = source.images_per_class or GLYPHS_PER_CLASS
    return Decoded(draw_glyphs(names, image_size=source.image_size, images_per_class=count, seed=source.seed), "")


@dataclass(frozen=True)
class _Wanted:
    """One row to be decoded."""

    part: int
    row: int
    label: int


def _decode_classes(
    source: DataSource, names: Sequence[str], reporter: Reporter, may_lack: bool, advice: str
) -> Decoded:
    with opened(source, reporter) as parts:
        wanted = _wanted(parts, names, source, may_lack)
        images = torch.empty(len(wanted), 3, source.image_size, source.image_size, dtype=torch.uint8)
        reasons: dict[int, str] = {}  # position in `wanted` -> where and why
        threads = min(8, os.cpu_count() or 1)
        with reporter.task("decoding", len(wanted), "images") as bar, ThreadPoolExecutor(threads) as pool:
            for homes, positions, cells in _encoded(parts, wanted):
                chunks = [cells[start : start + _CHUNK] for start in range(0, len(cells), _CHUNK)]
                done = pool.map(partial(_attempt_each, size=source.image_size, homes=homes), chunks)
                for position, cell, result in zip(positions, cells, chain.from_iterable(done), strict=True):
                    if isinstance(result, str):
                        reasons[position] = _complaint(parts, wanted[position], names, cell, result)
                    else:
                        images[position] = result
                bar.advance(len(positions))
    left_out = ""
    if reasons:
        first = "; ".join(reasons[position] for position in sorted(reasons)[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        left_out = f"{len(reasons)} of {len(wanted)} images cannot be decoded: {first}{more}"
    if reasons and source.on_corrupt == "refuse":
        raise DataError(f"{source.path or source.preset}: {left_out}. {advice}")
    sound = torch.tensor([position not in reasons for position in range(len(wanted))], dtype=torch.bool)
    labels = torch.tensor([row.label for row in wanted], dtype=torch.int64)[sound]
    return Decoded(ImageSet(images[sound] if reasons else images, labels, tuple(names)), left_out)


def _wanted(parts: Sequence[Part], names: Sequence[str], source: DataSource, may_lack: bool) -> list[_Wanted]:
    """The rows of the named classes in the order of the source, at most `images_per_class` of each."""
    label_of = {name: label for label, name in enumerate(names)}
    rows, others = list[_Wanted](), set[str]()
    for number, part in enumerate(parts):
        for row, name in enumerate(part.classes()):
            if name in label_of:
                rows.append(_Wanted(number, row, label_of[name]))
            elif name is not None:
                others.add(name)
    labels = torch.tensor([row.label for row in rows], dtype=torch.int64)
    if not may_lack:
        _refuse_empty(labels, names, f"; its other classes are {shorten(sorted(others))}" if others else "")
    if source.images_per_class is None:
        return rows
    kept: list[int] = []
    for label, name in enumerate(names):
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator(source.seed, "images", name))
        kept += members[order[: source.images_per_class]].tolist()
    return [rows[position] for position in sorted(kept)]


def _encoded(
    parts: Sequence[Part], wanted: Sequence[_Wanted]
) -> Iterator[tuple[tuple[Path, ...], list[int], list[Any]]]:
    """Batches of (folders of their files, positions in `wanted`, encoded images)."""
    positions = {(row.part, row.row): position for position, row in enumerate(wanted)}
    for number, part in enumerate(parts):
        start = 0
        for batch in part.batches(part.image_column, _BATCH):
            rows = [row for row in range(len(batch)) if (number, start + row) in positions]
            if rows:
                yield part.homes, [positions[number, start + row] for row in rows], [batch[row].as_py() for row in rows]
            start += len(batch)


def _attempt_each(cells: Sequence[Any], *, size: int, homes: Sequence[Path]) -> list[Tensor | str]:
    return [_attempt(cell, size, homes) for cell in cells]


def _attempt(cell: Any, size: int, homes: Sequence[Path]) -> Tensor | str:  # noqa: ANN401 - bytes, a dictionary, None
    """The decoded image, or why there is none."""
    try:
        return decode_image(_bytes(cell, homes), size)
    except (DataError, OSError) as error:
        return str(error).removesuffix(".")


def _bytes(cell: Any, homes: Sequence[Path]) -> bytes:  # noqa: ANN401 - bytes, a dictionary, None
    """The encoded image.

    Raises:
        DataError, OSError: there is none.
    """
    encoded: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
    if encoded is not None:
        return encoded
    path = cell and cell.get("path")
    if not path:
        raise DataError("the cell is empty")
    return read_inside(Path(str(path)), homes, most=MOST_ENCODED)


def _complaint(parts: Sequence[Part], row: _Wanted, names: Sequence[str], cell: Any, reason: str) -> str:  # noqa: ANN401
    path = cell.get("path") if isinstance(cell, dict) else None
    if path and cell.get("bytes") is None:  # a file of its own, in the folder of its class
        inside = [Path(path).relative_to(home) for home in parts[row.part].homes if Path(path).is_relative_to(home)]
        return f"{(inside or [path])[0]}: {reason}"
    file = f", path {path}" if path else ""
    return f"{parts[row.part].where} row {row.row} (class {names[row.label]!r}{file}): {reason}"


def _refuse_empty(labels: Tensor, names: Sequence[str], why: str) -> None:
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise DataError(f"The data set has no image of: {shorten(empty)}{why}")


def _origin(source: DataSource, names: Sequence[str]) -> dict[str, object]:
    """All that the pixels depend on, in JSON types."""
    is_drawn = source.preset == GLYPHS or source.images_per_class is not None
    makers = ("PIL", "matplotlib") if source.preset == GLYPHS else ("PIL",)  # other versions may give other pixels
    return {
        "format": _FORMAT,
        "versions": {name: optional_module(name).__version__ for name in makers},
        "from": fingerprint(source),
        "image_size": source.image_size,
        "classes": list(names),
        "columns": [source.image_column, source.label_column],
        "on_corrupt": source.on_corrupt,
        "images_per_class": source.images_per_class,
        "seed": source.seed if is_drawn else None,
        **({} if source.role is None else {"role": source.role}),
    }
