"""Built-in data set: characters in many type faces, so that a first evolution needs no download.

A class is a character. Its images differ in type face, rotation, shear, size, position and colours, and strokes and
junctions are shared by all classes: what is learned on some characters helps with others (ours).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from learngene_hub.core.errors import DataError
from learngene_hub.core.rng import generator
from learngene_hub.data.extras import optional_module
from learngene_hub.data.image_set import ImageSet, shorten
from learngene_hub.data.splits import class_lists

# How images of one class differ. Lengths are fractions of the image side.
ROTATION = 25.0  # degrees, either way
SHEAR = 0.25
SCALE = (0.6, 0.95)  # longer side of the glyph
SHIFT = 0.08
DARK, LIGHT = (0.0, 0.45), (0.6, 1.0)  # intensity of either colour, drawn per channel
GRADIENT = 0.25  # change of brightness from side to side
NOISE = 0.06  # standard deviation

_EM = 96  # pixels per em when a character is drawn


def glyph_classes() -> tuple[str, ...]:
    """Names of all glyph classes, such as `"U+0041"` for A, in the order of their code points.

    They are shipped with the package; `tests/glyph_choice.py` of commit 3a65c5a made the list.
    """
    return tuple(class_lists("glyphs"))


def draw_glyphs(classes: Sequence[str], *, image_size: int, images_per_class: int, seed: int) -> ImageSet:
    """Draw images of characters; the images of a class depend only on the seed and the class name.

    Args:
        classes: names out of `glyph_classes()`, each at most once.
        image_size: side in pixels, >= 8.
        images_per_class: number of images of each class, >= 1.
        seed: seed of all draws.

    Returns:
        (classes * images_per_class, 3, image_size, image_size) images, class by class.

    Raises:
        DataError: a name is unknown, or matplotlib is missing.
    """
    if unknown := sorted(set(classes) - set(glyph_classes())):
        raise DataError(f"No such glyph class: {shorten(unknown)}. Names look like 'U+0041'; glyph_classes() has all")
    images = torch.empty(len(classes), images_per_class, 3, image_size, image_size, dtype=torch.uint8)
    for position, name in enumerate(classes):
        character = chr(int(name[2:], 16))
        fonts = [path for path, have in _fonts().items() if ord(character) in have]
        masks = torch.stack([_mask(path, character, 2 * image_size) for path in fonts])
        images[position] = _draw(masks, images_per_class, image_size, generator(seed, "glyphs", name))
    labels = torch.arange(len(classes)).repeat_interleave(images_per_class)
    return ImageSet(images.flatten(0, 1), labels, tuple(classes))


def _draw(masks: Tensor, count: int, size: int, rng: torch.Generator) -> Tensor:
    """(count, 3, size, size) uint8 images of one character, given as (fonts, side, side) masks."""
    font = torch.randint(len(masks), (count,), generator=rng)
    # Two samples per pixel and direction, then their mean: thin strokes keep their weight.
    grid = F.affine_grid(_affine(count, rng), [count, 1, 2 * size, 2 * size], align_corners=False)
    ink = F.grid_sample(masks[font, None], grid, align_corners=False)  # (count, 1, 2 size, 2 size)
    ink = F.avg_pool2d(ink, 2)  # (count, 1, size, size)
    paper, stroke = _colours(count, rng)  # (count, 3, 1, 1) each
    images = paper + (stroke - paper) * ink  # (count, 3, size, size)
    images += _light(count, size, rng)
    images += NOISE * torch.randn(images.shape, generator=rng)
    return images.mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def _affine(count: int, rng: torch.Generator) -> Tensor:
    """(count, 2, 3) maps from a place in the image to a place in the mask, both in [-1, 1]."""
    angle = math.radians(ROTATION) * _signed((count,), rng)
    shear = SHEAR * _signed((count,), rng)
    scale = _between(SCALE, (count,), rng)
    shift = 2 * SHIFT * _signed((count, 2, 1), rng)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    turn = torch.stack([cos, sin, -sin, cos], dim=1).view(count, 2, 2)
    lean = torch.eye(2).repeat(count, 1, 1)
    lean[:, 0, 1] = shear
    matrix = lean @ turn  # (count, 2, 2)
    return torch.cat([matrix, -matrix @ shift], dim=2)


def _colours(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    dark = _between(DARK, (count, 3, 1, 1), rng)
    light = _between(LIGHT, (count, 3, 1, 1), rng)
    inverted = torch.rand((count, 1, 1, 1), generator=rng) < 0.5
    return torch.where(inverted, dark, light), torch.where(inverted, light, dark)


def _light(count: int, size: int, rng: torch.Generator) -> Tensor:
    """(count, 1, size, size) change of brightness along a random direction."""
    slope = GRADIENT / 2 * _signed((count, 2, 1, 1), rng)
    position = torch.linspace(-1, 1, size)
    return (slope[:, 0] * position[:, None] + slope[:, 1] * position)[:, None]


def _signed(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=rng) - 1


def _between(limits: tuple[float, float], shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=rng)


def _mask(font_path: str, character: str, side: int) -> Tensor:
    """(side, side) float32 ink in [0, 1], the longer side of the glyph filling the square."""
    page = Image.new("L", (4 * _EM, 4 * _EM))
    ImageDraw.Draw(page).text((2 * _EM, 2 * _EM), character, fill=255, font=_font(font_path), anchor="ms")
    left, top, right, bottom = page.getbbox() or (0, 0, 1, 1)  # of the ink; the font's own box may be wider
    square = max(right - left, bottom - top)
    canvas = Image.new("L", (square, square))
    corner = ((square - right + left) // 2, (square - bottom + top) // 2)
    canvas.paste(page.crop((left, top, right, bottom)), corner)
    canvas = canvas.resize((side, side), Image.Resampling.BILINEAR)
    return torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8).view(side, side) / 255


@lru_cache(maxsize=32)
def _font(path: str) -> ImageFont.FreeTypeFont:
    # The basic layout is always there and draws one character as any other does.
    return ImageFont.truetype(path, _EM, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _fonts() -> dict[str, frozenset[int]]:
    """Path and code points of matplotlib's text fonts; its other fonts hold parts of formulas."""
    folder = Path(optional_module("matplotlib").get_data_path()) / "fonts" / "ttf"
    paths = [*folder.glob("DejaVuS*.ttf"), *folder.glob("STIXGeneral*.ttf")]
    text = sorted(str(path) for path in paths if not path.stem.endswith("Display"))
    ft2font = optional_module("matplotlib.ft2font")
    return {path: frozenset(ft2font.FT2Font(path).get_charmap()) for path in text}
