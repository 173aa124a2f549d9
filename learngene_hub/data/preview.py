"""Preview of a data set: a sheet of example images, one class per row."""

import re
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from learngene_hub.core.plain_text import one_line
from learngene_hub.core.rng import generator
from learngene_hub.data.extras import optional_module
from learngene_hub.data.image_set import ImageSet

_SHOWN = 64  # least side of an image on the sheet, in pixels
_GAP = 4
_TEXT = 14  # height of a class name, in pixels
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def contact_sheet(image_set: ImageSet, *, rows: int, columns: int, seed: int) -> Image.Image:
    """A sheet with one class per row: its name, and below that random images of the class.

    Small images are enlarged by a whole factor, without smoothing. With fewer classes or images than asked for,
    the sheet is smaller or has gaps.

    Args:
        image_set: where the examples come from.
        rows: largest number of classes, >= 1; the classes are drawn at random.
        columns: largest number of images of each class, >= 1.
        seed: seed of the draw.

    Raises:
        DataError: matplotlib is missing.
    """
    rng = generator(seed, "contact sheet")
    classes = torch.randperm(image_set.num_classes, generator=rng)[:rows].tolist()
    shown = image_set.image_size * max(1, -(-_SHOWN // image_set.image_size))
    columns = min(columns, int(torch.bincount(image_set.labels, minlength=1).max()))
    step, line = shown + _GAP, shown + _GAP + _TEXT
    sheet = Image.new("RGB", (_GAP + columns * step, _GAP + len(classes) * line), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, label in enumerate(classes):
        top = _GAP + row * line
        pen.text((_GAP, top), _caption(image_set.class_names[label]), fill=_INK, font=_font())
        members = (image_set.labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=rng)[:columns]]
        for column, example in enumerate(image_set.images[members]):
            picture = Image.fromarray(example.permute(1, 2, 0).cpu().numpy())
            sheet.paste(picture.resize((shown, shown), 0), (_GAP + column * step, top + _TEXT))
    return sheet


def _caption(name: str) -> str:
    """The class name, and the character itself where the name is a code point."""
    digits = re.fullmatch(r"U\+([0-9A-F]{4,5}|10[0-9A-F]{4})", name)  # up to U+10FFFF
    return one_line(f"{name}  {chr(int(digits[1], 16))}" if digits else name)


def _font() -> ImageFont.FreeTypeFont:
    """A font with more than Latin letters, out of those that matplotlib ships."""
    matplotlib = optional_module("matplotlib")
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), _TEXT - 3)
