"""What all pictures share: colours, size, and how they are written."""

import re
import unicodedata
from base64 import b64encode
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from learngene_hub.core.errors import LearngeneError
from learngene_hub.core.files import atomic_path
from learngene_hub.core.plain_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SOUND = re.compile(r"(?:LETTER|VOWEL SIGN|SYLLABLE) (?:\w+ )*?(\w+)$|CHARACTER (?:SARA )?(\w+)")
_FONT = "DejaVu Sans"  # comes with matplotlib
_EAST_ASIAN = (  # of Linux, Windows and macOS
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans GB",
    "Apple SD Gothic Neo",
)
GENE_COLOUR, OTHER_COLOUR, LINE_COLOUR = "#0f766e", "#94a3b8", "#d97706"
MANY = 400  # marks from which on an SVG holds them as pixels: one shape each would take megabytes


def check_can_draw() -> None:
    """Check before long work that its results can be drawn.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise LearngeneError('pictures need matplotlib: pip install "learngene-hub[evolve]"')


def new_figure(
    width: float = 6.2, height: float = 4.0, *, rows: int = 1, columns: int = 1
) -> "tuple[Figure, list[Axes]]":
    """A figure, `width` by `height` inches, and its axes, row by row.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    check_can_draw()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def write_png(figure: "Figure", path: Path) -> None:
    """Write `figure` to the file `path`, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def svg_address(figure: "Figure") -> str:
    """`figure` as the address of an image in a page, `data:image/svg+xml;base64,...`.

    The same figure gives the same address. Text stays text, in a font of whoever looks at it: shapes of letters would
    double the size. As an image, it runs nothing, and its ids are its own, however many a page has.
    """
    from matplotlib import rc_context

    content = BytesIO()
    with rc_context({"svg.hashsalt": "learngene-hub", "svg.fonttype": "none"}):
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", dpi=150, metadata=metadata)
    return f"data:image/svg+xml;base64,{b64encode(content.getvalue()).decode('ascii')}"


@cache
def fonts() -> tuple[str, ...]:
    """Families of fonts that draw names: that of matplotlib, then those of East Asia that are installed here."""
    from matplotlib.font_manager import fontManager

    return (_FONT, *(name for name in _EAST_ASIAN if name in fontManager.get_font_names()))


def plain(text: str, families: tuple[str, ...] = (_FONT,)) -> str:
    """Printable text in which a dollar sign is one, not the start of a formula, and all can be drawn.

    Letters that the fonts `families` lack, such as those of India, are spelt in Latin ones.
    """
    known = _characters(families)
    drawn = "".join(char if ord(char) in known or char.isspace() else _spelt(char) for char in printable(text))
    return drawn.replace("$", r"\$")


@cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    """Code points that one of these fonts has."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset().union(*(FT2Font(findfont(family)).get_charmap() for family in families))


def _spelt(char: str) -> str:
    """A letter by what Unicode calls it: its sound, or its number where it has none.

    >>> _spelt("\u092c"), _spelt("\ubc31"), _spelt("\u767e"), _spelt("\u094d")
    ('ba', 'baeg', '[767E]', '')
    """
    if sound := _SOUND.search(unicodedata.name(char, "")):
        return (sound[1] or sound[2]).lower()
    return "" if unicodedata.category(char)[0] == "M" else f"[{ord(char):X}]"
