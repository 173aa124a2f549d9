"""Which back end a job gets: the faster one, timed once per machine and kept.

So the same seed gives the same bytes on a machine ever after (ours).
"""

import copy
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from learngene_hub.backends.jobs import Backend, Trainee, Training
from learngene_hub.backends.memory import TOGETHER, networks_at_once
from learngene_hub.backends.together import train_each
from learngene_hub.data import cache_folder
from learngene_hub.files import LOCK_NAME, read_json, write_text
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.rng import generator
from learngene_hub.training import Batch
from learngene_hub.workers import threads

# not `graph`: it has never run on a CUDA device; add it here when the tests marked `gpu` have passed on one
CANDIDATES: tuple[Backend, ...] = ("loop", "grouped")
TIMED_STEPS = 3  # after one to warm up
TRIALS = 2  # of each back end, in turn
PATIENCE = 300.0  # seconds to wait while another process times
LOOK = 1.0  # seconds between two looks whether it is through
MARGIN = 0.9  # of the loop's time, which `grouped` must stay below to be taken
CHOICES_FOLDER = "backends"


@dataclass(frozen=True)
class Choice:
    """The back end of a job.

    Attributes:
        backend: its name.
        milliseconds: back end -> time of one step of all networks together; empty if nothing had to be timed. Where
            `loop` has fewer threads on a CPU, as many of its networks are taken to be trained beside each other as have
            the threads of the other; on GPUs one a worker.
    """

    backend: Backend
    milliseconds: Mapping[Backend, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """What is timed, `count` networks of the `total` that there are; see `choose`."""

    example: Trainee
    count: int
    total: int
    workers: int
    training: Training
    image_size: int
    threads_of: Mapping[Backend, int]

    @property
    def most_threads(self) -> int:
        return max(self.threads_of[one] for one in CANDIDATES)

    def turns(self, backend: Backend) -> int:
        """How many networks, or groups of them, one worker trains after the other, while others train the rest."""
        if next(self.example.network.parameters()).device.type == "cpu":
            return math.ceil(self.count / (self.most_threads // self.threads_of["loop"])) if backend == "loop" else 1
        if backend == "loop":
            return math.ceil(self.total / self.workers)
        shards, groups = math.ceil(self.total / TOGETHER), math.ceil(min(self.total, TOGETHER) / self.count)
        return groups * math.ceil(shards / self.workers)


def choose(
    example: Trainee,
    count: int,
    training: Training,
    *,
    image_size: int,
    threads_of: Mapping[Backend, int],
    warn: Callable[[str], None],
    workers: int = 1,
) -> Choice:
    """The faster back end for `count` networks like `example`: as found on this machine before, or timed now.

    Both are timed on copies and noise, twice in turn: one step to warm up, then `TIMED_STEPS`. `grouped` must be faster
    by a tenth. A lone network is trained by `loop`, and so are networks that do not fit into memory side by side, or
    whose machine another process keeps to itself for `PATIENCE` seconds, or whose GPU cannot do it side by side.

    Args:
        example: a trainee of the job; neither its weights nor its batches are touched. Its `on_step` is told of every
            step that is timed, and of 0 images now and then while another process is waited for.
        count: networks of the job, >= 1.
        training: the job's constants.
        image_size: side of its images, in pixels.
        threads_of: back end -> threads of whoever trains by it.
        warn: told when the choice cannot be kept; it is then `loop`, since another day might choose otherwise.
        workers: that share the networks, where each has a GPU.
    """
    if count == 1 or (together := min(count, networks_at_once(example, training, image_size))) == 1:
        return Choice("loop")
    job = _Job(example, together, count, workers, training, image_size, threads_of)
    conditions = _conditions(job)
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:32]
    file = cache_folder() / CHOICES_FOLDER / f"{digest}.json"
    if (kept := _kept(file)) is not None:
        return kept
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _turn(file.parent / LOCK_NAME, example.on_step):
            return _kept(file) or _keep(_timed(job), conditions, file)
    except torch.OutOfMemoryError:
        warn(f"Networks are trained one after another: {together} at once need more memory than there is")
        return Choice("loop")
    except RuntimeError as error:
        device = next(example.network.parameters()).device
        if device.type != "cuda" or isinstance(error, torch.AcceleratorError):  # after which a GPU answers no more
            raise
        said = str(error).partition("\n")[0]
        warn(f"Networks are trained one after another: both ways could not be timed ({said})")
        return Choice("loop")
    except Timeout:
        warn(
            f"Networks are trained one after another: for {PATIENCE:g} s another process has been timing which way is "
            f"faster, and keeps {file.parent / LOCK_NAME}. End it, or set LEARNGENE_CACHE to another folder"
        )
        return Choice("loop")
    except OSError as error:
        warn(
            f"Networks are trained one after another: which way is faster cannot be kept in {file.parent} ({error}). "
            "Set LEARNGENE_CACHE to a folder"
        )
        return Choice("loop")


@contextmanager
def _turn(path: Path, on_step: Callable[[int], None]) -> Iterator[None]:
    """The lock at `path`: two that time at once would disturb, and might contradict, each other.

    Raises:
        Timeout: another process has had it for `PATIENCE` seconds.
    """
    lock, end = FileLock(path), time.monotonic() + PATIENCE
    while not lock.is_locked:
        try:
            lock.acquire(timeout=LOOK)
        except Timeout:
            if time.monotonic() > end:
                raise
            on_step(0)
    try:
        yield
    finally:
        lock.release()


def _timed(job: _Job) -> Choice:
    trials = [{one: _milliseconds(one, job) for one in CANDIDATES} for _ in range(TRIALS)]
    milliseconds = {one: min(trial[one] for trial in trials) for one in CANDIDATES}
    is_faster = milliseconds["grouped"] < MARGIN * milliseconds["loop"]
    return Choice("grouped" if is_faster else "loop", milliseconds)


def _milliseconds(backend: Backend, job: _Job) -> float:
    """Time of one step of all networks; see `Choice`."""
    batch = _noise(job.example.network, job.training.optimisation.batch_size, job.image_size)
    clocks: list[list[float]] = [[] for _ in range(job.count)]
    copies = (_copy(job, batch, clock) for clock in clocks)
    with threads(job.threads_of[backend]):
        list(train_each(copies, replace(job.training, steps=1 + TIMED_STEPS), backend=backend))
    spans = [clock[-1] - clock[0] for clock in clocks]
    each = sum(spans) / len(spans) if backend == "loop" else spans[0]  # a group's step is that of each in it
    return round(1000 * job.turns(backend) * each / TIMED_STEPS, 3)


def _copy(job: _Job, batch: Batch, clock: list[float]) -> Trainee:
    network, thin = copy.deepcopy((job.example.network, job.example.thin))

    def note(images: int) -> None:
        clock.append(_now(batch[0].device, job.most_threads))
        job.example.on_step(images)

    return Trainee(network, lambda: repeat(batch), thin, job.example.inherited, note)


def _now(device: torch.device, most_threads: int) -> float:
    if device.type == "cpu" and most_threads == 1 and os.name != "nt":  # where it goes by 16 ms
        return time.process_time()  # others may be using the machine too
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _noise(network: LearngeneNetwork, count: int, image_size: int) -> Batch:
    device = next(network.parameters()).device
    images = torch.randn(count, network.in_chans, image_size, image_size, generator=generator(0, "noise"))
    labels = torch.arange(count).remainder(network.num_classes)
    return images.to(device, memory_format=torch.channels_last), labels.to(device)


def _conditions(job: _Job) -> dict[str, Any]:
    """All that the speed of a job depends on, in JSON types."""
    example, training = job.example, job.training
    device = next(example.network.parameters()).device
    shared = {"all": job.total, "workers": job.workers} if device.type == "cuda" else {}
    return shared | {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "torch": torch.__version__,
        "threads": {one: job.threads_of[one] for one in CANDIDATES},
        "precision": training.precision,
        "networks": job.count,
        "batch_size": training.optimisation.batch_size,
        "image_size": job.image_size,
        "optimizer": training.optimisation.optimizer,
        "network": _shapes(example.network),
        "thin": _shapes(example.thin) if example.thin is not None and training.circuit_loss > 0 else None,
        "inherited": training.gene_rate is not None and bool(example.inherited),
    }


def _shapes(network: LearngeneNetwork) -> dict[str, list[int]]:
    return {name: list(weight.shape) for name, weight in network.named_parameters()}


def _processor() -> str:
    """The processor's model, where the system tells, and the instructions torch uses on it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _kept(file: Path) -> Choice | None:
    """The choice that was kept in `file`; None if there is none, or it is damaged and must be made anew."""
    try:
        record = read_json(file, most=10**6)
        milliseconds = {one: float(record["milliseconds"][one]) for one in CANDIDATES}
        return Choice(CANDIDATES[CANDIDATES.index(record["backend"])], milliseconds)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(choice: Choice, conditions: Mapping[str, Any], file: Path) -> Choice:
    record = {"backend": choice.backend, "milliseconds": choice.milliseconds, "conditions": conditions}
    write_text(file, json.dumps(record, indent=1) + "\n")
    return choice
