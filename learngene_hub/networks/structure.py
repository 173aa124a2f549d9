"""The structure of a network, known before it is built: its layers, their tensors, and its channel groups.

A family of networks says here all that surgery needs to know of it; see `learngene_hub.families` for the registry.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from operator import index
from types import MappingProxyType
from typing import Any, SupportsFloat, SupportsIndex

from torch import Tensor, nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks.axes import IMAGE, Axes, Group, part

MOST_WIDTH = 100
"""Times the published channels: no network is built wider."""

IMAGE_SIZES = (28, 224)
"""Least and most pixels of a side of the images that users choose."""

NORM_EPS = 1e-5
"""What every batch norm here adds to the variance: torch's default."""


@dataclass(frozen=True)
class Birth:
    """How a layer is initialised that the gene, of a shallower network, lacks.

    Attributes:
        name: name in reports.
        make: function that sets its weights in a newborn network, in place, so that it carries on the gene's channels;
            the layers before it are born. None: they stay as initialised.
        passes_on: whether the layer passes its input on, channel by channel.
    """

    name: str
    make: Callable[["Newborn", "Layer"], None] | None = None
    passes_on: bool = False


REFUSE = Birth("refuse")
"""The gene never lacks the layer."""
RANDOM = Birth("random")
"""The layer carries nothing of the gene."""


@dataclass(frozen=True)
class Layer:
    """Tensors that are in a gene together or not at all.

    Attributes:
        name: of the module that holds the kernel, such as `stages.0.0.conv`.
        tensors: of it, in the network's order.
        reads: channel group of its inputs.
        writes: channel group of its outputs.
        if_absent: how it is initialised if the gene lacks it.
    """

    name: str
    tensors: tuple[Axes, ...]
    reads: str
    writes: str
    if_absent: Birth = REFUSE

    @property
    def kernel(self) -> Axes:
        """The tensor that leads from `reads` to `writes`; the first where none does, as in a layer norm."""
        return next((axes for axes in self.tensors if axes.dims[:2] == (self.writes, self.reads)), self.tensors[0])


