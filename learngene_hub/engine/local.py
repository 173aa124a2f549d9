"""The local engine: tasks are done in this process, or in several that share the images."""

import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from learngene_hub.engine.crew import Ended, Event, Started, Stepped, Team
from learngene_hub.engine.parcel import Parcel, as_array, unwrap, wrap
from learngene_hub.engine.place import at_work_on, chip_kind, chip_name, device_name
from learngene_hub.engine.tally import Tally
from learngene_hub.engine.task import Lost, Scene, Step, Task, no_step
from learngene_hub.engine.worker import answer, named, read_answer
from learngene_hub.errors import EngineError
from learngene_hub.progress import Reporter

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext  # Windows has no first one

NAME = "local"
SHARED_BYTES = 4 << 20  # tensors from this size on are shared between the processes, smaller ones copied
HEARTBEAT = 0.2  # seconds between two messages about steps
LONGEST_TEMPORARY = 65  # bytes of the folder in which a fork server has its socket, whose path has 104 at most
LARGER = "make /dev/shm larger (docker run --shm-size), or "
PRELOADED = ["torch", "torch._dynamo", "timm", "pydantic", "jinja2", "safetensors.torch"]

S = TypeVar("S", bound=Scene)
R = TypeVar("R")


@dataclass(frozen=True)
class Alone:
    """The engine of this process: no worker, nothing to be lost.

    Attributes:
        device: where tasks are done.
    """

    device: torch.device

    @property
    def home(self) -> torch.device:
        """See `Engine.home`."""
        return self.device

    @contextmanager
    def crew(self, scene: S, reporter: Reporter) -> Iterator["Single[S]"]:
        """See `Engine.crew`."""
        with at_work_on(self.device):
            yield Single(scene, device_name(self.device))


class Single(Generic[S]):
    """The crew of one that does every task itself.

    Args:
        scene: where it lies already.
        place: what it computes on.
    """

    most = 1

    def __init__(self, scene: S, place: str) -> None:
        self._scene, self._place, self._tally = scene, place, Tally()

    def run(self, tasks: Sequence[Task[S, R]], step: Step = no_step) -> Iterator[tuple[int, R]]:
        """See `Crew.run`."""
        for number, task in enumerate(tasks):
            began = time.monotonic()
            value = task(self._scene, step)
            took = time.monotonic() - began
            self._tally.enter(1, took, done=True)
            self._tally.seconds += took
            yield number, value

    def record(self) -> Mapping[str, Any]:
        """See `Crew.record`."""
        tally, self._tally = self._tally, Tally()
        return tally.record(NAME, 1, self._place)


@dataclass(frozen=True)
class Processes:
    """The engine of several processes on this machine, which end with this one.

    Attributes:
        devices: where they compute, in turn.
        most: processes at most; they are started as there is work for them.
        timeout: seconds without a step after which one counts as hung.
    """

    devices: Sequence[torch.device]
    most: int
    timeout: float

    @property
    def home(self) -> torch.device:
        """See `Engine.home`."""
        return torch.device("cpu")

    @contextmanager
    def crew(self, scene: Scene, reporter: Reporter) -> Iterator[Team]:
        """See `Engine.crew`."""
        workers = _Pool(wrap(scene, _shared), self.devices, self.most)
        with closing(Team(workers, reporter, self.timeout)) as team:
            yield team


