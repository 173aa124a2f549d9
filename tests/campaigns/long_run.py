"""A long run of tiny generations: what must not grow does not; prints the table of docs/log/campaigns.md.

    python tests/campaigns/long_run.py [GENERATIONS]

1,000 generations by default, some minutes of one core. Early and late are medians over a tenth of the run each, the
early tenth being the second one. Ends with status 1 if something grew by more than a tenth.
"""

import os
import statistics
import sys
from itertools import pairwise
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.growth import Mark, long_run

ALLOWED = 1.1


def main() -> int:
    """Run it; 1 if something grew."""
    generations = int(sys.argv[1]) if sys.argv[1:] else 1000
    marks, tenth = long_run(generations), generations // 10
    rows = [(name, *_ends(values, tenth)) for name, values in _quantities(marks).items()]
    sys.stdout.write(f"| of {generations:,} generations | early | late | late / early |\n|---|---|---|---|\n")
    for name, early, late in rows:
        sys.stdout.write(f"| {name} | {early:.4g} | {late:.4g} | {late / early:.3f} |\n")
    return int(any(late > ALLOWED * early for _, early, late in rows))


def _quantities(marks: list[Mark]) -> dict[str, list[float]]:
    return {
        "CPU time of a generation, ms": [1e3 * (after.seconds - before.seconds) for before, after in pairwise(marks)],
        "CPU time of saving, ms": [1e3 * mark.saving for mark in marks],
        "memory of the process, MB": [mark.memory / 1e6 for mark in marks],
        "open files": [float(mark.handles) for mark in marks],
        "files of the run": [float(mark.count) for mark in marks],
        "saved state without rows, kB": [mark.files / 1e3 for mark in marks],
    }


def _ends(values: list[float], tenth: int) -> tuple[float, float]:
    return statistics.median(values[tenth : 2 * tenth]), statistics.median(values[-tenth:])


if __name__ == "__main__":
    sys.exit(main())
