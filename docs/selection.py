"""Prints how individuals of a last generation differ, whether fitness tells which is better, and what their average is.

    python -m docs.selection evidence/individuals/results.json runs/late-0 runs/late-1 runs/late-2

`learngene evaluate` made the results from the folders that `docs.individuals` wrote of these runs; their metrics tell
the fitness. First all runs together, then each: differences in points, taken task by task and averaged over the runs,
with what tasks make of them (95 %). What these few individuals make of them is in p, the share of 10,000 shuffles, of
fitness or of individuals task by task, that give as much.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from learngene_hub.core.rng import generator
from learngene_hub.evaluation.statistics import summarise
from learngene_hub.evolution.metrics import read_metrics
from learngene_hub.report.numbers import percent
from learngene_hub.report.results import LEARNGENE, Results

SHUFFLES = 10_000
DECIMALS = 6  # within which two fitnesses are equal: a mean of few tasks is rounded by the order of its terms


@dataclass(frozen=True)
class Generation:
    """The last generation of one run; accuracies are those of descendants, in [0, 1].

    Attributes:
        fitness: (individuals,) in [0, 1].
        accuracies: (individuals, tasks).
        average: (tasks,) of the average of all individuals.
    """

    fitness: Tensor
    accuracies: Tensor
    average: Tensor


Shuffle = Callable[[Generation, torch.Generator], Generation]


def read_generation(results: Results, run: Path) -> Generation:
    """The last generation of `run`, judged in `results`."""
    found = {one.start: one.measures[results.headline].accuracies for one in results.descendants[0].starts}
    born = {one["id"]: one["fitness"] for one in read_metrics(run)[-1]["individuals"]}
    each = [found[f"{LEARNGENE}:{run.name}-{id_}"] for id_ in born]
    fitness = torch.tensor(list(born.values()), dtype=torch.float64).round(decimals=DECIMALS)
    average = torch.tensor(found[f"{LEARNGENE}:{run.name}-average"], dtype=torch.float64)
    return Generation(fitness, torch.tensor(each, dtype=torch.float64), average)


def winner_over_mean(one: Generation) -> Tensor:
    """The fittest individual, of equals the first-born, minus the mean of all: a tournament of the whole generation."""
    return one.accuracies[one.fitness.argmax()] - one.accuracies.mean(dim=0)


def winner_over_loser(one: Generation) -> Tensor:
    """Winner minus loser, the mean of all pairs; 0 for a pair of equal fitness."""
    ahead = (one.fitness[:, None] - one.fitness[None, :]).sign()
    pairs = len(one.fitness) * (len(one.fitness) - 1) / 2
    return ahead.sum(dim=1) @ one.accuracies / pairs


def best_over_mean(one: Generation) -> Tensor:
    """The individual that is best on every other task minus the mean of all, on the tasks between, and vice versa."""
    return _best_of_other_tasks(one) - one.accuracies.mean(dim=0)


def average_over_mean(one: Generation) -> Tensor:
    """The average of all individuals minus their mean."""
    return one.average - one.accuracies.mean(dim=0)


def average_over_winner(one: Generation) -> Tensor:
    """The average of all individuals minus the fittest."""
    return one.average - one.accuracies[one.fitness.argmax()]


def average_over_best(one: Generation) -> Tensor:
    """The average of all individuals minus the one that is best on the other half of the tasks."""
    return one.average - _best_of_other_tasks(one)


def spread(one: Generation) -> float:
    """Variance of the individuals' own accuracies; below 0 where they differ by less than chance alone would make them.

    Of the variance of their means that part is taken off which is residual noise (two-way analysis of variance,
    individuals and tasks).
    """
    means, tasks = one.accuracies.mean(dim=1), one.accuracies.shape[1]
    residuals = one.accuracies - means[:, None] - one.accuracies.mean(dim=0) + means.mean()
    noise = residuals.square().sum() / ((len(means) - 1) * (tasks - 1))
    return float(means.var() - noise / tasks)


def correlation(generations: Sequence[Generation]) -> float:
    """Of fitness with accuracy, both less the mean of their generation; 0 where either is all equal."""
    fitness = torch.cat([one.fitness - one.fitness.mean() for one in generations])
    means = torch.cat([one.accuracies.mean(dim=1) for one in map(_centred, generations)])
    scale = float(fitness.norm() * means.norm())
    return float(fitness @ means) / scale if scale else 0.0


def _fitness_shuffled(one: Generation, draws: torch.Generator) -> Generation:
    return replace(one, fitness=one.fitness[torch.randperm(len(one.fitness), generator=draws)])


def _tasks_shuffled(one: Generation, draws: torch.Generator) -> Generation:
    """On every task the individuals change places."""
    places = torch.rand(one.accuracies.shape, generator=draws).argsort(dim=0)
    return replace(one, accuracies=one.accuracies.gather(0, places))


DIFFERENCES: dict[str, tuple[Callable[[Generation], Tensor], Shuffle | None]] = {
    "fittest of all minus mean": (winner_over_mean, _fitness_shuffled),
    "winner minus loser of two": (winner_over_loser, _fitness_shuffled),
    "best on half of the tasks minus mean, on the others": (best_over_mean, _tasks_shuffled),
    "average minus mean": (average_over_mean, None),
    "average minus fittest": (average_over_winner, None),
    "average minus best on half of the tasks, on the others": (average_over_best, None),
}


def report(generations: Sequence[Generation]) -> list[str]:
    """What is printed of `generations` together."""
    variance = _mean_of(spread)(generations)
    level = _mean_of(lambda one: float(one.accuracies.mean()))(generations)
    lines = [
        f"accuracy of individuals: {percent(level)} %",
        f"individuals differ by {100 * math.sqrt(max(0.0, variance)):.2f} points (standard deviation), "
        f"{_chance(_mean_of(spread), generations, _tasks_shuffled)}",
        f"fitness and accuracy correlate by {correlation(generations):+.2f}, "
        f"{_chance(correlation, generations, _fitness_shuffled)}",
    ]
    for name, (difference, shuffled) in DIFFERENCES.items():
        found = summarise(torch.stack([difference(one) for one in generations]).mean(dim=0).tolist())
        p = f", {_chance(_mean_of(_level(difference)), generations, shuffled)}" if shuffled else ""
        lines.append(f"{name}: {100 * found.mean:+.2f} ± {100 * (found.ci95 or 0):.2f}{p}")
    return lines


def _chance(
    statistic: Callable[[Sequence[Generation]], float], generations: Sequence[Generation], shuffled: Shuffle
) -> str:
    """The share of shuffles in which `statistic` is as high as found, in words."""
    draws, found = generator(0, "shuffles"), statistic(generations)
    as_high = sum(
        statistic([shuffled(one, draws) for one in generations]) >= found - 1e-12 for _ in range(SHUFFLES - 1)
    )
    return f"p = {(as_high + 1) / SHUFFLES:.2g}"


def _mean_of(value: Callable[[Generation], float]) -> Callable[[Sequence[Generation]], float]:
    return lambda generations: sum(map(value, generations)) / len(generations)


def _level(difference: Callable[[Generation], Tensor]) -> Callable[[Generation], float]:
    return lambda one: float(difference(one).mean())


def _centred(one: Generation) -> Generation:
    return replace(one, accuracies=one.accuracies - one.accuracies.mean())


def _best_of_other_tasks(one: Generation) -> Tensor:
    """On every task the individual that is best on those of other parity."""
    chosen = torch.empty_like(one.average)
    for mine, other in ((0, 1), (1, 0)):
        best = one.accuracies[:, other::2].mean(dim=1).argmax()
        chosen[mine::2] = one.accuracies[best, mine::2]
    return chosen


if __name__ == "__main__":
    results, runs = Results.load(Path(sys.argv[1])), [Path(run) for run in sys.argv[2:]]
    generations = {run.name: read_generation(results, run) for run in runs}
    for name, some in {
        "all runs": list(generations.values()),
        **{key: [one] for key, one in generations.items()},
    }.items():
        sys.stdout.write("\n".join([name, *(f"  {line}" for line in report(some)), ""]))