@dataclass(frozen=True)
class _Member:
    """One process, and this end of the pipe to it."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"


class _Pool:
    """Processes as a crew's workers. A thread for each listens to it, so that none can keep the crew from the clock."""

    name = NAME
    advice = "see what it wrote above, or do with one worker"

    def __init__(self, scene: Parcel, devices: Sequence[torch.device], most: int) -> None:
        self._scene, self._devices, self.most = scene, devices, most
        self._members: dict[int, _Member] = {}
        self._heard: queue.SimpleQueue[tuple[_Member, Event]] = queue.SimpleQueue()
        self._context = _context()

    def start(self, worker: int) -> None:
        """See `Workers.start`."""
        device = str(self._devices[(worker - 1) % len(self._devices)])
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, worker, self._scene, device), daemon=True)
        with _without_main():
            process.start()
        theirs.close()
        member = self._members[worker] = _Member(process, ours)
        threading.Thread(target=_listen, args=(member, worker, self._heard), daemon=True).start()

    def give(self, worker: int, task: Task[Any, Any]) -> None:
        """See `Workers.give`."""
        pipe, parcel = self._members[worker].pipe, wrap(task)
        threading.Thread(target=_send, args=(pipe, parcel), daemon=True).start()  # one that hangs reads nothing

    def stop(self, worker: int) -> None:
        """See `Workers.stop`."""
        member = self._members.pop(worker)
        member.process.kill()
        member.process.join()

    def events(self, timeout: float) -> Iterator[Event]:
        """See `Workers.events`."""
        heard = []
        with suppress(queue.Empty):
            heard.append(self._heard.get(timeout=timeout))
            while True:
                heard.append(self._heard.get_nowait())
        for member, event in heard:
            if self._members.get(event.worker) is member:  # it has not been stopped meanwhile
                yield event


def _context() -> "ForkServerContext | SpawnContext":
    """How processes are made: copies of one that has imported what takes long, where the system can do that.

    Windows cannot; on macOS a copy of a process that has used its libraries may crash, says Python's documentation.
    """
    can = "forkserver" in get_all_start_methods() and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_TEMPORARY
    if sys.platform == "darwin" or not can:
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def _without_main() -> Iterator[None]:
    """Let no process that is made inside run the user's script again, as it would to know the classes in there.

    It needs none of them: all that it is sent is of this package. So a script needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _send(pipe: "Connection[Any, Any]", parcel: Parcel) -> None:
    with suppress(OSError, TypeError):  # it has ended, as its listener says; or the pipe was closed under this thread
        pipe.send(parcel)


def _listen(member: _Member, worker: int, heard: "queue.SimpleQueue[tuple[_Member, Event]]") -> None:
    """Pass on what a process says, until it has ended, or says what nobody understands."""
    try:
        with member.pipe:
            while True:
                # Windows has no end of the pipe where a process dies before it has taken its own
                if member.pipe not in wait([member.pipe, member.process.sentinel]):
                    raise EOFError
                said = member.pipe.recv()
                heard.put((member, Ended(worker, read_answer(said)) if isinstance(said, Parcel) else said))
    except (EOFError, OSError):
        member.process.join()
        why = _end(member.process.exitcode)
    except Exception as error:  # unpickling raises whatever it likes
        why = f"sent what cannot be read ({named(error)})"
    heard.put((member, Ended(worker, Lost(why))))


def _end(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _serve(pipe: "Connection[Any, Any]", worker: int, scene: Parcel, device: str) -> None:
    """What a process does: tasks, as they come, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    chip, name = torch.device(device), f"worker {worker} (process {os.getpid()})"
    with at_work_on(chip):
        placed, heart = unwrap(scene).on(chip), _Heart(pipe, worker)
        pipe.send(Started(worker, name, chip_name(chip), chip_kind(chip)))
        with suppress(EOFError):
            while True:
                outcome = answer(pipe.recv(), placed, heart)
                heart.flush()
                pipe.send(outcome)


def _end_with_parent() -> None:
    """End this process when the one that made it does, however that came about."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


class _Heart:
    """Tells the driver of steps, now and then."""

    def __init__(self, pipe: "Connection[Any, Any]", worker: int) -> None:
        self._pipe, self._worker = pipe, worker
        self._images, self._told = 0, 0.0

    def __call__(self, images: int, doing: str) -> None:
        """Note a step."""
        self._images += images
        if time.monotonic() - self._told > HEARTBEAT:
            self.flush()

    def flush(self) -> None:
        """Tell of all steps since the last time."""
        self._pipe.send(Stepped(self._worker, self._images))
        self._images, self._told = 0, time.monotonic()


def _shared(tensor: Tensor) -> Any:  # noqa: ANN401
    """A large tensor moved into shared memory, a small one as an array."""
    if tensor.nbytes < SHARED_BYTES:
        return as_array(tensor)
    try:
        return tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise EngineError(
            f"{tensor.nbytes / 1e6:,.0f} MB of images do not fit into shared memory ({str(error).splitlines()[0]}); "
            f"{LARGER if sys.platform == 'linux' else ''}use --workers 1"
        ) from None
