"""Rounds, medians and the table that all topics share.

A time is CPU time of one thread, since a machine may have other work. A figure is the median over rounds of a ratio
inside one process: in each round every way is run once, so that whatever slows the machine slows them all.
"""

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ROUNDS = 5

Work = Callable[[], object]
Times = Mapping[str, Sequence[float]]
"""Name of a way -> its seconds in every round."""


@dataclass(frozen=True)
class Goal:
    """What a figure should be."""

    kind: Literal["at least", "at most"]
    value: float

    def is_met(self, value: float) -> bool:
        """Whether `value` is on the right side, its bound included."""
        return value >= self.value if self.kind == "at least" else value <= self.value

    def __str__(self) -> str:
        """The goal in words, such as `at least 3`."""
        return f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        topic: the module that measured it.
        what: the two things compared.
        value: their ratio.
        detail: what was measured, in its own units.
        goal: what the ratio should be; None: it is only told.
    """

    topic: str
    what: str
    value: float
    detail: str
    goal: Goal | None = None


def interleaved(ways: Mapping[str, Work], rounds: int = ROUNDS) -> Times:
    """CPU seconds of every way in every round, after a first round that is not counted."""
    for work in ways.values():
        work()
    found = [{name: cpu_seconds(work) for name, work in ways.items()} for _ in range(rounds)]
    return {name: [one[name] for one in found] for name in ways}


def ratio(times: Times, over: str, under: str) -> float:
    """Median over the rounds of the time of `over` by that of `under`.

    >>> ratio({"slow": [2.0, 9.0, 40.0], "fast": [1.0, 3.0, 4.0]}, "slow", "fast")
    3.0
    """
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def typical(times: Times, name: str) -> float:
    """Median seconds of a way."""
    return statistics.median(times[name])


def cpu_seconds(work: Work) -> float:
    """CPU time of `work`, in this process and in children that it waited for."""
    began = _spent()
    work()
    return _spent() - began


def table(figures: Sequence[Figure]) -> str:
    """The figures in Markdown."""
    rows = ["| topic | ratio | value | goal | met | measured |", "|---|---|---|---|---|---|"]
    for one in figures:
        goal, met = ("", "") if one.goal is None else (str(one.goal), "yes" if one.goal.is_met(one.value) else "**no**")
        rows.append(f"| {one.topic} | {one.what} | {one.value:.3g} | {goal} | {met} | {one.detail} |")
    return "\n".join(rows)


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
