"""How the characters of the glyph classes were chosen: `learngene_hub/data/classes/glyphs.json` lists the result."""

import math
import unicodedata
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from learngene_hub.data.glyphs import _EM, _font, _fonts, _mask

LEAST_FONTS = 12
LEAST_EXTENT = 0.4  # em
LARGEST_SIMILARITY = 0.8
_CATEGORIES = frozenset({"Lu", "Ll", "Lo", "Nd", "Sc", "Sm"})  # letters, digits, currencies, mathematics
_LATIN_PUNCTUATION = frozenset("!#%&*?@§¶")
_SKIPPED = (range(0x2190, 0x2200), range(0x2300, 0x2C00))  # arrows, pieces of brackets, plain shapes
_COMPARED = 24  # pixels of the longer side when two characters are compared
_MARGIN = 4


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
