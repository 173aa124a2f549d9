"""Prints the difference of two starts on the tasks that two files of results have in common, in points.

    python -m docs.paired NEW/few-shot.json learngene 60 OLD/few-shot.json narrow 60

A start is given by its file, its name and when it was measured. Both files need tasks of the same kind and classes.
Six more arguments, and so on, are another such pair, of another draw of the genes: then all tasks are taken together.
"""

import sys

from learngene_hub.evaluation.statistics import paired
from learngene_hub.report.numbers import points
from learngene_hub.report.results import Results

SHAPE = ("ways", "shots", "queries")


def difference(first: Results, start: str, at: str, second: Results, other: str, other_at: str) -> tuple[str, int]:
    """`start` minus `other` in words, and over how many tasks.

    Raises:
        ValueError: the tasks are not of the same kind.
    """
    mine, theirs = zip(*_pairs(first, start, at, second, other, other_at), strict=True)
    return points(paired(mine, theirs)), len(mine)


def _pairs(
    first: Results, start: str, at: str, second: Results, other: str, other_at: str
) -> list[tuple[float, float]]:
    """The accuracies of both on every task that they share."""
    if first.classes != second.classes or any(first.protocol[key] != second.protocol[key] for key in SHAPE):
        raise ValueError("expected tasks of the same classes, ways and images in both files, found others")
    mine, theirs = by_task(first, start, at), by_task(second, other, other_at)
    return [(mine[task], theirs[task]) for task in sorted(mine.keys() & theirs.keys())]


def by_task(results: Results, start: str, at: str) -> dict[tuple[int, int], float]:
    """Seed and number of a task -> accuracy of `start` after `at`."""
    each = results.tasks // len(results.seeds)
    tasks = [(seed, number) for seed in results.seeds for number in range(each)]
    return dict(zip(tasks, results.descendants[0].start(start).measures[at].accuracies, strict=True))


if __name__ == "__main__":
    pairs = []
    for place in range(1, len(sys.argv), 6):
        file, start, at, other_file, other, other_at = sys.argv[place : place + 6]
        pairs += _pairs(Results.load(file), start, at, Results.load(other_file), other, other_at)
    found = points(paired(*zip(*pairs, strict=True)))
    sys.stdout.write(f"{start} minus {other}: {found} points on {len(pairs)} tasks\n")
