"""The Ray engine: actors run the tasks, on GPUs or processors, on this machine or on a cluster.

The shared data goes into Ray's object store once, and from there once to every node, where all actors read the same
memory.
"""

import math
import os
import pickle
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch

from learngene_hub.core.errors import EngineError
from learngene_hub.core.progress import Reporter
from learngene_hub.workers.pool import WorkerLostError, WorkerPool
from learngene_hub.workers.task import SharedData
from learngene_hub.workers.worker import Answer, Worker, pack

NAME = "ray"
CONNECT = 10  # seconds for a cluster to answer

ENVIRONMENT = {  # which Ray reads when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # actors without a GPU need not be told so
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its words on lost workers, which go to stdout; the pool has its own
}
LOCAL = {  # and a cluster that is started here
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens to this machine only
    "RAY_worker_niceness": "0",  # its actors are as urgent as the processes of the local engine
}


@dataclass(frozen=True)
class RayEngine:
    """The engine of a Ray cluster, for `most` tasks at once; see `EngineOptions` and `make_engine`."""

    device: str
    workers: int | None
    most: int
    address: str | None
    home: torch.device = field(default=torch.device("cpu"), init=False)

    @contextmanager
    def pool(self, shared: SharedData, reporter: Reporter) -> Iterator[WorkerPool]:
        """See `Engine.pool`."""
        ray = import_ray(is_local=self.address is None)
        with self._connected(ray):
            count, gpus = self._resources(ray)
            payload = pack(shared)
            arrays = [tensor.numpy() for tensor in payload.tensors]  # all actors of a node read the same memory
            reference = ray.put(replace(payload, tensors=arrays))
            remote = ray.remote(Worker).options(
                num_cpus=1,
                num_gpus=gpus,
                max_concurrency=2,  # one thread works, another says how far it is
                max_restarts=0,  # one whose node is lost would wait for room with its task: the pool starts another
                scheduling_strategy="SPREAD",
            )

            def start(index: int) -> _Actor:
                return _Actor(ray, remote.remote(reference, "cuda" if gpus else "cpu"))

            with closing(WorkerPool(NAME, count, start, reporter)) as pool:
                yield pool

    @contextmanager
    def _connected(self, ray: ModuleType) -> Iterator[None]:
        if ray.is_initialized():  # by whoever called us, who may go on with it
            if self.address is not None:  # it can have one cluster only
                raise EngineError(
                    f"address {self.address}: this process uses Ray already; leave the address out to use that "
                    "cluster, or call ray.shutdown() first"
                )
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

    def _resources(self, ray: ModuleType) -> tuple[int, float]:
        """The largest number of actors, and the fraction of a GPU for each; 0 on processors."""
        cluster = ray.cluster_resources()
        gpus, cpus = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 0))
        if self.device == "cuda" and not gpus:
            raise EngineError("device cuda: expected a cluster with GPUs, found none; use --device cpu")
        if self.device == "cpu" or not gpus:
            return self.workers or max(1, min(self.most, cpus)), 0.0
        count = self.workers or min(self.most, gpus)
        return count, gpu_share(count, gpus)


def gpu_share(workers: int, gpus: int) -> float:
    """The fraction of a GPU for each of `workers`, so that all fit; Ray counts in units of 0.0001.

    >>> gpu_share(4, gpus=1), gpu_share(4, gpus=3), gpu_share(2, gpus=8), gpu_share(6, gpus=1)
    (0.25, 0.5, 1.0, 0.1666)
    """
    return math.floor(10_000 / math.ceil(workers / gpus)) / 10_000


def import_ray(*, is_local: bool) -> ModuleType:
    """The module of Ray, without usage reports and, if it `is_local`, reachable from this machine only.

    Raises:
        EngineError: Ray is not installed.
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
    """Connect to Ray, or start it.

    Raises:
        EngineError: Ray refuses, for instance because the cluster has another version of Ray or of Python.
    """
    try:
        ray.init(log_to_driver=False, logging_level="error", **options)
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise EngineError(
            f"Ray cannot be used at the address {options['address']}: {' '.join(str(error).split())}"
        ) from error


def _check_answers(address: str) -> None:
    """Check that something answers at `address`: Ray itself would try for minutes.

    Raises:
        EngineError: there is no answer, or `address` is not valid.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if not port.isdecimal():
            raise ValueError("no port")
        socket.create_connection((host, int(port)), CONNECT).close()
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no Ray cluster at {address} ({error}): expected HOST:PORT, as `ray start --head` printed it there; "
            "leave --address out to start a cluster on this machine for this run"
        ) from None


class _Actor:
    """One actor, which Ray starts as soon as it has room for it; for its methods see `Handle`."""

    def __init__(self, ray: ModuleType, actor: Any) -> None:  # noqa: ANN401
        self._ray, self._actor = ray, actor
        self._ready = self._asked = actor.images.remote()

    def is_ready(self) -> bool:
        return self._has(self._ready)

    def submit(self, task: bytes) -> "Future[Any]":
        future: Future[Any] = self._actor.do.remote(task).future()
        self._asked = self._actor.images.remote()
        return future

    def images(self) -> int | None:
        if not self._has(self._asked):
            return None
        try:
            images: int = self._ray.get(self._asked)
        except self._ray.exceptions.RayError:  # it is lost, as its answer will tell
            return None
        self._asked = self._actor.images.remote()
        return images

    def answer(self, future: "Future[Any]") -> Answer:
        if (error := future.exception()) is not None:
            if isinstance(error, self._ray.exceptions.ActorUnavailableError):
                raise WorkerLostError("was lost (it cannot be reached)")
            last = str(error).strip().splitlines()[-1].strip()
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise WorkerLostError(f"failed ({last})")
            raise WorkerLostError(f"was lost ({last.partition('. ')[0]})")
        answer: Answer = pickle.loads(future.result())
        return answer

    def end(self) -> None:
        self._ray.kill(self._actor)

    def _has(self, reference: Any) -> bool:  # noqa: ANN401
        """Whether the actor has answered, or will never."""
        ready, _ = self._ray.wait([reference], timeout=0)
        return bool(ready)
