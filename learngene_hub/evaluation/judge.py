"""The judge: every start meets every task, after each has found its learning rate on held-out classes."""

import os
import signal
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

import torch
from safetensors.torch import load, save

from learngene_hub.birth import Body
from learngene_hub.errors import LearngeneError
from learngene_hub.evaluation.bench import Bench, Plan, Unit
from learngene_hub.evaluation.ledger import Ledger, Measured
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.starts import Start
from learngene_hub.progress import Reporter, SilentReporter
from learngene_hub.results import Cost

TUNING_SEED = 1_000_003  # apart from the small seeds of the tasks that count


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
        accuracies: measure -> accuracies on novel classes, one a task, seed by seed.
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
    tuning: list[dict[float, float]] = [{} for _ in contenders]
    if protocol.lr is None:
        units = [Unit("held-out", TUNING_SEED, n, lr) for lr in protocol.rates for n in range(protocol.tuning_tasks)]
        _measure("choosing learning rates", [(one, unit) for one in contenders for unit in units], referee, reporter)
        tuning = [{lr: _held_out(one, protocol, lr) for lr in protocol.rates} for one in contenders]
    rates = [max(tried, key=tried.__getitem__) if tried else protocol.lr or 0.0 for tried in tuning]
    for one, lr, tried in zip(contenders, rates, tuning, strict=True):
        if tried:
            reporter.line(f"{one.start.name}: learning rate {lr}, {tried[lr]:.3f} on held-out classes")
    tasks = [[Unit("novel", seed, n, lr) for seed in seeds for n in range(protocol.tasks)] for lr in rates]
    bouts = [(one, unit) for one, units in zip(contenders, tasks, strict=True) for unit in units]
    _measure("evaluating", bouts, referee, reporter)
    return [
        Verdict(lr, tried, {name: [one.ledger[unit][name] for unit in units] for name in protocol.measures})
        for one, lr, tried, units in zip(contenders, rates, tuning, tasks, strict=True)
    ]


@contextmanager
def one_process(bench: Bench) -> Iterator[Referee]:
    """A referee that measures here, one network after the other."""
    yield lambda bouts: (((one, unit), bench.measure(one.start, one.body, unit)) for one, unit in bouts)


@contextmanager
def several_processes(plan: Plan, contenders: Sequence[Contender], jobs: int) -> Iterator[Referee]:
    """A referee that measures in `jobs` processes of one thread each."""
    places = {id(one): place for place, one in enumerate(contenders)}
    starts = [
        (one.start.name, None if one.start.tensors is None else _packed(one.start), one.body) for one in contenders
    ]
    context = get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_open_bench, initargs=(plan, starts))

    def referee(bouts: Sequence[Bout]) -> Iterator[tuple[Bout, Measured]]:
        try:
            futures = {pool.submit(_measure_one, places[id(bout[0])], bout[1]): bout for bout in bouts}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise LearngeneError(
                f"one of the {jobs} processes ended early: out of memory, perhaps; use fewer --jobs. In a script, call "
                'evaluate below `if __name__ == "__main__":`'
            ) from None

    try:
        yield referee
    finally:
        pool.shutdown(cancel_futures=True)


def _measure(title: str, bouts: Iterable[Bout], referee: Referee, reporter: Reporter) -> None:
    waiting = [(one, unit) for one, unit in bouts if unit not in one.ledger]
    with reporter.task(title, len(waiting), "net") as bar:
        for (one, unit), measured in referee(waiting):
            one.ledger.enter(unit, measured)
            bar.advance(start=one.start.name)


def _held_out(one: Contender, protocol: Protocol, lr: float) -> float:
    """Mean accuracy on the held-out tasks, over all measures that training can change."""
    units = [Unit("held-out", TUNING_SEED, number, lr) for number in range(protocol.tuning_tasks)]
    names = [str(step) for step in protocol.measured_at if step > 0]
    return statistics.fmean(one.ledger[unit][name] for unit in units for name in names)


_bench: Bench
_contenders: list[tuple[Start, Body]]


def _open_bench(plan: Plan, starts: Sequence[tuple[str, bytes | None, Body]]) -> None:
    """Make a process of the pool ready: images and starts of its own, one thread, deaf to Ctrl-C."""
    global _bench, _contenders
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _bench = Bench.build(plan, SilentReporter())
    _contenders = [
        (Start(name, "", None if packed is None else load(packed), Cost()), body) for name, packed, body in starts
    ]


def _end_with_parent() -> None:
    """End this process when the one that made it does, however that came about."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _measure_one(place: int, unit: Unit) -> Measured:
    return _bench.measure(*_contenders[place], unit)


def _packed(start: Start) -> bytes:
    assert start.tensors is not None
    return save({name: tensor.contiguous() for name, tensor in start.tensors.items()})
