"""Newborn networks: fresh weights, with a learngene in their leading channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learngene_hub.networks import LearngeneNetwork, build, plan_layout
from learngene_hub.operators import inherit_into
from learngene_hub.rng import seeded_initialisation


@dataclass(frozen=True)
class Body:
    """What a network is built as, apart from its classes.

    Attributes:
        network: one of `learngene_hub.networks.NETWORKS`.
        width: factor on the channels of every layer.
        depth: as the network counts it; None: its default.
        in_chans: channels of an image.
    """

    network: str
    width: float = 1.0
    depth: int | None = None
    in_chans: int = 3


def newborn(
    body: Body,
    *,
    num_classes: int,
    gene: Mapping[str, Tensor] | None,
    cross: str,
    seed: int,
    path: tuple[str | int, ...] = (),
    **timm_kwargs: Any,  # noqa: ANN401
) -> LearngeneNetwork:
    """A network of `body` in train mode on the CPU, its random weights drawn at the address `path` under `seed`.

    Args:
        body: what to build.
        num_classes: outputs of the fresh classifier; a gene brings none.
        gene: what it inherits; None: nothing, a start from scratch.
        cross: see `learngene_hub.operators.inherit`.
        seed: of the weights that are not inherited; equal seeds and paths give equal ones, gene or not.
        path: address under the seed.
        **timm_kwargs: further arguments of `timm.create_model`.

    Raises:
        InheritanceError: the gene does not fit.
        NetworkError: the body cannot be built.
    """
    with seeded_initialisation(seed, "birth", *path):
        network = build(
            body.network,
            num_classes=num_classes,
            in_chans=body.in_chans,
            width=body.width,
            depth=body.depth,
            **timm_kwargs,
        )
    if gene is not None:
        inherit_into(network.state_dict(), network.conv_specs(), gene, cross=cross)
    return network.train()


def placed(network: LearngeneNetwork, device: torch.device) -> LearngeneNetwork:
    """The same `network` on `device`, its kernels laid out channels last, which convolutions there prefer."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    return network


def gene_network(body: Body, channels: Mapping[str, int], *, num_classes: int) -> LearngeneNetwork:
    """The thin network that holds the gene's `channels` and nothing else, its weights yet to be set."""
    with seeded_initialisation(0, "thin"):
        return build(body.network, num_classes=num_classes, in_chans=body.in_chans, depth=body.depth, channels=channels)


def gene_channels(body: Body, fraction: float) -> dict[str, int]:
    """Group -> leading channels that are gene: `fraction` of each group's, at least one, rounded."""
    channels = plan_layout(body.network, width=body.width, depth=body.depth).channels
    return {group: max(1, round(count * fraction)) for group, count in channels.items()}
