"""Augmented batches: one uint8 tensor against torchvision's transforms in a DataLoader."""

import torch

from benchmarks.measure import Figure, Goal, interleaved, ratio, typical
from benchmarks.references import Pictures, loader_batches
from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.image_set import ImageSet, Normalisation
from learngene_hub.training.loop import epochs

IMAGES = 1024
BATCH = 64
GOALS = {32: Goal("at least", 15), 84: Goal("at least", 4)}
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def figures() -> list[Figure]:
    """One figure a size of image."""
    return [_compare(size, goal) for size, goal in GOALS.items()]


def _compare(size: int, goal: Goal) -> Figure:
    draws, padding = generator(0, "data path"), size // 8
    images = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8, generator=draws)
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    source = Images.build(ImageSet(images, labels, ("noise",)), NORMALISATION, padding=padding, flip=True)
    chosen = epochs(IMAGES, BATCH, draws)
    loader = loader_batches(Pictures(images, torch.zeros(IMAGES), NORMALISATION, padding=padding), BATCH)
    count = IMAGES // BATCH

    def ours() -> None:
        for _ in range(count):
            source.train(next(chosen), draws)

    def theirs() -> None:
        for _ in range(count):
            next(loader)

    times = interleaved({"ours": ours, "theirs": theirs}, rounds=9)
    rates = {name: f"{count * BATCH / typical(times, name):,.0f}" for name in times}
    return Figure(
        "data_path",
        f"torchvision / Images, {size} px",
        ratio(times, "theirs", "ours"),
        f"{rates['ours']} against {rates['theirs']} images a CPU second, batches of {BATCH}",
        goal,
    )
