"""Small populations to be trained by one back end and another."""

from functools import partial

import pytest
import torch

from learngene_hub.backends import Trainee, Training
from learngene_hub.birth import Body, gene_channels, gene_network, newborn, placed
from learngene_hub.rng import generator
from learngene_hub.sections import AncestrySection

VGG, RESNET = Body("lg_vgg11", 0.06), Body("lg_resnet12", 0.06)
CPU = torch.device("cpu")


def batches(number, dtype=torch.float64, device=CPU):
    draws = generator(number, "images")
    while True:
        labels = torch.randint(4, (6,), generator=draws)
        images = torch.rand(6, 3, 32, 32, generator=draws, dtype=dtype) + labels[:, None, None, None] / 4
        yield images.to(device, memory_format=torch.channels_last), labels.to(device)


def trainees(body=VGG, count=3, dtype=torch.float64, slow=True, device=CPU):
    channels = gene_channels(body, 0.45)
    made = []
    for number in range(count):
        network = placed(newborn(body, num_classes=4, gene=None, cross="zero", seed=number), device).to(dtype)
        thin = placed(gene_network(body, channels, num_classes=4), device).to(dtype)
        shapes = {name: tuple(t.shape) for name, t in thin.named_parameters() if not name.startswith("head")}
        made.append(Trainee(network, partial(batches, number, dtype, device), thin, shapes if slow else {}))
    return made


def training(steps=4, **constants):
    optimisation = AncestrySection(**{"lr": 0.05, "warmup": 1, "clip_norm": 1.0, "batch_size": 6} | constants)
    return Training(optimisation, steps, "float32", gene_rate=lambda progress: 0.3, circuit_loss=0.7)


def tensors(trained):
    return {
        f"{kind}.{name}": tensor
        for kind, network in (("network", trained.network), ("thin", trained.thin))
        for name, tensor in network.state_dict().items()
    }


def assert_alike(first, second, tolerance=1e-9):
    for one, other in zip(first, second, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=tolerance)
        torch.testing.assert_close(tensors(one.trainee), tensors(other.trainee), rtol=tolerance, atol=tolerance)
