"""The topics, each measured in a process of its own, so that none finds what another has left behind."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context

from benchmarks.measure import Figure

TOPICS = ("population", "data_path", "growth", "hub")
"""Modules with a function `figures() -> list[Figure]`."""


def measure(topic: str) -> list[Figure]:
    """The figures of `topic`, from a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return list(pool.submit(_figures, topic).result())


def _figures(topic: str) -> Sequence[Figure]:
    module = import_module(f"benchmarks.{topic}")  # before torch: a topic may set what libraries read at import

    import torch

    torch.set_num_threads(1)
    found: Sequence[Figure] = module.figures()
    return found
