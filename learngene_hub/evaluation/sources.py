"""Where the images of an evaluation come from: to evaluate on, to choose learning rates on, and for baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from learngene_hub.core.errors import DataError, LearngeneError
from learngene_hub.core.files import is_there, public_name
from learngene_hub.core.plain_text import folded
from learngene_hub.core.progress import Reporter
from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.counting import available_classes
from learngene_hub.data.image_set import Normalisation
from learngene_hub.data.loading import load_classes
from learngene_hub.data.rows import has_tables
from learngene_hub.data.source import DataSource, place_of, source_of
from learngene_hub.data.splits import PRESETS
from learngene_hub.evaluation.measuring import TEST, TUNING, Role, Source
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.gene.config import DataRecord
from learngene_hub.hub.address import is_hub_id
from learngene_hub.networks import check_image_size
from learngene_hub.recipe.sections import GLYPHS
from learngene_hub.report.results import NOVEL

SPARED = 4  # one class of so many chooses rates, where the target must
SOUND_RATE = 0.02  # a learning rate that suits most genes


@dataclass(frozen=True)
class Target:
    """The data set of a transfer, or a copy of the gene's own.

    Attributes:
        path: an image folder, a Parquet folder, a preset or a Hub id; of the gene's own no preset.
        image_column: name of the image column; None: "image" or "img".
        label_column: name of the label column; None: "label" or "fine_label".
        image_size: of a transfer: side that all images are scaled to, from 28 to 224 pixels; None: the gene's.

    Raises:
        NetworkError: the image size is out of range.
    """

    path: str
    image_column: str | None = None
    label_column: str | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        check_image_size(self.image_size)

    @property
    def name(self) -> str:
        """Name in the results: preset, Hub id, or the last part of a local path, and an image size if given."""
        size = f" at {self.image_size} pixels" if self.image_size else ""
        return f"{public_name(self.path)}{size}"


def shown(record: DataRecord, target: Target | None) -> DataRecord:
    """The gene's data record at the image size of `target`; crops are scaled in proportion."""
    if target is None or target.image_size is None:
        return record
    padding = record.crop_padding * target.image_size // record.image_size
    return record.model_copy(update={"image_size": target.image_size, "crop_padding": padding})


def sources_of(
    records: Sequence[DataRecord], *, data: Target | None, target: Target | None, protocol: Protocol, reporter: Reporter
) -> dict[Role, Source]:
    """Role -> source of its images.

    Args:
        records: data records of the genes, their ancestors and checkpoints; the first is used, and classes of a target
            that any has seen are left out.
        data: where the gene's images are; None: as in the record, but a transfer chooses rates on its target.
        target: data set of a transfer.
        protocol: sets whether it is a transfer, which classes are evaluated on, and whether rates are chosen.
        reporter: told the size of a data set of the Hub, the progress of its download, and classes that are left out.

    Raises:
        LearngeneError: `target` is missing for a transfer, or given for another protocol, or has no class that the
            genes have not seen; or the gene names no classes for a role.
        DataError: the images are in a local folder that is not given.
    """
    if protocol.transfer != (target is not None):
        wanted = "needs --target, a data set to transfer to" if protocol.transfer else "takes no --target"
        raise LearngeneError(f"protocol {protocol.name} {wanted}")
    record, sources = shown(records[0], target), dict[Role, Source]()
    if data is not None and record.preset == GLYPHS:
        raise LearngeneError("the images of this gene are drawn, not read: leave out --data")
    if target is not None:
        sources[TEST] = _target(target, records, reporter)
    else:
        sources[TEST] = Source(_own(record, data), record.novel if protocol.split == NOVEL else record.held_out)
        _refuse_none(
            sources[TEST], f"{protocol.split} classes to evaluate on: use --protocol transfer with another data set"
        )
    if protocol.lr is None and target is not None and data is None and record.preset != GLYPHS:
        sources |= _spared(sources[TEST], protocol, target, reporter)
    elif protocol.lr is None:
        sources[TUNING] = Source(_own(record, data), record.held_out)
        _refuse_none(sources[TUNING], "held-out classes to choose learning rates on: give --lr")
    return sources


