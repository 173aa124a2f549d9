"""ResNet12, the network of few-shot learning, as `lg_resnet12` and `lg_resnet12_wide`.

timm has none. Widths 64-128-256-512 are those of the learngene authors' earlier code, 64-160-320-640 those of most
few-shot papers; three 3x3 convolutions a block, a 1x1 shortcut, leaky ReLU of slope 0.1 and a max-pool after every
stage are common to both (inferred from their code). Greater depth is ours: extra blocks that can start as an exact
identity. A layer keeps its name at every depth, `stages.{stage}.{block}.conv1` and so on.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, final

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from learngene_hub.networks.axes import CLASSES, IMAGE, Axes
from learngene_hub.networks.layers import HalvingPool, convolution
from learngene_hub.networks.network import UNPUBLISHED_CFG, StagedNetwork, create
from learngene_hub.networks.structure import (
    RANDOM,
    REFUSE,
    ZERO_NORM,
    Family,
    Layer,
    Structure,
    check_depth,
    normed_convolution,
    resolve_groups,
)

_STAGES = 4
_SLOPE = 0.1
_NARROW = (64, 128, 256, 512)
_WIDE = (64, 160, 320, 640)

RESNET12_DEPTHS: tuple[int, ...] = tuple(range(12, 61, 3))
"""Depths of the family: 12, and every third number up to 60. They count the 3x3 convolutions."""


def blocks_per_stage(depth: int) -> tuple[int, ...]:
    """Number of blocks in each of the four stages; extra ones go to the last stage first, then backwards (ours).

    >>> blocks_per_stage(12), blocks_per_stage(18), blocks_per_stage(27)
    ((1, 1, 1, 1), (1, 1, 2, 2), (2, 2, 2, 3))

    Raises:
        NetworkError: `depth` is none of `RESNET12_DEPTHS`.
    """
    extra = (check_depth(depth, allowed=RESNET12_DEPTHS, name="lg_resnet12") - 12) // 3
    # The last stage gets the 1st, 5th, 9th ... extra block, the stage before it the 2nd, 6th, 10th ...
    return tuple(1 + (extra + stage) // _STAGES for stage in range(_STAGES))


def resnet12_structure(
    *,
    depth: int = 12,
    width: float = 1.0,
    channels: Mapping[str, int] | None = None,
    stage_widths: tuple[int, ...] = _NARROW,
) -> Structure:
    """Layers and channels of a ResNet12; all outputs of a stage's blocks are one group (ours)."""
    blocks = [(stage, block) for stage, count in enumerate(blocks_per_stage(depth)) for block in range(count)]
    layers = tuple(layer for stage, block in blocks for layer in _block_layers(stage, block))
    base = {layer.writes: stage_widths[int(layer.writes.split(".")[1])] for layer in layers}
    return Structure(
        depth=int(depth),
        width=width,
        layers=layers,
        groups=resolve_groups(base, width=width, channels=channels, name="lg_resnet12"),
        classifier=Axes("head.fc.weight", (CLASSES, layers[-1].writes)),
    )


@final
class LgResNet12(StagedNetwork):
    """ResNet12 without a stem, with global average pool and one linear layer.

    At width 1 and depth 12, without the classifier: 7,996,800 parameters with stages of 64-128-256-512 channels and
    12,424,320 with 64-160-320-640. A classifier of 5 classes adds 2,565 and 3,205.

    Args:
        in_chans: channels of the image.
        width: factor on the number of channels, above 0.
        depth: one of `RESNET12_DEPTHS`.
        channels: number of channels of every group, instead of `width`; a thin network that holds only a gene.
        stage_widths: channels of the four stages at width 1; set by the network's name.
        **head: further arguments of `StagedNetwork`.

    Raises:
        NetworkError: `depth`, `width` or `channels` is out of range.
    """

    def __init__(
        self,
        *,
        in_chans: int = 3,
        width: float = 1.0,
        depth: int = 12,
        channels: Mapping[str, int] | None = None,
        stage_widths: tuple[int, ...] = _NARROW,
        **head: Any,  # noqa: ANN401
    ) -> None:
        structure = resnet12_structure(depth=depth, width=width, channels=channels, stage_widths=stage_widths)
        super().__init__(structure, _stages(structure, in_chans=in_chans), in_chans=in_chans, **head)


