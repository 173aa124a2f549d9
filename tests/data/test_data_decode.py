import io
import subprocess

import pytest
import torch
from PIL import Image

from learngene_hub.core.errors import DataError
from learngene_hub.data import decode
from learngene_hub.data.decode import decode_image


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def colour(pixels: torch.Tensor) -> list[int]:
    assert len(torch.unique(pixels.flatten(1), dim=1)[0]) == 1, "not one colour"
    return pixels[:, 0, 0].tolist()


def palette_with_transparency() -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encoded(image, transparency=bytes([255, 0]))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (4, 4), (1, 2, 3)), [1, 2, 3]),
        (Image.new("L", (4, 4), 77), [77, 77, 77]),
        (Image.new("1", (4, 4), 1), [255, 255, 255]),
        (Image.new("RGBA", (4, 4), (9, 9, 9, 0)), [255, 255, 255]),
        (Image.new("RGBA", (4, 4), (9, 8, 7, 255)), [9, 8, 7]),
        (Image.new("LA", (4, 4), (0, 128)), [127, 127, 127]),
        (Image.new("I;16", (4, 4), 257 * 200), [200, 200, 200]),
        (Image.new("I;16", (4, 4), 65535), [255, 255, 255]),
    ],
    ids=["rgb", "grey", "two levels", "transparent", "opaque", "half transparent", "16-bit", "16-bit white"],
)
def test_every_colour_mode_becomes_rgb(image, expected):
    assert colour(decode_image(encoded(image), 4)) == expected


def test_a_palette_is_looked_up():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert colour(decode_image(encoded(image), 4)) == [10, 20, 30]


def test_a_transparent_palette_entry_lies_on_white():
    assert colour(decode_image(palette_with_transparency(), 4)) == [255, 255, 255]


def test_an_image_of_the_right_size_is_left_as_it_is():
    pixels = torch.randint(0, 256, (5, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.frombytes("RGB", (5, 5), bytes(pixels.flatten().tolist()))
    assert torch.equal(decode_image(encoded(image), 5), pixels.permute(2, 0, 1))


def test_a_wide_image_keeps_its_middle():
    image = Image.new("RGB", (30, 10), (255, 0, 0))
    image.paste((0, 255, 0), (10, 0, 20, 10))
    assert colour(decode_image(encoded(image), 10)) == [0, 255, 0]


def test_shrinking_averages_over_all_pixels():
    image = Image.new("L", (64, 64))
    image.putdata([255 * ((x + y) % 2) for y in range(64) for x in range(64)])
    shrunk = decode_image(encoded(image), 8).float()
    assert float((shrunk - 127.5).abs().max()) < 12


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(monkeypatch, mode):
    ramp = Image.linear_gradient("L").resize((900, 600)).convert("RGB").convert(mode)
    file = encoded(ramp, "JPEG", quality=95)
    whole = decode_image(file, 16)
    monkeypatch.setattr(decode, "FINE", 100_000)
    drafted, real = [], Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda image: drafted.append(image.size) or real(image))
    assert (decode_image(file, 16).int() - whole.int()).abs().max() <= 2
    assert mode == "CMYK" or min(min(size) for size in drafted) < 100


def test_a_large_jpeg_takes_its_turn_though_it_is_decoded_small(monkeypatch):
    monkeypatch.setattr(decode, "FINE", 100)
    monkeypatch.setattr(decode, "LARGE", 1000)
    monkeypatch.setattr(decode, "MOST_PIXELS", 2000)
    with decode._turn((10, 10), (50, 50)):
        assert decode._large.locked()
    assert decode_image(encoded(Image.new("RGB", (80, 80)), "JPEG"), 2).shape == (3, 2, 2)  # more than MOST_PIXELS
    with pytest.raises(DataError, match="too large"):
        decode_image(encoded(Image.new("RGB", (80, 80)), "PNG"), 2)


def test_an_exif_value_that_pillow_cannot_write_is_ignored():
    exif = Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 65535
    text = exif.tobytes().replace(b"\x01\x28\x00\x03", b"\x01\x28\x00\x08")  # a short that may be negative: -1
    text = text.replace(b"\x28\x01\x03\x00", b"\x28\x01\x08\x00")
    assert decode_image(encoded(Image.new("RGB", (8, 4)), "JPEG", exif=text), 4).shape == (3, 4, 4)


def test_exif_orientation_is_followed():
    image = Image.new("RGB", (8, 8), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = decode_image(encoded(image, exif=exif), 8)
    assert turned[:, 0].max() == 0
    assert turned[:, 7].min() == 255


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no image at all", "^damaged, or not an image$"),
        (b"", "^empty file$"),
        (encoded(Image.effect_noise((64, 64), 50))[:900], r"^damaged, or not an image \(image file is truncated"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point pixels"),
        (encoded(Image.new("I", (4, 4), 200), "TIFF"), "32-bit integer pixels have no fixed range"),
    ],
    ids=["text", "empty", "cut short", "floating point", "32 bits"],
)
def test_what_cannot_be_decoded_gives_its_reason(data, reason):
    with pytest.raises(DataError, match=reason):
        decode_image(data, 4)


def test_postscript_is_not_handed_to_a_program_that_would_run_it(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **options: pytest.fail(f"ran {command}"))
    with pytest.raises(DataError, match="damaged, or not an image"):
        decode_image(encoded(Image.new("RGB", (8, 8)), "EPS"), 4)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_of_more_pixels_than_fit_is_refused_before_it_is_decoded():
    with pytest.raises(
        DataError, match="too large: expected at most 89 million pixels, found 10000 x 9000 pixels; scale it down"
    ):
        decode_image(b"P6 10000 9000 255\n", 4)


def test_an_image_of_50000_pixels_a_side_is_refused():
    with pytest.raises(DataError, match=r"too large: expected at most 89 million pixels, found 25\d+ pixels"):
        decode_image(b"P6 50000 50000 255\n", 4)
