"""Networks so small that a test may build many."""

import pytest
import torch

from learngene_hub.core.rng import seeded_initialisation
from learngene_hub.networks import (
    FAMILIES,
    build,
    family,
    plan_structure,
)

TINY = 0.0625
RESNETS = tuple(name for name in FAMILIES if "resnet12" in name)
OF_TIMM = tuple(name for name in FAMILIES if family(name).timm)
every_network = pytest.mark.parametrize("network", list(FAMILIES))


every_resnet = pytest.mark.parametrize("network", RESNETS)
every_convolutional_network = pytest.mark.parametrize("network", [name for name in FAMILIES if "vit" not in name])
every_network_of_ours = pytest.mark.parametrize("network", [name for name in FAMILIES if name not in OF_TIMM])
every_network_of_timm = pytest.mark.parametrize("network", OF_TIMM)


@pytest.fixture
def _one_seed():
    with seeded_initialisation(0, "test_networks"):
        yield


def tiny(network, **kwargs):
    return build(network, **{"num_classes": 5, "width": TINY, **kwargs}).eval()


def images(size, channels=3):
    return torch.randn(2, channels, size, size)


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def depths(network):
    """Least first."""
    return sorted(family(network).depths)


def deeper(network):
    """The next depth beyond the default, which is taken where there is none."""
    default = family(network).depths[0]
    return min((depth for depth in family(network).depths if depth > default), default=default)


def depth_at(network, step):
    """One of `depths`; the last one where there are fewer."""
    known = depths(network)
    return known[min(step, len(known) - 1)]


def entry(network):
    """The name under which timm makes a network of any width and depth."""
    return f"lg_{network}" if network in OF_TIMM else network


def units(network, counts=1):
    """So many units of every group."""
    return {name: counts * group.unit for name, group in plan_structure(network).groups.items()}


def is_classifier(model, name):
    """Whether the tensor `name` belongs to the classifier, of which a gene has nothing."""
    return name.startswith(model.structure.classifier.name.removesuffix("weight"))


def build_on_meta(network, **kwargs):
    with torch.device("meta"):
        return build(network, num_classes=5, **kwargs)
