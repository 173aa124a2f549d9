"""From the bytes of one image file to one square of RGB pixels, whatever the file holds."""

import io
import struct
import zlib
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import Lock

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from learngene_hub.core.errors import DataError

MOST_PIXELS = 89_478_485  # of one image: where Pillow itself begins to warn
MOST_ENCODED = 200_000_000  # bytes of the file of one image
LARGE = 16_000_000  # pixels of an image that is decoded while no other large one is
FINE = 4_000_000  # pixels up to which a JPEG is decoded whole
# Formats that Pillow decodes itself. PostScript, for one, it would hand to a program that runs it.
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "TGA", "ICO", "PCX", "JPEG2000", "AVIF")
# What Pillow raises for a file that is damaged, cut short, or not an image.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    RuntimeError,
)

_large = Lock()  # bounds the memory of several threads


def decode_image(encoded: bytes, size: int) -> Tensor:
    """The largest centre square of an image, scaled to `size`.

    The picture is rotated by its EXIF tag, transparent parts become white, grey levels become equal red, green and
    blue, and 16-bit grey keeps its upper 8 bits. Scaling is bicubic over all source pixels; an image that already has
    the size is left as it is; a JPEG of more than `FINE` pixels is decoded at a half, a quarter or an eighth, as long
    as its sides stay at least 4 times `size` (ours).

    Args:
        encoded: a whole file in one of `FORMATS`; only the first frame is used.
        size: side of the result in pixels, >= 1.

    Returns:
        (3, size, size) uint8 RGB.

    Raises:
        DataError: the file cannot be decoded (the message gives only the reason), is of another format or larger than
            `MOST_PIXELS` (a JPEG as it is decoded).
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_formats()) as opened:
            whole = opened.size
            if (opened.format, opened.mode) == ("TIFF", "I"):
                raise DataError("32-bit integer pixels have no fixed range: save it with 8 bits per channel")
            if opened.format == "JPEG" and opened.width * opened.height > FINE:
                opened.draft(None, (4 * size, 4 * size))
            opened.getexif()  # read now; the next lines take its text away, which Pillow would write again
            for text in ("exif", "Raw profile type exif"):
                opened.info.pop(text, None)
            with _turn(opened.size, whole):
                picture = _to_rgb(ImageOps.exif_transpose(opened))
                if picture.size != (size, size):
                    picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    except Image.DecompressionBombError as error:  # Pillow's own, of twice as many
        raise DataError(_too_large(str(error).partition("(")[2].partition(")")[0] or "more pixels")) from error
    except UnidentifiedImageError as error:
        raise DataError("damaged, or not an image" if encoded else "empty file") from error
    except _DAMAGE as error:
        name = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        raise DataError(f"damaged, or not an image ({name}{error})") from error
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1)  # (3, size, size)


@cache
def image_suffixes() -> frozenset[str]:
    """Ends of the names of files that `decode_image` can read, in lower case, such as `.png`."""
    formats = _formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def _formats() -> list[str]:
    """Those of `FORMATS` that this build of Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _turn(size: tuple[int, int], whole: tuple[int, int]) -> AbstractContextManager[object]:
    """The right to decode an image to `size`; those with a large `whole` take turns, as JPEG may be kept whole too."""
    if size[0] * size[1] > MOST_PIXELS:
        raise DataError(_too_large(f"{size[0]} x {size[1]} pixels"))
    return _large if whole[0] * whole[1] > LARGE else nullcontext()


def _too_large(size: str) -> str:
    return f"too large: expected at most {MOST_PIXELS / 1e6:.0f} million pixels, found {size}; scale it down"


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise DataError("floating-point pixels have no fixed range: save it with 8 bits per channel")
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda level: level * (1 / 257)).convert("L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        white.alpha_composite(picture.convert("RGBA"))
        return white.convert("RGB")
    return picture.convert("RGB")
