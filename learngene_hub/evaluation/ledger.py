"""What has been measured already, on disk, so that nothing is measured twice.

One file a start and kind of descendant, one line a network. The file's name carries a hash of all that shapes its
lines: a changed gene or protocol begins a new file. A line torn by a kill is measured again.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save

from learngene_hub.evaluation.bench import Unit
from learngene_hub.evaluation.starts import Start
from learngene_hub.files import append_line
from learngene_hub.genome.birth import Body

FOLDER = "tasks"
Measured = dict[str, float]


class Ledger:
    """The measured units of one start in one kind of descendant.

    Args:
        folder: of the evaluation; None: nothing is kept.
        start: what was inherited.
        body: what inherited it.
        constants: all else that shapes an outcome.
        images: role -> hash of its images.
        measures: what every line must tell.
    """

    def __init__(
        self,
        folder: Path | None,
        start: Start,
        body: Body,
        constants: Mapping[str, Any],
        images: Mapping[str, str],
        measures: Collection[str] = (),
    ) -> None:
        shaped = [_tensors_hash(start), asdict(body), constants, dict(images)]
        key = hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()[:12]
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in start.name)
        self._file = None if folder is None else folder / FOLDER / f"{name}-{key}.jsonl"
        known = dict(_read(self._file)) if self._file and self._file.exists() else {}
        self._found = {unit: measured for unit, measured in known.items() if measured.keys() >= set(measures)}

    def __contains__(self, unit: Unit) -> bool:
        return unit in self._found

    def __getitem__(self, unit: Unit) -> Measured:
        return self._found[unit]

    def enter(self, unit: Unit, measured: Measured) -> None:
        """Keep what was measured on `unit`."""
        self._found[unit] = measured
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            append_line(self._file, json.dumps(asdict(unit) | {"measured": measured}))


def _tensors_hash(start: Start) -> str | None:
    if start.genome is None:
        return None
    tensors = {name: tensor.contiguous() for name, tensor in sorted(start.genome.tensors.items())}
    return hashlib.sha256(save(tensors)).hexdigest()


def _read(file: Path) -> list[tuple[Unit, Measured]]:
    """The whole lines of `file`; a torn last one is cut off."""
    content = file.read_bytes()
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        with file.open("r+b") as opened:
            opened.truncate(len(whole + newline))
    entries = map(_entry, whole.splitlines())
    return [(Unit(**entry.model_dump(exclude={"measured"})), entry.measured) for entry in entries if entry is not None]


class _Entry(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    role: Literal["novel", "held-out"]
    seed: int
    number: int
    lr: float
    measured: dict[str, Annotated[float, Field(ge=0, le=1)]]


def _entry(line: bytes) -> _Entry | None:
    """What a line says; None if it is damaged and its network must be measured again."""
    try:
        return _Entry.model_validate_json(line)
    except ValidationError:
        return None
