"""The local engine: tasks run in this process, or in several processes that share the images."""

import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from ctypes import c_longlong
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process, resource_tracker
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from learngene_hub.core.device import at_work_on, device_name
from learngene_hub.core.errors import EngineError
from learngene_hub.core.progress import Reporter
from learngene_hub.workers.pool import WorkerLostError, WorkerPool
from learngene_hub.workers.task import SharedData, Step, Task, no_step
from learngene_hub.workers.worker import Answer, Payload, Worker, named, pack

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext  # Windows has no first one

NAME = "local"
SHORT = 2048  # bytes of an answer: with what goes around it, less than a pipe takes at once
LONGEST_TEMPORARY = 65  # bytes of the folder in which a fork server has its socket, whose path has 104 at most
LARGER = "make /dev/shm larger (docker run --shm-size), or "
PRELOADED = ["torch", "torch._dynamo", "timm", "pydantic", "jinja2", "safetensors.torch"]

R = TypeVar("R")


@dataclass(frozen=True)
class Alone:
    """The engine without workers: this process runs all tasks on the device `home`."""

    home: torch.device

    @contextmanager
    def pool(self, shared: SharedData, reporter: Reporter) -> Iterator["OwnProcess"]:
        """See `Engine.pool`."""
        with at_work_on(self.home):
            yield OwnProcess(shared, device_name(self.home))


@dataclass(frozen=True)
class OwnProcess:
    """The pool without workers: this process runs every task itself, on the device called `device`."""

    shared: SharedData
    device: str

    def run(self, tasks: Sequence[Task[Any, R]], step: Step = no_step) -> Iterator[tuple[int, R]]:
        """See `Pool.run`."""
        for number, task in enumerate(tasks):
            yield number, task(self.shared, step)

    def record(self) -> Mapping[str, Any]:
        """See `Pool.record`."""
        return {"name": NAME, "place": self.device, "workers": 1, "retried": 0}


@dataclass(frozen=True)
class Processes:
    """The engine of up to `count` processes on this machine, on `devices` in turn; they end with this process."""

    devices: Sequence[torch.device]
    count: int
    home: torch.device = field(default=torch.device("cpu"), init=False)

    @contextmanager
    def pool(self, shared: SharedData, reporter: Reporter) -> Iterator[WorkerPool]:
        """See `Engine.pool`."""
        payload = pack(shared)
        for tensor in payload.tensors:
            _share(tensor)
        context = _context()

        def start(index: int) -> _Process:
            return _Process(context, payload, str(self.devices[index % len(self.devices)]))

        with closing(WorkerPool(NAME, self.count, start, reporter)) as pool:
            yield pool


class _Process:
    """A process, started by its first task; with an executor of its own, so that its end takes no other with it.

    For its methods see `Handle`.
    """

    def __init__(self, context: "ForkServerContext | SpawnContext", payload: Payload, device: str) -> None:
        self._images = context.RawValue("q")
        self._executor = ProcessPoolExecutor(1, context, _begin, (payload, device, self._images))
        self._process: BaseProcess | None = None

    def is_ready(self) -> bool:
        return True

    def submit(self, task: bytes) -> "Future[Any]":
        self._images.value = 0
        try:
            with _uninterrupted(), _without_main():
                future: Future[Any] = self._executor.submit(_do, task)
        except (BrokenExecutor, OSError, EOFError) as error:  # it was killed before, or while it was started
            future = Future()
            future.set_exception(error)
        self._process = next(iter(self._executor._processes.values()), None)
        return future

    def images(self) -> int:
        return int(self._images.value)

    def answer(self, future: "Future[Any]") -> Answer:
        if (error := future.exception()) is None:
            content = future.result()
            answer: Answer = pickle.loads(content if isinstance(content, bytes) else content.numpy())
            return answer
        self._executor.shutdown()  # waits for the exit code
        code = 0 if self._process is None else self._process.exitcode or 0
        if code < 0:
            raise WorkerLostError(f"was killed by {signal.Signals(-code).name}")
        when = " while it started" if self._process is None else ""
        raise WorkerLostError(f"ended with exit code {code}" if code else f"failed{when} ({named(error)})")

    def end(self) -> None:
        for process in list((self._executor._processes or {}).values()):  # `kill_workers` from Python 3.14 on
            process.kill()
        self._executor.shutdown(cancel_futures=True)


def _context() -> "ForkServerContext | SpawnContext":
    """How processes are started: where possible as copies of a process that has imported the slow modules.

    Windows has no such copies; on macOS they may crash, according to Python's documentation.
    """
    can = "forkserver" in get_all_start_methods() and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_TEMPORARY
    if sys.platform in {"darwin", "win32"} or not can:
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of the fork server and all its copies
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def _without_main() -> Iterator[None]:
    """Prevent processes that are started inside from running the user's script again, to find its classes.

    They get only objects of this package, so a script needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, since a half-started process would never be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _share(tensor: Tensor) -> None:
    """Move a tensor into shared memory."""
    try:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise EngineError(
            f"{tensor.nbytes / 1e6:,.0f} MB of images do not fit into shared memory ({str(error).splitlines()[0]}); "
            f"{LARGER if sys.platform == 'linux' else ''}use --workers 1"
        ) from None


_worker: Worker  # of this process, if it is one of a pool


def _begin(payload: Payload, device: str, images: c_longlong) -> None:
    """What a process does first."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(payload, device, images)


def _do(task: bytes) -> bytes | Tensor:
    """The answer; a long one as a tensor, which torch shares instead of writing it to the pipe.

    A process that is killed in the middle of a long message would leave the executor waiting for the rest of it.
    """
    answer = _worker.do(task)
    return answer if len(answer) < SHORT else torch.frombuffer(bytearray(answer), dtype=torch.uint8)


def _end_with_parent() -> None:
    """End this process when the one that made it does, however that came about."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
