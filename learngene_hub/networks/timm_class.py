"""Networks of timm's own classes: read the structure of a model, and build models in sizes that timm cannot build.

At width 1 a network is what `timm.create_model` makes. At other widths, and where it holds only a gene, it is an object
of the same class whose tensors are made anew in the sizes that its structure says, and initialised as timm does. timm's
arguments alone cannot ask for such a network, so it is registered under a name of ours: `lg_resnet18` for `resnet18`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import timm
import torch
from torch import nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks.axes import IMAGE
from learngene_hub.networks.network import LearngeneNetwork, create
from learngene_hub.networks.structure import Family, Structure, TimmClass

OURS = "lg_"
"""Begins the name under which timm knows a family of timm's own networks in every width."""

_SIZES_OF: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("out_channels", "in_channels"),
    nn.Linear: ("out_features", "in_features"),
    nn.BatchNorm2d: ("num_features",),
}
"""Kind of a layer -> what it calls the first sizes of its weight."""


def described(model: nn.Module, network: str, structure: Structure) -> LearngeneNetwork:
    """The same `model` of timm's own class, given the attributes that a `LearngeneNetwork` has.

    They are plain ones, of which timm knows nothing: it saves and loads the model as before.
    """
    vars(model).update(
        structure=structure,
        network_name=network,
        depth=structure.depth,
        width=structure.width,
        channel_counts=partial(dict, structure.channels),
        reads_layers=False,
        inheritance=None,
        hold=None,
    )
    return cast("LearngeneNetwork", model)


def structure_of(model: nn.Module, network: str, family: Family) -> Structure:
    """The structure of an untouched `model` of the class of a `family` called `network`.

    Its width is 1, unless its channels are those of another width.

    Raises:
        NetworkError: the model is built in a way that the family does not know.
    """
    assert family.timm is not None
    arguments = family.timm.describe(model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    structure = family.structure(**arguments)
    sizes = {**structure.channels, **structure.sizes_in(tensors)}
    last = str(structure.classifier.dims[1])
    width = sizes[last] / structure.channels[last]
    is_of_width = width > 0 and family.structure(**arguments, width=width).channels == sizes
    structure = family.structure(**arguments, width=width if is_of_width else 1.0, channels=sizes)
    head, _, _ = structure.classifier.name.rpartition(".")
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if not name.startswith(f"{head}.") and not name.endswith("num_batches_tracked")
    }
    expected = structure.shapes(in_chans=cast("LearngeneNetwork", model).in_chans)
    for name in {**expected, **shapes}:
        if expected.get(name) != shapes.get(name):
            raise NetworkError(
                f"{name}: expected {expected.get(name, 'no such tensor')}, as in timm's {network}, found "
                f"{shapes.get(name, 'none')}"
            )
    return structure


def of_sizes(
    network: str,
    family: Family,
    *,
    width: float = 1.0,
    depth: int | None = None,
    channels: Mapping[str, int] | None = None,
    num_classes: int = 1000,
    in_chans: int = 3,
    **timm_kwargs: object,
) -> nn.Module:
    """A network of timm's own class in any size, its weights drawn from the global CPU generator as timm draws them.

    `network` is the name of the `family`; sizes are as of `learngene_hub.networks.build`, all else is for timm's class.

    Raises:
        NetworkError: one of the numbers is out of range, or an argument of timm changes the network's layers.
    """
    assert family.timm is not None
    structure = family.structure(depth=family.depths[0] if depth is None else depth, width=width, channels=channels)
    name, published = family.timm.published[structure.depth]
    for argument in published.keys() & timm_kwargs.keys():
        if timm_kwargs[argument] != published[argument]:
            raise NetworkError(
                f"{network}: {argument} is always {published[argument]}, found {timm_kwargs[argument]}; leave it out"
            )
    device = torch.get_default_device()
    with torch.device("meta"):
        model: nn.Module = timm.model_entrypoint(name)(
            num_classes=num_classes, in_chans=in_chans, **{**published, **timm_kwargs}
        )
        found = structure_of(model, network, family)
        if found.depth != structure.depth:
            raise NetworkError(
                f"{network}: expected a network of depth {structure.depth}, found arguments of timm that make one of "
                f"depth {found.depth}; leave them out, and give the depth by `depth`"
            )
        if found.channels != family.structure(depth=structure.depth).channels:
            raise NetworkError(f"{network}: expected timm's own numbers of channels; use `width` to change them")
        _resize(model, structure, {IMAGE: in_chans, **structure.channels})
        family.timm.note_sizes(model, structure)
        pool = {name: value for name, value in timm_kwargs.items() if name == "global_pool"}
        cast("Any", model).reset_classifier(num_classes, **pool)
    model.to_empty(device=device)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            cast("Any", module).reset_parameters()
    cast("Any", model).init_weights(**{name: value for name, value in timm_kwargs.items() if name == "zero_init_last"})
    return described(model, network, structure)


def create_of_sizes(network: str, family: Family, pretrained: bool, **kwargs: Any) -> nn.Module:  # noqa: ANN401
    """What timm's entry point `lg_...` of a family gives: see `of_sizes` and `create`."""
    return create(partial(of_sizes, network, family), f"{OURS}{network}", pretrained, **kwargs)


def published_as(
    network: str, kind: TimmClass, structure: Structure, arguments: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The name by which timm makes a network of this `structure`, and the arguments of `timm.create_model`.

    `network` is the name of its family, `kind` its class; `arguments` are those of `of_sizes`.
    """
    if arguments["channels"] is not None or structure.width != 1:
        return f"{OURS}{network}", {**arguments, "depth": structure.depth}
    name, published = kind.published[structure.depth]
    rest = {key: value for key, value in arguments.items() if key not in {"depth", "width", "channels"}}
    return name, {**published, **rest}


def _resize(model: nn.Module, structure: Structure, sizes: Mapping[str, int]) -> None:
    """Make every tensor of `structure` anew in the sizes of its groups; their values are not set."""
    for axes in structure.tensors:
        path, _, leaf = axes.name.rpartition(".")
        module, shape = model.get_submodule(path), axes.shape(sizes)
        old = getattr(module, leaf)
        new = old.detach().new_empty(shape)
        setattr(module, leaf, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
        if leaf == "weight":
            _note_size(module, shape)


def _note_size(module: nn.Module, shape: tuple[int, ...]) -> None:
    if isinstance(module, nn.LayerNorm):
        module.normalized_shape = shape
    for kind, names in _SIZES_OF.items():
        if isinstance(module, kind):
            for name, size in zip(names, shape, strict=False):
                setattr(module, name, size)
