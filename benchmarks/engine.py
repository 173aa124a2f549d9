"""What several workers gain, and what an engine costs beside the work it hands out.

Three pools stand ready side by side: this process, two processes, two actors of Ray on this machine. In turn each does
the same generation of eight individuals. Times are wall times, since waiting is what an engine may add, and other work
on the machine makes them noisy. What an engine itself adds is therefore told by its workers' own clocks: how much of
the time, from the begin of a generation to the end of a worker's last shard, the worker was in no shard.
"""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from benchmarks.measure import Figure, Goal
from learngene_hub import Recipe
from learngene_hub.evolution.run import prepare
from learngene_hub.evolution.shard import Raised, Setting, Shard, cut, manner, pick_precision
from learngene_hub.progress import SilentReporter
from learngene_hub.workers import EngineOptions, Pool, Step, make_engine

WORKERS, ROUNDS = 2, 5
INDIVIDUALS = 8
OVERRIDES = (
    f"evolution.population={INDIVIDUALS}",
    "ancestry.steps=20",
    "critic.tasks=1",
    "backend=loop",
    "evolution.founder_generations=0",
)
LEAST_SECONDS = 10.0  # of a generation of two workers
POOLS = {
    "one": EngineOptions(workers=1),
    "local": EngineOptions(workers=WORKERS),
    "ray": EngineOptions("ray", workers=WORKERS),
}


@dataclass(frozen=True)
class Timed:
    """A shard that tells who did it, and when."""

    shard: Shard

    @property
    def label(self) -> str:
        """The shard's."""
        return self.shard.label

    def __call__(self, setting: Setting, step: Step) -> tuple[int, float, float, list[Raised]]:
        """Process, begin and end by the clock of the machine, and what the shard gives: genes are to travel too."""
        began = time.monotonic()
        raised = self.shard(setting, step)
        return os.getpid(), began, time.monotonic(), raised


@dataclass(frozen=True)
class Lap:
    """One generation, in seconds: wall time; time of all workers until their last shards end; part of it in none."""

    seconds: float
    present: float
    between: float


def figures() -> list[Figure]:
    """The gain of two processes, and what Ray and local processes add."""
    laps = _laps(Recipe.from_file("demo", OVERRIDES))
    return [
        *(_between(laps, name) for name in ("local", "ray")),
        _against(laps, "ray", "local"),
        _against(laps, "one", "local"),
    ]


def _laps(recipe: Recipe) -> Mapping[str, Sequence[Lap]]:
    cpu, reporter = torch.device("cpu"), SilentReporter()
    setting = prepare(recipe, device=cpu, reporter=reporter)
    how = manner({"ancestry": "loop", "critics": "loop"}, pick_precision(recipe, cpu), recipe, 0, count=1)
    shards = [Timed(one) for one in cut([None] * recipe.evolution.population, 0, how)]
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(
                make_engine(options, device="cpu", place=cpu, most=len(shards)).pool(setting, reporter)
            )
            for name, options in POOLS.items()
        }
        for pool in pools.values():
            _lap(pool, shards[:WORKERS])  # starts the workers
        rounds = [{name: _lap(pool, shards) for name, pool in pools.items()} for _ in range(ROUNDS)]
    return {name: [one[name] for one in rounds] for name in pools}


def _lap(pool: Pool[Setting], shards: Sequence[Timed]) -> Lap:
    began = time.monotonic()
    done = [result for _, result in pool.run(shards)]
    seconds = time.monotonic() - began
    ends: dict[int, float] = {}
    for process, _, end, _ in done:
        ends[process] = max(end, ends.get(process, end))
    present = sum(end - began for end in ends.values())
    return Lap(seconds, present, present - sum(end - start for _, start, end, _ in done))


def _against(laps: Mapping[str, Sequence[Lap]], over: str, under: str) -> Figure:
    ratios = [a.seconds / b.seconds for a, b in zip(laps[over], laps[under], strict=True)]
    typical = [statistics.median(lap.seconds for lap in laps[name]) for name in (over, under)]
    spread = f"rounds from {min(ratios):.2f} to {max(ratios):.2f}"
    names = {"one": "one process", "local": "two processes", "ray": "two actors of Ray"}
    return Figure(
        "engine",
        f"{names[over]} / {names[under]}, wall time of a generation",
        statistics.median(ratios),
        f"{typical[0]:.1f} against {typical[1]:.1f} s; {spread}",
    )


def _between(laps: Mapping[str, Sequence[Lap]], name: str) -> Figure:
    parts = [lap.between / lap.present for lap in laps[name]]
    milliseconds = statistics.median(lap.between for lap in laps[name]) / INDIVIDUALS * 1e3
    is_long = min(lap.seconds for lap in laps[name]) >= LEAST_SECONDS
    return Figure(
        "engine",
        f"{name}, workers in no shard / a generation",
        statistics.median(parts),
        f"{milliseconds:.0f} ms a shard; rounds from {min(parts):.2%} to {max(parts):.2%}",
        Goal("at most", 0.05) if is_long else None,
    )
