"""A pool of workers: tasks in, results out in any order, even if workers are lost.

A worker that ends, or runs out of memory, loses its task. Another worker repeats the task, and a new worker replaces
the lost one. Since a task is a pure function, only time is lost. A task that is lost `ATTEMPTS` times ends the run. A
task that raises an exception ends the run at once, since it would raise it again.
"""

import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch

from learngene_hub.core.errors import EngineError
from learngene_hub.core.progress import Reporter
from learngene_hub.workers.task import SharedData, Step, Task, no_step
from learngene_hub.workers.worker import Answer, Done, Failed, OutOfMemory

ATTEMPTS = 3
POLL = 0.2  # seconds between two looks at the steps of workers
STARTUP = 300.0  # seconds that a cluster may take to have room for a worker

S = TypeVar("S", bound=SharedData)
S_co = TypeVar("S_co", bound=SharedData, covariant=True)
R = TypeVar("R")


class Pool(Protocol[S_co]):
    """Runs tasks on shared data."""

    def run(self, tasks: Sequence[Task[S_co, R]], step: Step = no_step) -> Iterator[tuple[int, R]]:
        """Run `tasks` and give each result with the number of its task, in any order.

        Raises:
            EngineError: a task was lost too often, or no worker can be started.
            Exception: a task raised it; a note has the traceback of the worker, except for errors of this package.
        """

    def record(self) -> Mapping[str, Any]:
        """The `engine` entry of a row of `metrics.jsonl`; `retried` counts tasks lost since the last call."""


class Engine(Protocol):
    """Makes pools."""

    @property
    def home(self) -> torch.device:
        """Where the shared data lies in this process."""

    def pool(self, shared: S, reporter: Reporter) -> AbstractContextManager[Pool[S]]:
        """A pool for `shared`, until the context ends; lost workers are reported to `reporter`.

        Raises:
            EngineError: the pool cannot be started.
        """


class WorkerLostError(Exception):
    """A worker was lost with its task; the message says how, and follows the words `worker 1`."""


class Handle(Protocol):
    """A worker, seen from the pool; it runs one task at a time."""

    def is_ready(self) -> bool:
        """Whether the worker can begin a task."""

    def submit(self, task: bytes) -> "Future[Any]":
        """Make the worker begin a pickled task."""

    def images(self) -> int | None:
        """Images of the task's steps so far; None if there is no news since the last call."""

    def answer(self, future: "Future[Any]") -> Answer:
        """The answer of the worker.

        Raises:
            WorkerLostError: the worker was lost and gave no answer.
        """

    def end(self) -> None:
        """End the worker at once."""


@dataclass
class _Run:
    """The tasks of one `run`: numbers of those that wait; future -> number of its task and index of its worker."""

    tasks: Sequence[Task[Any, Any]]
    step: Step
    waiting: deque[int]
    running: "dict[Future[Any], tuple[int, int]]" = field(default_factory=dict)
    images: Counter[int] = field(default_factory=Counter)
    losses: dict[int, list[str]] = field(default_factory=dict)


