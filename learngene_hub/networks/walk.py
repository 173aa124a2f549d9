"""A network seen as a list of convolutions whose channels belong to groups.

Layers that are added together must keep the same channels, so channels are not counted per layer but per group: a
learngene is the leading channels of every group. `ConvSpec` names the two groups of one convolution; a
`LearngeneNetwork` lists its convolutions in forward order and gives the size of every group. Nothing else about a
network is needed to cut a gene out of it or to put one into it (ours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, SupportsFloat

import torch
from timm.layers import ClassifierHead
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # torch does not list it

from learngene_hub.errors import NetworkError

IMAGE = "image"
"""The group of the image's own channels, which no gene can shorten."""

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
"""The tensors of a batch norm that belong to its channels, of shape (channels,) each."""

MOST_WIDTH = 100
"""Times the published channels: no network is built wider."""

NORM_EPS = 1e-5
"""What every batch norm here adds to the variance: torch's default."""


@dataclass(frozen=True)
class ConvSpec:
    """One convolution: its place in the network and the groups its channels belong to (ours).

    No convolution has a bias, since a batch norm follows each: its parameters are `conv + ".weight"`, of shape
    (out_channels, in_channels, kernel, kernel), and those of `norm`.

    Attributes:
        conv: module name of the convolution, such as `stages.0.0.conv`.
        norm: module name of the batch norm behind it.
        in_group: group of the input channels, `IMAGE` for the first convolution.
        out_group: group of the output channels; layers that are added together share one.
        kernel: side of the kernel, in pixels.
        if_absent: how the layer is born on the gene's channels when the gene's shallower network lacks it. "refuse":
            it never lacks it; "random": as initialised; "identity": passes its input on; "zero_norm": its batch norm
            has zero weight and bias, so that the sum behind it gets nothing.
    """

    conv: str
    norm: str
    in_group: str
    out_group: str
    kernel: int
    if_absent: Literal["refuse", "random", "identity", "zero_norm"]


