"""The judge: every start meets every task, after each has found its learning rate on held-out classes."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import torch

from learngene_hub.birth import Body
from learngene_hub.evaluation.bench import Bench, Unit
from learngene_hub.evaluation.ledger import Ledger, Measured
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.starts import Start
from learngene_hub.progress import Reporter
from learngene_hub.training import Precision, best_precision
from learngene_hub.workers import Pool, Step, no_step, threads

TUNING_SEED = 1_000_003  # apart from the small seeds of the tasks that count
THREADS = 1  # of every network, however many workers there are, since they change the last digits


@dataclass(frozen=True)
class Contender:
    """One start in one kind of descendant, and what is known of it."""

    start: Start
    body: Body
    ledger: Ledger


@dataclass(frozen=True)
class Verdict:
    """What was found of one contender.

    Attributes:
        lr: learning rate it was measured at.
        tuning: learning rate -> mean accuracy on held-out classes.
        accuracies: measure -> accuracies on the classes that judge, one a task, seed by seed.
    """

    lr: float
    tuning: Mapping[float, float]
    accuracies: Mapping[str, list[float]]


Bout = tuple[Contender, Unit]
Referee = Callable[[Sequence[Bout]], Iterator[tuple[Bout, Measured]]]
"""Measures bouts and yields each with its outcome, in any order."""


def judge(
    contenders: Sequence[Contender], protocol: Protocol, seeds: Sequence[int], *, referee: Referee, reporter: Reporter
) -> list[Verdict]:
    """A verdict on every contender, in order; what a ledger knows already is not measured again."""
    tuning = _climb(contenders, protocol, referee=referee, reporter=reporter)
    rates = [best_rate(tried) if protocol.lr is None else protocol.lr for tried in tuning]
    for one, lr, tried in zip(contenders, rates, tuning, strict=True):
        if tried:
            reporter.line(f"{one.start.name}: learning rate {lr}, {tried[lr]:.3f} on held-out classes")
    tasks = [[Unit("novel", seed, n, lr) for seed in seeds for n in range(protocol.tasks)] for lr in rates]
    bouts = [(one, unit) for one, units in zip(contenders, tasks, strict=True) for unit in units]
    _measure("evaluating", bouts, referee, reporter)
    return [
        Verdict(
            lr,
            dict(sorted(tried.items())),
            {name: [one.ledger[unit][name] for unit in units] for name in protocol.measures},
        )
        for one, lr, tried, units in zip(contenders, rates, tuning, tasks, strict=True)
    ]


def next_rates(tried: Mapping[float, float], rates: Sequence[float]) -> list[float]:
    """Learning rates to try next, in a climb from the middle one: the neighbours of the best; none, once it beats them.

    Where accuracy has one peak over the rates, the climb ends there; where it has several, at one of them (ours).

    Args:
        tried: learning rate -> accuracy.
        rates: those there are, in any order.

    >>> next_rates({}, [0.1, 0.2, 0.4, 0.8, 1.6])
    [0.2, 0.4, 0.8]
    >>> next_rates({0.2: 0.5, 0.4: 0.4, 0.8: 0.3}, [0.1, 0.2, 0.4, 0.8, 1.6])
    [0.1]
    >>> next_rates({0.2: 0.5, 0.4: 0.5, 0.8: 0.5}, [0.1, 0.2, 0.4, 0.8, 1.6])
    [0.1, 1.6]
    """
    rising = sorted(set(rates))
    best = [place for place, lr in enumerate(rising) if lr in tried and tried[lr] == max(tried.values())]
    near = {place + step for place in best or [len(rising) // 2] for step in (-1, 0, 1)}
    return [lr for place, lr in enumerate(rising) if place in near and lr not in tried]


def best_rate(tried: Mapping[float, float]) -> float:
    """The learning rate of the highest accuracy; the lowest of several."""
    return max(sorted(tried), key=tried.__getitem__)


@dataclass(frozen=True)
class Arena:
    """What all networks of an evaluation look at.

    Attributes:
        bench: with the images.
        entrants: every start with the descendant that inherits it.
    """

    bench: Bench
    entrants: tuple[tuple[Start, Body], ...]

    def on(self, device: torch.device) -> "Arena":
        """The same arena with its images on `device`, in the precision that is best there unless a trial names one."""
        plan = replace(self.bench.plan, device=device.type, precision=best_precision(device))
        each = {id(images): images for images in self.bench.images.values()}  # both roles may have the same ones
        there = {key: images.on(device) for key, images in each.items()}
        images = {role: there[id(images)] for role, images in self.bench.images.items()}
        return replace(self, bench=replace(self.bench, plan=plan, images=images))


@dataclass(frozen=True)
class Trial:
    """One network to be measured, by one thread: a task for whatever engine there is.

    Attributes:
        entrant: its place in the arena.
        unit: what it is put through.
        precision: of convolutions and products, whatever is best where it is measured.
    """

    entrant: int
    unit: Unit
    precision: Precision

    @property
    def label(self) -> str:
        """What the log calls it."""
        purpose = "for the learning rate" if self.unit.role == "held-out" else "evaluation"
        return f"task {self.unit.number + 1} of seed {self.unit.seed}, {purpose}"

    def __call__(self, arena: Arena, step: Step) -> Measured:
        """Its accuracies."""
        bench = replace(arena.bench, plan=replace(arena.bench.plan, precision=self.precision))
        with threads(THREADS):
            return bench.measure(*arena.entrants[self.entrant], self.unit, partial(step, doing=self.label))


def referee_of(workers: Pool[Arena], contenders: Sequence[Contender], precision: Precision) -> Referee:
    """A referee that lets `workers` measure in `precision`; its arena has the contenders in their order."""
    places = {id(one): place for place, one in enumerate(contenders)}

    def referee(bouts: Sequence[Bout]) -> Iterator[tuple[Bout, Measured]]:
        trials = [Trial(places[id(one)], unit, precision) for one, unit in bouts]
        return ((bouts[number], measured) for number, measured in workers.run(trials, no_step))

    return referee


def _climb(
    contenders: Sequence[Contender], protocol: Protocol, *, referee: Referee, reporter: Reporter
) -> list[dict[float, float]]:
    """For every contender the accuracies on held-out classes at the rates its climb visits; none where one is given."""
    tuning: list[dict[float, float]] = [{} for _ in contenders]
    for turn in count(1) if protocol.lr is None else ():
        wanted = [next_rates(tried, protocol.rates) for tried in tuning]
        if not any(wanted):
            break
        steps = [(one, lr) for one, rates in zip(contenders, wanted, strict=True) for lr in rates]
        bouts = [(one, unit) for one, lr in steps for unit in _held_out_units(protocol, lr)]
        _measure(f"choosing learning rates, round {turn}", bouts, referee, reporter)
        tuning = [
            tried | {lr: _held_out(one, protocol, lr) for lr in rates}
            for one, tried, rates in zip(contenders, tuning, wanted, strict=True)
        ]
    return tuning


def _measure(title: str, bouts: Iterable[Bout], referee: Referee, reporter: Reporter) -> None:
    waiting = [(one, unit) for one, unit in bouts if unit not in one.ledger]
    with reporter.task(title, len(waiting), "net") as bar:
        for (one, unit), measured in referee(waiting):
            one.ledger.enter(unit, measured)
            bar.advance(start=one.start.name)


def _held_out(one: Contender, protocol: Protocol, lr: float) -> float:
    """Mean accuracy on the held-out tasks, over all measures that training can change."""
    names = [str(step) for step in protocol.measured_at if step > 0]
    return statistics.fmean(one.ledger[unit][name] for unit in _held_out_units(protocol, lr) for name in names)


def _held_out_units(protocol: Protocol, lr: float) -> list[Unit]:
    return [Unit("held-out", TUNING_SEED, number, lr) for number in range(protocol.tuning_tasks)]
