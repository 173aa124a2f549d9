"""What several workers gain, and what an engine costs beside the work it hands out.

Three worker pools stand ready side by side: this process, two processes, two actors of Ray on this machine. In turn
each does the same generation of eight individuals. Times are wall times, since waiting is what an engine may add, and
other work on the machine makes them noisy. What an engine itself adds is therefore told by its workers' own clocks: how
much of the time, from the begin of a generation to the end of a worker's last task, the worker was without work.
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
from learngene_hub.core.progress import SilentReporter
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.environment import Environment, load_environment
from learngene_hub.evolution.plan import pick_precision, plan_generation, recipe_channels
from learngene_hub.workers import EngineOptions, Pool, Step, make_engine

WORKERS, ROUNDS = 2, 5
INDIVIDUALS = 8
OVERRIDES = (
    f"evolution.population={INDIVIDUALS}",
    "ancestry.steps=20",
    "critic.tasks=1",
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
    """A task that tells who did it, and when."""

    task: AncestryTask

    @property
    def label(self) -> str:
        """The task's."""
        return self.task.label

    def __call__(self, environment: Environment, step: Step) -> tuple[int, float, float, Outcome]:
        """Process, begin and end by the clock of the machine, and what the task gives: genes are to travel too."""
        began = time.monotonic()
        outcome = self.task(environment, step)
        return os.getpid(), began, time.monotonic(), outcome


@dataclass(frozen=True)
class Lap:
    """One generation, in seconds: wall time; time of all workers until their last tasks end; part of it in none."""

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
    environment = load_environment(recipe, device=cpu, reporter=reporter)
    plan, sizes = plan_generation(recipe, 0, precision=pick_precision(recipe, cpu), threads=1), recipe_channels(recipe)
    tasks = [Timed(AncestryTask(plan, number, None, sizes)) for number in range(plan.individuals)]
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(
                make_engine(options, device="cpu", local_device=cpu, most=len(tasks)).pool(environment, reporter)
            )
            for name, options in POOLS.items()
        }
        for workers in pools.values():
            _lap(workers, tasks[:WORKERS])  # starts the workers
        rounds = [{name: _lap(workers, tasks) for name, workers in pools.items()} for _ in range(ROUNDS)]
    return {name: [laps[name] for laps in rounds] for name in pools}


def _lap(workers: Pool[Environment], tasks: Sequence[Timed]) -> Lap:
    began = time.monotonic()
    done = [result for _, result in workers.run(tasks)]
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
        f"{name}, workers without work / a generation",
        statistics.median(parts),
        f"{milliseconds:.0f} ms a task; rounds from {min(parts):.2%} to {max(parts):.2%}",
        Goal("at most", 0.05) if is_long else None,
    )
