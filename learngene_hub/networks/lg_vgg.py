"""VGG with batch norm and a light head, as `lg_vgg11`.

Widths and layout of the convolutions are those of timm's `vgg11_bn` (attested in its source). Ours: no bias before a
batch norm, and a global average pool with one linear layer instead of the 4096-wide head, which is 93 % of timm's
parameters. A layer keeps its name at every depth, `stages.{stage}.{position}`, so that a gene of depth 11 finds its
layers in a network of depth 19.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar, final

from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from learngene_hub.networks.entry import create
from learngene_hub.networks.layers import HalvingPool, convolution
from learngene_hub.networks.walk import IMAGE, ConvSpec, Layout, LearngeneNetwork, check_depth, resolve_channels

__all__ = ["VGG_DEPTHS", "LgVgg", "vgg_layout"]

_STAGE_WIDTHS = (64, 128, 256, 512, 512)
_CONVS_PER_STAGE = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

VGG_DEPTHS: tuple[int, ...] = tuple(_CONVS_PER_STAGE)
"""Depths of the family: 11, 13, 16, 19. As in VGG's names they count three linear layers, of which one is left."""


def vgg_layout(*, depth: int = 11, width: float = 1.0, channels: Mapping[str, int] | None = None) -> Layout:
    """Convolutions and channels of a VGG, one channel group per convolution (ours).

    Args:
        depth: one of `VGG_DEPTHS`.
        width: factor on the number of channels, above 0.
        channels: number of channels of every group instead, or None.

    Raises:
        NetworkError: `depth`, `width` or `channels` is out of range.
    """
    convs = _CONVS_PER_STAGE[check_depth(depth, allowed=VGG_DEPTHS, name="lg_vgg11")]
    places = [(stage, position) for stage, count in enumerate(convs) for position in range(count)]
    base = {_group(*place): _STAGE_WIDTHS[place[0]] for place in places}
    return Layout(
        depth=depth,
        width=width,
        specs=tuple(_spec(place, before) for place, before in zip(places, [None, *places], strict=False)),
        channels=resolve_channels(base, width=width, channels=channels, name="lg_vgg11"),
        stage_groups=tuple(_group(stage, count - 1) for stage, count in enumerate(convs)),
    )


@final
class LgVgg(LearngeneNetwork):
    """VGG with batch norm, global average pool and one linear layer.

    At width 1 and depth 11: 9,223,232 parameters without the classifier, 9,225,797 with one of 5 classes.

    Args:
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the image.
        width: factor on the number of channels, above 0.
        depth: one of `VGG_DEPTHS`.
        channels: number of channels of every group, instead of `width`; a thin network that holds only a gene.
        global_pool: timm's name of the pool before the classifier.
        drop_rate: dropout before the classifier, a fraction in [0, 1).

    Raises:
        NetworkError: `depth`, `width` or `channels` is out of range.
    """

    architecture: ClassVar[str] = "vgg"

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        width: float = 1.0,
        depth: int = 11,
        channels: Mapping[str, int] | None = None,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        layout = vgg_layout(depth=depth, width=width, channels=channels)
        super().__init__(
            layout,
            _stages(layout, in_chans=in_chans),
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )


class _ConvNormRelu(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel=3, slope=0.0)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


def lg_vgg11(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """An `LgVgg`, or timm's wrapper around one with `features_only`; called by `timm.create_model("lg_vgg11")`.

    Args:
        pretrained: load weights; timm refuses unless the caller names a source, since none are published.
        **kwargs: arguments of `LgVgg` and of timm's builder, `device` and `dtype`.
    """
    return create(LgVgg, "lg_vgg11", pretrained, stages=len(_STAGE_WIDTHS), **kwargs)


def _group(stage: int, position: int) -> str:
    return f"stages.{stage}.{position}"


def _spec(place: tuple[int, int], before: tuple[int, int] | None) -> ConvSpec:
    group, (stage, position) = _group(*place), place
    return ConvSpec(
        conv=f"{group}.conv",
        norm=f"{group}.norm",
        in_group=IMAGE if before is None else _group(*before),
        out_group=group,
        kernel=3,
        if_absent="refuse" if position < _CONVS_PER_STAGE[11][stage] else "identity",
    )


def _stages(layout: Layout, *, in_chans: int) -> nn.Sequential:
    stages = [OrderedDict[str, nn.Module]() for _ in layout.stage_groups]
    sizes = {IMAGE: in_chans, **layout.channels}
    for spec in layout.specs:
        _, stage, position = spec.out_group.split(".")
        stages[int(stage)][position] = _ConvNormRelu(sizes[spec.in_group], sizes[spec.out_group])
    return nn.Sequential(*(nn.Sequential(OrderedDict(stage, pool=HalvingPool())) for stage in stages))


# timm looks for the configuration here, in the module of the entry point, at the moment of registration.
default_cfgs = generate_default_cfgs(
    {
        "lg_vgg11": {
            "num_classes": 1000,
            "input_size": (3, 32, 32),
            "pool_size": (1, 1),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stages.0.0.conv",
            "classifier": "head.fc",
        }
    }
)
register_model(lg_vgg11)
