"""What all pictures share: colours, size, and how they are written."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from learngene_hub.errors import LearngeneError
from learngene_hub.files import atomic_path
from learngene_hub.plain_text import printable

GENE_COLOUR, OTHER_COLOUR, LINE_COLOUR = "#0f766e", "#94a3b8", "#d97706"


def check_can_draw() -> None:
    """Refuse before long work what could not be drawn after it.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise LearngeneError('pictures need matplotlib: pip install "learngene-hub[evolve]"')


def new_figure(width: float = 7.0, height: float = 4.2, *, columns: int = 1) -> tuple[Any, Any]:
    """A figure, `width` by `height` inches, and its axes: one, or a tuple of `columns`.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    check_can_draw()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[0] if columns == 1 else tuple(panels)


def save(figure: Any, path: Path) -> None:  # noqa: ANN401
    """Write `figure` as a PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def plain(text: str) -> str:
    """Printable text in which a dollar sign is one, not the start of a formula."""
    return printable(text).replace("$", r"\$")
