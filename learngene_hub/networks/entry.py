"""What `timm.create_model` calls for every network of ours."""

from contextlib import nullcontext
from typing import cast

import torch
from timm.models import build_model_with_cfg
from torch import nn

from learngene_hub.networks.network import LearngeneNetwork


def create(kind: type[LearngeneNetwork], name: str, pretrained: bool, *, stages: int, **kwargs: object) -> nn.Module:
    """A `kind`, or timm's wrapper around one with `features_only`.

    `device` and `dtype`, which timm's networks hand to each of their layers, hold for the network as a whole here.

    Args:
        kind: class of the network.
        name: what timm knows it by.
        pretrained: load weights; timm refuses unless the caller names a source, since none are published.
        stages: how many maps `features_only` may give.
        **kwargs: arguments of `kind` and of timm's builder, `device` and `dtype`.
    """
    feature_cfg = {"out_indices": tuple(range(stages)), "flatten_sequential": True}
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    with nullcontext() if device is None else torch.device(cast("torch.device | str", device)):
        model: nn.Module = build_model_with_cfg(kind, name, pretrained, feature_cfg=feature_cfg, **kwargs)
    return model.to(dtype=cast("torch.dtype | None", dtype))
