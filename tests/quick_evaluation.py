"""An evaluation of a second, and how its results are read."""

from dataclasses import replace

import pytest

from learngene_hub import Learngene, evaluate
from learngene_hub.evaluation.protocols import Protocol

QUICK = Protocol(
    name="quick",
    version=1,
    ways=3,
    shots=4,
    queries=6,
    tasks=3,
    steps=3,
    measured_at=(3,),
    rates=(0.01, 0.1),
    tuning_tasks=2,
    batch_size=8,
    warmup=1,
)
ONE = replace(QUICK, lr=0.05, tasks=1)  # a network a start


@pytest.fixture(scope="session")
def plain(tiny_run, tmp_path_factory):
    """The results of `QUICK` with seed 0, and the folder they were written to; read it, do not change it."""
    out = tmp_path_factory.mktemp("plain")
    return evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=out), out


def with_data(gene, **changes):
    """The gene, of no folder, with another record of its data."""
    origin = gene.config.origin
    origin = origin.model_copy(update={"data": origin.data.model_copy(update=changes)})
    return Learngene(gene.tensors, gene.config.model_copy(update={"origin": origin}))


def start(results, name, body=0):
    return results.descendants[body].start(name)


def accuracies(results, name, measure="3"):
    return start(results, name).measures[measure].accuracies
