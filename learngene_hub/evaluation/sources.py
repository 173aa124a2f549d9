"""Where the images of an evaluation come from: those that judge, those that choose rates, and those of baselines."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from learngene_hub.core.errors import DataError, LearngeneError
from learngene_hub.core.files import is_there, public_name
from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.core.rng import generator
from learngene_hub.data import (
    GLYPHS,
    PRESETS,
    DataSource,
    Normalisation,
    available_classes,
    contact_sheet,
    load_classes,
    source_of,
)
from learngene_hub.evaluation.measuring import Role, Source
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.gene.config import DataRecord
from learngene_hub.hub.address import is_hub_id
from learngene_hub.networks import check_image_size
from learngene_hub.report.results import NOVEL
from learngene_hub.training.fewshot import Images, on_device

SPARED = 4  # one class of so many chooses rates, where the target must
SOUND_RATE = 0.02  # a learning rate that suits most genes
SHOWN_CLASSES, SHOWN_IMAGES = 5, 8  # of the sheet of examples


@dataclass(frozen=True)
class Target:
    """A data set that a transfer goes to.

    Attributes:
        path: an image folder, a Parquet folder, a preset or a Hub id.
        image_column: column of images, if it is unusual; None: "image" or "img".
        label_column: column of labels, if it is unusual; None: "label" or "fine_label".
        image_size: side that all images of the evaluation are scaled to, from 28 to 224 pixels; None: the gene's.

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
        """What results call it: preset, Hub id, or the last part of a local path; with a size that was chosen."""
        size = f" at {self.image_size} pixels" if self.image_size else ""
        return f"{public_name(self.path)}{size}"


def shown(record: DataRecord, target: Target | None) -> DataRecord:
    """What the gene says of its images, at the image size of `target`; they are cropped in proportion."""
    if target is None or target.image_size is None:
        return record
    padding = record.crop_padding * target.image_size // record.image_size
    return record.model_copy(update={"image_size": target.image_size, "crop_padding": padding})


def sources_of(
    records: Sequence[DataRecord], *, data: str | None, target: Target | None, protocol: Protocol, reporter: Reporter
) -> dict[Role, Source]:
    """Role -> source of its images.

    Args:
        records: what the genes, and those that they began from, say of their images; the first one counts, but no
            target may have a class of any.
        data: where they are now; None: where the record says, but a transfer chooses rates on classes of its target.
        target: data set that a transfer goes to.
        protocol: says whether it is one, which classes judge, and whether held-out ones choose rates.
        reporter: told how large a data set of the Hub is, and how far its download is.

    Raises:
        LearngeneError: `target` is missing where the protocol transfers, or given where it does not; or the gene names
            no classes for a role.
        DataError: the images are in a local folder that is not given.
    """
    if protocol.transfer != (target is not None):
        wanted = "needs --target, a data set to transfer to" if protocol.transfer else "takes no --target"
        raise LearngeneError(f"protocol {protocol.name} {wanted}")
    record, sources = shown(records[0], target), dict[Role, Source]()
    if target is not None:
        sources["novel"] = _target(target, records, reporter)
    else:
        sources["novel"] = Source(_own(record, data), record.novel if protocol.split == NOVEL else record.held_out)
        _refuse_none(sources["novel"], f"{protocol.split} classes to judge by: --protocol transfer takes other images")
    if protocol.lr is None and target is not None and data is None and record.preset != GLYPHS:
        sources |= _spared(sources["novel"], protocol, target, reporter)
    elif protocol.lr is None:
        sources["held-out"] = Source(_own(record, data), record.held_out)
        _refuse_none(sources["held-out"], "held-out classes to choose learning rates on: give --lr")
    return sources


def seen_images(
    record: DataRecord, normalisation: Normalisation, *, data: str | None, device: torch.device, reporter: Reporter
) -> tuple[Images, str]:
    """The images of the gene's base classes, shown as its ancestors saw them; and a hash of all it saw.

    Raises:
        DataError: they cannot be had.
    """
    load = partial(load_classes, _own(record, data), reporter=reporter)
    load_on = partial(on_device, padding=record.crop_padding, flip=record.flip)
    base = load_on(load(record.base), normalisation, device=device)
    held_out = load_on(load(record.held_out), normalisation, device=torch.device("cpu"))
    both = base.fingerprint() + held_out.fingerprint()
    return base, hashlib.sha256(both.encode()).hexdigest()


def sample_sheet(source: Source) -> bytes:
    """A PNG with example images of some classes of `source`.

    Raises:
        DataError: they cannot be had.
    """
    images = load_classes(source.data, source.classes, reporter=SilentReporter())
    sheet = contact_sheet(images, rows=SHOWN_CLASSES, columns=SHOWN_IMAGES, seed=0)
    with io.BytesIO() as file:
        sheet.save(file, format="png")
        return file.getvalue()


def _spared(source: Source, protocol: Protocol, target: Target, reporter: Reporter) -> dict[Role, Source]:
    """The target's classes in two: those that judge, and a quarter, or a task's worth, to choose learning rates on."""
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
        f"learning rates are chosen on {spare} of the {len(names)} classes of {target.name}, on which nothing is judged"
    )
    return {
        "novel": replace(source, classes=tuple(name for name in names if name not in chosen)),
        "held-out": replace(source, classes=tuple(name for name in names if name in chosen)),
    }


def _refuse_none(source: Source, what: str) -> None:
    if not source.classes:
        raise LearngeneError(f"the gene names no {what}")


def _own(record: DataRecord, data: str | None) -> DataSource:
    """Where the gene's images are: what it says itself is a preset or the name of a data set, never a path."""
    if data is not None or record.preset is not None:
        return source_of(record, path=data, seed=record.seed)
    if not is_hub_id(record.source):
        raise DataError(f"the gene was evolved on a local folder {record.source!r}; say where it is with --data")
    if is_there(record.source):  # a path would be looked at first
        raise DataError(
            f"the gene was evolved on {record.source} of the Hub, and a folder here is called the same; say which one "
            "to take with --data: an absolute path for the folder"
        )
    return source_of(record, path=record.source, seed=record.seed)


def _target(target: Target, records: Sequence[DataRecord], reporter: Reporter) -> Source:
    preset = target.path if target.path in PRESETS else None
    source = DataSource(
        preset=preset,
        path=None if preset else target.path,
        image_size=shown(records[0], target).image_size,
        image_column=target.image_column,
        label_column=target.label_column,
    )
    names: Mapping[str, None] = dict.fromkeys(available_classes(source, reporter=reporter))
    known = {name for record in records for name in (*record.base, *record.held_out)}
    if seen := sorted(known & names.keys()):
        raise LearngeneError(
            f"{target.path}: {len(seen)} of its classes have the names of classes the gene has seen, such as "
            f"{seen[0]!r}: a transfer needs another data set"
        )
    return Source(source, tuple(names))
