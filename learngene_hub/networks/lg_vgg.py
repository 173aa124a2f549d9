"""VGG with batch norm and a light head, as `lg_vgg11`.

Widths and layout of the convolutions are those of timm's `vgg11_bn` (attested in its source). Ours: no bias before a
batch norm, and a global average pool with one linear layer instead of the 4096-wide head, which is 93 % of timm's
parameters. A layer keeps its name at every depth, `stages.{stage}.{position}`, so that a gene of depth 11 finds its
layers in a network of depth 19.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, final

import torch
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from learngene_hub.core.errors import InheritanceError
from learngene_hub.networks.axes import CLASSES, IMAGE, Axes, part
from learngene_hub.networks.layers import HalvingPool, convolution
from learngene_hub.networks.network import UNPUBLISHED_CFG, StagedNetwork, create
from learngene_hub.networks.structure import (
    NORM_EPS,
    REFUSE,
    Birth,
    Family,
    Layer,
    Newborn,
    Structure,
    check_depth,
    normed_convolution,
    resolve_groups,
)

_STAGE_WIDTHS = (64, 128, 256, 512, 512)
_CONVS_PER_STAGE = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

VGG_DEPTHS: tuple[int, ...] = tuple(_CONVS_PER_STAGE)
"""Depths of the family: 11, 13, 16, 19. As in VGG's names they count three linear layers, of which one is left."""


def vgg_structure(*, depth: int = 11, width: float = 1.0, channels: Mapping[str, int] | None = None) -> Structure:
    """Layers and channels of a VGG, one channel group per convolution (ours)."""
    depth = check_depth(depth, allowed=VGG_DEPTHS, name="lg_vgg11")
    positions = [(stage, position) for stage, count in enumerate(_CONVS_PER_STAGE[depth]) for position in range(count)]
    base = {_group(stage, position): _STAGE_WIDTHS[stage] for stage, position in positions}
    return Structure(
        depth=depth,
        width=width,
        layers=tuple(_layer(*pair) for pair in zip(positions, [None, *positions], strict=False)),
        groups=resolve_groups(base, width=width, channels=channels, name="lg_vgg11"),
        classifier=Axes("head.fc.weight", (CLASSES, _group(*positions[-1]))),
    )


@final
class LgVgg(StagedNetwork):
    """VGG with batch norm, global average pool and one linear layer.

    At width 1 and depth 11: 9,223,232 parameters without the classifier, 9,225,797 with one of 5 classes.

    Args:
        in_chans: channels of the image.
        width: factor on the number of channels, above 0.
        depth: one of `VGG_DEPTHS`.
        channels: number of channels of every group, instead of `width`; a thin network that holds only a gene.
        **head: further arguments of `StagedNetwork`.

    Raises:
        NetworkError: `depth`, `width` or `channels` is out of range.
    """

    def __init__(
        self,
        *,
        in_chans: int = 3,
        width: float = 1.0,
        depth: int = 11,
        channels: Mapping[str, int] | None = None,
        **head: Any,  # noqa: ANN401
    ) -> None:
        structure = vgg_structure(depth=depth, width=width, channels=channels)
        super().__init__(structure, _stages(structure, in_chans=in_chans), in_chans=in_chans, **head)


class _ConvNormRelu(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel=3, slope=0.0)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


def lg_vgg11(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """An `LgVgg`; called by `timm.create_model("lg_vgg11")`, see `create`."""
    return create(LgVgg, "lg_vgg11", pretrained, stages=len(_STAGE_WIDTHS), **kwargs)


def _group(stage: int, position: int) -> str:
    return f"stages.{stage}.{position}"


def _layer(here: tuple[int, int], before: tuple[int, int] | None) -> Layer:
    group, (stage, position) = _group(*here), here
    return normed_convolution(
        f"{group}.conv",
        f"{group}.norm",
        reads=IMAGE if before is None else _group(*before),
        writes=group,
        kernel=3,
        if_absent=REFUSE if position < _CONVS_PER_STAGE[11][stage] else IDENTITY,
    )


def _stages(structure: Structure, *, in_chans: int) -> nn.Sequential:
    stages = [OrderedDict[str, nn.Module]() for _ in _STAGE_WIDTHS]
    sizes = {IMAGE: in_chans, **structure.channels}
    for layer in structure.layers:
        _, stage, position = layer.writes.split(".")
        stages[int(stage)][position] = _ConvNormRelu(sizes[layer.reads], sizes[layer.writes])
    return nn.Sequential(*(nn.Sequential(OrderedDict(stage, pool=HalvingPool())) for stage in stages))


def _born_as_identity(newborn: Newborn, layer: Layer) -> None:
    """Make a layer pass on unchanged what the gene's last layer before it computes (ours).

    The kernel is Dirac's. Its input is a rectified batch norm, so mean and variance follow from that norm's weight
    and bias; with them as statistics the layer is the identity in eval mode, and nearly so in train mode.
    """
    kernel = newborn.tensors[layer.kernel.name]
    count = newborn.carried[layer.writes]
    if count > min(kernel.shape[:2]):
        raise InheritanceError(
            f"layer {layer.name}: expected at least the gene's {count} channels to carry on, found "
            f"{tuple(kernel.shape)}; make the network at least as wide as the gene"
        )
    last = layer  # of the layers before this one that the gene has
    while last.kernel.name not in newborn.gene:
        last = newborn.structure.writers(last.reads)[0]
    _, weight, bias, *_ = (newborn.gene[axes.name].to(kernel) for axes in last.tensors)
    channels = torch.arange(count, device=kernel.device)
    kernel[:count] = 0
    kernel[channels, channels, kernel.shape[2] // 2, kernel.shape[3] // 2] = 1
    mean, variance = _rectified_moments(weight, bias)
    scale = (variance + NORM_EPS).sqrt()
    for axes, value in zip(layer.tensors[1:], (scale, mean, mean, variance), strict=True):
        part(newborn.tensors[axes.name], axes, newborn.carried).copy_(value)


def _rectified_moments(scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(0, scale * z + shift) with z standard normal, element by element."""
    deviation = scale.abs().clamp_min(1e-12)
    ratio = shift / deviation
    above = torch.special.ndtr(ratio)
    density = (-0.5 * ratio.square()).exp() / math.sqrt(2 * math.pi)
    mean = shift * above + deviation * density
    square = (shift.square() + deviation.square()) * above + shift * deviation * density
    return mean, (square - mean.square()).clamp_min(0)


IDENTITY = Birth("identity", make=_born_as_identity, passes_on=True)
FAMILY = Family(VGG_DEPTHS, vgg_structure)

default_cfgs = {
    "lg_vgg11": {
        **UNPUBLISHED_CFG,
        "input_size": (3, 32, 32),
        "pool_size": (1, 1),
        "first_conv": "stages.0.0.conv",
        "classifier": "head.fc",
    }
}
register_model(lg_vgg11)
