"""How much each channel of a trained network matters, so that the leading ones can be the best ones.

With the channels of a whole network in this order, genes of any shape are leading slices of it.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from learngene_hub.core.errors import TrainingError
from learngene_hub.core.rng import generator
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import State, extract, reorder
from learngene_hub.networks import Axes, Group, Structure, in_blocks

Ranking = Callable[[State, Sequence[Axes], Group, int, int], Tensor]
"""State, tensors that write one group, the group, channels wanted, seed -> `(channels,)` importance of its channels."""


def magnitude(state: State, writers: Sequence[Axes], group: Group, wanted: int, seed: int) -> Tensor:
    """Sum of the absolute weights of the kernels that make the channel (Li 2017, arXiv:1608.08710)."""
    importance = torch.tensor(0.0)
    for axes in writers:
        if len(axes.dims) > 1:
            kernel = in_blocks(state[axes.name], axes)
            shift = kernel.ndim - len(axes.dims)
            importance = importance + kernel.movedim(axes.place + shift, 0).flatten(1).abs().sum(dim=1)
    return importance


def batch_norm(state: State, writers: Sequence[Axes], group: Group, wanted: int, seed: int) -> Tensor:
    """Absolute weight of the channel's batch norm (network slimming: Liu 2017, arXiv:1708.06519).

    Raises:
        TrainingError: it has none.
    """
    if not any(axes.is_statistic for axes in writers):
        raise TrainingError("the network has layers without a batch norm")
    weights = [state[axes.name] for axes in writers if len(axes.dims) == 1 and axes.name.endswith(".weight")]
    return sum((weight.abs() for weight in weights), torch.tensor(0.0))


def at_random(state: State, writers: Sequence[Axes], group: Group, wanted: int, seed: int) -> Tensor:
    """A random number."""
    name = writers[0].dims[writers[0].place]
    return torch.rand(group.size, generator=generator(seed, "random slice", str(name)))


def evenly(state: State, writers: Sequence[Axes], group: Group, wanted: int, seed: int) -> Tensor:
    """1 for `wanted` evenly spaced channels, in whole units, else 0 (weight selection: Xu 2024, arXiv:2311.18823)."""
    total, wanted = group.size // group.unit, wanted // group.unit
    importance = torch.zeros(total)
    importance[torch.arange(wanted) * total // wanted] = 1
    return importance.repeat_interleave(group.unit)


def cut(state: State, structure: Structure, sizes: Mapping[str, int], ranking: Ranking, *, seed: int) -> Genome:
    """The best channels of every group by `ranking`, chained like a gene, under the network's names.

    `sizes` are the channels of each group to keep, `seed` is that of random rankings.
    """
    orders = {}
    for name, wanted in sizes.items():
        group = structure.groups[name]
        layers = structure.writers(name)
        writers = [axes for layer in layers for axes in layer.tensors if axes.dims[axes.place] == name]
        importance = ranking(state, writers, group, wanted, seed).reshape(-1, group.unit).sum(dim=1)
        orders[name] = group.channels_of(importance.argsort(descending=True, stable=True))
    return extract(reorder(state, structure, orders), structure, sizes)
