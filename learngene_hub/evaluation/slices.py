"""Genes without evolution: some channels cut out of a network that was trained as usual."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from learngene_hub.evolution.ancestry import HEAD
from learngene_hub.networks import ConvSpec
from learngene_hub.operators import extract, reorder
from learngene_hub.rng import generator

State = Mapping[str, Tensor]
Ranking = Callable[[State, Sequence[ConvSpec], int, int], Tensor]
"""State, convolutions of one group, channels wanted, seed -> `(channels,)` worth of every channel of the group."""


def magnitude(state: State, specs: Sequence[ConvSpec], wanted: int, seed: int) -> Tensor:
    """Sum of the absolute weights of the kernels that make the channel (Li 2017, arXiv:1608.08710)."""
    return sum((state[f"{spec.conv}.weight"].abs().flatten(1).sum(dim=1) for spec in specs), torch.tensor(0.0))


def batch_norm(state: State, specs: Sequence[ConvSpec], wanted: int, seed: int) -> Tensor:
    """Absolute weight of the channel's batch norm (network slimming: Liu 2017, arXiv:1708.06519)."""
    return sum((state[f"{spec.norm}.weight"].abs() for spec in specs), torch.tensor(0.0))


def at_random(state: State, specs: Sequence[ConvSpec], wanted: int, seed: int) -> Tensor:
    """A random number."""
    return torch.rand(_channels(state, specs), generator=generator(seed, "random slice", specs[0].out_group))


def evenly(state: State, specs: Sequence[ConvSpec], wanted: int, seed: int) -> Tensor:
    """1 for `wanted` evenly spaced channels, 0 for the others (weight selection: Xu 2024, arXiv:2311.18823)."""
    total = _channels(state, specs)
    worth = torch.zeros(total)
    worth[torch.arange(wanted) * total // wanted] = 1
    return worth


def cut(
    state: State, specs: Sequence[ConvSpec], channels: Mapping[str, int], ranking: Ranking, *, seed: int
) -> dict[str, Tensor]:
    """The best `channels` of every group by `ranking`, chained like a gene, as tensors under the network's names.

    Args:
        state: of the trained network, with its classifier.
        specs: its convolutions in forward order.
        channels: group -> channels to keep.
        ranking: worth of the channels.
        seed: of random rankings.
    """
    groups = dict.fromkeys(spec.out_group for spec in specs)
    orders = {}
    for group in groups:
        members = [spec for spec in specs if spec.out_group == group]
        worth = ranking(state, members, channels[group], seed)
        orders[group] = worth.argsort(descending=True, stable=True)
    return extract(reorder(state, specs, orders, head=HEAD), specs, channels)


def _channels(state: State, specs: Sequence[ConvSpec]) -> int:
    return state[f"{specs[0].conv}.weight"].shape[0]
