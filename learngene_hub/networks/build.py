"""Build networks by name, and check that a network is supported."""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from operator import index
from typing import Any, SupportsIndex, cast

import timm
from torch import nn

from learngene_hub.core.errors import NetworkError, did_you_mean
from learngene_hub.families import FAMILIES
from learngene_hub.networks.layers import LAYERS
from learngene_hub.networks.network import LearngeneNetwork, drawn_on_cpu
from learngene_hub.networks.structure import Family, Structure
from learngene_hub.networks.timm_class import described, published_as, structure_of


def family(network: str) -> Family:
    """The family called `network`.

    Raises:
        NetworkError: there is no such family; the message lists all names.
    """
    if network not in FAMILIES:
        expected = f"expected one of {', '.join(FAMILIES)}{did_you_mean(network, FAMILIES)}"
        raise NetworkError(f"network {network!r}: {expected}")
    module, _, name = FAMILIES[network].partition(":")
    registered: Family = getattr(import_module(module), name)
    return registered


def build(
    network: str,
    *,
    num_classes: int,
    in_chans: int = 3,
    width: float = 1.0,
    depth: int | None = None,
    channels: Mapping[str, int] | None = None,
    **timm_kwargs: object,
) -> LearngeneNetwork:
    """A new network, its weights drawn from the global CPU generator (ours).

    >>> build("lg_vgg11", num_classes=5, width=0.125, depth=13).channel_counts()["stages.0.1"]
    8

    Args:
        network: one of `learngene_hub.families.FAMILIES`.
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the image.
        width: factor on the number of channels, above 0.
        depth: a depth of the family; None: its default.
        channels: number of channels of every group, instead of `width`; a thin network that holds only a gene.
        **timm_kwargs: further arguments of `timm.create_model`, such as `drop_rate`.

    Raises:
        NetworkError: `network` is unknown, or a number is out of range or not a number.
    """
    chosen = family(network)
    size = chosen.structure(depth=chosen.depths[0] if depth is None else depth, width=width, channels=channels)
    arguments: dict[str, Any] = {  # plain numbers, which timm can write into the config.json of a model
        "num_classes": _count("num_classes", num_classes, least=0),
        "in_chans": _count("in_chans", in_chans, least=1),
        "width": float(width),
        "depth": None if depth is None else size.depth,
        "channels": None if channels is None else size.channels,
        **timm_kwargs,
    }
    if chosen.timm is not None:
        if timm_kwargs.get("global_pool") == LAYERS:
            raise NetworkError(
                f"{network}: timm's class lacks the pool 'layers', which a probe needs; use --method full in a "
                "fine-tuning, or global_pool='avg'"
            )
        network, arguments = published_as(network, chosen.timm, size, arguments)
    device, dtype = arguments.pop("device", None), arguments.pop("dtype", None)
    return as_supported(drawn_on_cpu(partial(timm.create_model, network, **arguments), device, dtype))


def plan_structure(
    network: str, *, width: float = 1.0, depth: int | None = None, channels: Mapping[str, int] | None = None
) -> Structure:
    """The layers and channels that `build` would give a network, without building it (ours).

    >>> plan_structure("lg_vgg11", width=0.125).shapes(in_chans=3)["stages.0.0.conv.weight"]
    (8, 3, 3, 3)

    Raises:
        NetworkError: as `build` does.
    """
    chosen = family(network)
    return chosen.structure(depth=chosen.depths[0] if depth is None else depth, width=width, channels=channels)


def as_supported(model: nn.Module) -> LearngeneNetwork:
    """`model`, if it is supported; one of timm's own class gets a `structure` attribute.

    Raises:
        NetworkError: the model belongs to no family in `learngene_hub.families.FAMILIES`.
    """
    if isinstance(model, LearngeneNetwork) or "network_name" in getattr(model, "__dict__", ()):
        return cast("LearngeneNetwork", model)
    faults = []
    for name in _families_of(model):
        try:
            return described(model, name, structure_of(model, name, family(name)))
        except NetworkError as fault:
            faults.append(str(fault))
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    for name in ("module", "_orig_mod"):  # what DataParallel, DDP and EMA call it, and torch.compile
        inner = getattr(model, name, None)
        if isinstance(inner, LearngeneNetwork) or _families_of(inner):
            raise NetworkError(f"expected the network itself, found it inside {kind}; give its `.{name}`")
    raise NetworkError(
        f"Learngenes work only with networks of these families: {', '.join(FAMILIES)}. "
        f"Found {kind}{': ' * bool(faults)}{'; '.join(faults)}. Create one of these with timm.create_model or "
        "learngene_hub.networks.build."
    )


def _families_of(model: object) -> list[str]:
    """Names of the families whose networks are of the class of `model`, one of timm's own."""
    return [name for name in FAMILIES if (ours := family(name).timm) is not None and type(model) is ours.kind]


def _count(name: str, value: object, *, least: int) -> int:
    try:
        count = -1 if isinstance(value, bool) else index(cast("SupportsIndex", value))
    except TypeError:
        count = -1
    if count < least:
        raise NetworkError(f"{name}: expected a whole number, {least} or more, found {value!r}")
    return count
