"""Batches of training images, cut out of one tensor that all individuals of a population share.

The data lie on the device as padded uint8 pixels. A batch is a gather of windows, so augmentation costs no loop over
images and no worker process.
"""

import hashlib
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from learngene_hub.data.image_set import ImageSet, Normalisation

MOST_TESTED, LARGE_SIDE = 500, 84  # images of a forward pass without training, fewer if they have more pixels a side


@dataclass(frozen=True, eq=False)
class Images:
    """Images on a device, a source of normalised batches; make it with `Images.build`.

    Attributes:
        padded: (n, size + 2 padding, size + 2 padding, 3) uint8, colour last, on the device.
        labels: (n,) int64, on the CPU.
        scale: (size * 3,) float32 factor of a pixel value, repeated along one row of a window.
        shift: (size * 3,) float32 addend, likewise.
        padding: black pixels around each image.
        flip: whether training images are mirrored left to right with probability 1/2.
    """

    padded: Tensor
    labels: Tensor
    scale: Tensor
    shift: Tensor
    padding: int
    flip: bool

    @classmethod
    def build(
        cls,
        images: ImageSet,
        normalisation: Normalisation,
        *,
        padding: int,
        flip: bool,
        device: torch.device | str = "cpu",
    ) -> "Images":
        """`images`, padded with black and moved to the device once.

        Args:
            images: their pixels and labels.
            normalisation: maps pixel values to the inputs of a network.
            padding: pixels added on each side, >= 0; crops are shifted by up to this many.
            flip: whether mirrored images are as good as the originals; for characters they are not.
            device: where the pixels and all batches lie.
        """
        colour_last = images.images.to(device).permute(0, 2, 3, 1)  # (n, size, size, 3)
        padded = F.pad(colour_last, [0, 0, padding, padding, padding, padding]).contiguous()
        mean, std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
        row = images.image_size
        scale, shift = (1 / (255 * std)).repeat(row), (-mean / std).repeat(row)
        return cls(padded, images.labels, scale.to(device), shift.to(device), padding, flip)

    def on(self, device: torch.device) -> "Images":
        """The same images on `device`."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ("padded", "scale", "shift")})

    def fingerprint(self) -> str:
        """Hash of all pixels and labels: equal for equal images on any device."""
        digest = hashlib.sha256()
        for tensor in (self.padded, self.labels):
            here = tensor.cpu().contiguous()
            digest.update(f"{here.dtype} {tuple(here.shape)} ".encode())
            digest.update(here.numpy().data)
        return digest.hexdigest()

    @property
    def device(self) -> torch.device:
        """The device of the images, on which networks are trained."""
        return self.padded.device

    @property
    def image_size(self) -> int:
        """Side of every image of a batch, in pixels."""
        return self.padded.shape[1] - 2 * self.padding

    def train(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """An augmented batch: each image shifted at random, and mirrored half of the time if `flip`.

        Crops of padded images and mirroring are common practice at 32 x 32, with 4 pixels (inferred); black padding,
        and every shift equally likely: ours.

        Args:
            index: (b,) int64 positions of images; repeats allowed; on any device.
            generator: source of the draws, on the CPU, so that every device cuts the same windows.

        Returns:
            (b, 3, size, size) float32 on the device, in channels_last memory format.
        """
        offsets = torch.randint(0, 2 * self.padding + 1, (2, len(index)), generator=generator)
        windows = self._windows(index, offsets)
        if self.flip:
            _mirror(windows, torch.randint(0, 2, (len(index),), generator=generator))
        return self._normalised(windows)

    def plain(self, index: Tensor) -> Tensor:
        """A batch as it is, for evaluation.

        Args:
            index: (b,) int64 positions of images; repeats allowed; on any device.

        Returns:
            (b, 3, size, size) float32 on the device, in channels_last memory format.
        """
        return self._normalised(self._windows(index, torch.full((2, len(index)), self.padding)))

    def parts(self, positions: Tensor) -> tuple[Tensor, ...]:
        """`positions` (n,) of images, or anything along them, in parts that one forward pass has the memory for."""
        return torch.split(positions, max(1, min(MOST_TESTED, MOST_TESTED * LARGE_SIDE**2 // self.image_size**2)))

    def _windows(self, index: Tensor, offsets: Tensor) -> Tensor:
        """(b, size, size, 3) uint8 windows of the padded images, from their top left corners (2, b)."""
        size, side, device = self.image_size, self.padded.shape[1], self.device
        top, left = _moved(offsets, device)
        corners = (_moved(index, device) * side + top) * side + left  # (b,), counted in pixels
        rows = corners[:, None] + torch.arange(size, device=device) * side  # (b, size) first pixels
        every = self.padded.view(-1).unfold(0, size * 3, 3)  # (pixels, size * 3), a view: the row from each pixel on
        return every.index_select(0, rows.flatten()).view(-1, size, size, 3)  # row by row, not byte by byte

    def _normalised(self, windows: Tensor) -> Tensor:
        count, size = windows.shape[:2]
        rows = windows.reshape(count, size, size * 3).float()  # long rows: 3 values a pixel alone would be slow
        rows.mul_(self.scale).add_(self.shift)
        return rows.view(count, size, size, 3).permute(0, 3, 1, 2)  # (b, 3, size, size)


def _mirror(windows: Tensor, chosen: Tensor) -> None:
    """Mirror those of `windows` (b, size, size, 3) left to right where `chosen` (b,) is 1, in place."""
    # Found on the CPU, and copied without waiting: else every batch would wait for the device.
    places = _moved(chosen.nonzero().flatten(), windows.device)
    turned = windows.index_select(0, places).flip(2)
    _in_words(windows)[places] = _in_words(turned)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; a GPU is not waited for. The CPU must be: it would read what has not arrived yet."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def _in_words(windows: Tensor) -> Tensor:
    """The bytes of `windows` as (b, words), in the widest integers that fit: fewer to be copied one by one."""
    flat = windows.flatten(1)
    fitting = (word for word in (torch.int64, torch.int32, torch.int16) if flat.shape[1] % word.itemsize == 0)
    return flat.view(next(fitting, torch.uint8))
