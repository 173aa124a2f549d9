"""A crew hands tasks to workers, in whatever way these are reached, and makes good what they lose.

A worker that ends, runs out of memory, or takes no step for `timeout` seconds loses its task: the task goes to the
next worker that is free, and a new worker takes the place of the lost one. Since a task is a pure function, nothing
but time is lost. A task that is lost `ATTEMPTS` times ends the run, and so does, at once, one that raises an exception:
it would anywhere.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

import torch

from learngene_hub.engine.tally import Tally
from learngene_hub.engine.task import Done, Lost, Outcome, Refused, Scene, Step, Task, no_step
from learngene_hub.errors import EngineError
from learngene_hub.progress import Reporter

ATTEMPTS = 3
STARTUP = 300.0  # seconds that the start of a worker may take: a busy machine may take long to import torch
POLL = 1.0  # seconds between looks at the clock while nothing happens

S = TypeVar("S", bound=Scene)
S_co = TypeVar("S_co", bound=Scene, covariant=True)
R = TypeVar("R")


class Crew(Protocol[S_co]):
    """Does tasks on one scene."""

    @property
    def most(self) -> int:
        """Workers at most."""
        ...

    def run(self, tasks: Sequence[Task[S_co, R]], step: Step = no_step) -> Iterator[tuple[int, R]]:
        """Do `tasks` and give each result with the task's number, in any order.

        Raises:
            EngineError: a task was lost too often, or no worker can be had.
            Exception: a task raised it; unless that is an error of ours, a note holds its traceback there.
        """
        ...

    def record(self) -> Mapping[str, Any]:
        """What was done since the last call, by whom, in JSON types; see `learngene_hub.engine.tally.Tally`."""
        ...


class Engine(Protocol):
    """Makes crews.

    Attributes:
        home: where the scene lies in the process of the driver.
    """

    @property
    def home(self) -> torch.device:
        """Where the scene lies in this process."""
        ...

    def crew(self, scene: S, reporter: Reporter) -> AbstractContextManager[Crew[S]]:
        """A crew for `scene`, until the context ends; `reporter` is told of workers that are lost.

        Raises:
            EngineError: it cannot be made.
        """
        ...


@dataclass(frozen=True)
class Started:
    """A worker is ready; `name` says where it is, `place` what it computes on, `kind` what of that shapes results."""

    worker: int
    name: str
    place: str
    kind: str


@dataclass(frozen=True)
class Stepped:
    """A worker has taken steps of its task, with so many images."""

    worker: int
    images: int


@dataclass(frozen=True)
class Ended:
    """A worker is through with its task; or, if that is lost, with everything."""

    worker: int
    outcome: Outcome


Event = Started | Stepped | Ended


class Workers(Protocol):
    """Workers as a crew sees them, numbered from 1; each does one task at a time.

    Attributes:
        name: of the engine.
        most: workers that may be started.
        advice: what to do when a worker cannot be started, as a clause.
    """

    name: str
    most: int
    advice: str

    def start(self, worker: int) -> None:
        """Begin to start a worker, in place of an earlier one of that number, if any."""

    def give(self, worker: int, task: Task[Any, Any]) -> None:
        """Let a worker that is ready begin a task."""

    def stop(self, worker: int) -> None:
        """End a worker at once; no event of it comes any more."""

    def events(self, timeout: float) -> Iterable[Event]:
        """What has happened, after at most `timeout` seconds."""
        ...


@dataclass
class _Hand:
    """What the crew knows of one worker: where it is once it is ready, its task, and how long it has been silent."""

    name: str = ""
    silent: float = 0.0
    task: int | None = None
    began: float = 0.0
    images: int = 0

    @property
    def is_free(self) -> bool:
        return bool(self.name) and self.task is None


@dataclass
class _Work:
    """The tasks of one `run`: numbers of those that wait, and why others were lost, by number."""

    tasks: Sequence[Task[Any, Any]]
    step: Step
    waiting: deque[int]
    losses: dict[int, list[str]]


class Team:
    """The crew of several workers, which are started as there is work for them, and end when it is closed.

    Args:
        workers: how they are reached.
        reporter: told of workers that are lost.
        timeout: seconds without a step after which a worker at work counts as hung.
    """

    def __init__(self, workers: Workers, reporter: Reporter, timeout: float) -> None:
        self._workers, self._reporter, self._timeout = workers, reporter, timeout
        self._hands: dict[int, _Hand] = {}
        self._places: dict[str, None] = {}
        self._kinds: dict[str, None] = {}
        self._tally = Tally()
        self._used = self._failed_starts = 0
        self._looked = time.monotonic()

    @property
    def most(self) -> int:
        """See `Crew.most`."""
        return self._workers.most

    def run(self, tasks: Sequence[Task[Any, R]], step: Step = no_step) -> Iterator[tuple[int, R]]:
        """See `Crew.run`."""
        began, left = time.monotonic(), len(tasks)
        work = _Work(tasks, step, deque(range(left)), {number: [] for number in range(left)})
        while left:
            self._hand_out(work)
            for event in chain(self._workers.events(POLL), self._overdue()):
                match event:
                    case Started():
                        self._welcome(event)
                    case Stepped():
                        self._advance(event, step)
                    case Ended(worker, Done(value)):
                        left -= 1
                        yield self._finish(worker), value
                    case Ended(worker, Refused(error, told)):
                        if told:
                            error.add_note(f"{self._hands[worker].name} raised it:\n{told}")
                        raise error
                    case Ended(worker, Lost(why)):
                        self._lose(worker, why, work)
        self._tally.seconds += time.monotonic() - began

    def record(self) -> Mapping[str, Any]:
        """See `Crew.record`."""
        tally, self._tally = self._tally, Tally()
        return tally.record(self._workers.name, self._used, f"{self._used} x {', '.join(self._places)}")

    def close(self) -> None:
        """End all workers."""
        while self._hands:
            worker, _ = self._hands.popitem()
            self._workers.stop(worker)

    def _hand_out(self, work: _Work) -> None:
        """Give tasks to workers that are free, and start workers for those that still wait."""
        for worker, hand in self._hands.items():
            if work.waiting and hand.is_free:
                hand.task, hand.images = work.waiting.popleft(), 0
                hand.began, hand.silent = time.monotonic(), 0.0
                self._workers.give(worker, work.tasks[hand.task])
        starting = sum(not hand.name for hand in self._hands.values())
        absent = [one for one in range(1, self._workers.most + 1) if one not in self._hands]
        is_hopeless = self._failed_starts >= ATTEMPTS and bool(self._hands)  # while others do the work
        for worker in [] if is_hopeless else absent[: max(0, len(work.waiting) - starting)]:
            self._workers.start(worker)
            self._hands[worker] = _Hand()
            self._used = max(self._used, worker)

    def _welcome(self, event: Started) -> None:
        hand = self._hands[event.worker]
        hand.name, self._failed_starts = event.name, 0
        if self._kinds and event.kind not in self._kinds:
            self._reporter.warn(
                f"{event.name} computes on {event.kind}, others on {', '.join(self._kinds)}: the same recipe may "
                "give another gene, by rounding. Use one kind of machine to have the same bytes"
            )
        self._places[event.place] = self._kinds[event.kind] = None

    def _advance(self, event: Stepped, step: Step) -> None:
        hand = self._hands[event.worker]
        hand.silent, hand.images = 0.0, hand.images + event.images
        step(event.images, self._doing())

    def _doing(self) -> str:
        busy = sum(hand.task is not None for hand in self._hands.values())
        return f"{busy} of {len(self._hands)} workers"

    def _finish(self, worker: int) -> int:
        """The number of the task that `worker` has done."""
        hand = self._hands[worker]
        assert hand.task is not None
        self._tally.enter(worker, time.monotonic() - hand.began, done=True)
        number, hand.task = hand.task, None
        return number

    def _overdue(self) -> Iterator[Ended]:
        """Workers that have been silent for too long; time in which nobody listened does not count."""
        now = time.monotonic()
        elapsed, self._looked = min(now - self._looked, 2 * POLL), now
        is_any_ready = any(hand.name for hand in self._hands.values())
        for worker, hand in list(self._hands.items()):
            is_expected = hand.task is not None or not is_any_ready
            hand.silent = hand.silent + elapsed if is_expected else 0.0
            if hand.task is not None and hand.silent > self._timeout:
                yield Ended(worker, Lost(f"hung: no step for {self._timeout:g} s"))
            if not is_any_ready and hand.silent > STARTUP:
                raise EngineError(f"no worker was ready within {STARTUP:g} s: {self._workers.advice}")

    def _lose(self, worker: int, why: str, work: _Work) -> None:
        """Put the task of a lost worker first in the queue; a new worker will be started when there is work for it."""
        hand = self._hands.pop(worker)
        self._workers.stop(worker)
        if hand.task is None:
            self._lose_idle(hand, why)
            return
        self._tally.enter(worker, time.monotonic() - hand.began, done=False)
        self._tally.retried += 1
        work.step(-hand.images, self._doing())  # they are to come again
        losses, label = work.losses[hand.task], work.tasks[hand.task].label
        losses.append(f"{hand.name} {why}")
        if len(losses) == ATTEMPTS:
            raise EngineError(
                f"{label}: given up after {ATTEMPTS} attempts: {'; '.join(losses)}. What was saved is kept: "
                f"{_advice(losses)}, and run the same again (evolve: with --resume)"
            )
        work.waiting.appendleft(hand.task)
        self._reporter.warn(f"{hand.name} {why}: {label} goes to another worker, attempt {len(losses) + 1}")

    def _lose_idle(self, hand: _Hand, why: str) -> None:
        if hand.name:
            self._reporter.warn(f"{hand.name} {why}, without a task")
            return
        self._failed_starts += 1
        if self._failed_starts < ATTEMPTS:
            return
        if not any(other.name for other in self._hands.values()):
            raise EngineError(f"no worker can be started, after {ATTEMPTS} attempts: it {why}; {self._workers.advice}")
        self._reporter.warn(f"no more workers are started, since {ATTEMPTS} in a row failed: the last {why}")


def _advice(losses: Sequence[str]) -> str:
    if any("memory" in one for one in losses):
        return "give the workers more memory, or fewer of them a machine"
    return "mend what ended them, which they may have written above"
