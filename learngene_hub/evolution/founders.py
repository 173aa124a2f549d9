"""Founders kept on disk, so that recipes that share their founders train each founder once (ours)."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from learngene_hub.core.files import read_file, write_text
from learngene_hub.core.progress import Reporter
from learngene_hub.core.store import KeyedStore
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.environment import Environment
from learngene_hub.gene.folder import read_tensors, write_tensors
from learngene_hub.genome.genome import Genome
from learngene_hub.workers import Pool, Step

FORMAT = 2  # raise it when the same plan gives another founder
GENE_NAME, RECORD_NAME = "gene.safetensors", "record.json"
MOST_GENE, MOST_RECORD = 10**9, 10**5  # bytes


@dataclass(frozen=True)
class Founder:
    """A founder, the wall time of its training, and the engine as in the metrics of its run."""

    outcome: Outcome
    seconds: float
    engine: Mapping[str, Any]


@dataclass(frozen=True)
class Founders:
    """Founders on disk, each under a hash of everything that affects it, except rounding on another device.

    Attributes:
        folder: of all founders.
        images: hash of all images of the run and of their classes.
        reporter: told of founders found on disk, and of waiting for another process.
    """

    folder: Path
    images: str
    reporter: Reporter

    def get(self, task: AncestryTask, workers: Pool[Environment], step: Step) -> tuple[Founder, bool]:
        """The founder of `task`, and whether it was on disk; if not, it is trained, and kept unless it failed."""
        store = KeyedStore(self.folder, task.label, _write, _read, self.reporter)
        key = self._key(task)
        with store.held(key):
            if (kept := store.find(key)) is not None:
                self.reporter.line(f"{task.label}: trained before, found on disk")
                step(task.plan.images, "trained before")
                return kept, True
            began = time.monotonic()
            ((_, outcome),) = workers.run([task], step)
            made = Founder(outcome, time.monotonic() - began, workers.record())
            if not math.isnan(made.outcome.fitness):
                store.keep(key, made)
            return made, False

    def _key(self, task: AncestryTask) -> dict[str, Any]:
        plan, parent = task.plan, task.parent
        return {
            "format": FORMAT,
            "images": self.images,
            "body": repr(plan.body),
            "sizes": dict(task.sizes),
            # a lone individual knows no selection
            "plan": repr((plan.generation, plan.seed, plan.cross, plan.ancestry, plan.critics)),
            "parent": None if parent is None else hashlib.sha256(save(dict(parent.tensors))).hexdigest(),
        }


def _write(folder: Path, founder: Founder) -> None:
    outcome = founder.outcome
    assert outcome.genome is not None
    record = {
        "loss": outcome.loss,
        "fitness": outcome.fitness,
        "seconds": founder.seconds,
        "engine": dict(founder.engine),
        "sizes": dict(outcome.genome.sizes),
    }
    write_tensors(folder / GENE_NAME, outcome.genome.tensors)
    write_text(folder / RECORD_NAME, json.dumps(record, indent=2))


def _read(folder: Path) -> Founder:
    record = json.loads(read_file(folder / RECORD_NAME, most=MOST_RECORD))
    genome = Genome(read_tensors(read_file(folder / GENE_NAME, most=MOST_GENE)), record["sizes"])
    return Founder(Outcome(genome, record["loss"], record["fitness"]), record["seconds"], record["engine"])
