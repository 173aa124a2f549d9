"""Convolutions on small maps as products of matrices."""

import pytest
import torch
from torch.nn import functional as F

from learngene_hub.core.rng import generator
from learngene_hub.networks import build, layers
from learngene_hub.networks.small_maps import LEAST_CHANNELS, convolve, is_faster

BF16 = torch.bfloat16


@pytest.fixture
def amx(monkeypatch):
    """A processor with AMX, as far as is asked."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)


SHAPES = [(3, 4, 5, 2, 2), (2, 3, 2, 1, 1), (1, 2, 3, 4, 5), (2, 1, 1, 5, 3)]  # batch, in, out, height, width


def draw(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=generator(0, *shape))


@pytest.mark.parametrize(("batch", "ins", "outs", "height", "width"), SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_product_of_windows_and_kernels_is_the_convolution(batch, ins, outs, height, width, layout):
    images, weight = draw(batch, ins, height, width).to(memory_format=layout), draw(outs, ins, 3, 3)
    found = convolve(images, weight)
    assert torch.allclose(found, F.conv2d(images, weight, padding=1), rtol=0, atol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("batch", "ins", "outs", "height", "width"), SHAPES)
def test_it_can_be_differentiated_as_often_as_one_likes(batch, ins, outs, height, width):
    pair = draw(batch, ins, height, width).requires_grad_(), draw(outs, ins, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(convolve, pair)
    assert torch.autograd.gradgradcheck(convolve, pair)


def test_its_gradients_are_those_of_the_convolution():
    pair, pull = (draw(3, 4, 2, 2).requires_grad_(), draw(5, 4, 3, 3).requires_grad_()), draw(3, 5, 2, 2)
    expected = torch.autograd.grad(F.conv2d(*pair, padding=1), pair, pull)
    for found, wanted in zip(torch.autograd.grad(convolve(*pair), pair, pull), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("side", "channels", "kernel", "dtype", "wanted"),
    [
        (5, LEAST_CHANNELS, 3, BF16, True),
        (6, LEAST_CHANNELS, 3, BF16, False),
        (5, LEAST_CHANNELS - 1, 3, BF16, False),
        (5, LEAST_CHANNELS, 1, BF16, False),
        (5, LEAST_CHANNELS, 3, torch.float32, False),
    ],
)
def test_it_is_taken_in_bfloat16_for_many_channels_on_small_maps(amx, side, channels, kernel, dtype, wanted):
    weight = torch.empty(channels, channels, kernel, kernel)
    assert is_faster(torch.empty(1, channels, side, side), weight, dtype) is wanted
    assert not is_faster(torch.empty(1, channels, side, side, device="meta"), weight, dtype)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the images that were convolved as products."""
    found = []
    monkeypatch.setattr(layers, "convolve", lambda x, w: (found.append(tuple(x.shape)), convolve(x, w))[1])
    return found


def test_a_network_in_training_takes_it_and_differs_by_rounding_only(amx, calls, monkeypatch):
    network = build("lg_vgg11", num_classes=4, width=0.25)
    images = draw(8, 3, 32, 32, dtype=torch.float32)
    with torch.autocast("cpu", dtype=BF16):
        found = network(images)
        monkeypatch.setattr(layers, "is_faster", lambda *_: False)
        plain = network(images)
    assert calls == [(8, 128, 4, 4), (8, 128, 2, 2), (8, 128, 2, 2)]
    assert torch.allclose(found, plain, rtol=0, atol=0.05 * plain.abs().max().item())


@pytest.mark.parametrize(
    "other", [{"stride": 2, "padding": 1}, {"padding": 0}, {"padding": 2, "dilation": 2}, {"padding": 1, "bias": True}]
)
def test_a_layer_that_was_made_otherwise_does_not_take_it(amx, calls, other):
    count = LEAST_CHANNELS
    with torch.autocast("cpu", dtype=BF16):
        layers.Convolution(count, count, 3, **{"bias": False} | other)(draw(1, count, 4, 4, dtype=torch.float32))
        assert calls == []
        layers.Convolution(count, count, 3, padding=1, bias=False)(draw(1, count, 4, 4, dtype=torch.float32))
        assert len(calls) == 1


def test_elsewhere_it_is_not_taken(amx, calls):
    network, images = build("lg_vgg11", num_classes=4, width=0.25), draw(8, 3, 32, 32, dtype=torch.float32)
    network(images)
    with torch.autocast("cpu", dtype=BF16):
        network.eval()(images)
    assert calls == []


def test_without_amx_it_is_not_taken(calls, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    network = build("lg_vgg11", num_classes=4, width=0.25)
    with torch.autocast("cpu", dtype=BF16):
        network(draw(8, 3, 32, 32, dtype=torch.float32))
    assert calls == []
