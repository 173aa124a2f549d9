"""From the bytes of one image file to one square of RGB pixels, whatever the file holds."""

import io
import struct
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learngene_hub.data.extras import optional_module
from learngene_hub.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# What Pillow raises for a file that is damaged, cut short, or not an image.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


def decode_image(encoded: bytes, size: int) -> Tensor:
    """The centre square of an image, as large as it gets, scaled to `size`.

    The picture is turned as its EXIF tag says, transparency lies on white, grey levels become equal red, green and
    blue, and 16-bit grey keeps its upper 8 bits. Scaling is bicubic over all source pixels; an image that already has
    the size is left as it is (ours).

    Args:
        encoded: a whole file in any format Pillow reads; the first frame counts.
        size: side of the result in pixels, >= 1.

    Returns:
        (3, size, size) uint8 RGB.

    Raises:
        DataError: the file cannot be decoded (the message is the reason alone), or Pillow is missing.
    """
    image, operations = optional_module("PIL.Image"), optional_module("PIL.ImageOps")
    try:
        with image.open(io.BytesIO(encoded)) as opened:
            picture = _to_rgb(operations.exif_transpose(opened))
    except (*_DAMAGE, image.DecompressionBombError) as error:
        reason = str(error).split(" <_io")[0]  # not where in memory the bytes were
        raise DataError(f"{type(error).__name__}: {reason}") from error
    if picture.size != (size, size):
        picture = operations.fit(picture, (size, size), image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1)  # (3, size, size)


def _to_rgb(picture: "Image") -> "Image":
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda level: level * (1 / 257)).convert("L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _on_white(picture.convert("RGBA"))
    return picture.convert("RGB")


def _on_white(picture: "Image") -> "Image":
    image = optional_module("PIL.Image")
    paper: Image = image.new("RGBA", picture.size, (255, 255, 255, 255))
    paper.alpha_composite(picture)
    return paper.convert("RGB")
