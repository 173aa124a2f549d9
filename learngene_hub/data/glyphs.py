"""Built-in data: characters in many type faces, so that a first evolution needs no download.

A class is a character. Its images differ in type face, rotation, shear, size, position and colours, and strokes and
junctions are shared by all classes: what is learned on some characters helps with others (ours).
"""

import json
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from learngene_hub.core.errors import DataError
from learngene_hub.core.rng import generator
from learngene_hub.data.extras import optional_module
from learngene_hub.data.image_set import ImageSet, refuse_repeated, shorten
from learngene_hub.data.splits import class_file

CLASS_FILE = "glyphs.json"

# How images of one class differ. Lengths are fractions of the image side.
ROTATION = 25.0  # degrees, either way
SHEAR = 0.25
SCALE = (0.6, 0.95)  # longer side of the glyph
SHIFT = 0.08
DARK, LIGHT = (0.0, 0.45), (0.6, 1.0)  # intensity of either colour, drawn per channel
GRADIENT = 0.25  # change of brightness from side to side
NOISE = 0.06  # standard deviation

# How characters become classes.
LEAST_FONTS = 12
LEAST_EXTENT = 0.4  # em
LARGEST_SIMILARITY = 0.8
_CATEGORIES = frozenset({"Lu", "Ll", "Lo", "Nd", "Sc", "Sm"})  # letters, digits, currencies, mathematics
_LATIN_PUNCTUATION = frozenset("!#%&*?@§¶")
_SKIPPED = (range(0x2190, 0x2200), range(0x2300, 0x2C00))  # arrows, pieces of brackets, plain shapes
_EM = 96  # pixels per em when a character is drawn
_COMPARED = 24  # pixels of the longer side when two characters are compared
_MARGIN = 4


def glyph_classes() -> tuple[str, ...]:
    """Names of all glyph classes, such as `"U+0041"` for A, in the order of their code points.

    They are shipped with the package; `choose_glyph_classes` made the list.
    """
    return tuple(json.loads(class_file(CLASS_FILE)))


def draw_glyphs(classes: Sequence[str], *, image_size: int, images_per_class: int = 200, seed: int) -> ImageSet:
    """Images of some characters; those of one class depend on the seed and its name, not on the other classes.

    Args:
        classes: names out of `glyph_classes()`, each at most once.
        image_size: side in pixels, >= 8.
        images_per_class: number of images of each class, >= 1.
        seed: seed of all draws.

    Returns:
        (classes * images_per_class, 3, image_size, image_size) images, class by class.

    Raises:
        DataError: a name is unknown or given twice, a number is too small, or matplotlib or Pillow is missing.
    """
    refuse_repeated(classes, "The list of glyphs")
    if unknown := sorted(set(classes) - set(glyph_classes())):
        raise DataError(f"No such glyph class: {shorten(unknown)}. Names look like 'U+0041'; glyph_classes() has all")
    if image_size < 8 or images_per_class < 1:
        raise DataError(f"Glyphs need image_size >= 8 and images_per_class >= 1, got {image_size}, {images_per_class}")
    images = torch.empty(len(classes), images_per_class, 3, image_size, image_size, dtype=torch.uint8)
    for position, name in enumerate(classes):
        masks = _masks(chr(int(name[2:], 16)), side=2 * image_size)
        images[position] = _draw(masks, images_per_class, image_size, generator(seed, "glyphs", name))
    labels = torch.arange(len(classes)).repeat_interleave(images_per_class)
    return ImageSet(images.flatten(0, 1), labels, tuple(classes))


def choose_glyph_classes() -> tuple[str, ...]:
    """Characters that stand in at least 12 text fonts of matplotlib and differ to the eye, as class names.

    In the order of code points, a character is kept if no kept one resembles it: the largest correlation of the two
    over rotations up to 30 degrees, averaged over the fonts that have both, is below 0.8 (ours). Takes seconds.
    """
    characters = _candidates()
    similarity = _similarity(characters)
    kept: list[int] = []
    for position in range(len(characters)):
        if not kept or similarity[position, kept].max() < LARGEST_SIMILARITY:
            kept.append(position)
    return tuple(f"U+{ord(characters[position]):04X}" for position in kept)


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
    place = torch.linspace(-1, 1, size)
    return (slope[:, 0] * place[:, None] + slope[:, 1] * place)[:, None]


def _signed(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=rng) - 1


def _between(limits: tuple[float, float], shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=rng)


