"""Rows of encoded images and labels, from local files or the Hugging Face Hub, read with the library `datasets`.

Local files are streamed, so no copy is left behind; a data set of the Hub is kept in the caches of huggingface_hub and
`datasets`.
No code of a data set is ever run.
"""

import glob
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import httpx2
from huggingface_hub import constants

from learngene_hub.core.errors import DataError, HubError, HubUnreachableError, NoRepositoryError, RunError
from learngene_hub.core.files import expanded, homes_of, leads_out, visible_files
from learngene_hub.core.progress import Reporter
from learngene_hub.data.decode import image_suffixes
from learngene_hub.data.extras import optional_module
from learngene_hub.data.fetch import fetched, prepared
from learngene_hub.hub.address import TABLE_FORMATS, Address, near_data
from learngene_hub.hub.client import HubOptions, check_reachable, explained

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")
ROLES = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
"""Role -> names of folders, files or splits with this role, in upper or lower case."""

_BATCH = 128  # rows of a table held at a time; photos have megabytes


@dataclass(frozen=True)
class Part:
    """One file, folder or split.

    Attributes:
        table: a `datasets.Dataset` or `IterableDataset`.
        where: its name, for messages.
        image_column: the column of encoded images.
        label_column: the column of labels.
        class_names: the names that integer labels stand for; None where labels are names themselves.
        homes: folders in which a cell may name a file instead of holding an image; paths elsewhere are refused.
    """

    table: Any
    where: str
    image_column: str
    label_column: str
    class_names: tuple[str, ...] | None
    homes: tuple[Path, ...] = ()

    @property
    def role(self) -> str | None:
        """The role of its split or file, such as `test` for `data/test-00000-of-00001.parquet`; None: no role."""
        return next(filter(None, map(role_of, self.where.rpartition("[")[2].split("/"))), None)

    def classes(self) -> Iterator[str | None]:
        """The class name of each row; None for a row without a label."""
        for batch in self.batches(self.label_column, 4096):
            for value in batch.to_pylist():
                yield self._name(value)

    def batches(self, column: str, size: int) -> Iterator[Any]:
        """One column as Arrow arrays of at most `size` rows, images still encoded."""
        table = self.table.select_columns([column]).with_format("arrow")
        try:
            for batch in table.iter(batch_size=size):
                yield batch[column]
        except (OSError, ValueError, optional_module("datasets").exceptions.DatasetsError) as error:
            raise DataError(f"Cannot read column {column!r} of {self.where}: {error}") from error

    def _name(self, value: str | int | None) -> str | None:
        if value is None or self.class_names is None:
            return None if value is None else str(value)
        number = int(value)
        return self.class_names[number] if 0 <= number < len(self.class_names) else None


@contextmanager
def open_local(path: Path, *, image_column: str | None, label_column: str | None) -> Iterator[list[Part]]:
    """Open a Parquet or Arrow file, a folder of such files, or a folder of class folders, as parts.

    Each table file is a separate part, since label numbers may stand for other names in each. A column that is not
    given is searched among `IMAGE_COLUMNS` or `LABEL_COLUMNS`.

    Raises:
        DataError: no file can be read, or a column is missing or has another type.
    """
    datasets = optional_module("datasets")
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        options = {"split": "train", "streaming": True, "cache_dir": scratch}
        try:
            if files := _tables(path):
                root = path if path.is_dir() else path.parent
                names = [file.relative_to(root).as_posix() for file, *_ in files]
                tables = [
                    (name, datasets.load_dataset(kind, data_files=pattern, **options, **more))
                    for name, (_, kind, pattern, more) in zip(names, files, strict=True)
                ]
            else:
                tables = [(path.name, _class_folders(datasets, path))]
        except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:
            expected = "Expected Parquet or Arrow files, or a folder of class folders of images"
            raise DataError(f"Cannot read {path}: {error}. {expected}") from error
        homes = tuple(homes_of(path)) if path.is_dir() else ()
        yield [_part(table, where, image_column, label_column, homes) for where, table in tables]


