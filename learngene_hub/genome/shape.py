"""The shape of a gene: how many leading channels of every group it holds, under one budget of numbers.

Of two genes of equal size, the one that keeps nearly all channels of the first layers and few of the last is
better: a gene's shape decides more than which channels it holds (ours; measured in docs/log, entries 10 to 16).
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from learngene_hub.core.errors import NetworkError
from learngene_hub.genome.birth import Body
from learngene_hub.networks import IMAGE, Structure
from learngene_hub.networks.structure import sizes_within

GRAIN = 1000  # steps of 1 in which the first fraction of a tapering gene is sought
HALVINGS = 40  # of the interval in which the common factor of a shape is sought

Shape = Mapping[str, int]
"""Group -> leading channels that are gene, in forward order."""


@dataclass(frozen=True)
class ShapeSpace:
    """All shapes of genes that a budget allows: between one unit and all channels of every group.

    Attributes:
        body: of the gene's ancestors.
        fraction: sets the budget, in (0, 1]: the size of a gene with this fraction of the channels of every group.
    """

    body: Body
    fraction: float

    @cached_property
    def structure(self) -> Structure:
        """Of the whole network.

        Raises:
            NetworkError: there is none.
        """
        return self.body.structure

    @cached_property
    def budget(self) -> int:
        """The most numbers that a gene may hold."""
        return self.numbers(self.even())

    def numbers(self, shape: Shape) -> int:
        """How many numbers a gene of this `shape` holds, running statistics included."""
        sizes = {IMAGE: self.body.in_chans, **shape}
        return sum(math.prod(axes.shape(sizes)) for axes in self.structure.tensors)

    def fractions(self, shape: Shape) -> dict[str, float]:
        """Group -> fraction of its channels that `shape` has, in (0, 1]."""
        return {name: shape[name] / group.size for name, group in self.structure.groups.items()}

    def even(self) -> dict[str, int]:
        """`fraction` of the channels of every group."""
        return self._falling(self.fraction, 1.0)

    def tapering(self, taper: float) -> dict[str, int]:
        """A shape whose fraction falls geometrically from the first group to the last.

        `taper` is the last fraction over the first, in (0, 1], before fractions above 1 are cut to 1. The first is the
        highest that the budget allows, in steps of 0.001.
        """
        if taper == 1:
            return self.even()
        firsts = range(1, math.ceil(GRAIN / taper) + 1)
        fitting = bisect_right(firsts, self.budget, key=lambda first: self.numbers(self._falling(first / GRAIN, taper)))
        return self._falling(firsts[max(fitting, 1) - 1] / GRAIN, taper)

    def given(self, channels: tuple[int, ...]) -> dict[str, int]:
        """The shape of these `channels`, one number for each group, whatever the budget.

        Raises:
            NetworkError: the number of groups is wrong, or a number is too large or no multiple of the group's unit.
        """
        groups = self.structure.groups
        if len(channels) != len(groups):
            raise NetworkError(
                f"gene.shape: expected {len(groups)} numbers, for the groups {', '.join(groups)}; found {len(channels)}"
            )
        return sizes_within(groups, dict(zip(groups, channels, strict=True)), name="gene.shape")

    def fitted(self, proportions: Mapping[str, float]) -> dict[str, int]:
        """The largest shape of about these proportions that the budget allows: no group can have one unit more.

        They are fractions of the channels of each group, above 0, of which only ratios count.
        """
        low, high = math.log(1e-6), math.log(1 / min(proportions.values()))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self.numbers(self._scaled(proportions, math.exp(middle))) <= self.budget
            low, high = (middle, high) if fits else (low, middle)
        return self._filled(self._scaled(proportions, math.exp(low)), proportions)

    def _scaled(self, proportions: Mapping[str, float], factor: float) -> dict[str, int]:
        """Whole units of `factor` times the proportions, rounded down, at least one and at most all."""
        return {
            name: group.unit * max(1, math.floor(min(1.0, factor * proportions[name]) * group.size / group.unit))
            for name, group in self.structure.groups.items()
        }

    def _filled(self, shape: dict[str, int], proportions: Mapping[str, float]) -> dict[str, int]:
        """`shape` with units added, each to the group that is furthest below its proportion, while the budget lasts."""
        groups = self.structure.groups

        def shortfall(name: str) -> float:
            return proportions[name] * groups[name].size / (shape[name] + groups[name].unit)

        growing = list(groups)
        while growing:
            name = max(growing, key=shortfall)
            larger = shape | {name: shape[name] + groups[name].unit}
            if larger[name] > groups[name].size or self.numbers(larger) > self.budget:
                growing.remove(name)
            else:
                shape = larger
        return shape

    def _falling(self, first: float, taper: float) -> dict[str, int]:
        groups = self.structure.groups
        ratio = taper ** (1 / max(len(groups) - 1, 1))
        return {
            name: group.unit * max(1, round(group.size * min(1.0, first * ratio**number) / group.unit))
            for number, (name, group) in enumerate(groups.items())
        }
