"""Every start is measured on every task, after its learning rate is chosen on held-out classes."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from learngene_hub.core.progress import Reporter
from learngene_hub.evaluation.cache import ResultsCache
from learngene_hub.evaluation.measuring import TEST, TUNING, EvaluationData, MeasureTask, Unit
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.starts import Start
from learngene_hub.genome.birth import Body
from learngene_hub.training.loop import Precision
from learngene_hub.workers import Pool

TUNING_SEED = 1_000_003  # apart from the small seeds of the tasks that count


@dataclass(frozen=True)
class Cell:
    """One start in one kind of descendant, the pair `number` of the shared data, and the results known so far."""

    number: int
    start: Start
    body: Body
    cache: ResultsCache


Job = tuple[Cell, Unit]


@dataclass(frozen=True)
class Scored:
    """The accuracies of one cell, and their learning rate."""

    cell: Cell
    lr: float
    tuning: Mapping[float, float]  # learning rate -> mean accuracy on held-out classes
    accuracies: Mapping[str, list[float]]  # measure -> those on the test classes, one per task, seed by seed


def score_all(
    cells: Sequence[Cell],
    protocol: Protocol,
    seeds: Sequence[int],
    *,
    workers: Pool[EvaluationData],
    precision: Precision,
    reporter: Reporter,
) -> list[Scored]:
    """The scores of all cells, in order; results in the cache are not measured again."""
    measure = partial(_measure, workers=workers, precision=precision, reporter=reporter)
    tuning = _search_rates(cells, protocol, measure)
    rates = [best_rate(tried) if protocol.lr is None else protocol.lr for tried in tuning]
    for cell, lr, tried in zip(cells, rates, tuning, strict=True):
        if tried:
            reporter.line(f"{cell.start.name}: learning rate {lr}, accuracy {tried[lr]:.3f} on held-out classes")
    tasks = [_test_units(protocol, seeds, lr) for lr in rates]
    jobs = [(cell, unit) for cell, units in zip(cells, tasks, strict=True) for unit in units]
    measure("evaluating", jobs)
    return [
        Scored(
            cell,
            lr,
            dict(sorted(tried.items())),
            {name: [cell.cache[unit][name] for unit in units] for name in protocol.measures},
        )
        for cell, lr, tried, units in zip(cells, rates, tuning, tasks, strict=True)
    ]


def report_cost(cells: int, protocol: Protocol, seeds: Sequence[int], reporter: Reporter) -> None:
    """Report how many networks the evaluation of so many cells takes in all, before the first one is trained."""
    rates = cells * first_round(protocol)
    least, chosen = (
        ("at least ", f", {rates:,} of them to choose learning rates (none with --lr)") if rates else ("", "")
    )
    networks = cells * len(seeds) * protocol.tasks + rates
    reporter.line(f"the tasks take {least}{networks:,} networks of {protocol.steps:,} steps{chosen}")


def first_round(protocol: Protocol) -> int:
    """The networks by which each start begins to choose its learning rate."""
    return 0 if protocol.lr is not None else len(next_rates({}, protocol.rates)) * protocol.tuning_tasks


def _test_units(protocol: Protocol, seeds: Sequence[int], lr: float) -> list[Unit]:
    return [Unit(TEST, seed, number, lr) for seed in seeds for number in range(protocol.tasks)]


def next_rates(tried: Mapping[float, float], rates: Sequence[float]) -> list[float]:
    """Learning rates to try next: the middle one and its neighbours, then the untried neighbours of the best rate.

    The choice ends when no neighbour is untried: at the peak of accuracy over the rates or, of several peaks, at one of
    them (ours). `tried` has the accuracy at each rate so far.

    >>> next_rates({}, [0.1, 0.2, 0.4, 0.8, 1.6])
    [0.2, 0.4, 0.8]
    >>> next_rates({0.2: 0.5, 0.4: 0.4, 0.8: 0.3}, [0.1, 0.2, 0.4, 0.8, 1.6])
    [0.1]
    >>> next_rates({0.2: 0.5, 0.4: 0.5, 0.8: 0.5}, [0.1, 0.2, 0.4, 0.8, 1.6])
    [0.1, 1.6]
    """
    rising = sorted(set(rates))
    best = [index for index, lr in enumerate(rising) if lr in tried and tried[lr] == max(tried.values())]
    near = {index + step for index in best or [len(rising) // 2] for step in (-1, 0, 1)}
    return [lr for index, lr in enumerate(rising) if index in near and lr not in tried]


def best_rate(tried: Mapping[float, float]) -> float:
    """The learning rate with the highest accuracy; of equals the lowest."""
    return max(sorted(tried), key=tried.__getitem__)


def _search_rates(
    cells: Sequence[Cell], protocol: Protocol, measure: Callable[[str, list[Job]], None]
) -> list[dict[float, float]]:
    """For every cell the accuracies on held-out classes at the rates tried; none if the rate is given."""
    tuning: list[dict[float, float]] = [{} for _ in cells]
    for turn in count(1) if protocol.lr is None else ():
        wanted = [next_rates(tried, protocol.rates) for tried in tuning]
        if not any(wanted):
            break
        steps = [(cell, lr) for cell, rates in zip(cells, wanted, strict=True) for lr in rates]
        jobs = [(cell, unit) for cell, lr in steps for unit in _tuning_units(protocol, lr)]
        measure(f"choosing learning rates, round {turn}", jobs)
        tuning = [
            tried | {lr: _held_out(cell, protocol, lr) for lr in rates}
            for cell, tried, rates in zip(cells, tuning, wanted, strict=True)
        ]
    return tuning


def _measure(
    title: str, jobs: list[Job], *, workers: Pool[EvaluationData], precision: Precision, reporter: Reporter
) -> None:
    waiting = [(cell, unit) for cell, unit in jobs if unit not in cell.cache]
    with reporter.task(title, len(waiting), "networks") as bar:
        for index, measured in workers.run([MeasureTask(cell.number, unit, precision) for cell, unit in waiting]):
            cell, unit = waiting[index]
            cell.cache.enter(unit, measured)
            bar.advance(start=cell.start.name)


def _held_out(cell: Cell, protocol: Protocol, lr: float) -> float:
    """Mean accuracy on the held-out tasks, over all measures that training can change."""
    names = [str(step) for step in protocol.measured_at if step > 0]
    return statistics.fmean(cell.cache[unit][name] for unit in _tuning_units(protocol, lr) for name in names)


def _tuning_units(protocol: Protocol, lr: float) -> list[Unit]:
    return [Unit(TUNING, TUNING_SEED, number, lr) for number in range(protocol.tuning_tasks)]
