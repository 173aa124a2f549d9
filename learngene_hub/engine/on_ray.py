"""The Ray engine: tasks are done by actors, one a GPU or one a processor, on this machine or on a cluster.

The scene goes into Ray's object store once, and from there once to every node, where all actors read the same memory.
Genes travel the same way. An actor is asked now and then how far it is; one that does not answer counts as hung.
"""

import os
import platform
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from learngene_hub.engine.crew import Ended, Event, Started, Stepped, Team
from learngene_hub.engine.parcel import Parcel, unwrap, wrap
from learngene_hub.engine.place import chip_kind, chip_name
from learngene_hub.engine.task import Lost, Scene, Task
from learngene_hub.engine.worker import answer, read_answer
from learngene_hub.errors import EngineError
from learngene_hub.progress import Reporter

NAME = "ray"
PULSE = 1.0  # seconds between two questions to an actor at work
CONNECT = 10  # seconds for a cluster to answer
SETTINGS = b"\x04"  # type of the frame that each side of HTTP/2 begins with: RFC 9113, section 3.4
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"

ENVIRONMENT = {  # which Ray reads when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # actors without a GPU need not be told so
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its words on lost workers, which go to stdout; the crew has its own
}
LOCAL = {  # and a cluster that is started here
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens to this machine only
    "RAY_worker_niceness": "0",  # its actors are as urgent as the processes of the local engine
}


@dataclass(frozen=True)
class RayEngine:
    """The engine of a Ray cluster.

    Attributes:
        device: `auto`, `cpu` or `cuda`; `auto`: GPUs where the cluster has any.
        workers: actors at most; None: one a GPU, or one a processor.
        most: tasks that there will be at once.
        address: of the cluster; None: the one that this process uses already, else one on this machine, for the time of
            the crew.
        timeout: seconds without a step after which an actor counts as hung.
    """

    device: str
    workers: int | None
    most: int
    address: str | None
    timeout: float

    @property
    def home(self) -> torch.device:
        """See `Engine.home`."""
        return torch.device("cpu")

    @contextmanager
    def crew(self, scene: Scene, reporter: Reporter) -> Iterator[Team]:
        """See `Engine.crew`."""
        ray = import_ray(is_local=self.address is None)
        with self._connected(ray):
            workers = _Actors(ray, scene, *self._resources(ray))
            with closing(Team(workers, reporter, self.timeout)) as team:
                yield team

    @contextmanager
    def _connected(self, ray: ModuleType) -> Iterator[None]:
        if ray.is_initialized():  # by whoever called us, who may go on with it
            _check_same(ray, self.address)
            yield
            return
        if self.address is None:
            _init(ray, address="local", num_cpus=self.workers, include_dashboard=False)
        else:
            _check_answers(self.address)
            _init(ray, address=self.address)
        try:
            yield
        finally:
            ray.shutdown()

    def _resources(self, ray: ModuleType) -> tuple[str, int]:
        """The kind of device, and how many actors there may be."""
        cluster = ray.cluster_resources()
        gpus, cpus = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 0))
        if self.device == "cuda" and not gpus:
            raise EngineError("device cuda: expected a cluster with GPUs, found none; use --device cpu")
        kind = ("cuda" if gpus else "cpu") if self.device == "auto" else self.device
        return kind, self.workers or max(1, min(self.most, gpus if kind == "cuda" else cpus))


def import_ray(*, is_local: bool) -> ModuleType:
    """Ray, told to report nothing to anybody, and where it `is_local` to listen to this machine only.

    Raises:
        EngineError: it is not installed.
    """
    for name, value in (ENVIRONMENT | (LOCAL if is_local else {})).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise EngineError('the engine ray needs Ray: pip install "learngene-hub[ray]"') from None
    module: ModuleType = ray
    return module


def _init(ray: ModuleType, **options: Any) -> None:  # noqa: ANN401
    """Begin to use Ray.

    Raises:
        EngineError: it refuses, for instance since the cluster has another version of Ray or of Python.
    """
    try:
        ray.init(log_to_driver=False, logging_level="error", **options)
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise EngineError(
            f"Ray cannot be used at the address {options['address']}: {' '.join(str(error).split())}"
        ) from error


def _check_same(ray: ModuleType, address: str | None) -> None:
    """Do nothing, unless this process uses Ray at another address.

    Raises:
        EngineError: it does, and can have one cluster only.
    """
    used = ray.get_runtime_context().gcs_address
    if address is not None and not _may_be_same(address, used):
        raise EngineError(
            f"address {address}: this process uses Ray at {used} already; leave the address out to use that cluster, "
            "or call ray.shutdown() before"
        )


def _may_be_same(address: str, used: str) -> bool:
    """Whether `address` can stand for the cluster at `used`: a proxy tells nothing, and names have many spellings."""
    if address.startswith("ray://"):
        return True
    (host, _, port), (used_host, _, used_port) = address.rpartition(":"), used.rpartition(":")
    try:
        ip = socket.gethostbyname(host)
    except OSError:
        return False
    return port == used_port and (ip == used_host or ip.startswith("127."))