@dataclass(frozen=True)
class Structure:
    """One network of a family.

    Attributes:
        depth: depth as its family counts it.
        width: factor on the number of channels, 1.0 is the published network.
        layers: in forward order.
        groups: name -> channels, of every group but `IMAGE` and `CLASSES`, in forward order.
        classifier: the classifier's weight, which reads the last group.
    """

    depth: int
    width: float
    layers: tuple[Layer, ...]
    groups: Mapping[str, Group]
    classifier: Axes

    @property
    def channels(self) -> dict[str, int]:
        """Group -> its number of channels."""
        return {name: group.size for name, group in self.groups.items()}

    @property
    def tensors(self) -> tuple[Axes, ...]:
        """All tensors that a gene has a part of, in forward order."""
        return tuple(axes for layer in self.layers for axes in layer.tensors)

    @property
    def layer_features(self) -> int:
        """Means and maxima behind every batch norm, as many as its own means and variances; see `layers.LayersHead`."""
        return sum(axes.shape(self.channels)[0] for axes in self.tensors if axes.is_statistic)

    def shapes(self, *, in_chans: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor that a gene of all these channels holds, in forward order."""
        sizes = {IMAGE: in_chans, **self.channels}
        return {axes.name: axes.shape(sizes) for axes in self.tensors}

    def parameters(self, *, in_chans: int) -> int:
        """Number of trained parameters without the classifier's; a gene of all these channels has as many."""
        sizes = {IMAGE: in_chans, **self.channels}
        return sum(math.prod(axes.shape(sizes)) for axes in self.tensors if not axes.is_statistic)

    def sizes_in(self, tensors: Mapping[str, Tensor]) -> dict[str, int]:
        """Group -> its channels, read from the shapes of the kernels in `tensors`."""
        sizes: dict[str, int] = {}
        for layer in self.layers:
            if layer.kernel.name in tensors and tensors[layer.kernel.name].ndim:
                sizes.setdefault(layer.writes, tensors[layer.kernel.name].shape[0] // layer.kernel.blocks)
        return sizes

    def writers(self, group: str) -> list[Layer]:
        """The layers whose outputs are the channels of `group`."""
        return [layer for layer in self.layers if layer.writes == group]


@dataclass(frozen=True)
class Newborn:
    """A network that a gene is put into, layer by layer.

    Attributes:
        tensors: of the network, changed in place.
        structure: of the network.
        gene: tensors that are inherited.
        carried: group -> leading channels that carry the gene's circuit.
    """

    tensors: Mapping[str, Tensor]
    structure: Structure
    gene: Mapping[str, Tensor]
    carried: Mapping[str, int]


@dataclass(frozen=True)
class TimmClass:
    """A family whose networks are timm's own: their class, their names, and what timm itself can build.

    Attributes:
        kind: class of the networks.
        published: depth -> timm's name of the network of width 1, and the arguments of `timm.create_model` that it
            needs beside; as JSON would give them back.
        describe: arguments of `Family.structure`, such as the depth, that a network of the class tells by its modules;
            raises `NetworkError` where it is built in a way that the family does not know.
        note_sizes: writes down in a network what it says of its channels beside its tensors.
    """

    kind: type[nn.Module]
    published: Mapping[int, tuple[str, Mapping[str, Any]]]
    describe: Callable[[Any], dict[str, Any]]
    note_sizes: Callable[[Any, Structure], None]


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes:
        depths: that there are; the first is the default.
        structure: of the network of a `depth`, a `width` and, instead of the width, `channels` of every group; raises
            `NetworkError` if one is out of range.
        timm: where the networks are timm's own; None: they are a `LearngeneNetwork`.
    """

    depths: tuple[int, ...]
    structure: Callable[..., Structure]
    timm: TimmClass | None = None


def _zero_the_norm(newborn: Newborn, layer: Layer) -> None:
    """Let the last norm of a block add nothing to the gene's channels; its kernel may read any channel (ours)."""
    for axes in layer.tensors[1:3]:  # weight and bias
        part(newborn.tensors[axes.name], axes, newborn.carried).zero_()


ZERO_NORM = Birth("zero norm", make=_zero_the_norm)
"""The layer ends an extra residual block, which then passes on the gene's channels as they are."""


def normed_convolution(
    conv: str, norm: str, *, reads: str, writes: str, kernel: int, if_absent: Birth = REFUSE
) -> Layer:
    """The `Layer` of two modules: a convolution without a bias and its batch norm.

    The convolution's weight is (out_channels, in_channels, kernel, kernel).
    """
    tensors = (
        Axes(f"{conv}.weight", (writes, reads, kernel, kernel)),
        Axes(f"{norm}.weight", (writes,)),
        Axes(f"{norm}.bias", (writes,)),
        Axes(f"{norm}.running_mean", (writes,), is_statistic=True),
        Axes(f"{norm}.running_var", (writes,), is_statistic=True),
    )
    return Layer(conv, tensors, reads, writes, if_absent)


def check_depth(depth: int, *, allowed: tuple[int, ...], name: str) -> int:
    """The whole number that equals `depth`, once it is known to be one of `allowed`.

    Raises:
        NetworkError: `depth` is not allowed for the network `name`.
    """
    if depth not in allowed:
        raise NetworkError(f"{name} has no depth {depth!r}; choose one of {', '.join(map(str, allowed))}.")
    return allowed[allowed.index(depth)]


def check_image_size(image_size: int | None) -> None:
    """Raise an error if `image_size`, in pixels, is out of range; None is allowed.

    Raises:
        NetworkError: `image_size` is out of range.
    """
    least, most = IMAGE_SIZES
    if image_size is not None and not (isinstance(image_size, SupportsIndex) and least <= index(image_size) <= most):
        raise NetworkError(f"image_size: expected {least} to {most} pixels, found {image_size!r}")


def resolve_groups(
    base: Mapping[str, int],
    *,
    width: float,
    channels: Mapping[str, int] | None,
    name: str,
    units: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Group]:
    """Every group: `base` times `width` channels, at least 1 unit, or exactly `channels` where given (ours).

    Args:
        base: group to channels at width 1.
        width: factor, above 0 and up to `MOST_WIDTH`.
        channels: group to channels for every group of `base`, whole units and at least 1 each, or None.
        name: family of the network, for messages.
        units: group to the unit of its channels, where that is not 1.

    Raises:
        NetworkError: `width` is out of range, or see `sizes_within`.
    """
    if not (isinstance(width, SupportsFloat) and 0 < float(width) <= MOST_WIDTH):
        raise NetworkError(
            f"{name} has no width {width!r}; choose a number above 0 and up to {MOST_WIDTH}, such as 0.5 or 1.0."
        )
    limit = width if channels is None else MOST_WIDTH
    units = {group: units.get(group, 1) for group in base}
    groups = {group: Group(unit * max(1, round(base[group] * limit / unit)), unit) for group, unit in units.items()}
    if channels is None:
        return groups
    return {group: Group(size, units[group]) for group, size in sizes_within(groups, channels, name=name).items()}


def sizes_within(groups: Mapping[str, Group], channels: Mapping[str, int], *, name: str) -> dict[str, int]:
    """`channels` as plain numbers, in the order of `groups`: whole units of every group, at least one, at most all.

    Raises:
        NetworkError: they are not, or a group is missing or unknown; the message begins with `name`.
    """
    advice = "start from the network's channel_counts() at this depth"
    if unknown := [str(group) for group in channels if group not in groups]:
        raise NetworkError(f"{name}: no such group: {', '.join(unknown)}; {advice}")
    for group, whole in groups.items():
        count: Any = channels.get(group)
        if not (isinstance(count, Integral) and 1 <= int(count) <= whole.size and int(count) % whole.unit == 0):
            units = f" in units of {whole.unit}" * (whole.unit > 1)
            raise NetworkError(f"{name}: {group}: expected 1 to {whole.size} channels{units}, found {count}; {advice}")
    return {group: int(channels[group]) for group in groups}