class WorkerPool:
    """The pool of up to `count` workers, which start when there is work for them, and end when the pool is closed.

    `start` starts the worker of an index, 0 <= index < count, in place of an earlier one, if any.
    """

    def __init__(self, name: str, count: int, start: Callable[[int], Handle], reporter: Reporter) -> None:
        self._name, self._count, self._start, self._reporter = name, count, start, reporter
        self._handles: dict[int, Handle] = {}
        self._chips: dict[str, None] = {}
        self._kinds: dict[str, None] = {}
        self._used = self._retried = 0

    def run(self, tasks: Sequence[Task[Any, R]], step: Step = no_step) -> Iterator[tuple[int, R]]:
        """See `Pool.run`."""
        run, busy_at = _Run(tasks, step, deque(range(len(tasks)))), time.monotonic()
        try:
            while run.waiting or run.running:
                self._hand_out(run)
                if not run.running:
                    _wait_for_room(since=busy_at)
                    continue
                done, _ = wait(run.running, POLL, FIRST_COMPLETED)
                busy_at = time.monotonic()
                for number, index in run.running.values():
                    if (images := self._handles[index].images()) is not None:
                        self._advance(run, number, images)
                for future in done:
                    results = self._finish(future, run)
                    self._hand_out(run)  # before the caller is at work on the result
                    yield from results
        finally:
            for _, index in run.running.values():  # a task has failed, or the caller wants no more
                self._end(index)

    def record(self) -> Mapping[str, Any]:
        """See `Pool.record`."""
        retried, self._retried = self._retried, 0
        devices = f"{self._used} x {', '.join(self._chips)}"
        return {"name": self._name, "place": devices, "workers": self._used, "retried": retried}

    def close(self) -> None:
        """End all workers."""
        for index in list(self._handles):
            self._end(index)

    def _end(self, index: int) -> None:
        self._handles.pop(index).end()

    def _hand_out(self, run: _Run) -> None:
        """Give waiting tasks to workers that are ready, and start workers for the others."""
        busy = {index for _, index in run.running.values()}
        idle = sorted(set(range(self._count)) - busy, key=self._rank)
        for index in idle[: len(run.waiting)]:
            if index not in self._handles:
                self._handles[index] = self._start(index)
                self._used = max(self._used, len(self._handles))
            if self._handles[index].is_ready():
                number = run.waiting.popleft()
                run.running[self._handles[index].submit(pickle.dumps(run.tasks[number]))] = number, index

    def _rank(self, index: int) -> tuple[int, int]:
        """Sorts workers: those that are ready first, then those that are being started, then those that are not."""
        handle = self._handles.get(index)
        return 2 if handle is None else int(not handle.is_ready()), index

    def _advance(self, run: _Run, number: int, images: int) -> None:
        """Report the images of a task so far, a negative number if the task was lost and begins again."""
        if images != run.images[number]:
            run.step(images - run.images[number], f"{len(run.running)} of {len(self._handles)} workers")
            run.images[number] = images

    def _finish(self, future: "Future[Any]", run: _Run) -> list[tuple[int, Any]]:
        """The result of a task with its number; nothing if the task was lost."""
        number, index = run.running.pop(future)
        try:
            answer = self._handles[index].answer(future)
        except WorkerLostError as lost:
            return self._lose(run, number, index, str(lost))
        match answer:
            case OutOfMemory(asked):
                return self._lose(run, number, index, f"ran out of memory ({asked})")
            case Failed(error, trace):
                if trace:
                    error.add_note(f"worker {index + 1} raised it:\n{trace}")
                raise error
            case Done(value, images, chip, kind):
                self._advance(run, number, images)
                self._warn_of_other(kind, index)
                self._chips[chip] = self._kinds[kind] = None
                return [(number, value)]

    def _warn_of_other(self, kind: str, index: int) -> None:
        if self._kinds and kind not in self._kinds:
            self._reporter.warn(
                f"worker {index + 1} computes on {kind}, others on {', '.join(self._kinds)}: these round differently, "
                "so the same recipe may give another gene. Use machines of one kind to get the same bytes"
            )

    def _lose(self, run: _Run, number: int, index: int, why: str) -> list[tuple[int, Any]]:
        """Put the task of a lost worker first in the queue; a new worker will be started for it."""
        self._end(index)
        self._advance(run, number, 0)
        self._retried += 1
        losses, label = run.losses.setdefault(number, []), run.tasks[number].label
        losses.append(f"worker {index + 1} {why}")
        if len(losses) == ATTEMPTS:
            advice = "remove the cause, which may be printed above"
            if any("memory" in loss or "SIGKILL" in loss for loss in losses):  # a system without memory kills processes
                advice = "give the workers more memory, or use fewer workers (--workers)"
            raise EngineError(
                f"{label}: given up after {ATTEMPTS} attempts: {'; '.join(losses)}. Saved work is kept: "
                f"{advice}, and run the same command again (evolve: with --resume)"
            )
        run.waiting.appendleft(number)
        self._reporter.warn(f"{losses[-1]}: {label} goes to another worker, attempt {len(losses) + 1}")
        return []


def _wait_for_room(since: float) -> None:
    if time.monotonic() - since > STARTUP:
        raise EngineError(
            f"no worker was ready within {STARTUP:g} s: check with `ray status` that the cluster has a free GPU or "
            "processor"
        )
    time.sleep(POLL)
