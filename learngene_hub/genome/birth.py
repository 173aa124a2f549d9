"""Newborn networks: fresh weights, with a learngene in their leading channels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from types import MappingProxyType
from typing import Any

import torch

from learngene_hub.core.device import on_cpu
from learngene_hub.core.errors import InheritanceError
from learngene_hub.core.rng import seeded_initialisation
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import carried_channels, inherit
from learngene_hub.networks import LearngeneNetwork, Structure, build, plan_structure


@dataclass(frozen=True)
class Body:
    """Architecture of a network, apart from its classes; see `learngene_hub.networks.build`."""

    network: str
    width: float = 1.0
    depth: int | None = None
    in_chans: int = 3

    @property
    def structure(self) -> Structure:
        """Its layers and channels.

        Raises:
            NetworkError: there is no such body.
        """
        return plan_structure(self.network, width=self.width, depth=self.depth)


def newborn(
    body: Body,
    *,
    num_classes: int,
    gene: Genome | None,
    seed: int,
    path: tuple[str | int, ...] = (),
    timm_kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> LearngeneNetwork:
    """A network of `body` in train mode on the CPU, its random weights drawn at the address `path` under `seed`.

    Args:
        body: what to build.
        num_classes: outputs of the fresh classifier; a gene brings none.
        gene: the gene that it inherits; None: no gene, a start from scratch.
        seed: of the weights that are not inherited; equal seeds and paths give equal ones, gene or not.
        path: address under the seed.
        timm_kwargs: further arguments of `timm.create_model`.

    Raises:
        InheritanceError: the gene does not fit; if the body is too narrow, the message names the smallest width.
        NetworkError: the body cannot be built.
    """
    with on_cpu(), seeded_initialisation(seed, "birth", *path):
        network = build(
            body.network,
            num_classes=num_classes,
            in_chans=body.in_chans,
            width=body.width,
            depth=body.depth,
            **timm_kwargs,
        )
    if gene is not None:
        _refuse_narrower(body, network, gene)
        inherit(network.state_dict(), network.structure, gene)
    return network.train()


def _refuse_narrower(body: Body, network: LearngeneNetwork, gene: Genome) -> None:
    carried, counts = carried_channels(network.structure, gene), network.channel_counts()
    if all(counts[group] >= channels for group, channels in carried.items()):
        return
    raise InheritanceError(
        f"width={body.width:g}: {body.network} of depth {network.depth} must be at least as wide as the gene, found "
        f"a narrower one; give width={_least_width(body, carried):g} or more"
    )


def _least_width(body: Body, carried: Mapping[str, int]) -> float:
    """The least multiple of 0.01 at which a network has room for so many channels of every group."""

    def has_room(hundredths: int) -> bool:
        channels = replace(body, width=hundredths / 100).structure.channels
        return all(channels[group] >= needed for group, needed in carried.items())

    return next(filter(has_room, count(1))) / 100


def placed(network: LearngeneNetwork, device: torch.device) -> LearngeneNetwork:
    """The same `network` on `device`, its kernels laid out channels last, which convolutions there prefer."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    return network


def gene_network(body: Body, channels: Mapping[str, int], *, num_classes: int) -> LearngeneNetwork:
    """The thin network that holds the gene's `channels` and nothing else, its weights yet to be set."""
    with seeded_initialisation(0, "thin"):
        return build(body.network, num_classes=num_classes, in_chans=body.in_chans, depth=body.depth, channels=channels)
