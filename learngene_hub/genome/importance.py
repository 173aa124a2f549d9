"""How much each channel of a trained network matters, so that the leading ones can be the best ones.

With the channels of a whole network in this order, genes of any shape are leading slices of it.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from learngene_hub.core.rng import generator
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import State, extract, reorder
from learngene_hub.networks import Axes, Structure

Ranking = Callable[[State, Sequence[Axes], int, int], Tensor]
"""State, tensors that write one group, channels wanted, seed -> `(channels,)` worth of every channel of the group."""


def magnitude(state: State, writers: Sequence[Axes], wanted: int, seed: int) -> Tensor:
    """Sum of the absolute weights of the kernels that make the channel (Li 2017, arXiv:1608.08710)."""
    kernels = [state[axes.name] for axes in writers if len(axes.dims) > 1]
    return sum((kernel.abs().flatten(1).sum(dim=1) for kernel in kernels), torch.tensor(0.0))


def batch_norm(state: State, writers: Sequence[Axes], wanted: int, seed: int) -> Tensor:
    """Absolute weight of the channel's batch norm (network slimming: Liu 2017, arXiv:1708.06519)."""
    weights = [state[axes.name] for axes in writers if len(axes.dims) == 1 and axes.name.endswith(".weight")]
    return sum((weight.abs() for weight in weights), torch.tensor(0.0))


def at_random(state: State, writers: Sequence[Axes], wanted: int, seed: int) -> Tensor:
    """A random number."""
    return torch.rand(_channels(state, writers), generator=generator(seed, "random slice", str(writers[0].dims[0])))


def evenly(state: State, writers: Sequence[Axes], wanted: int, seed: int) -> Tensor:
    """1 for `wanted` evenly spaced channels, 0 for the others (weight selection: Xu 2024, arXiv:2311.18823)."""
    total = _channels(state, writers)
    worth = torch.zeros(total)
    worth[torch.arange(wanted) * total // wanted] = 1
    return worth


def cut(state: State, structure: Structure, sizes: Mapping[str, int], ranking: Ranking, *, seed: int) -> Genome:
    """The best channels of every group by `ranking`, chained like a gene, under the network's names.

    Args:
        state: of the trained network, with or without its classifier.
        structure: of the network.
        sizes: group -> channels to keep.
        ranking: worth of the channels.
        seed: of random rankings.
    """
    orders = {}
    for group, wanted in sizes.items():
        writers = [axes for layer in structure.writers(group) for axes in layer.tensors]
        orders[group] = ranking(state, writers, wanted, seed).argsort(descending=True, stable=True)
    return extract(reorder(state, structure, orders), structure, sizes)


def _channels(state: State, writers: Sequence[Axes]) -> int:
    return state[writers[0].name].shape[0]
