"""How long a generation takes, and how idle workers are, from the times of its parts: a plan before renting machines.

    python -m benchmarks.simulate --workers 8 --tasks 32 --seconds 26 --spread 0.1 --gene-mb 7.5

Shards go to workers as an engine hands them out: each to the first that is free. Their genes pass through the driver's
network one after another, and a generation ends with the driver's own work. Nothing is trained.
"""

import argparse
import heapq
from dataclasses import dataclass

import torch

from learngene_hub.core.rng import generator


@dataclass(frozen=True)
class Times:
    """The parts of a generation.

    Attributes:
        seconds: mean time of a task in a worker, > 0.
        spread: standard deviation of that time over its mean, >= 0.
        megabytes: genes of one task, one way.
        bandwidth: of the driver's network, in megabytes a second, > 0.
        driver: seconds of selection and checkpoint after the last task.
    """

    seconds: float
    spread: float
    megabytes: float
    bandwidth: float
    driver: float


@dataclass(frozen=True)
class Outlook:
    """What to expect of a generation: its seconds, the idle share of the workers, and megabytes through the driver."""

    seconds: float
    idle: float
    megabytes: float


def simulate(times: Times, *, workers: int, tasks: int, generations: int = 200, seed: int = 0) -> Outlook:
    """The mean of many generations.

    Args:
        times: of the parts.
        workers: that there are, >= 1.
        tasks: of a generation, >= 1.
        generations: to average over.
        seed: of the tasks' times.

    >>> simulate(Times(10, 0, 0, 1000, 0), workers=4, tasks=8)
    Outlook(seconds=20.0, idle=0.0, megabytes=0)
    >>> simulate(Times(10, 0, 0, 1000, 0), workers=4, tasks=9).seconds
    30.0
    """
    draws = generator(seed, "simulate")
    normal = torch.randn(generations, tasks, generator=draws, dtype=torch.float64)
    taken = (times.seconds * (1 + times.spread * normal)).clamp(min=0.2 * times.seconds)
    total = sum(_generation(row.tolist(), times, workers) for row in taken)
    idle = 1 - float(taken.sum()) / (total * workers)
    return Outlook(total / generations, round(idle, 6), 2 * times.megabytes * tasks)


def _generation(taken: list[float], times: Times, workers: int) -> float:
    """Seconds of one generation of tasks that take so long."""
    free, network, transfer = [0.0] * workers, 0.0, times.megabytes / times.bandwidth
    ends = []
    for seconds in taken:
        network = max(network, heapq.heappop(free)) + transfer  # the gene on its way to the worker
        end = network + seconds
        ends.append(end)
        heapq.heappush(free, end)
    last = 0.0
    for end in sorted(ends):
        last = max(last, end) + transfer  # and back
    return last + times.driver


def main() -> None:
    """Print one line of a plan."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--tasks", type=int, required=True, help="of a generation")
    parser.add_argument("--seconds", type=float, required=True, help="mean time of a task")
    parser.add_argument("--spread", type=float, default=0.1, help="standard deviation over mean")
    parser.add_argument("--gene-mb", type=float, default=5.0, help="genes of a task")
    parser.add_argument("--bandwidth", type=float, default=1000.0, help="of the driver's network, MB/s")
    parser.add_argument("--driver", type=float, default=0.5, help="seconds of the driver's own work a generation")
    one = parser.parse_args()
    times = Times(one.seconds, one.spread, one.gene_mb, one.bandwidth, one.driver)
    found = simulate(times, workers=one.workers, tasks=one.tasks)
    print(f"{found.seconds:.1f} s a generation, {found.idle:.1%} idle, {found.megabytes:,.0f} MB through the driver")


if __name__ == "__main__":
    main()
