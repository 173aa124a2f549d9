"""timm's own vision transformer on patches of 4 pixels, as `vit_tiny_patch4_32`: class and names are timm's.

At widths 1, 2 and 4 it has the channels of timm's `vit_tiny`, `vit_small` and `vit_base` (192, 384, 768; heads of 64),
on images of 32 pixels, and 6 blocks, which CPUs can train. For other image sizes timm resamples the position
embedding. The residual stream is one group; every block has one of heads, which stay whole, and one of hidden units.
Only layer norms read the stream, see `axes.refitted`; a further block is born adding nothing to it (ours).
"""

from collections.abc import Mapping
from typing import Any

from timm.layers import LayerNorm, Mlp
from timm.models import register_model
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks.axes import CLASSES, IMAGE, Axes
from learngene_hub.networks.network import UNPUBLISHED_CFG
from learngene_hub.networks.structure import (
    RANDOM,
    REFUSE,
    Birth,
    Family,
    Layer,
    Newborn,
    Structure,
    TimmClass,
    check_depth,
    resolve_groups,
)
from learngene_hub.networks.timm_class import create_of_sizes

_NAME = "vit_tiny_patch4_32"
_DEPTHS = (6, 4, 9, 12)
_STREAM = "stream"
_CHANNELS, _HIDDEN, _HEAD = 192, 768, 64  # of the stream, of a block's hidden units, of one head of three
_SIZE, _PATCH = 32, 4
_TOKENS = 1 + (_SIZE // _PATCH) ** 2  # the first is that of the class


def vit_structure(*, depth: int = 6, width: float = 1.0, channels: Mapping[str, int] | None = None) -> Structure:
    """Layers and channels of a vision transformer: the stream, and the heads and hidden units of every block (ours)."""
    depth = check_depth(depth, allowed=_DEPTHS, name=_NAME)
    blocks = [layer for block in range(depth) for layer in _block_layers(block)]
    base, units = {_STREAM: _CHANNELS}, dict[str, int]()
    for block in range(depth):
        base |= {_heads(block): _CHANNELS, _hidden(block): _HIDDEN}
        units[_heads(block)] = _HEAD
    return Structure(
        depth=depth,
        width=width,
        layers=(_embedding(), *blocks, Layer("norm", _norm("norm"), _STREAM, _STREAM)),
        groups=resolve_groups(base, width=width, channels=channels, units=units, name=_NAME),
        classifier=Axes("head.weight", (CLASSES, _STREAM)),
    )


def _heads(block: int) -> str:
    return f"blocks.{block}.attn"


def _hidden(block: int) -> str:
    return f"blocks.{block}.mlp"


def _embedding() -> Layer:
    """Patches, class token and position embedding: what the stream begins with."""
    conv = "patch_embed.proj"
    dims: dict[str, tuple[str | int, ...]] = {
        "cls_token": (1, 1, _STREAM),
        "pos_embed": (1, _TOKENS, _STREAM),
        f"{conv}.weight": (_STREAM, IMAGE, _PATCH, _PATCH),
        f"{conv}.bias": (_STREAM,),
    }
    return Layer(conv, tuple(Axes(*tensor, layer_norm="summand") for tensor in dims.items()), IMAGE, _STREAM)


def _block_layers(block: int) -> tuple[Layer, ...]:
    heads, hidden, norm = _heads(block), _hidden(block), f"blocks.{block}.norm"
    inner, last = (REFUSE, REFUSE) if block < min(_DEPTHS) else (RANDOM, ADDS_NOTHING)
    return (
        _normed_linear(f"{heads}.qkv", f"{norm}1", writes=heads, blocks=3, if_absent=inner),
        _linear_to_stream(f"{heads}.proj", reads=heads, if_absent=last),
        _normed_linear(f"{hidden}.fc1", f"{norm}2", writes=hidden, blocks=1, if_absent=inner),
        _linear_to_stream(f"{hidden}.fc2", reads=hidden, if_absent=last),
    )


def _norm(name: str) -> tuple[Axes, Axes]:
    return Axes(f"{name}.weight", (_STREAM,), layer_norm="weight"), Axes(f"{name}.bias", (_STREAM,))


def _normed_linear(name: str, norm: str, *, writes: str, blocks: int, if_absent: Birth) -> Layer:
    weight, bias = Axes(f"{name}.weight", (writes, _STREAM), blocks), Axes(f"{name}.bias", (writes,), blocks)
    return Layer(name, (*_norm(norm), weight, bias), _STREAM, writes, if_absent)


def _linear_to_stream(name: str, *, reads: str, if_absent: Birth) -> Layer:
    weight = Axes(f"{name}.weight", (_STREAM, reads), layer_norm="summand")
    bias = Axes(f"{name}.bias", (_STREAM,), layer_norm="summand")
    return Layer(name, (weight, bias), reads, _STREAM, if_absent)


def _add_nothing(newborn: Newborn, layer: Layer) -> None:
    """Let a layer add nothing to the stream (ours)."""
    for axes in layer.tensors:
        newborn.tensors[axes.name].zero_()


ADDS_NOTHING = Birth("adds nothing", make=_add_nothing)


def _describe(model: VisionTransformer) -> dict[str, Any]:
    blocks, depth = [block for block in model.blocks if type(block) is Block], len(model.blocks)
    kinds = {(type(block.attn), type(block.mlp), type(block.mlp.act)) for block in blocks}
    heads = sorted({block.attn.head_dim for block in blocks})
    plain = len(blocks) == depth and kinds == {(Attention, Mlp, nn.GELU)} and isinstance(model.norm, LayerNorm)
    names = ", ".join(sorted({type(block).__name__ for block in model.blocks}))
    if not plain or heads != [_HEAD] or depth not in _DEPTHS:
        raise NetworkError(
            f"expected a vision transformer of {', '.join(map(str, _DEPTHS))} of timm's plain blocks, heads of {_HEAD} "
            f"channels and a layer norm behind the last block, found {depth} blocks"
            f"{'' if plain else ' that are not plain'} ({names})"
            f"{', heads of ' if heads else ''}{', '.join(map(str, heads))}"
        )
    return {"depth": depth}


def _note_sizes(model: VisionTransformer, structure: Structure) -> None:
    model.embed_dim = model.num_features = model.head_hidden_size = structure.channels[_STREAM]
    for number, (block, info) in enumerate(zip(model.blocks, model.feature_info, strict=True)):
        info["num_chs"] = model.embed_dim
        block.attn.attn_dim = structure.channels[_heads(number)]
        block.attn.num_heads = block.attn.attn_dim // _HEAD


def _published(depth: int) -> tuple[str, dict[str, Any]]:
    sizes = {"img_size": [_SIZE, _SIZE], "patch_size": _PATCH, "depth": depth, "global_pool": "token"}
    return "vit_tiny_patch16_224", sizes | {"dynamic_img_size": True, "dynamic_img_pad": True}


_TIMM = TimmClass(
    VisionTransformer,
    published={depth: _published(depth) for depth in _DEPTHS},
    describe=_describe,
    note_sizes=_note_sizes,
)
FAMILY = Family(_DEPTHS, vit_structure, _TIMM)


def lg_vit_tiny_patch4_32(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """A `VisionTransformer` of timm's own in any width; called by `timm.create_model("lg_vit_tiny_patch4_32")`."""
    if kwargs.get("features_only"):
        kwargs = {"feature_cls": "getter", "out_indices": 3, **kwargs}  # as for timm's own: the last three blocks
    return create_of_sizes(_NAME, FAMILY, pretrained, **kwargs)


default_cfgs = {
    f"lg_{_NAME}": {
        **UNPUBLISHED_CFG,
        "input_size": (3, _SIZE, _SIZE),
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
}
register_model(lg_vit_tiny_patch4_32)
