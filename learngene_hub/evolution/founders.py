"""Founders that were raised before, kept so that recipes which differ only after them raise each once (ours)."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save

from learngene_hub.evolution.shard import Raised, Setting, Shard
from learngene_hub.files import read_file, write_text
from learngene_hub.gene.folder import read_tensors, write_tensors
from learngene_hub.progress import Reporter
from learngene_hub.store import KeyedStore

FORMAT = 1  # raise it when the same plan gives another founder
UNTOUCHED_BY = ("evolution.selection=tournament", "evolution.mutation_rate=0")  # a lone individual knows neither
GENE_NAME, RECORD_NAME = "gene.safetensors", "record.json"
MOST_GENE, MOST_RECORD = 10**9, 10**5  # bytes


@dataclass(frozen=True)
class Founder:
    """A founder, and what it took.

    Attributes:
        raised: its gene, loss and fitness.
        seconds: wall time of the run that raised it.
        engine: of that run, as a row of its metrics says.
    """

    raised: Raised
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

    def get(self, shard: Shard, setting: Setting, make: Callable[[], Founder]) -> tuple[Founder, bool]:
        """The founder of `shard`, and whether it was kept here; else it is made, and kept unless it failed."""
        store = KeyedStore(self.folder, "a founder", _write, _read, self.reporter)
        key = self._key(shard, setting)
        with store.held(key):
            if (kept := store.find(key)) is not None:
                self.reporter.line(f"generation {shard.generation + 1}: a founder that another run has raised")
                return kept, True
            made = make()
            if not math.isnan(made.raised.fitness):
                store.keep(key, made)
            return made, False

    def _key(self, shard: Shard, setting: Setting) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "recipe": setting.recipe.changed(*UNTOUCHED_BY).model_dump(mode="json"),
            "images": self.images,
            "generation": shard.generation,
            "manner": asdict(shard.manner),
            "parents": [None if one is None else hashlib.sha256(save(dict(one))).hexdigest() for one in shard.parents],
        }


class _Record(BaseModel):
    """`record.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: float
    fitness: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0)
    engine: dict[str, Any]


def _write(folder: Path, founder: Founder) -> None:
    raised = founder.raised
    record = _Record(loss=raised.loss, fitness=raised.fitness, seconds=founder.seconds, engine=dict(founder.engine))
    write_tensors(folder / GENE_NAME, raised.gene)
    write_text(folder / RECORD_NAME, record.model_dump_json(indent=2))


def _read(folder: Path) -> Founder:
    record = _Record.model_validate_json(read_file(folder / RECORD_NAME, most=MOST_RECORD))
    gene = read_tensors(read_file(folder / GENE_NAME, most=MOST_GENE))
    return Founder(Raised(gene, record.loss, record.fitness), record.seconds, record.engine)