@contextmanager
def open_hub(
    hub_id: str, *, revision: str | None, image_column: str | None, label_column: str | None, reporter: Reporter
) -> Iterator[list[Part]]:
    """Open the splits of a data set on the Hugging Face Hub, downloaded if not cached; columns as in `open_local`.

    Raises:
        DataError: it cannot be downloaded or read, or a column is missing or has another type.
        HubError: it exceeds the download limit, the server's answer is not valid, or it cannot be asked and the cache
            holds another commit.
    """
    unread = (OSError, ValueError, RuntimeError, httpx2.HTTPError, TypeError, AttributeError, LookupError)
    datasets = optional_module("datasets")
    with _quiet(), _without_waiting(datasets, Address(hub_id, revision)) as unreachable:
        try:
            splits = _splits(datasets, hub_id, revision, reporter)
        except (NoRepositoryError, HubUnreachableError, *unread, datasets.exceptions.DatasetsError) as error:
            is_absent = isinstance(error, ConnectionError | FileNotFoundError)
            why, options = str(unreachable if is_absent and unreachable else error), HubOptions()
            why = why.replace(options.site, options.shown_site)
            raise DataError(
                f"Cannot load {hub_id!r} from the Hugging Face Hub, and no local file or folder has this name"
                f"{near_data(hub_id) or ':'} {why}. Without a connection, give the path of a local copy "
                "(Parquet files, or class folders of images) instead of this name; data.preset=glyphs needs no download"
            ) from error
        homes = tuple(Path(home).resolve() for home in (constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE))
        yield [_part(table, f"{hub_id}[{split}]", image_column, label_column, homes) for split, table in splits.items()]


def _splits(datasets: ModuleType, hub_id: str, revision: str | None, reporter: Reporter) -> dict[str, Any]:
    """Split -> its rows."""
    if datasets.config.HF_HUB_OFFLINE:
        builder = prepared(datasets, hub_id, revision)
    else:
        builder = fetched(datasets, hub_id, revision, reporter)
    builder.download_and_prepare()
    return cast(dict[str, Any], builder.as_dataset())


def role_of(name: str) -> str | None:
    """The role given by the first word of `name`, such as `test` for `test-00000-of-00001.parquet`; None: no role.

    >>> role_of("Validation"), role_of("fruit")
    ('val', None)
    """
    word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return next((role for role, names in ROLES.items() if word in names), None)


def _is_derived(file: Path) -> bool:
    """Whether `datasets` left it beside a data set that it saved: the same rows once more, or numbers of rows."""
    return file.name.startswith("cache-") and (file.parent / "state.json").is_file()


def _layout(image: Path) -> int:
    """2 for an image in a class folder, 3 for one in a class folder of `train/`, `test/` or so, 0 for any other."""
    depth = len(image.parts)
    return depth if depth == 2 or (depth == 3 and role_of(image.parts[0])) else 0


def _refuse_other_layout(path: Path, images: Sequence[Path]) -> None:
    """Raise an error unless all `images` lie in class folders, or all in class folders of `train/`, `test/` or so."""
    counts = Counter(map(_layout, images))
    depth = 3 if counts[3] >= max(1, counts[2]) else 2
    if odd := [file for file in images if _layout(file) != depth]:
        above = Counter(file.parent.parent for file in odd).most_common(1)[0][0]
        found = next(file for file in odd if file.parent.parent == above)
        other = "another folder"
        if len(found.parts) > depth:
            other = f"{path / above} if {found.parent.name!r} is a class"
        elif not counts[2] + counts[3]:
            other = f"{path.parent} if {path.name!r} is a class"
        raise DataError(
            f"{path}: expected images in class folders, such as cat/1.jpg (or train/cat/1.jpg beside test/cat/2.jpg), "
            f"found {found}; move it, or give {other}"
        )


def tables_among(files: Iterable[Path]) -> list[Path]:
    """The tables of images among `files`; a folder without any is one of class folders."""
    return [file for file in files if file.suffix in TABLE_FORMATS and not _is_derived(file)]


def has_tables(folder: Path) -> bool:
    """Whether `folder` holds tables of images, not class folders."""
    return bool(tables_among(visible_files(folder)))


def refuse_inside(out: Path, path: str | Path) -> None:
    """Raise an error if `out` would lie among the images at `path`.

    Raises:
        RunError: it would.
    """
    folder = expanded(path)
    if folder.is_dir() and not has_tables(folder) and out.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"{out}: expected a folder outside {path}, found one inside it: the next run would take its pictures for a "
            "class; give another --out"
        )


def _tables(path: Path) -> list[tuple[Path, str, str, dict[str, int]]]:
    """(file, format, pattern, options) of all tables, in a fixed order; none in a folder of class folders."""
    tables = tables_among([path] if path.is_file() else visible_files(path))
    if outside := [file for file in tables if path.is_dir() and leads_out(file, path)]:
        raise ValueError(f"{outside[0].name} is a link to a place outside the folder; replace it with the file itself")
    if tables:
        kinds = [(file, TABLE_FORMATS[file.suffix], glob.escape(str(file.resolve()))) for file in tables]
        # By default a batch is a row group, and a file without rows would have batches of none.
        return [(*kind, {"batch_size": _BATCH} if kind[1] == "parquet" else {}) for kind in kinds]
    if path.is_dir():
        return []
    raise ValueError(f"{path.suffix!r} files are not supported")


