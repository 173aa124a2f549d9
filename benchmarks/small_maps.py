"""Training steps with convolutions on small maps as products of matrices, against torch's convolutions throughout."""

from itertools import repeat
from unittest import mock

import torch

from benchmarks.measure import Figure, interleaved, ratio, typical
from learngene_hub.core.rng import generator
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.networks import layers
from learngene_hub.recipe.sections import OptimisationSection
from learngene_hub.training.loop import Training, best_precision, train

BATCH = 64
CLASSES = 16
STEPS = OptimisationSection(steps=2, batch_size=BATCH)
CASES = (
    ("lg_vgg11", 1.0, 32),
    ("lg_vgg11", 0.5, 32),
    ("lg_vgg11", 0.5, 42),
    ("lg_resnet12", 0.5, 32),
    ("lg_resnet12", 0.5, 42),
)


def figures() -> list[Figure]:
    """One figure a network, width and size of image."""
    return [_compare(*case) for case in CASES]


def _compare(name: str, width: float, size: int) -> Figure:
    cpu = torch.device("cpu")
    network = placed(newborn(Body(name, width), num_classes=CLASSES, gene=None, seed=0), cpu)
    images = torch.rand(BATCH, 3, size, size, generator=generator(0, "noise")).to(memory_format=torch.channels_last)
    batches, precision = repeat((images, torch.arange(BATCH) % CLASSES)), best_precision(cpu)

    def ours() -> None:
        train(network, batches, Training(STEPS, STEPS.steps, precision))

    def plain() -> None:
        with mock.patch.object(layers, "is_faster", return_value=False):
            ours()

    times = interleaved({"ours": ours, "plain": plain})
    rates = {way: f"{BATCH * STEPS.steps / typical(times, way):,.0f}" for way in times}
    detail = f"{rates['ours']} against {rates['plain']} images a CPU second, {precision}, batches of {BATCH}"
    return Figure(
        "small_maps", f"plain / products, {name}, width {width:g}, {size} px", ratio(times, "plain", "ours"), detail
    )
