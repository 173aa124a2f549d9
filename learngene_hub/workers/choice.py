"""The choice of an engine by the user."""

from dataclasses import dataclass
from multiprocessing import current_process

import torch

from learngene_hub.core.errors import EngineError
from learngene_hub.workers.local import Alone, Processes
from learngene_hub.workers.on_ray import RayEngine
from learngene_hub.workers.pool import Engine

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineOptions:
    """Where the networks of a run are trained; these options are not part of a recipe.

    Attributes:
        name: `local`: this process or several on this machine; `ray`: a Ray cluster.
        workers: how many, >= 1; several can share a GPU. None: one for each GPU; on a CPU as many as torch would use
            threads here, or, on Ray, as the cluster has processors; but no more than are needed. It is 1 in a daemonic
            process, such as one of a `multiprocessing.Pool`, which cannot start others.
        address: of a Ray cluster, `host:port` or `ray://host:port`; None: the cluster that this process uses
            already, else a new one on this machine, for the time of the run.

    Raises:
        EngineError: a value is out of range, or a local engine is given an address.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise EngineError(f"engine {self.name!r}: expected {' or '.join(ENGINES)}")
        if self.workers is not None and self.workers < 1:
            raise EngineError(f"workers={self.workers}: expected 1 or more")
        if self.address is not None and self.name != "ray":
            raise EngineError(f"address {self.address}: only the ray engine has an address; add --engine ray")


def make_engine(options: EngineOptions, *, device: str, local_device: torch.device, most: int) -> Engine:
    """The engine that `options` ask for, for as many as `most` tasks at once, >= 1.

    `device` is the name given by the user; on Ray, `auto` means GPUs if the cluster has any. `local_device` is the
    device of that name on this machine.

    Raises:
        EngineError: Ray is not installed, the cluster cannot be reached, `device` is not a name for Ray, or this
            process cannot start workers.
    """
    if options.name == "ray":
        if device not in {"auto", "cpu", "cuda"}:
            raise EngineError(f"device {device!r}: expected auto, cpu or cuda, since Ray chooses the GPUs")
        return RayEngine(device, options.workers, most, options.address)
    devices, is_daemonic = [local_device], current_process().daemon
    if str(local_device) == "cuda":  # all GPUs, unless the user named one
        devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    room = torch.get_num_threads() if local_device.type == "cpu" else len(devices)
    workers = options.workers or (1 if is_daemonic else min(most, room))
    if workers > 1 and is_daemonic:
        raise EngineError(
            f"workers: expected 1, found {workers}: this is a daemonic process, such as one of multiprocessing.Pool, "
            "and cannot start others"
        )
    return Alone(local_device) if workers == 1 else Processes(devices, workers)
