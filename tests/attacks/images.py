"""Image files of every format and size."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from attacks.engine import Kind, Target
from attacks.genes import lay
from attacks.mutate import scrambled
from learngene_hub.data.decode import decode_image

SIZE = 28
COLOUR = (200, 40, 90)
FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr", "LAB", "F"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "TGA": ("L", "RGB", "RGBA"),
    "ICO": ("RGBA",),
    "PCX": ("L", "RGB"),
    "JPEG2000": ("L", "RGB", "RGBA"),
}
FOREIGN = ("EPS", "PDF", "QOI", "IM", "MSP", "SGI", "SPIDER", "XBM", "DDS", "ICNS")  # of no use here; some run programs
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(outside) (w) file closefile showpage\n%%EOF\n"


def targets() -> list[Target]:
    """Those of this module."""
    kinds = [
        Kind("every format and mode", _sound),
        Kind("bytes", _bytes, 6),
        Kind("cut short", _short, 2),
        Kind("turned by EXIF", _turned, 1),
        Kind("animated", _animated, 0.5),
        Kind("huge pictures in small files", _bomb, 1),
        Kind("formats that are programs", _foreign, 0.5),
        Kind("random bytes", _noise),
    ]
    return [Target("image", 25, kinds, lambda folder: lay(folder, {"here": b""}))]


@cache
def encoded(file_format: str, mode: str, size: tuple[int, int] = (40, 30), *, frames: int = 1) -> bytes:
    """One picture of one colour, white where the mode is grey, in this format."""
    picture = Image.new("RGB", size, COLOUR)
    picture = Image.new(mode, size, 65535) if mode == "I;16" else picture.convert(mode)
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [picture.rotate(90 * n) for n in range(1, frames)]} if frames > 1 else {}
    picture.save(buffer, file_format, **more)
    return buffer.getvalue()


def _any(rng: random.Random) -> bytes:
    file_format = rng.choice(list(FORMATS))
    return encoded(file_format, rng.choice(FORMATS[file_format]))


def _decode(content: bytes) -> bool:
    pixels = decode_image(content, SIZE)
    return pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.uint8


def _sound(rng: random.Random, folder: Path) -> Callable[[], object]:
    """Sound pictures: colours must come out as they went in, but for what the format itself loses."""
    file_format = rng.choice(list(FORMATS))
    mode = rng.choice(FORMATS[file_format])
    content = encoded(file_format, mode, (rng.randint(1, 60), rng.randint(1, 60)))
    if mode in {"1", "L", "LA", "P", "I;16", "F", "LAB", "YCbCr", "CMYK"}:
        return lambda: _decode(content)
    wanted = torch.tensor(COLOUR).view(3, 1, 1)
    return lambda: bool(((decode_image(content, SIZE).int() - wanted).abs() <= 12).all())


def _bytes(rng: random.Random, folder: Path) -> Callable[[], object]:
    content = scrambled(rng, _any(rng))
    return lambda: _decode(content)


def _short(rng: random.Random, folder: Path) -> Callable[[], object]:
    content = _any(rng)
    content = content[: rng.randrange(len(content))]
    return lambda: _decode(content)


def _turned(rng: random.Random, folder: Path) -> Callable[[], object]:
    picture, exif = Image.new("RGB", (20, 20), (0, 0, 0)), Image.Exif()
    picture.paste((255, 255, 255), (0, 0, 20, 10))  # white above
    orientation = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535))
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, rng.choice(("PNG", "JPEG", "WEBP")), exif=exif, quality=95)
    content = buffer.getvalue()
    if rng.random() < 0.5:
        damaged = scrambled(rng, content[:200]) + content[200:]
        return lambda: _decode(damaged)
    white = {3: "below", 4: "below", 5: "left", 6: "right", 7: "right", 8: "left"}.get(orientation, "above")
    return lambda: _brightest(decode_image(content, SIZE).float()) == white


def _brightest(pixels: torch.Tensor) -> str:
    half = SIZE // 2
    sides = {
        "above": pixels[:, :half],
        "below": pixels[:, half:],
        "left": pixels[..., :half],
        "right": pixels[..., half:],
    }
    return max(sides, key=lambda side: float(sides[side].mean()))


def _animated(rng: random.Random, folder: Path) -> Callable[[], object]:
    content = encoded(rng.choice(("GIF", "PNG", "WEBP", "TIFF")), "RGB", frames=rng.choice((2, 3, 50)))
    if rng.random() < 0.7:
        content = scrambled(rng, content)
    return lambda: _decode(content)


def _bomb(rng: random.Random, folder: Path) -> Callable[[], object]:
    side, other = rng.choice((50_000, 13_000, 9_000, 2**31 - 1, 65535)), rng.choice((50_000, 1, 3000, 2**31 - 1, 65535))
    match rng.randrange(6):
        case 0:
            content = png(side, other, bytes(10_000))
        case 1:
            content = png(8, 8, bytes(300), text=zlib.compress(bytes(rng.choice((10**6, 10**8)))))
        case 2:
            content = b"GIF89a" + struct.pack("<HH", side % 65536, other % 65536) + encoded("GIF", "P")[10:]
        case 3:
            data = bytearray(encoded("BMP", "RGB"))
            data[18:26] = struct.pack("<ii", side, rng.choice((other, -other)))
            content = bytes(data)
        case 4:
            content = b"P6 %d %d 255\n" % (side, other) + bytes(rng.choice((0, 1000)))
        case 5:
            data = bytearray(encoded("TIFF", "RGB"))
            at = rng.randrange(8, len(data) - 4)
            data[at : at + 4] = struct.pack("<I", side)
            content = bytes(data)
    return lambda: _decode(content)


def png(width: int, height: int, packed: bytes, *, text: bytes = b"") -> bytes:
    """A PNG that claims any size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    chunks += [(b"zTXt", b"comment\0\0" + text), (b"iTXt", b"x\0\1\0\0\0" + text)] if text else []
    chunks += [(b"IDAT", zlib.compress(packed)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _foreign(rng: random.Random, folder: Path) -> Callable[[], object]:
    name = rng.choice((*FOREIGN, "postscript"))
    content = POSTSCRIPT if name == "postscript" else _saved(name)
    if rng.random() < 0.3:
        content = scrambled(rng, content)
    return lambda: _decode(content)


@cache
def _saved(file_format: str) -> bytes:
    return encoded(file_format, "1" if file_format in {"MSP", "XBM"} else "F" if file_format == "SPIDER" else "RGB")


def _noise(rng: random.Random, folder: Path) -> Callable[[], object]:
    content = rng.choice((b"", _any(rng)[: rng.randint(1, 40)], b"II*\0", b"\x89PNG\r\n\x1a\n")) + rng.randbytes(
        rng.choice((0, 1, 50, 5000))
    )
    return lambda: _decode(content)
