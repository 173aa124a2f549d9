"""Tasks that go wrong the first time, for real, and the tiny evolutions that they happen in."""

import json
import os
import resource
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from learngene_hub.core.errors import SelectionError
from learngene_hub.evolution import generation
from learngene_hub.workers import local, worker


@dataclass(frozen=True)
class Room:
    """Shared data of one number."""

    number: int

    def on(self, device):
        return self


@dataclass(frozen=True)
class Place:
    """Shared data that knows where it was put."""

    device: torch.device | None = None

    def on(self, device):
        return Place(device)


@dataclass(frozen=True)
class Add:
    """A task without any training."""

    other: int
    label = "the sum"

    def __call__(self, room, step):
        step(self.other, "adding")
        return room.number + self.other


@dataclass(frozen=True)
class Echo:
    """A task, and a result, that are more than a pipe holds."""

    load: str
    label = "the echo"

    def __call__(self, shared, step):
        return self.load


@dataclass(frozen=True)
class Where:
    """The process, and the place of the shared data."""

    label = "the question where"

    def __call__(self, shared, step):
        return os.getpid(), str(shared.device)


@dataclass(frozen=True)
class Become:
    """Let the worker take its processor for another."""

    kind: str
    label = "the change"

    def __call__(self, shared, step):
        worker.chip_kind = lambda device: self.kind


@dataclass(frozen=True)
class Sleep:
    """A task that never ends; it writes its process to the file `begun`."""

    begun: Path
    label = "the sleep"

    def __call__(self, shared, step):
        self.begun.write_text(str(os.getpid()))
        while True:
            time.sleep(60)


@dataclass(frozen=True)
class After:
    """`task`, once there is something in the file `mark`."""

    task: Any
    mark: Path

    @property
    def label(self):
        return self.task.label

    def __call__(self, shared, step):
        while not (self.mark.exists() and self.mark.read_text()):
            time.sleep(0.05)
        return self.task(shared, step)


@dataclass(frozen=True)
class Heard:
    """A task whose worker is killed, the first time, once the driver has heard of its step, and made the file."""

    heard: Path
    label = "the steps"

    def __call__(self, shared, step):
        step(7, "stepping")
        if not self.heard.exists():
            while not self.heard.exists():
                time.sleep(0.05)
                step(0, "waiting")
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Hungry:
    """A task for which there is never enough memory."""

    label = "the hungry task"

    def __call__(self, shared, step):
        exhaust(None)


@dataclass(frozen=True)
class Refuse:
    label = "the refusal"

    def __call__(self, room, step):
        raise SelectionError(f"{room.number} is not enough")


@dataclass(frozen=True)
class Raise:
    """A task with a fault in its program, which is noted in the file `mark` every time."""

    error: type[Exception]
    mark: Path
    label = "the mistake"

    def __call__(self, room, step):
        with self.mark.open("a") as file:
            file.write("tried\n")
        raise self.error(room.number)


class LockedError(ValueError):
    """An exception that cannot be pickled."""

    def __init__(self, number):
        super().__init__(f"{number} is locked")
        self.lock = threading.Lock()


class PickyError(ValueError):
    """An exception that can be pickled, but not read."""

    def __init__(self, number, *, reason="picky"):
        super().__init__()
        self.number = number

    def __reduce__(self):
        return type(self), ()

    def __str__(self):
        return f"{self.number} is not to be read"


@dataclass(frozen=True)
class Give:
    """A task whose result cannot be pickled."""

    label = "the gift"

    def __call__(self, room, step):
        return threading.Lock()


@dataclass(frozen=True)
class Faulty:
    """`task`, but whoever finds no file at `mark` makes one and meets `fault`."""

    task: Any
    mark: Path
    fault: str
    node: str = ""  # of Ray, on which alone it happens

    @property
    def label(self):
        return self.task.label

    @property
    def plan(self):
        return self.task.plan

    def __call__(self, shared, step):
        if self._is_first():
            FAULTS[self.fault](self.mark)
        return self.task(shared, step)

    def _is_first(self):
        if self.node and self.node != _node():
            return False
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Deadly:
    """A task that nobody survives."""

    label = "the deadly task"

    def __call__(self, shared, step):
        os.kill(os.getpid(), signal.SIGKILL)


def be_killed(mark):
    os.kill(os.getpid(), signal.SIGKILL)


def end_at_once(*_):
    os._exit(3)


def exhaust(mark):
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now, now))  # as a container's or a batch system's limit would
    torch.empty(1 << 31, dtype=torch.uint8)


def wait(mark):
    """Tell the test that the task has begun, and wait for what will never be."""
    mark.with_suffix(".begun").write_text("here")  # a fifo, which the test reads
    mark.with_suffix(".never").read_text()  # a fifo that nobody writes to


FAULTS = {"killed": be_killed, "memory": exhaust, "waits": wait}


WEIGHTS = "gene/learngene.safetensors"


def rows(out):
    """The metrics of the run in the folder `out`."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def put_faults(monkeypatch, folder, faults, node=""):
    """Let generations meet faults: number -> fault of its first individual, or of any on `node`."""
    monkeypatch.setattr(generation, "AncestryTask", faulty_tasks(folder / "fault-", faults, node))


def faulty_tasks(mark, faults, node=""):
    """A way to make tasks; the files of faults are called `mark`, and then the number of the generation."""
    real = generation.AncestryTask

    def make(plan, number, *more):
        task, now = real(plan, number, *more), plan.generation
        if now not in faults or (number > 0 and not node):
            return task
        return Faulty(task, mark.with_name(f"{mark.name}{now}"), faults[now], node)

    return make


def _node():
    import ray

    return ray.get_runtime_context().get_node_id()


def descendants(pid):
    """The processes that `pid` has started, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in children for one in (int(child), *descendants(int(child)))]


def calling(function, *arguments, **more):
    """A process of its own that calls `function`, made as workers are: it has imported what takes long."""
    process = local._context().Process(target=function, args=arguments, kwargs=more)
    with local._without_main():
        process.start()
    return process


def wait_for(happened, process):
    """Until `happened()`, while the `process` lives, for at most 240 seconds."""
    began = time.monotonic()
    while not happened():
        assert process.is_alive()
        assert time.monotonic() - began < 240
        time.sleep(0.001)