def base_images(
    record: DataRecord, normalisation: Normalisation, *, data: Target | None, device: torch.device, reporter: Reporter
) -> Images:
    """The images of the gene's base classes, prepared as in its evolution.

    Raises:
        DataError: they cannot be had.
    """
    images = load_classes(_own(record, data), record.base, reporter=reporter)
    return Images.build(images, normalisation, padding=record.crop_padding, flip=record.flip, device=device)


def _spared(source: Source, protocol: Protocol, target: Target, reporter: Reporter) -> dict[Role, Source]:
    """The target's classes in two parts: to evaluate on, and a quarter, or enough for a task, to choose rates on."""
    names, ways = source.classes, protocol.ways or 2
    spare = max(ways, len(names) // SPARED)
    if len(names) < spare + ways:
        raise LearngeneError(
            f"{target.path}: expected {spare + ways} or more classes, {ways} for each task and others to choose "
            f"learning rates on, found {len(names)}: give --lr, such as {SOUND_RATE}, or the gene's own images with "
            "--data, or lower --ways"
        )
    order = torch.randperm(len(names), generator=generator(0, "spared classes")).tolist()
    chosen = {names[position] for position in order[:spare]}
    reporter.line(
        f"learning rates are chosen on {spare} of the {len(names)} classes of {target.name}; "
        "the results leave these out"
    )
    return {
        TEST: replace(source, classes=tuple(name for name in names if name not in chosen)),
        TUNING: replace(source, classes=tuple(name for name in names if name in chosen)),
    }


def _refuse_none(source: Source, what: str) -> None:
    if not source.classes:
        raise LearngeneError(f"the gene names no {what}")


def _own(record: DataRecord, data: Target | None) -> DataSource:
    """Where the gene's images are: its record names a preset or a data set, never a path."""
    if data is not None:
        return _copy(record, data)
    if record.preset is not None:
        return source_of(record, path=None, seed=record.seed)
    if not is_hub_id(record.source):
        raise DataError(f"the gene was evolved on a local folder {record.source!r}; give its path with --data")
    if is_there(record.source):  # a path would be looked at first
        raise DataError(
            f"the gene was evolved on {record.source} of the Hub, but a folder here has the same name: give it as "
            "--data, or, to read the Hub, run this in another folder"
        )
    return source_of(record, path=record.source, seed=record.seed)


def _copy(record: DataRecord, data: Target) -> DataSource:
    """The gene's images at `data`; columns that are not given are those of the record, where there are columns."""
    source = source_of(record, path=data.path, seed=record.seed)
    place = place_of(source)  # which refuses a path that does not exist, before images are read
    if data.path != record.source:
        source = replace(source, revision=None)  # a copy has commits of its own
    if isinstance(place, Path) and place.is_dir() and not has_tables(place):
        return replace(source, image_column=data.image_column, label_column=data.label_column)
    return replace(
        source,
        image_column=data.image_column or source.image_column,
        label_column=data.label_column or source.label_column,
    )


def _target(target: Target, records: Sequence[DataRecord], reporter: Reporter) -> Source:
    preset = target.path if target.path in PRESETS else None
    if preset and is_there(preset):
        raise LearngeneError(
            f"{preset} is a preset, and a file or folder here has the same name; give its absolute path, or rename it "
            "to use the preset"
        )
    source = DataSource(
        preset=preset,
        path=None if preset else target.path,
        image_size=shown(records[0], target).image_size,
        image_column=target.image_column,
        label_column=target.label_column,
    )
    names: Mapping[str, None] = dict.fromkeys(available_classes(source, reporter=reporter))
    known = {folded(name) for record in records for name in (*record.base, *record.held_out)}
    seen, others = (tuple(name for name in names if (folded(name) in known) is is_known) for is_known in (True, False))
    if not others:
        raise LearngeneError(
            f"{target.path}: all its classes have the names of classes that the gene has seen; a transfer needs others"
        )
    if seen:
        reporter.warn(
            f"{target.path}: {len(seen)} of its {len(names)} classes left out, because the gene has seen classes of the"
            f" same names, such as {min(seen)!r}"
        )
    return Source(source, others)
