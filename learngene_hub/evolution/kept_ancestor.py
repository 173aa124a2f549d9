"""The network of a search, trained once and kept on disk, so that an interrupted search can be continued (ours)."""

import json
import time
from pathlib import Path

from learngene_hub.core.errors import SelectionError
from learngene_hub.core.files import read_file, write_text
from learngene_hub.core.progress import Reporter
from learngene_hub.core.store import KeyedStore
from learngene_hub.evolution.ancestry import AncestryTask
from learngene_hub.evolution.environment import Environment
from learngene_hub.gene.folder import read_tensors, write_tensors
from learngene_hub.genome.surgery import State
from learngene_hub.workers import Pool, Step

FORMAT = 2  # raise it when the same plan gives another network
GENE_NAME, RECORD_NAME = "gene.safetensors", "record.json"
MOST_GENE, MOST_RECORD = 10**11, 10**5  # bytes

Trained = tuple[State, float]
"""The tensors of a trained network, and the seconds of its training."""


def trained_ancestor(
    task: AncestryTask, workers: Pool[Environment], step: Step, *, folder: Path, images: str, reporter: Reporter
) -> Trained:
    """The network of `task`: from the disk, or trained now and kept.

    Args:
        task: its training.
        workers: do it.
        step: told of images.
        folder: of kept networks, each under a hash of everything that affects it, except rounding on another device.
        images: hash of all images of the run and of their classes.
        reporter: told of a network found on disk, of damage, and of waiting for another process.

    Raises:
        SelectionError: its training failed; nothing is kept.
    """
    store, plan = KeyedStore(folder, task.label, _write, _read, reporter), task.plan
    key = {
        "format": FORMAT,
        "images": images,
        "body": repr(plan.body),
        "sizes": dict(task.sizes),
        "plan": repr((plan.generation, plan.seed, plan.cross, plan.ancestry, plan.critics)),
        "parent": None,  # as in keys of earlier versions
    }
    with store.held(key):
        if (kept := store.find(key)) is not None:
            reporter.line(f"{task.label}: trained before, found on disk")
            step(plan.images, "trained before")
            return kept
        began = time.monotonic()
        ((_, outcome),) = workers.run([task], step)
        if outcome.genome is None:
            raise SelectionError(f"{task.label} failed (NaN); lower `ancestry.lr`")
        made = outcome.genome.tensors, time.monotonic() - began
        store.keep(key, made)
        return made


def _write(folder: Path, ancestor: Trained) -> None:
    tensors, seconds = ancestor
    write_tensors(folder / GENE_NAME, tensors)
    write_text(folder / RECORD_NAME, json.dumps({"seconds": seconds}))


def _read(folder: Path) -> Trained:
    record = json.loads(read_file(folder / RECORD_NAME, most=MOST_RECORD))
    return read_tensors(read_file(folder / GENE_NAME, most=MOST_GENE)), record["seconds"]
