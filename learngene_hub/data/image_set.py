"""A data set as one tensor: all images have one size and one type, so that any subset is an index."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learngene_hub.core.errors import DataError

Channels = tuple[float, float, float]

_CHUNK = 1024  # images per step of the measurement: 22 MB at 84 px


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images with their labels.

    Attributes:
        images: (n, 3, size, size) uint8 RGB.
        labels: (n,) int64 positions in `class_names`.
        class_names: one name per class, all different; a class may have no image.

    Raises:
        DataError: a tensor has another shape or type, a label is out of range, or a name occurs twice.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_images(self.images)
        _check_labels(self.labels, images=len(self.images), classes=len(self.class_names))
        refuse_repeated(self.class_names, "An image set")

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
        DataError: there is no image, the tensor has another shape or type, or a channel is constant.
    """
    _check_images(images)
    if not len(images):
        raise DataError("Cannot measure the normalisation of no images; at least 1 is needed")
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(3):
            pixels = images[start : start + _CHUNK, channel].flatten()
            counts[channel] += torch.bincount(pixels, minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(dim=1, keepdim=True, dtype=torch.float64)  # (3, 256)
    mean = share @ values  # (3,)
    variance = (share * (values - mean[:, None]) ** 2).sum(dim=1)  # (3,)
    return Normalisation(_channels(mean), _channels(variance.sqrt()))


def shorten(names: Sequence[str], most: int = 8) -> str:
    """The first names, and the number of the others, for messages."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def refuse_repeated(names: Sequence[str], what: str) -> None:
    """Do nothing, unless a name occurs twice.

    Raises:
        DataError: a name occurs twice; `what` begins the message.
    """
    if len(set(names)) < len(names):
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise DataError(f"{what} names a class more than once: {shorten(repeated)}")


def _channels(values: Tensor) -> Channels:
    red, green, blue = values.tolist()
    return red, green, blue


def _check_images(images: Tensor) -> None:
    square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
    if not square or images.dtype != torch.uint8:
        raise DataError(f"Images must be (n, 3, size, size) torch.uint8, got {tuple(images.shape)} {images.dtype}")


def _check_labels(labels: Tensor, *, images: int, classes: int) -> None:
    if labels.shape != (images,) or labels.dtype != torch.int64:
        got = f"{tuple(labels.shape)} {labels.dtype}"
        raise DataError(f"Labels of {images} images must be ({images},) torch.int64, got {got}")
    if images and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"Labels must lie in 0 to {classes - 1} for {classes} class names, got {got}")
