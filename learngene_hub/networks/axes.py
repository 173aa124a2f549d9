"""The tensors of a network seen as dimensions that belong to channel groups.

Layers that are added together must keep the same channels, so channels are not counted per layer but per group. A
learngene is the leading channels of every group: all surgery on a network is a loop over its `Axes` (ours).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

IMAGE = "image"
"""The group of the image's own channels, which no gene can shorten."""

CLASSES = "classes"
"""The group of a classifier's outputs, which belongs to no gene."""


@dataclass(frozen=True)
class Group:
    """Channels, at least 1, that are kept or cut together, in multiples of a unit such as one head of attention."""

    size: int
    unit: int = 1

    def channels_of(self, units: Tensor) -> Tensor:
        """`(channels,)` int64: the channels of these `(units,)`, in their order."""
        return (units[:, None] * self.unit + torch.arange(self.unit)).flatten()


@dataclass(frozen=True)
class Axes:
    """One tensor of a network.

    Attributes:
        name: in the network's state, such as `stages.0.0.conv.weight`.
        dims: for every dimension the group its entries belong to, or its size where it is not cut. The first dimension
            of a kernel is what it writes, the second what it reads.
        blocks: blocks of the group one behind the other in the first dimension, such as 3 for a fused query, key and
            value.
        is_statistic: not trained, such as a running mean.
        layer_norm: for a group that only layer norms read. `summand`: it adds to the group, the tensor's first.
            `weight`: it is the weight of such a norm.
    """

    name: str
    dims: tuple[str | int, ...]
    blocks: int = 1
    is_statistic: bool = False
    layer_norm: Literal["summand", "weight"] | None = None

    @property
    def place(self) -> int:
        """Index of the first dimension that is a group's: what a kernel writes, what a norm normalises."""
        return next(number for number, dim in enumerate(self.dims) if isinstance(dim, str))

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Shape of the tensor where the groups have these `sizes`."""
        first, *rest = (dim if isinstance(dim, int) else sizes[dim] for dim in self.dims)
        return (self.blocks * first, *rest)


def in_blocks(tensor: Tensor, axes: Axes) -> Tensor:
    """The view of `tensor` with several blocks as a dimension of their own, the first; `joined` undoes it."""
    if axes.blocks == 1:
        return tensor
    view: Tensor = tensor.unflatten(0, (axes.blocks, -1))  # type: ignore[no-untyped-call]
    return view


def part(tensor: Tensor, axes: Axes, sizes: Mapping[str, int]) -> Tensor:
    """The view of the leading `sizes` of every group in `tensor`; a group without a size is left whole.

    Shape: that of `axes.shape`, in blocks.
    """
    view = in_blocks(tensor, axes)
    shift = view.ndim - tensor.ndim
    for position, dim in enumerate(axes.dims):
        if isinstance(dim, str) and dim in sizes:
            view = view.narrow(position + shift, 0, sizes[dim])
    return view


def joined(view: Tensor, axes: Axes) -> Tensor:
    """What `in_blocks` or `part` gave, as a tensor without a dimension for blocks."""
    return view if axes.blocks == 1 else view.flatten(0, 1)


def reordered(tensor: Tensor, axes: Axes, orders: Mapping[str, Tensor]) -> Tensor:
    """A copy of `tensor` with the channels of every group in another order; groups without one stay as they are.

    An order is `(channels,)` int64: which channel comes first, second...
    """
    view = in_blocks(tensor, axes).detach().clone()
    shift = view.ndim - tensor.ndim
    for position, dim in enumerate(axes.dims):
        if isinstance(dim, str) and dim in orders:
            view = torch.index_select(view, position + shift, orders[dim].to(view.device))
    return joined(view, axes)


def refitted(tensor: Tensor, axes: Axes, *, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """The same part of `tensor`, for layer norms that see the channels of `after`, no longer those of `before` (ours).

    A layer norm takes mean and variance over all channels. Where the others are zero, two changes keep its output for
    the part, but for its epsilon: what is added to the group loses its mean, and the norm's weight is multiplied by the
    root of the channels before, divided by those after.

    `before` and `after` are shapes of whole tensors; `tensor` is a part of one, without a dimension for blocks.
    """
    match axes.layer_norm:
        case "summand":
            return tensor - tensor.mean(dim=axes.place, keepdim=True)
        case "weight":
            return tensor * math.sqrt(before[axes.place] / after[axes.place])
        case None:
            return tensor
