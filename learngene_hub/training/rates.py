"""The course of the learning rate in a training, and weights with a lower rate than the others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Rate = Callable[[float], float]
"""Factor on the learning rate, in [0, 1], as a function of the progress of a training, in [0, 1)."""


@dataclass(frozen=True)
class Falling:
    """The part from `begin` to `end` of a cosine that falls from 1 to 0.

    >>> Falling()(0.0), Falling()(0.5), Falling(0.5, 1.0)(0.0)
    (1.0, 0.5, 0.5)
    """

    begin: float = 0.0
    end: float = 1.0

    def __call__(self, progress: float) -> float:
        """The factor at `progress`."""
        return round(0.5 * (1 + math.cos(math.pi * (self.begin + (self.end - self.begin) * progress))), 12)


@dataclass(frozen=True)
class Restarting:
    """A cosine that falls from 1 to the end of `Falling(begin, end)`, and is never below `Falling(begin, end)` (ours).

    >>> Restarting(0.0, 0.5)(0.0), Restarting(0.0, 0.5)(1.0)
    (1.0, 0.5)
    """

    begin: float
    end: float

    def __call__(self, progress: float) -> float:
        """The factor at `progress`."""
        other = Falling(self.begin, self.end)
        low = other(1.0)
        return max(other(progress), low + (1 - low) * Falling()(progress))


def rate_factor(step: int, steps: int, rate: Rate, warmup: int) -> float:
    """Factor on the learning rate in `step` of `steps`, after `warmup` steps of linear rise."""
    return rate(step / steps) * min(1.0, (step + 1) / (warmup + 1))


class Slow:
    """Weights inside a network, as views, that take only a part of every step of any optimiser (ours).

    Their rate is at most that of the other weights.
    """

    def __init__(self, weights: Sequence[Tensor], rate: Rate) -> None:
        self._weights, self._rate = [weight.detach() for weight in weights], rate
        self._before: list[Tensor] = []
        self._part = 1.0

    def remember(self, progress: float, factor: float) -> None:
        """Store the weights before a step with the learning-rate factor `factor`."""
        self._part = min(1.0, self._rate(progress) / factor) if factor > 0 else 0.0
        self._before = [weight.clone() for weight in self._weights]

    def hold_back(self) -> None:
        """Undo the step, except for the part that these weights take."""
        for weight, before in zip(self._weights, self._before, strict=True):
            weight.copy_(torch.lerp(before, weight, self._part))
