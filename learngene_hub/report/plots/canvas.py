"""What all pictures share: colours, size, and how they are written."""

import warnings
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


def png(figure: "Figure") -> bytes:
    """`figure` as a PNG; a letter that no font has is a box in it."""
    content = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph |Matplotlib currently does not support")
        figure.savefig(content, format="png")
    return content.getvalue()


def write_png(figure: "Figure", path: Path) -> None:
    """Write `figure` to the file `path`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(png(figure))


@cache
def fonts() -> tuple[str, ...]:
    """Families of fonts that draw names: that of matplotlib, then those of East Asia that are installed here."""
    from matplotlib.font_manager import fontManager

    return (_FONT, *(name for name in _EAST_ASIAN if name in fontManager.get_font_names()))


def plain(text: str) -> str:
    """Printable text in which a dollar sign is one, not the start of a formula."""
    return printable(text).replace("$", r"\$")