def _masks(character: str, *, side: int) -> Tensor:
    """(fonts, side, side) float32 ink in [0, 1], the longer side of the glyph filling the square."""
    return torch.stack([_mask(path, character, side) for path, have in _fonts().items() if ord(character) in have])


def _mask(font_path: str, character: str, side: int) -> Tensor:
    image, draw = optional_module("PIL.Image"), optional_module("PIL.ImageDraw")
    page = image.new("L", (4 * _EM, 4 * _EM))
    draw.Draw(page).text((2 * _EM, 2 * _EM), character, fill=255, font=_font(font_path), anchor="ms")
    left, top, right, bottom = page.getbbox() or (0, 0, 1, 1)  # of the ink; the font's own box may be wider
    square = max(right - left, bottom - top)
    canvas = image.new("L", (square, square))
    corner = ((square - right + left) // 2, (square - bottom + top) // 2)
    canvas.paste(page.crop((left, top, right, bottom)), corner)
    canvas = canvas.resize((side, side), image.Resampling.BILINEAR)
    return torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8).view(side, side) / 255


@lru_cache(maxsize=32)
def _font(path: str) -> Any:  # noqa: ANN401 - PIL is optional
    # The basic layout is always there and draws one character as any other does.
    fonts = optional_module("PIL.ImageFont")
    return fonts.truetype(path, _EM, layout_engine=fonts.Layout.BASIC)


@lru_cache(maxsize=1)
def _fonts() -> dict[str, frozenset[int]]:
    """Path and code points of matplotlib's text fonts; its other fonts hold parts of formulas."""
    folder = Path(optional_module("matplotlib").get_data_path()) / "fonts" / "ttf"
    paths = [*folder.glob("DejaVuS*.ttf"), *folder.glob("STIXGeneral*.ttf")]
    text = sorted(str(path) for path in paths if not path.stem.endswith("Display"))
    ft2font = optional_module("matplotlib.ft2font")
    return {path: frozenset(ft2font.FT2Font(path).get_charmap()) for path in text}


def _candidates() -> list[str]:
    """Letters, digits and signs that many fonts have, without accented or composed ones and small marks."""
    counts: dict[int, int] = {}
    for have in _fonts().values():
        for code in have:
            counts[code] = counts.get(code, 0) + 1
    common = (chr(code) for code in sorted(counts) if counts[code] >= LEAST_FONTS)
    return [character for character in common if _is_plain(character) and _extent(character) >= LEAST_EXTENT]


def _is_plain(character: str) -> bool:
    if character in _LATIN_PUNCTUATION:
        return True
    composed = unicodedata.normalize("NFKD", character) != character
    skipped = any(ord(character) in block for block in _SKIPPED)
    return unicodedata.category(character) in _CATEGORIES and not composed and not skipped


def _extent(character: str) -> float:
    """Longer side of the ink in em, in the first font that has the character."""
    path = next(path for path, have in _fonts().items() if ord(character) in have)
    left, top, right, bottom = _font(path).getbbox(character)
    return float(max(right - left, bottom - top)) / _EM


def _similarity(characters: Sequence[str]) -> Tensor:
    """(c, c) symmetric: largest correlation over rotations, each a mean over the fonts that have both characters."""
    most = torch.full((len(characters), len(characters)), -1.0)
    shared = torch.zeros_like(most)
    correlation = torch.zeros(5, *most.shape)
    for path, have in _fonts().items():
        known = torch.tensor([ord(character) in have for character in characters])
        masks = torch.zeros(len(characters), _COMPARED, _COMPARED)
        for position in known.nonzero().flatten().tolist():
            masks[position] = _mask(path, characters[position], _COMPARED)
        upright = _features(masks, 0.0)
        for step, degrees in enumerate((-30.0, -15.0, 0.0, 15.0, 30.0)):
            correlation[step] += _features(masks, degrees) @ upright.T
        shared += torch.outer(known.float(), known.float())
    most = (correlation / shared.clamp(min=1)).amax(dim=0)
    return torch.maximum(most, most.T)


def _features(masks: Tensor, degrees: float) -> Tensor:
    """(c, pixels) rows of length 1: rotated, blurred, centred masks; zero where there is no ink."""
    masks = F.pad(masks[:, None], [_MARGIN] * 4)  # (c, 1, side, side)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(masks), 2, 3)
    grid = F.affine_grid(turn, list(masks.shape), align_corners=False)
    rotated = F.grid_sample(masks, grid, align_corners=False)
    flat = F.avg_pool2d(rotated, 3, stride=1, padding=1).flatten(1)
    return F.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)
