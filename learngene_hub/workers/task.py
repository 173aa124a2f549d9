"""Tasks: what workers do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

import torch


class Step(Protocol):
    """Told of every step of a task."""

    def __call__(self, images: int, doing: str) -> None:
        """Note that a step took `images`, and what was being done, such as `individual 3/8`."""


class SharedData(Protocol):
    """What all tasks of a pool read, such as the images; it can be pickled."""

    def on(self, device: torch.device) -> Self:
        """The same data with its images on `device`."""
        ...


S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[S_contra, R_co]):
    """A pure function of itself and the shared data, so that any worker may do it, and do it again."""

    @property
    def label(self) -> str:
        """What the log calls it, such as `generation 3, individuals 1 to 8`."""
        ...

    def __call__(self, shared: S_contra, step: Step, /) -> R_co:
        """Do it; call `step` at every training step."""
        ...


def no_step(images: int, doing: str) -> None:
    """A `Step` that nobody listens to."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside; results depend on it, so every task says how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
