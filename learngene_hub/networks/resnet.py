"""timm's own ResNet of basic blocks, as `resnet18`: depths 18, 10 and 34, class and names are timm's.

Its stem is as published: a 7x7 convolution of stride 2 and a max-pool, so that the last map is a 32nd of the image. At
32 pixels that is a single pixel; images of 64 pixels or more suit it, smaller ones may be scaled up by
`data.image_size`. What the blocks of a stage give, and the stem before the first, is one group: they are added up. A
further block of a deeper network starts as an exact identity, since what it reads has been rectified before (ours).
"""

from collections.abc import Mapping
from typing import Any

from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks.axes import CLASSES, IMAGE, Axes
from learngene_hub.networks.network import UNPUBLISHED_CFG
from learngene_hub.networks.structure import (
    RANDOM,
    REFUSE,
    ZERO_NORM,
    Family,
    Layer,
    Structure,
    TimmClass,
    check_depth,
    normed_convolution,
    resolve_groups,
)
from learngene_hub.networks.timm_class import create_of_sizes

_BLOCKS = {18: (2, 2, 2, 2), 10: (1, 1, 1, 1), 34: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)
_STAGES = ("layer1", "layer2", "layer3", "layer4")


def resnet_structure(*, depth: int = 18, width: float = 1.0, channels: Mapping[str, int] | None = None) -> Structure:
    """Layers and channels of a ResNet of basic blocks; stem and blocks of a stage write one group (ours).

    The depth counts the stem, two convolutions a block and the classifier.
    """
    depth = check_depth(depth, allowed=tuple(_BLOCKS), name="resnet18")
    stem = normed_convolution("conv1", "bn1", reads=IMAGE, writes="layer1", kernel=7)
    layers = [stem]
    for stage, count in enumerate(_BLOCKS[depth]):
        for block in range(count):
            layers += _block_layers(stage, block)
    base = {layer.writes: _WIDTHS[_STAGES.index(layer.writes.split(".")[0])] for layer in layers}
    return Structure(
        depth=depth,
        width=width,
        layers=tuple(layers),
        groups=resolve_groups(base, width=width, channels=channels, name="resnet18"),
        classifier=Axes("fc.weight", (CLASSES, _STAGES[-1])),
    )


def _block_layers(stage: int, block: int) -> list[Layer]:
    output = _STAGES[stage]
    name = f"{output}.{block}"
    first, norms = f"{name}.conv1", (f"{name}.bn1", f"{name}.bn2")
    entry = _STAGES[stage - 1] if block == 0 and stage > 0 else output
    inner, last = (REFUSE, REFUSE) if block == 0 else (RANDOM, ZERO_NORM)
    layers = [
        normed_convolution(first, norms[0], reads=entry, writes=first, kernel=3, if_absent=inner),
        normed_convolution(f"{name}.conv2", norms[1], reads=first, writes=output, kernel=3, if_absent=last),
    ]
    if entry == output:
        return layers
    shortcut = f"{name}.downsample"
    return [*layers, normed_convolution(f"{shortcut}.0", f"{shortcut}.1", reads=entry, writes=output, kernel=1)]


def _describe(model: ResNet) -> dict[str, Any]:
    blocks = tuple(len(getattr(model, stage)) for stage in _STAGES)
    kinds = {type(block) for stage in _STAGES for block in getattr(model, stage)}
    depths = [depth for depth, counts in _BLOCKS.items() if counts == blocks]
    if not depths or kinds != {BasicBlock} or not isinstance(model.act1, nn.ReLU):
        raise NetworkError(
            f"expected a ResNet of timm's basic blocks with ReLU, {', '.join(map(str, _BLOCKS.values()))} in the four "
            f"stages, found {blocks} of {', '.join(sorted(kind.__name__ for kind in kinds))} with "
            f"{type(model.act1).__name__}"
        )
    return {"depth": depths[0]}


def _note_sizes(model: ResNet, structure: Structure) -> None:
    counts = [structure.channels[stage] for stage in ("layer1", *_STAGES)]  # the stem's first
    for info, count in zip(model.feature_info, counts, strict=True):
        info["num_chs"] = count
    model.num_features = counts[-1]
    model.head_hidden_size = counts[-1] * model.global_pool.feat_mult()


_TIMM = TimmClass(
    ResNet,
    published={18: ("resnet18", {}), 10: ("resnet18", {"layers": [1, 1, 1, 1]}), 34: ("resnet34", {})},
    describe=_describe,
    note_sizes=_note_sizes,
)
FAMILY = Family(tuple(_BLOCKS), resnet_structure, _TIMM)


def lg_resnet18(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """A `ResNet` of timm's own in any width; called by `timm.create_model("lg_resnet18", width=0.5)`."""
    return create_of_sizes("resnet18", FAMILY, pretrained, **kwargs)


default_cfgs = {
    "lg_resnet18": {
        **UNPUBLISHED_CFG,
        "input_size": (3, 64, 64),
        "pool_size": (2, 2),
        "first_conv": "conv1",
        "classifier": "fc",
    }
}
register_model(lg_resnet18)
