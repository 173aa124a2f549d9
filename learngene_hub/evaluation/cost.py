"""The cost of an evaluation, estimated before the first network is trained."""

import time
from collections.abc import Sequence
from dataclasses import replace

from learngene_hub.core.progress import Reporter
from learngene_hub.evaluation.measuring import THREADS, EvaluationData, Unit
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.scoring import Cell, networks_left
from learngene_hub.workers import threads

FEW, MORE = 1, 6  # steps of the networks that are timed


def tell_cost(cells: Sequence[Cell], shared: EvaluationData, seeds: Sequence[int], reporter: Reporter) -> None:
    """Report how many networks remain to be trained, and how long that takes one core or GPU.

    The time is measured in short trainings in this process, on the device of the images.
    """
    protocol = shared.plan.protocol
    left = [networks_left(cell, protocol, seeds) for cell in cells]
    rates, tasks = sum(networks.rates for networks in left), sum(networks.tasks for networks in left)
    if not rates + tasks:
        return
    with reporter.task("measuring a few steps", None):
        counts = [networks.rates + networks.tasks for networks in left]
        seconds = sum(count * _seconds(cell, shared) for cell, count in zip(cells, counts, strict=True) if count)
    chosen = f", {rates:,} of them to choose learning rates (none with --lr)" if rates else ""
    more = "" if protocol.lr is not None else ", more if the search for the best learning rate takes longer"
    reporter.line(
        f"cost: {rates + tasks:,} networks of {protocol.steps:,} steps{chosen}, about {_words(seconds)} of one core or "
        f"GPU{more}"
    )


def _seconds(cell: Cell, shared: EvaluationData) -> float:
    """Seconds of one network of `cell`; the first training is slower, so it does not count."""
    _timed(cell, shared, FEW)
    few, more = (_timed(cell, shared, steps) for steps in (FEW, MORE))
    return few + max(0.0, more - few) / (MORE - FEW) * (shared.plan.protocol.steps - FEW)


def _timed(cell: Cell, shared: EvaluationData, steps: int) -> float:
    short: Protocol = shared.plan.protocol.with_changes({"steps": steps})
    data = replace(shared, plan=replace(shared.plan, protocol=short))
    began = time.perf_counter()
    with threads(THREADS):
        data.measure(cell.start, cell.body, Unit("novel", 0, 0, short.rates[0]), lambda images: None)
    return time.perf_counter() - began


def _words(seconds: float) -> str:
    """A time in words.

    >>> _words(42), _words(600), _words(20_000)
    ('42 seconds', '10 minutes', '5.6 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
