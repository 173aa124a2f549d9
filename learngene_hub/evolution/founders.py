"""Founders that were raised before, kept so that recipes which differ only after them raise each once (ours)."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save

from learngene_hub.evolution.ancestry import Life, Outcome, SharedData
from learngene_hub.files import alone, atomic_path, read_file, sweep, write_text, written
from learngene_hub.gene.folder import file_sha256, read_tensors, write_tensors
from learngene_hub.progress import Reporter

FORMAT = 2  # raise it when the same plan gives another founder
GENE_NAME, RECORD_NAME = "gene.safetensors", "record.json"
MOST_GENE, MOST_RECORD = 10**9, 10**5  # bytes


@dataclass(frozen=True)
class Founder:
    """A founder, and what it took.

    Attributes:
        outcome: its gene, loss and fitness.
        seconds: wall time of the run that raised it.
        engine: of that run, as a row of its metrics says.
    """

    outcome: Outcome
    seconds: float
    engine: Mapping[str, Any]


@dataclass(frozen=True)
class Founders:
    """Founders on disk, each under a hash of everything that shapes it, but for rounding on another device.

    Attributes:
        folder: they are kept in.
        images: hash of all images of the run and of their classes.
        reporter: told of founders that are taken over, and of waiting for another process.
    """

    folder: Path
    images: str
    reporter: Reporter

    def get(self, life: Life, shared: SharedData, make: Callable[[], Founder]) -> tuple[Founder, bool]:
        """The founder of `life`, and whether it was kept here; else it is made, and kept unless it failed."""
        with written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / self._key(life, shared)
        with alone(place.with_suffix(".lock"), "the same founder", self.reporter.line):
            sweep(self.folder, place.name)
            if (kept := _load(place)) is not None:
                self.reporter.line(f"generation {life.plan.generation + 1}: a founder that another run has raised")
                return kept, True
            made = make()
            if not math.isnan(made.outcome.fitness):
                _save(place, made)
            return made, False

    def _key(self, life: Life, shared: SharedData) -> str:
        plan, parent = life.plan, life.parent
        shaped = (
            *(FORMAT, self.images, shared.body, sorted(shared.channels.items())),
            *(plan.generation, plan.seed, plan.cross, plan.ancestry, plan.critics),  # a lone one knows no selection
            None if parent is None else hashlib.sha256(save(dict(parent))).hexdigest(),
        )
        return hashlib.sha256(repr(shaped).encode()).hexdigest()[:24]


class _Record(BaseModel):
    """`record.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: float
    fitness: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0)
    engine: dict[str, Any]
    sha256: str


def _save(place: Path, founder: Founder) -> None:
    outcome = founder.outcome
    with atomic_path(place) as folder:
        folder.mkdir()
        record = _Record(
            loss=outcome.loss,
            fitness=outcome.fitness,
            seconds=founder.seconds,
            engine=dict(founder.engine),
            sha256=write_tensors(folder / GENE_NAME, outcome.gene),
        )
        write_text(folder / RECORD_NAME, record.model_dump_json(indent=2))


def _load(place: Path) -> Founder | None:
    """The founder at `place`; None if there is none, or a damaged one."""
    try:
        record = _Record.model_validate_json(read_file(place / RECORD_NAME, most=MOST_RECORD))
        if file_sha256(place / GENE_NAME) != record.sha256:
            return None
        gene = read_tensors(read_file(place / GENE_NAME, most=MOST_GENE))
    except (OSError, ValidationError, SafetensorError):
        return None
    return Founder(Outcome(gene, record.loss, record.fitness), record.seconds, record.engine)
