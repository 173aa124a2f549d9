"""Writes photos of flowers as class folders: those of the tables in log 34.

`python -m docs.flower_photos /data/flowers_102 photos 10 10 0`: 10 classes drawn with seed 0, 10 images of each to
train on, all of the data set's own test images to test on; then `learngene finetune`.
"""

import sys
from pathlib import Path

import torch

from docs.novel_photos import write_pixels
from learngene_hub.core.rng import generator
from learngene_hub.data.counting import available_classes
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

SIDE = 128  # pixels of the images


def write_photos(source: Path, out: Path, *, classes: int, count: int, seed: int) -> None:
    """Put the first `count` training images of `classes` classes into `out/train`, all test images into `out/test`."""
    for role, most in (("train", count), ("test", None)):
        (file,) = source.glob(f"{role}-*.parquet")
        data = DataSource(None, str(file), image_size=SIDE)
        names = sorted(available_classes(data))
        order = torch.randperm(len(names), generator=generator(seed, "flowers")).tolist()
        images = load_classes(data, [names[place] for place in order[:classes]])
        for label, name in enumerate(images.class_names):
            write_pixels(images.images[images.labels == label][:most], out / role / name)


if __name__ == "__main__":
    numbers = dict(zip(("classes", "count", "seed"), map(int, sys.argv[3:]), strict=True))
    write_photos(Path(sys.argv[1]), Path(sys.argv[2]), **numbers)
