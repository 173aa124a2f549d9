"""The ancestor of a search, trained once and kept on disk, so that an interrupted search can be continued (ours)."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learngene_hub.core.files import read_file, write_text
from learngene_hub.core.progress import Reporter
from learngene_hub.core.store import KeyedStore
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.environment import Environment
from learngene_hub.gene.folder import read_tensors, write_tensors
from learngene_hub.genome.genome import Genome
from learngene_hub.workers import Pool, Step

FORMAT = 2  # raise it when the same plan gives another ancestor
GENE_NAME, RECORD_NAME = "gene.safetensors", "record.json"
MOST_GENE, MOST_RECORD = 10**9, 10**5  # bytes


@dataclass(frozen=True)
class TrainedAncestor:
    """What its training gave, and the wall time of it."""

    outcome: Outcome
    seconds: float


def trained_ancestor(
    task: AncestryTask, workers: Pool[Environment], step: Step, *, folder: Path, images: str, reporter: Reporter
) -> TrainedAncestor:
    """The ancestor of `task`: from the disk, or trained now, and kept unless it failed.

    Args:
        task: its training.
        workers: do it.
        step: told of images.
        folder: of kept ancestors, each under a hash of everything that affects it, except rounding on another device.
        images: hash of all images of the run and of their classes.
        reporter: told of an ancestor found on disk, of damage, and of waiting for another process.
    """
    store = KeyedStore(folder, task.label, _write, _read, reporter)
    key = _key(task, images)
    with store.held(key):
        if (kept := store.find(key)) is not None:
            reporter.line(f"{task.label}: trained before, found on disk")
            step(task.plan.images, "trained before")
            return kept
        began = time.monotonic()
        ((_, outcome),) = workers.run([task], step)
        made = TrainedAncestor(outcome, time.monotonic() - began)
        if not math.isnan(outcome.fitness):
            store.keep(key, made)
        return made


def _key(task: AncestryTask, images: str) -> dict[str, Any]:
    plan = task.plan
    return {
        "format": FORMAT,
        "images": images,
        "body": repr(plan.body),
        "sizes": dict(task.sizes),
        "plan": repr((plan.generation, plan.seed, plan.cross, plan.ancestry, plan.critics)),
        "parent": None,  # as in keys of earlier versions
    }


def _write(folder: Path, ancestor: TrainedAncestor) -> None:
    outcome = ancestor.outcome
    assert outcome.genome is not None
    record = {
        "loss": outcome.loss,
        "fitness": outcome.fitness,
        "seconds": ancestor.seconds,
        "sizes": dict(outcome.genome.sizes),
    }
    write_tensors(folder / GENE_NAME, outcome.genome.tensors)
    write_text(folder / RECORD_NAME, json.dumps(record, indent=2))


def _read(folder: Path) -> TrainedAncestor:
    record = json.loads(read_file(folder / RECORD_NAME, most=MOST_RECORD))
    genome = Genome(read_tensors(read_file(folder / GENE_NAME, most=MOST_GENE)), record["sizes"])
    return TrainedAncestor(Outcome(genome, record["loss"], record["fitness"]), record["seconds"])
