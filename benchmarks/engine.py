"""What several workers gain, and what an engine costs beside the work it hands out.

Three crews stand ready side by side: this process, two processes, two actors of Ray on this machine. In turn each does
the same generation of eight individuals, after one that is not counted. Times are wall times, since waiting is what an
engine may add; so other work on the machine shows, and only ratios of one round are told. What an engine itself adds is
told by its workers: the part of the time with a task in hand that they were not inside the task.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.measure import Figure, Goal
from learngene_hub import Recipe
from learngene_hub.engine import Crew, EngineOptions, Step, make_engine
from learngene_hub.evolution.run import prepare
from learngene_hub.evolution.shard import Raised, Setting, Shard, cut, manner
from learngene_hub.progress import SilentReporter

WORKERS, ROUNDS = 2, 3
OVERRIDES = ("evolution.population=8", "ancestry.steps=20", "critic.tasks=1", "backend=loop")
LEAST_SECONDS = 10.0  # of a generation of two workers
CREWS = {
    "one": EngineOptions(workers=1),
    "local": EngineOptions(workers=WORKERS),
    "ray": EngineOptions("ray", workers=WORKERS),
}


@dataclass(frozen=True)
class Timed:
    """A shard that tells how long it took inside the worker."""

    shard: Shard

    @property
    def label(self) -> str:
        """The shard's."""
        return self.shard.label

    def __call__(self, setting: Setting, step: Step) -> tuple[float, list[Raised]]:
        """Seconds in the task, and what it gives: genes are to travel too."""
        began = time.monotonic()
        raised = self.shard(setting, step)
        return time.monotonic() - began, raised


@dataclass(frozen=True)
class Lap:
    """One generation: wall time, time of the workers with a task in hand, and inside tasks, in seconds."""

    seconds: float
    held: float
    inside: float


def figures() -> list[Figure]:
    """The gain of two processes, and what Ray and local processes add."""
    laps = _laps(Recipe.from_file("demo", OVERRIDES))
    shortest = min(lap.seconds for lap in (*laps["local"], *laps["ray"]))
    goal = Goal("at most", 1.05) if shortest >= LEAST_SECONDS else None
    return [
        _against(laps, "ray", "local", goal),
        _against(laps, "one", "local", None),
        *(_outside(laps, name) for name in ("local", "ray")),
    ]


def _laps(recipe: Recipe) -> Mapping[str, Sequence[Lap]]:
    cpu, reporter = torch.device("cpu"), SilentReporter()
    setting = prepare(recipe, device=cpu, reporter=reporter)
    how = manner({"ancestry": "loop", "critics": "loop"}, recipe, 0, count=1)
    shards = [Timed(one) for one in cut([None] * recipe.evolution.population, 0, how)]
    with ExitStack() as stack:
        crews = {
            name: stack.enter_context(
                make_engine(options, device="cpu", place=cpu, most=len(shards)).crew(setting, reporter)
            )
            for name, options in CREWS.items()
        }
        for crew in crews.values():
            _lap(crew, shards[:WORKERS])  # starts the workers
        rounds = [{name: _lap(crew, shards) for name, crew in crews.items()} for _ in range(ROUNDS)]
    return {name: [one[name] for one in rounds] for name in crews}


def _lap(crew: Crew[Setting], shards: Sequence[Timed]) -> Lap:
    began = time.monotonic()
    inside = sum(seconds for _, (seconds, _) in crew.run(shards))
    seconds = time.monotonic() - began
    each: Sequence[Mapping[str, Any]] = crew.record()["each"]
    return Lap(seconds, sum(one["busy"] for one in each), inside)


def _against(laps: Mapping[str, Sequence[Lap]], over: str, under: str, goal: Goal | None) -> Figure:
    ratios = [a.seconds / b.seconds for a, b in zip(laps[over], laps[under], strict=True)]
    typical = [statistics.median(lap.seconds for lap in laps[name]) for name in (over, under)]
    spread = f"rounds from {min(ratios):.2f} to {max(ratios):.2f}"
    names = {"one": "one process", "local": "two processes", "ray": "two actors of Ray"}
    return Figure(
        "engine",
        f"{names[over]} / {names[under]}, wall time of a generation",
        statistics.median(ratios),
        f"{typical[0]:.1f} against {typical[1]:.1f} s; {spread}",
        goal,
    )


def _outside(laps: Mapping[str, Sequence[Lap]], name: str) -> Figure:
    parts = [1 - lap.inside / lap.held for lap in laps[name]]
    milliseconds = statistics.median((lap.held - lap.inside) / 8 for lap in laps[name]) * 1e3
    return Figure(
        "engine",
        f"{name}, handing over a shard / a shard",
        statistics.median(parts),
        f"{milliseconds:.0f} ms a shard",
        Goal("at most", 0.05),
    )
