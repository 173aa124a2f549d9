"""Writes five novel classes of CIFAR-FS as class folders: the pictures of the fine-tuning table in README.md.

`python -m docs.novel_photos /data/cifar_fs photos 20`, then
`learngene finetune gtl/vgg11-cifar-fs-half --data photos --out photos-model --compare scratch`.
"""

import sys
from pathlib import Path

from PIL import Image
from torch import Tensor

from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

CLASSES = ("whale", "poppy", "rose", "sweet_pepper", "telephone")
TESTED = 200  # pictures of a class


def write_photos(source: str, out: Path, count: int) -> None:
    """Put the first `count` pictures of each class into `out/train`, the next `TESTED` into `out/test`."""
    images = load_classes(DataSource("cifar_fs", source, image_size=32), CLASSES)
    for label, name in enumerate(images.class_names):
        pixels = images.images[images.labels == label]
        _write_pixels(pixels[:count], out / "train" / name)
        _write_pixels(pixels[count : count + TESTED], out / "test" / name)


def _write_pixels(pixels: Tensor, folder: Path) -> None:
    """Put every picture of `pixels` (n, 3, size, size) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{number}.png")


if __name__ == "__main__":
    write_photos(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
