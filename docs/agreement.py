"""Says whether two searches agree on the same random shapes.

    python -m docs.agreement runs/few-steps runs/many-steps

With the same seed, network, fraction and `search.population` both draw the same shapes,
whatever the ancestor's training, the critics' steps, the width or the images are.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import correlation

from learngene_hub.evolution.metrics import read_metrics

BEST = 4


def agreement(first: Path, second: Path) -> str:
    """Correlations of their fitness, and how good the best shapes of the first are in the second."""
    one, other = _fitness(first), _fitness(second)
    x, y = zip(*((one[id_], other[id_]) for id_ in one if id_ in other), strict=True)
    chosen = sorted(range(len(x)), key=lambda place: -x[place])[:BEST]
    ahead, most = (100 * (sum(best) / BEST - sum(y) / len(y)) for best in ([y[i] for i in chosen], sorted(y)[-BEST:]))
    return (
        f"{first.name} and {second.name}: {len(x)} shapes, correlation {correlation(x, y):.2f}, of ranks "
        f"{correlation(_ranks(x), _ranks(y)):.2f}; the best {BEST} of {first.name} are {ahead:+.1f} points "
        f"from the mean in {second.name}, its own best {BEST} {most:+.1f}"
    )


def _ranks(values: Sequence[float]) -> list[int]:
    order = sorted(range(len(values)), key=values.__getitem__)
    return sorted(order, key=order.__getitem__)


def _fitness(run: Path) -> dict[int, float]:
    """Id -> fitness, of the random shapes that did not fail."""
    shapes = read_metrics(run)[0]["search"]["shapes"]
    return {one["id"]: one["fitness"] for one in shapes if not one["parents"] and one["fitness"] is not None}


if __name__ == "__main__":
    sys.stdout.write(f"{agreement(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
