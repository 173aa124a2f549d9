"""A data set as one tensor: all images have one size and one type, so that any subset is an index."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learngene_hub.core.errors import DataError
from learngene_hub.core.progress import Reporter

Channels = tuple[float, float, float]

_NAMED = 8  # names in a message
_CHUNK = 1024  # images per step of the measurement: 22 MB at 84 px


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images with their labels.

    Attributes:
        images: (n, 3, size, size) uint8 RGB.
        labels: (n,) int64 positions in `class_names`.
        class_names: one name per class, all different; a class may have no image.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of class names."""
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Side of every image, in pixels."""
        return self.images.shape[-1]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation by which each colour channel is normalised.

    Attributes:
        mean: one per channel (red, green, blue); 0 is black, 1 is full intensity.
        std: one per channel, in the same unit, > 0.

    Raises:
        DataError: a mean lies outside [0, 1], or a standard deviation is not positive.
    """

    mean: Channels
    std: Channels

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> "Normalisation":
        """Build it from the mean and std of a gene's config or of timm's `pretrained_cfg`, 3 numbers each."""
        (red, green, blue), (red_std, green_std, blue_std) = mean, std
        return cls((red, green, blue), (red_std, green_std, blue_std))

    def __post_init__(self) -> None:
        if not all(0.0 <= value <= 1.0 for value in self.mean):
            raise DataError(f"Channel means must lie in [0, 1], got {self.mean}")
        if not all(value > 0.0 for value in self.std):
            raise DataError(
                f"Channel standard deviations must be positive, got {self.std}: a channel that never changes "
                "cannot be normalised"
            )


def measure_normalisation(images: Tensor) -> Normalisation:
    """Mean and population standard deviation of each channel over all pixels.

    Computed from counts of the 256 pixel values, so the sums are exact whatever the number of images (ours).

    Args:
        images: (n, 3, size, size) uint8, n >= 1.

    Raises:
        DataError: a channel is constant.
    """
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(3):
            pixels = images[start : start + _CHUNK, channel].flatten()
            counts[channel] += torch.bincount(pixels, minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(dim=1, keepdim=True, dtype=torch.float64)  # (3, 256)
    mean = share @ values  # (3,)
    variance = (share * (values - mean[:, None]) ** 2).sum(dim=1)  # (3,)
    return Normalisation.of(mean.tolist(), variance.sqrt().tolist())


def digests(images: ImageSet) -> Iterator[bytes]:
    """A hash of the pixels of each image."""
    return (hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images.images)


def tell_copies(images: ImageSet, reporter: Reporter) -> None:
    """Warn if at least 1 % of the images are copies of others: a task may train on one and test on the other."""
    copies = len(images) - len(set(digests(images)))
    if copies >= len(images) / 100 > 0:
        reporter.warn(
            f"{copies} of {len(images)} images are copies of others, equal in every pixel, so accuracies are too high; "
            "remove the copies"
        )


def shorten(names: Sequence[str]) -> str:
    """The first names, and the number of the others, for messages."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more