def _class_folders(datasets: ModuleType, path: Path) -> Any:  # noqa: ANN401 - a type of an optional library
    """The images of a folder of class folders; those of a split have its name above their class.

    Not read by `datasets` itself, which would unpack archives and take `metadata.json` for labels.
    """
    files, suffixes, home = visible_files(path), image_suffixes(), path.resolve()
    images = [file.relative_to(path) for file in files if file.suffix.lower() in suffixes]
    if not images:
        raise DataError(
            f"{path}: expected images, found only other files, such as {files[0].relative_to(path)}; save images as "
            ".png or .jpg, tables as .parquet"
        )
    _refuse_other_layout(path, images)
    if odd := [path / file for file in images if not _is_text(str(path / file))]:
        name = next(part for part in odd[0].parts if not _is_text(part))
        raise DataError(f"{path}: the name {name!a} is not valid UTF-8; rename this file or folder")
    names = sorted({file.parent.name for file in images})
    label_of = {name: number for number, name in enumerate(names)}
    cell = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": None, "path": str(home / file)} for file in images],
            "label": [label_of[file.parent.name] for file in images],
        },
        features=datasets.Features({"image": cell, "label": datasets.ClassLabel(names=names)}),
    )


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _part(
    table: Any,  # noqa: ANN401
    where: str,
    image_column: str | None,
    label_column: str | None,
    homes: tuple[Path, ...],
) -> Part:
    features = dict(table.features or {})
    image = _column(features, image_column, IMAGE_COLUMNS, f"images in {where}", "data.image_column")
    label = _column(features, label_column, LABEL_COLUMNS, f"labels in {where}", "data.label_column")
    _check_image_type(features[image], f"Column {image!r} of {where}")
    return Part(table, where, image, label, _class_names(features[label], f"Column {label!r} of {where}"), homes)


def _column(features: dict[str, Any], given: str | None, usual: tuple[str, ...], what: str, key: str) -> str:
    names = (given,) if given is not None else usual
    if (name := next((name for name in names if name in features), None)) is not None:
        return name
    wanted, columns = " or ".join(map(repr, names)), ", ".join(map(repr, features)) or "none"
    option = key.removeprefix("data.").replace("_", "-")
    hint = ". For images in class folders, use a folder without tables" if given is None and "image" in key else ""
    raise DataError(
        f"No column of {what}: expected {wanted}; columns found: {columns}. "
        f"Give one of these as {key}= or --{option}{hint}"
    )


def _check_image_type(feature: Any, what: str) -> None:  # noqa: ANN401 - a type of an optional library
    datasets = optional_module("datasets")
    is_struct = isinstance(feature, dict) and "bytes" in feature
    is_binary = isinstance(feature, datasets.Value) and "binary" in feature.dtype
    if not (isinstance(feature, datasets.Image) or is_struct or is_binary):
        raise DataError(f"{what} must hold encoded images, got {feature}")


def _class_names(feature: Any, what: str) -> tuple[str, ...] | None:  # noqa: ANN401 - as above
    datasets = optional_module("datasets")
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names)
    if isinstance(feature, datasets.Value) and ("int" in feature.dtype or "string" in feature.dtype):
        return None
    raise DataError(f"{what} must hold class labels, strings or integers, got {feature}")


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and remarks of `datasets`, since we report in our own way, and no word to its makers.

    Unless told not to, `datasets` reports even the reading of a local file to a server, and waits for it offline.
    """
    datasets = optional_module("datasets")
    had_no_bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    counts = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        datasets.logging.set_verbosity(level)
        if not had_no_bars:
            datasets.enable_progress_bars()


@contextmanager
def _without_waiting(datasets: ModuleType, address: Address) -> Iterator[HubError | None]:
    """Where the Hub does not answer, only the cache is looked at; else it would be asked for half a minute.

    Gives why `address` cannot be fetched: the Hub does not answer, or must not be asked.
    """
    offline, unreachable = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE), None
    try:
        constants.HF_HUB_OFFLINE = any(offline)
        try:
            with explained(address, options := HubOptions(), kind="dataset"):
                check_reachable(options)
        except HubError as error:
            unreachable = error
            datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        yield unreachable
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = offline