@dataclass(frozen=True)
class Layout:
    """What a network consists of, decided before a layer is built (ours).

    Attributes:
        depth: of the network, counted as its family does.
        width: factor on the number of channels, 1.0 is the published network.
        specs: convolutions in forward order.
        channels: number of channels of every group but `IMAGE`.
        stage_groups: output group of every stage; the last one feeds the head.
    """

    depth: int
    width: float
    specs: tuple[ConvSpec, ...]
    channels: Mapping[str, int]
    stage_groups: tuple[str, ...]

    def shapes(self, *, in_chans: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor that a gene of all these channels holds, in forward order."""
        sizes = {IMAGE: in_chans, **self.channels}
        shapes: dict[str, tuple[int, ...]] = {}
        for spec in self.specs:
            outputs = sizes[spec.out_group]
            shapes[f"{spec.conv}.weight"] = (outputs, sizes[spec.in_group], spec.kernel, spec.kernel)
            shapes |= {f"{spec.norm}.{name}": (outputs,) for name in NORM_TENSORS}
        return shapes


def check_depth(depth: int, *, allowed: tuple[int, ...], name: str) -> int:
    """The whole number that equals `depth`, once it is known to be one of `allowed`.

    Raises:
        NetworkError: `depth` is not allowed for the network `name`.
    """
    if depth not in allowed:
        raise NetworkError(f"{name} has no depth {depth}; choose one of {', '.join(map(str, allowed))}.")
    return allowed[allowed.index(depth)]


def resolve_channels(
    base: Mapping[str, int], *, width: float, channels: Mapping[str, int] | None, name: str
) -> dict[str, int]:
    """Number of channels of every group: `base` times `width`, at least 1, or exactly `channels` where given (ours).

    Args:
        base: group to channels at width 1.
        width: factor, above 0 and up to `MOST_WIDTH`.
        channels: group to channels for every group of `base`, at least 1 each, or None.
        name: family of the network, for messages.

    Raises:
        NetworkError: `width` is out of range, or `channels` misses a group, has an unknown one, or empties one.
    """
    if not (isinstance(width, SupportsFloat) and 0 < float(width) <= MOST_WIDTH):
        raise NetworkError(
            f"{name} has no width {width!r}; choose a number above 0 and up to {MOST_WIDTH}, such as 0.5 or 1.0."
        )
    if channels is None:
        return {group: max(1, round(count * width)) for group, count in base.items()}
    _refuse_groups("misses groups", [group for group in base if group not in channels], name=name)
    _refuse_groups("names unknown groups", [group for group in channels if group not in base], name=name)
    _refuse_groups("leaves less than 1 channel in", [group for group in base if channels[group] < 1], name=name)
    return {group: channels[group] for group in base}


class LearngeneNetwork(nn.Module):
    """Base of the networks a learngene is cut out of: their walk, and what timm asks of a model.

    Subclasses only build `stages`. A stage ends in a max-pool, the stages in `head`: a global pool, dropout, and the
    classifier `head.fc`, whose weight has shape (classes, last_channels).

    Attributes:
        architecture: family, equal for all depths and widths.
        depth: of the network, counted as its family does.
        width: factor on the number of channels.
        num_features: channels of the last feature map.
        inheritance: what it has from a learngene, an `InheritanceReport`; None for a network from scratch.
        hold: what keeps inherited values as they are; None where nothing was ever frozen.
    """

    architecture: ClassVar[str]
    inheritance: Any = None
    hold: Any = None
    pretrained_cfg: dict[str, Any]  # set by timm

    def __init__(
        self,
        layout: Layout,
        stages: nn.Sequential,
        *,
        num_classes: int,
        in_chans: int,
        global_pool: str,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.depth = layout.depth
        self.width = layout.width
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = layout.channels[layout.stage_groups[-1]]
        self.feature_info = [
            {"num_chs": layout.channels[group], "reduction": 2 ** (stage + 1), "module": f"stages.{stage}"}
            for stage, group in enumerate(layout.stage_groups)
        ]
        self.stages = stages
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.head_hidden_size = self.head.num_features

    def conv_specs(self) -> tuple[ConvSpec, ...]:
        """Every convolution, in forward order."""
        return self.layout.specs

    def channel_counts(self) -> dict[str, int]:
        """Number of channels of every group but `IMAGE`, in forward order."""
        return dict(self.layout.channels)

    def gene_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor of the convolutions and batch norms, which a gene holds the leading part of."""
        return self.layout.shapes(in_chans=self.in_chans)

    @torch.jit.unused
    def put_back(self) -> None:
        """Give inherited values that are held as they are their values again; both ways into the stages do."""
        if self.hold is not None:
            self.hold(self)

    def __prepare_scriptable__(self) -> "LearngeneNetwork":
        """What TorchScript takes, which knows nothing of values that are held."""
        self.put_back()
        return self

    def forward_features(self, x: Tensor) -> Tensor:
        """(batch, last_channels, h, w) feature map of images `x` of shape (batch, in_chans, height, width)."""
        if not is_scripting():
            self.put_back()
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
        """The last feature map of images `x`, and those that the stages end in; every name here is timm's.

        Args:
            x: (batch, in_chans, height, width).
            indices: of the stages, from the end if negative; a number: the last so many; None: all.
            norm: without effect, since there is no norm behind the stages.
            stop_early: leave out the stages after the last one asked for.
            output_fmt: only NCHW.
            intermediates_only: give the list alone.

        Raises:
            NetworkError: there is no such stage, or no such format.
        """
        wanted = _stages_of(len(self.stages), indices, self.architecture)
        if output_fmt != "NCHW":
            raise NetworkError(f"{self.architecture} has maps of the format NCHW, not {output_fmt}.")
        self.put_back()
        maps = []
        for stage in list(self.stages)[: max(wanted) + 1 if stop_early else None]:
            x = stage(x)
            maps.append(x)
        found = [maps[stage] for stage in sorted(wanted)]
        return found if intermediates_only else (x, found)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(batch, classes) logits of feature maps `x`; with `pre_logits` the (batch, last_channels) pooled features.

        The flag, like every name here, is timm's.
        """
        scores: Tensor = self.head(x, pre_logits=pre_logits)
        return scores

    def forward(self, x: Tensor) -> Tensor:
        """(batch, classes) logits of images `x`; (batch, last_channels) features if there are no classes."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The linear layer; an identity if there are no classes."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in place, of `num_classes` classes, or none for 0; the pool stays if None."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        self.head_hidden_size = self.head.num_features

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
                f"{self.architecture} has no gradient checkpointing: it would update every batch norm twice a step. "
                "Use a smaller batch instead."
            )


def _refuse_groups(fault: str, groups: list[str], *, name: str) -> None:
    if groups:
        raise NetworkError(
            f"{name} takes the number of channels of each of its groups, at least 1, but `channels` {fault}: "
            f"{', '.join(groups)}. Start from the network's channel_counts() at the same depth."
        )


def _stages_of(count: int, indices: int | Sequence[int] | None, name: str) -> set[int]:
    """Which of `count` stages are meant, in timm's way."""
    asked = range(count) if indices is None else range(-indices, 0) if isinstance(indices, int) else indices
    if not asked or any(not -count <= one < count for one in asked):
        raise NetworkError(f"{name} has {count} stages, from 0 to {count - 1}; found indices={indices}.")
    return {one % count for one in asked}
