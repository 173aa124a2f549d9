"""Prints the difference of two starts on the tasks that two files of results have in common, in points.

    python -m docs.paired NEW/few-shot.json learngene 60 OLD/few-shot.json narrow 60

A start is given by its file, its name and when it was measured; `scratch@3` is that of the fourth network of a file,
counted from 0. Both files need tasks of the same kind and classes.
Six more arguments, and so on, are another such pair, of another draw of the genes. Then the interval is one over
draws and tasks, of the tasks that all draws share: see `over_draws`.
"""

import math
import sys
from collections.abc import Sequence
from statistics import fmean, variance

from learngene_hub.evaluation.statistics import paired, student_quantile, summarise
from learngene_hub.report.numbers import points
from learngene_hub.report.results import Results, Summary

SHAPE = ("ways", "shots", "queries")


def difference(first: Results, start: str, at: str, second: Results, other: str, other_at: str) -> tuple[str, int]:
    """`start` minus `other` in words, and over how many tasks.

    Raises:
        ValueError: the tasks are not of the same kind.
    """
    mine, theirs = zip(*_pairs(first, start, at, second, other, other_at).values(), strict=True)
    return points(paired(mine, theirs)), len(mine)


def over_draws(leads: Sequence[Sequence[float]]) -> Summary:
    """Mean of `leads`, at least two draws x two tasks, with a 95 % interval for other draws and other tasks.

    Draws and tasks are crossed random effects of a mixed model. Their variances are estimated as in an analysis of
    variance, those below zero as zero: there the interval is too wide. The degrees of freedom are Satterthwaite's,
    rounded down, but no fewer than those of the scarcer one.

    Raises:
        ValueError: there are fewer.
    """
    draws, tasks = len(leads), len(leads[0])
    if min(draws, tasks) < 2:
        raise ValueError(f"expected at least two draws and two tasks that all share, found {draws} and {tasks}")
    by_draw, by_task = [fmean(row) for row in leads], [fmean(column) for column in zip(*leads, strict=True)]
    mean, free = fmean(by_draw), (draws - 1) * (tasks - 1)
    rest = sum((leads[d][t] - by_draw[d] - by_task[t] + mean) ** 2 for d in range(draws) for t in range(tasks)) / free
    of_draws, of_tasks = max(rest, tasks * variance(by_draw)), max(rest, draws * variance(by_task))
    whole = of_draws + of_tasks - rest
    if whole == 0:
        return Summary(mean=mean, ci95=0.0)
    freedom = whole**2 / (of_draws**2 / (draws - 1) + of_tasks**2 / (tasks - 1) + rest**2 / free)
    quantile = student_quantile(max(min(draws, tasks) - 1, math.floor(freedom)))
    return Summary(mean=mean, ci95=quantile * math.sqrt(whole / (draws * tasks)))


def _pairs(
    first: Results, start: str, at: str, second: Results, other: str, other_at: str
) -> dict[tuple[int, int], tuple[float, float]]:
    """The accuracies of both on every task that they share."""
    _check_alike(first, second)
    mine, theirs = by_task(first, start, at), by_task(second, other, other_at)
    return {task: (mine[task], theirs[task]) for task in sorted(mine.keys() & theirs.keys())}


def _check_alike(first: Results, second: Results) -> None:
    if first.classes != second.classes or any(first.protocol[key] != second.protocol[key] for key in SHAPE):
        raise ValueError("expected tasks of the same classes, ways and images in all files, found others")


def by_task(results: Results, start: str, at: str) -> dict[tuple[int, int], float]:
    """Seed and number of a task -> accuracy of `start` after `at`; it may end in `@` and the number of a network."""
    name, _, place = start.partition("@")
    each = results.tasks // len(results.seeds)
    tasks = [(seed, number) for seed in results.seeds for number in range(each)]
    return dict(zip(tasks, results.descendants[int(place or 0)].start(name).measures[at].accuracies, strict=True))


if __name__ == "__main__":
    draws, names = [], []
    for place in range(1, len(sys.argv), 6):
        file, start, at, other_file, other, other_at = sys.argv[place : place + 6]
        first = Results.load(file)
        _check_alike(Results.load(sys.argv[1]), first)
        draws.append(_pairs(first, start, at, Results.load(other_file), other, other_at))
        names.append(f"{start} minus {other}")
    shared = sorted(set(draws[0]).intersection(*draws))
    leads = [[draw[task][0] - draw[task][1] for task in shared] for draw in draws]
    found = over_draws(leads) if len(leads) > 1 else summarise(leads[0])
    of_draws = f" in {len(leads)} draws" if len(leads) > 1 else ""
    sys.stdout.write(f"{', '.join(names)}: {points(found)} points on {len(shared)} tasks{of_draws}\n")
