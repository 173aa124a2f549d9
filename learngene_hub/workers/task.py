"""Tasks, the units of work of workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

import torch


class Step(Protocol):
    """A function that is called after every step of a task."""

    def __call__(self, images: int, doing: str) -> None:
        """Note that a step used `images` images; `doing` names its part of the work, such as `individual 3/8`."""


class SharedData(Protocol):
    """Data that all tasks of a pool read, such as the images; it can be pickled."""

    def on(self, device: torch.device) -> Self:
        """The same data with its images on `device`."""


S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[S_contra, R_co]):
    """A pure function of itself and the shared data, so that any worker can run it, and repeat it."""

    @property
    def label(self) -> str:
        """Name of the task in the log, such as `generation 3, individual 1`."""

    def __call__(self, shared: S_contra, step: Step, /) -> R_co:
        """Run the task; call `step` at every training step."""


def no_step(images: int, doing: str) -> None:
    """A `Step` that does nothing."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside the block; results depend on this number, so every task sets it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
