"""Prints what selection among the individuals of a last generation was worth, and what their average is.

    python -m docs.selection evidence/individuals/results.json runs/many-0 runs/many-1 runs/many-2

`learngene evaluate` made the results from the folders that `docs.individuals` wrote of these runs; their metrics
tell the fitness. Differences are taken task by task and averaged over the runs: an interval holds how much tasks
differ, not how much evolutions do.
"""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from learngene_hub.evaluation.statistics import summarise
from learngene_hub.evolution.checkpoint import read_metrics
from learngene_hub.report.numbers import points
from learngene_hub.results import LEARNGENE, Results

Row = Sequence[float]


@dataclass(frozen=True)
class Generation:
    """The last generation of a run: accuracies are those of descendants, in [0, 1], task by task.

    Attributes:
        fitness: of every individual, in [0, 1].
        accuracies: of every individual.
        average: of the average of them all.
    """

    fitness: Row
    accuracies: Sequence[Row]
    average: Row

    @property
    def means(self) -> Row:
        """The accuracy of every individual."""
        return [statistics.fmean(one) for one in self.accuracies]

    @property
    def mean(self) -> Row:
        """Of the individuals together, task by task."""
        return _mean(self.accuracies)


def read_generation(results: Results, run: Path) -> Generation:
    """The last generation of `run`, judged in `results`."""
    found = {one.start: one.measures[results.headline].accuracies for one in results.descendants[0].starts}
    born = {one["id"]: one["fitness"] for one in read_metrics(run)[-1]["individuals"]}
    each = [found[f"{LEARNGENE}:{run.name}-{id_}"] for id_ in born]
    return Generation(list(born.values()), each, found[f"{LEARNGENE}:{run.name}-average"])


def winner_over_mean(one: Generation) -> Row:
    """The fittest individual minus the mean of all: what a tournament of the whole generation gains."""
    return _minus(one.accuracies[one.fitness.index(max(one.fitness))], one.mean)


def winner_over_loser(one: Generation) -> Row:
    """Winner minus loser, the mean of all pairs that differ in fitness: twice what a tournament of two gains."""
    ranked = [row for _, row in sorted(zip(one.fitness, one.accuracies, strict=True), reverse=True)]
    worth = sorted(one.fitness, reverse=True)
    pairs = [(i, j) for i, j in combinations(range(len(worth)), 2) if worth[i] > worth[j]]
    return _mean([_minus(ranked[winner], ranked[loser]) for winner, loser in pairs])


def best_over_mean(one: Generation) -> Row:
    """The individual that is best on every other task minus the mean of all, on the tasks between, and vice versa.

    What selection would gain by critics as long as half of the evaluation.
    """
    halves = [[row[start::2] for row in one.accuracies] for start in (0, 1)]
    best = [max(range(len(half)), key=lambda i: statistics.fmean(half[i])) for half in halves]
    return [one.accuracies[best[1 - task % 2]][task] - mean for task, mean in enumerate(one.mean)]


def average_over_mean(one: Generation) -> Row:
    """The average of all individuals minus their mean: what recombination gains over one of them."""
    return _minus(one.average, one.mean)


def average_over_winner(one: Generation) -> Row:
    """The average of all individuals minus the fittest."""
    return _minus(one.average, one.accuracies[one.fitness.index(max(one.fitness))])


DIFFERENCES: dict[str, Callable[[Generation], Row]] = {
    "winner of the generation minus mean": winner_over_mean,
    "winner minus loser of two": winner_over_loser,
    "best on half of the tasks minus mean, on the others": best_over_mean,
    "average minus mean": average_over_mean,
    "average minus winner": average_over_winner,
}


def spread(generations: Sequence[Generation]) -> float:
    """How much individuals of one generation differ: the standard deviation of their accuracies, in [0, 1].

    What is left of the variance of their means once that which tasks alone would make of them is taken off (a two-way
    analysis of variance, individuals and tasks); 0 where nothing is left.
    """
    return math.sqrt(max(0.0, statistics.fmean(map(_variance, generations))))


def correlation(generations: Sequence[Generation]) -> float:
    """Of the individuals' fitness with their descendants' accuracy, both less the mean of their generation."""
    fitness = [value - statistics.fmean(one.fitness) for one in generations for value in one.fitness]
    means = [value - statistics.fmean(one.means) for one in generations for value in one.means]
    return statistics.correlation(fitness, means)


def _variance(one: Generation) -> float:
    level, tasks = statistics.fmean(one.mean), len(one.mean)
    residuals = [
        value - own - task + level
        for row, own in zip(one.accuracies, one.means, strict=True)
        for value, task in zip(row, one.mean, strict=True)
    ]
    noise = sum(value**2 for value in residuals) / ((len(one.means) - 1) * (tasks - 1))
    return statistics.variance(one.means) - noise / tasks


def _minus(row: Row, other: Row) -> Row:
    return [value - theirs for value, theirs in zip(row, other, strict=True)]


def _mean(rows: Sequence[Row]) -> Row:
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def report(generations: Sequence[Generation]) -> list[str]:
    """What is printed, line by line."""
    lines = [f"individuals: {', '.join(str(len(one.means)) for one in generations)}"]
    lines += [f"standard deviation of their accuracies: {100 * spread(generations):.2f} points"]
    lines += [f"correlation of fitness and accuracy: {correlation(generations):+.2f}"]
    return lines + [
        f"{name}: {points(summarise(_mean(list(map(take, generations)))))}" for name, take in DIFFERENCES.items()
    ]


if __name__ == "__main__":
    results, runs = Results.load(sys.argv[1]), map(Path, sys.argv[2:])
    for line in report([read_generation(results, run) for run in runs]):
        sys.stdout.write(f"{line}\n")