class _Block(nn.Module):
    """Three 3x3 convolutions with batch norm, which are added to a shortcut.

    `channels` are those of the input and of the three outputs. In the first block of a stage a 1x1 convolution brings
    the shortcut to the stage's channels. A further block is exactly the identity while weight and bias of `norm3` are
    zero. That is why no activation follows its sum: its input has negative values left, the first block's leaky ReLU
    having only made them smaller, and a second one would change them (ours).
    """

    def __init__(self, channels: tuple[int, ...], *, is_first: bool) -> None:
        super().__init__()
        first, second, third, last = channels
        self.conv1 = convolution(first, second, kernel=3, slope=_SLOPE)
        self.norm1 = nn.BatchNorm2d(second)
        self.conv2 = convolution(second, third, kernel=3, slope=_SLOPE)
        self.norm2 = nn.BatchNorm2d(third)
        self.conv3 = convolution(third, last, kernel=3, slope=_SLOPE)
        self.norm3 = nn.BatchNorm2d(last)
        self.is_first = is_first
        if is_first:
            conv = convolution(first, last, kernel=1, slope=_SLOPE)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(last)))

    def forward(self, x: Tensor) -> Tensor:
        inner = _leaky(self.norm1(self.conv1(x)))
        inner = _leaky(self.norm2(self.conv2(inner)))
        summand: Tensor = self.norm3(self.conv3(inner))
        return _leaky(summand + self.shortcut(x)) if self.is_first else x + summand


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def lg_resnet12(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """An `LgResNet12` of 64-128-256-512 channels; called by `timm.create_model("lg_resnet12")`, see `create`."""
    return create(LgResNet12, "lg_resnet12", pretrained, stages=_STAGES, stage_widths=_NARROW, **kwargs)


def lg_resnet12_wide(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """An `LgResNet12` of 64-160-320-640 channels; called by `timm.create_model("lg_resnet12_wide")`, see `create`."""
    return create(LgResNet12, "lg_resnet12_wide", pretrained, stages=_STAGES, stage_widths=_WIDE, **kwargs)


def _block_layers(stage: int, block: int) -> tuple[Layer, ...]:
    name, output = f"stages.{stage}.{block}", f"stages.{stage}"
    first, second = f"{name}.conv1", f"{name}.conv2"
    inner, last = (REFUSE, REFUSE) if block == 0 else (RANDOM, ZERO_NORM)
    entry = output if block > 0 else f"stages.{stage - 1}" if stage > 0 else IMAGE
    layers = (
        normed_convolution(first, f"{name}.norm1", reads=entry, writes=first, kernel=3, if_absent=inner),
        normed_convolution(second, f"{name}.norm2", reads=first, writes=second, kernel=3, if_absent=inner),
        normed_convolution(f"{name}.conv3", f"{name}.norm3", reads=second, writes=output, kernel=3, if_absent=last),
    )
    if block > 0:
        return layers
    shortcut = f"{name}.shortcut"
    return (*layers, normed_convolution(f"{shortcut}.conv", f"{shortcut}.norm", reads=entry, writes=output, kernel=1))


def _stages(structure: Structure, *, in_chans: int) -> nn.Sequential:
    stages = nn.Sequential()
    entry = in_chans
    for stage, count in enumerate(blocks_per_stage(structure.depth)):
        output = structure.channels[f"stages.{stage}"]
        blocks = OrderedDict[str, nn.Module]()
        for block in range(count):
            inner = [structure.channels[f"stages.{stage}.{block}.{conv}"] for conv in ("conv1", "conv2")]
            blocks[str(block)] = _Block((entry, *inner, output), is_first=block == 0)
            entry = output
        stages.append(nn.Sequential(OrderedDict(blocks, pool=HalvingPool())))
    return stages


FAMILY = Family(RESNET12_DEPTHS, resnet12_structure)
WIDE = Family(RESNET12_DEPTHS, partial(resnet12_structure, stage_widths=_WIDE))

_CFG = {
    **UNPUBLISHED_CFG,
    "input_size": (3, 32, 32),
    "pool_size": (2, 2),
    "first_conv": ("stages.0.0.conv1", "stages.0.0.shortcut.conv"),  # both see the image
    "classifier": "head.fc",
}
default_cfgs = {"lg_resnet12": _CFG, "lg_resnet12_wide": _CFG}
register_model(lg_resnet12)
register_model(lg_resnet12_wide)
