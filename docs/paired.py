"""Prints the difference of two starts on the tasks that two files of results have in common, in points.

    python -m docs.paired NEW/few-shot.json learngene 60 OLD/few-shot.json narrow 60

A start is given by its file, its name and when it was measured. Both files need tasks of the same kind and classes.
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
    if first.classes != second.classes or any(first.protocol[key] != second.protocol[key] for key in SHAPE):
        raise ValueError("expected tasks of the same classes, ways and images in both files, found others")
    mine, theirs = _by_task(first, start, at), _by_task(second, other, other_at)
    shared = sorted(mine.keys() & theirs.keys())
    return points(paired([mine[task] for task in shared], [theirs[task] for task in shared])), len(shared)


def _by_task(results: Results, start: str, at: str) -> dict[tuple[int, int], float]:
    """Seed and number of a task -> accuracy."""
    each = results.tasks // len(results.seeds)
    tasks = [(seed, number) for seed in results.seeds for number in range(each)]
    return dict(zip(tasks, results.descendants[0].start(start).measures[at].accuracies, strict=True))


if __name__ == "__main__":
    file, start, at, other_file, other, other_at = sys.argv[1:]
    found, tasks = difference(Results.load(file), start, at, Results.load(other_file), other, other_at)
    sys.stdout.write(f"{start} minus {other}: {found} points on {tasks} tasks\n")
