"""Base class of all networks that learngenes work with, and the function that creates them for timm."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch
from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg
from timm.models._features import feature_take_indices  # as timm's own networks import it
from torch import Tensor, nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks.layers import LAYERS, LayersHead, pooled_layers
from learngene_hub.networks.structure import Structure

UNPUBLISHED_CFG: dict[str, Any] = {"num_classes": 1000, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
"""What timm is told of every network here, none of which has published weights.

It is a part of `default_cfgs` in each module of an entry point, which timm reads when the network is registered.
"""


class LearngeneNetwork(nn.Module):
    """A timm model that knows its structure, what it inherited, and which inherited weights are frozen.

    A network of timm's own class is given the same attributes by `timm_class.described`, and is one to type checkers.

    Attributes:
        structure: its layers and channel groups.
        num_classes: outputs of the classifier; 0: none.
        in_chans: channels of an image.
        reads_layers: whether its head reads all layers, not only the last.
        inheritance: `InheritanceReport` of the inherited learngene; None for a network from scratch.
        hold: keeps frozen weights unchanged; None if nothing was ever frozen.
    """

    structure: Structure
    num_classes: int
    in_chans: int
    reads_layers: bool = False
    inheritance: Any = None
    hold: Any = None
    pretrained_cfg: dict[str, Any]  # set by timm

    def __init__(self, structure: Structure, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.structure = structure
        self.depth, self.width = structure.depth, structure.width
        self.num_classes, self.in_chans = num_classes, in_chans

    def channel_counts(self) -> dict[str, int]:
        """Number of channels of every group but those of the image and the classes, in forward order."""
        return self.structure.channels

    @property
    def network_name(self) -> str:
        """Name of its family, one of `learngene_hub.families.FAMILIES`."""
        return str(self.pretrained_cfg["architecture"])

    def forward_features(self, x: Tensor) -> Tensor:
        """Feature map of images `x` of shape (batch, in_chans, height, width)."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of what `forward_features` gave; with `pre_logits` the pooled features."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(batch, classes) logits of images `x`; (batch, channels) features if there are no classes."""
        return self.forward_head(self.forward_features(x))


class StagedNetwork(LearngeneNetwork):
    """Stages of convolutions, and what timm asks of a model.

    Subclasses only build `stages`. A stage ends in a max-pool, the stages in `head`: a global pool, dropout, and the
    classifier `head.fc`, whose weight has shape (classes, last_channels). With the pool `layers` the head is a
    `LayersHead`, which reads every layer.

    Args:
        structure: of the network.
        stages: modules of all its layers.
        in_chans: channels of the image.
        num_classes: outputs of the classifier; 0 for none.
        global_pool: timm's name of the pool before the classifier, or `layers`.
        drop_rate: dropout before the classifier, a fraction in [0, 1).

    Attributes:
        num_features: channels of what `forward_features` gives; with the pool `layers` means and maxima of every layer.
    """

    def __init__(
        self,
        structure: Structure,
        stages: nn.Sequential,
        *,
        in_chans: int,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(structure, num_classes=num_classes, in_chans=in_chans)
        # stage -> the group that its last layer writes
        last = {layer.name.split(".")[1]: layer.writes for layer in structure.layers}
        self.drop_rate = drop_rate
        self.feature_info = [
            {"num_chs": structure.groups[group].size, "reduction": 2 ** (number + 1), "module": f"stages.{stage}"}
            for number, (stage, group) in enumerate(last.items())
        ]
        self.stages = stages
        self._make_head(num_classes, global_pool)

    def _make_head(self, num_classes: int, global_pool: str) -> None:
        self.head: ClassifierHead | LayersHead
        if global_pool == LAYERS:
            self.num_features = self.structure.layer_features
            self.head = LayersHead(self.num_features, num_classes, drop_rate=self.drop_rate)
        else:
            self.num_features = self.structure.groups[self.structure.layers[-1].writes].size
            self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=self.drop_rate)
        self.reads_layers = global_pool == LAYERS
        self.head_hidden_size = self.head.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """(batch, last_channels, h, w) feature map of images `x` of shape (batch, in_chans, height, width).

        With the pool `layers` the (batch, features, 1, 1) means and maxima of every layer.
        """
        if self.reads_layers:
            return pooled_layers(self.stages, x)
        features: Tensor = self.stages(x)
        return features

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last feature map of images `x`, (batch, in_chans, height, width), and those that the stages end in.

        Arguments and errors are timm's; an `output_fmt` other than NCHW is a `NetworkError`. `norm` has no effect, as
        no norm follows the stages. The last map is what `forward_features` gives, unless the pool is `layers`.
        """
        taken, last = feature_take_indices(len(self.stages), indices)
        if output_fmt != "NCHW":
            raise NetworkError(f"{type(self).__name__}: expected output_fmt='NCHW', found {output_fmt!r}.")
        maps = []
        for number, stage in enumerate(list(self.stages)[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if number in taken:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(batch, classes) logits of what `forward_features` gave; with `pre_logits` (batch, num_features) features.

        The flag, like every name here, is timm's. The last map of `forward_intermediates` will do too, but not with the
        pool `layers`.
        """
        scores: Tensor = self.head(x, pre_logits=pre_logits)
        return scores

    def get_classifier(self) -> nn.Module:
        """The linear layer; an identity if there are no classes."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in place, of `num_classes` classes, or none for 0; the pool stays if None."""
        self.num_classes = num_classes
        if global_pool is not None and (self.reads_layers or global_pool == LAYERS):
            self._make_head(num_classes, global_pool)
        else:
            self.head.reset(num_classes, global_pool)
            self.head_hidden_size = self.head.num_features
        self.head.to(next(self.stages.parameters())).train(self.training)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Pattern that sorts parameters by block, or by stage if `coarse`, for timm's layer-wise learning rates."""
        return {"blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Does nothing when switched off; it cannot be switched on.

        Raises:
            NetworkError: `enable` is true. A second forward pass would move the running means of batch norm twice.
        """
        if enable:
            raise NetworkError(
                f"{type(self).__name__} has no gradient checkpointing: it would update batch norms twice per step. "
                "Use a smaller batch instead."
            )


def create(
    kind: Callable[..., nn.Module], name: str, pretrained: bool, *, stages: int | None = None, **kwargs: object
) -> nn.Module:
    """A `kind`, or timm's wrapper around one with `features_only`.

    `device` and `dtype`, which timm's networks hand to each of their layers, hold for the network as a whole here: see
    `drawn_on_cpu`.

    Args:
        kind: class of the network, or what makes it.
        name: what timm knows it by.
        pretrained: load weights; timm refuses unless the caller names a source, since none are published.
        stages: how many maps `features_only` may give; None: as timm does by default.
        **kwargs: arguments of `kind` and of timm's builder, `device` and `dtype`.
    """
    feature_cfg = {} if stages is None else {"out_indices": tuple(range(stages)), "flatten_sequential": True}
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    make = partial(build_model_with_cfg, kind, name, pretrained, feature_cfg=feature_cfg, **kwargs)
    return drawn_on_cpu(make, cast("torch.device | str | None", device), cast("torch.dtype | None", dtype))


def drawn_on_cpu(
    make: Callable[[], nn.Module], device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Module:
    """What `make` gives, on `device` and in `dtype` (None: as it is).

    Random weights are drawn on the CPU, so that a seed gives the same ones for every device.
    """
    device = None if device is None else torch.device(device)
    with nullcontext() if device is None else torch.device("meta" if device.type == "meta" else "cpu"):
        model = make()
    return model.to(device, dtype)