def _check_answers(address: str) -> None:
    """Do nothing, unless nobody answers at `address`, or not as Ray would: Ray itself would try for minutes.

    Raises:
        EngineError: it is so, or it is no address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        fault = _greet(host, int(port))
    except (OSError, ValueError) as error:
        fault = str(error)
    if fault:
        raise EngineError(
            f"no Ray cluster at {address} ({fault}): expected HOST:PORT, as `ray start --head` printed it there; "
            "leave --address out for a cluster on this machine, for this run"
        )


def _greet(host: str, port: int) -> str:
    """What is wrong with the answer to the first words of a client of gRPC, as Ray's are; empty: nothing.

    Raises:
        OSError: there is none.
    """
    with socket.create_connection((host, port), CONNECT) as line:
        if os.environ.get("RAY_USE_TLS"):  # it would wait for other words
            return ""
        line.sendall(HELLO)
        said = line.recv(32)
    return "" if said[3:4] == SETTINGS else f"what answers there is not Ray: it said {said!r}"


class Hand:
    """What an actor is made of: one thread works, another tells how far it is.

    Args:
        scene: see `wrap`.
        device: `cpu` or `cuda`; Ray shows each actor its own GPU only.
    """

    def __init__(self, scene: Parcel, device: str) -> None:
        self._scene = unwrap(scene, copy=False).on(torch.device(device))
        self._device = torch.device(device)
        self._steps = self._images = 0

    def where(self) -> tuple[str, str, str]:
        """The node and process it is in, what it computes on, and what of that shapes results."""
        process = f"process {os.getpid()} on {platform.node()}"
        return process, chip_name(self._device), chip_kind(self._device)

    def work(self, task: Parcel) -> tuple[Parcel, tuple[int, int]]:
        """Do a task; its outcome, and steps and images in all."""
        self._steps = self._images = 0
        return answer(task, self._scene, self._step), self.progress()

    def progress(self) -> tuple[int, int]:
        """Steps and images of the present task so far."""
        return self._steps, self._images

    def _step(self, images: int, doing: str) -> None:
        self._steps, self._images = self._steps + 1, self._images + images


@dataclass
class _Actor:
    """An actor with what it was asked for and has not answered yet."""

    handle: Any
    where: Any = None
    work: Any = None
    pulse: Any = None
    asked: float = 0.0
    seen: tuple[int, int] = (0, 0)

    @property
    def pending(self) -> list[Any]:
        return [one for one in (self.where, self.work, self.pulse) if one is not None]


class _Actors:
    """Actors as a crew's workers."""

    name = NAME
    advice = "does the cluster have a free GPU or processor for it? See `ray status`"

    def __init__(self, ray: ModuleType, scene: Scene, device: str, most: int) -> None:
        self._ray, self._device, self.most = ray, device, most
        self._scene = ray.put(wrap(scene))
        self._remote = ray.remote(Hand).options(
            num_cpus=1,
            num_gpus=1 if device == "cuda" else 0,
            max_concurrency=2,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._actors: dict[int, _Actor] = {}

    def start(self, worker: int) -> None:
        """See `Workers.start`."""
        handle = self._remote.remote(self._scene, self._device)
        self._actors[worker] = _Actor(handle, where=handle.where.remote())

    def give(self, worker: int, task: Task[Any, Any]) -> None:
        """See `Workers.give`."""
        actor = self._actors[worker]
        actor.work, actor.seen = actor.handle.work.remote(self._ray.put(wrap(task))), (0, 0)
        actor.asked = time.monotonic()

    def stop(self, worker: int) -> None:
        """See `Workers.stop`."""
        self._ray.kill(self._actors.pop(worker).handle)

    def events(self, timeout: float) -> Iterable[Event]:
        """See `Workers.events`."""
        self._ask()
        pending = [one for actor in self._actors.values() for one in actor.pending]
        ready, _ = self._ray.wait(pending, num_returns=1, timeout=timeout)
        return [event for worker in list(self._actors) for event in self._heard(worker, ready)]

    def _ask(self) -> None:
        """Ask all actors at work how far they are, if that was long ago."""
        now = time.monotonic()
        for actor in self._actors.values():
            if actor.work is not None and actor.pulse is None and now - actor.asked >= PULSE:
                actor.pulse, actor.asked = actor.handle.progress.remote(), now

    def _heard(self, worker: int, ready: list[Any]) -> Iterator[Event]:
        """What an actor has answered."""
        actor = self._actors[worker]
        try:
            if actor.where in ready:
                name, place, kind = self._ray.get(actor.where)
                actor.where = None
                yield Started(worker, f"worker {worker} ({name})", place, kind)
            if actor.pulse in ready:
                seen = self._ray.get(actor.pulse)
                actor.pulse = None
                yield from _stepped(worker, actor, seen)
            if actor.work in ready:
                outcome, seen = self._ray.get(actor.work)
                actor.work = actor.pulse = None
                yield from _stepped(worker, actor, seen)
                yield Ended(worker, read_answer(outcome))
        except self._ray.exceptions.RayError as error:
            yield Ended(worker, Lost(self._end(error)))

    def _end(self, error: Exception) -> str:
        """How an actor ended, in words."""
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return "was lost (it cannot be reached)"
        last = str(error).strip().splitlines()[-1].strip()
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return f"failed ({last})"
        return f"was lost ({last.partition('. ')[0]})"


def _stepped(worker: int, actor: _Actor, seen: tuple[int, int]) -> Iterator[Stepped]:
    """That the worker has stepped, if it has: an answer alone is no step. Steps need have no images."""
    (steps, images), actor.seen = actor.seen, seen
    if seen[0] != steps:
        yield Stepped(worker, seen[1] - images)
