"""Networks so small that a test may build many."""

import pytest
import torch

from learngene_hub.core.rng import seeded_initialisation
from learngene_hub.networks import (
    FAMILIES,
    build,
    family,
)

TINY = 0.0625
RESNETS = tuple(name for name in FAMILIES if "resnet" in name)
every_network = pytest.mark.parametrize("network", list(FAMILIES))


every_resnet = pytest.mark.parametrize("network", RESNETS)


@pytest.fixture
def _one_thread_and_one_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with seeded_initialisation(0, "test_networks"):
        yield
    torch.set_num_threads(threads)


def tiny(network, **kwargs):
    return build(network, **{"num_classes": 5, "width": TINY, **kwargs}).eval()


def images(size, channels=3):
    return torch.randn(2, channels, size, size)


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def deeper(network):
    return family(network).depths[1]


def build_on_meta(network, **kwargs):
    with torch.device("meta"):
        return build(network, num_classes=5, **kwargs)
