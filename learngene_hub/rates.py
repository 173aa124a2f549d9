"""How fast weights learn in the course of a training, and those that learn more slowly than the others."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Rate = Callable[[float], float]
"""Factor on the learning rate, in [0, 1], as a function of the progress of a training, in [0, 1)."""


def falling(begin: float = 0.0, end: float = 1.0) -> Rate:
    """The part from `begin` to `end` of a cosine that falls from 1 to 0.

    >>> falling()(0.0), falling()(0.5), falling(0.5, 1.0)(0.0)
    (1.0, 0.5, 0.5)
    """
    return lambda progress: round(0.5 * (1 + math.cos(math.pi * (begin + (end - begin) * progress))), 12)


def restarting(begin: float, end: float) -> Rate:
    """A cosine that falls from 1 to where `falling(begin, end)` ends, and is never below that (ours).

    >>> restarting(0.0, 0.5)(0.0), restarting(0.0, 0.5)(1.0)
    (1.0, 0.5)
    """
    other = falling(begin, end)
    low = other(1.0)
    return lambda progress: max(other(progress), low + (1 - low) * falling()(progress))


def rate_factor(step: int, steps: int, rate: Rate, warmup: int) -> float:
    """Factor on the learning rate in `step` of `steps`, after `warmup` steps of linear rise."""
    return rate(step / steps) * min(1.0, (step + 1) / (warmup + 1))


def slow_part(rate: Rate, progress: float, factor: float) -> float:
    """Part, in [0, 1], of a step with the learning-rate factor `factor` that weights at `rate` take."""
    return min(1.0, rate(progress) / factor) if factor > 0 else 0.0


class Slow:
    """Weights inside a network that move by a part of every step, whatever optimiser takes it (ours).

    Args:
        weights: views into the network's parameters.
        rate: theirs, at most that of the other weights.
    """

    def __init__(self, weights: Sequence[Tensor], rate: Rate) -> None:
        self._weights, self._rate = [weight.detach() for weight in weights], rate
        self._before: list[Tensor] = []
        self._part = 1.0

    def remember(self, progress: float, factor: float) -> None:
        """Note the weights before a step that is taken with the learning-rate factor `factor`."""
        self._part = slow_part(self._rate, progress, factor)
        self._before = [weight.clone() for weight in self._weights]

    def hold_back(self) -> None:
        """Take back all but the part of the step that is theirs."""
        for weight, before in zip(self._weights, self._before, strict=True):
            weight.copy_(torch.lerp(before, weight, self._part))
