"""An evaluation of a second, and how its results are read."""

from dataclasses import replace

from learngene_hub.evaluation import Protocol

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


def start(results, name, body=0):
    return results.descendants[body].start(name)


def accuracies(results, name, measure="3"):
    return start(results, name).measures[measure].accuracies
