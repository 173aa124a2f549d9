"""The picture of an evolution, from its metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learngene_hub.descent import everyone, line_of
from learngene_hub.plots.canvas import GENE_COLOUR, LINE_COLOUR, OTHER_COLOUR, new_figure, plain, save


def draw_evolution(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Fitness of every individual over the generations, survivors filled, with lines from parents to children.

    Args:
        rows: of `metrics.jsonl`, one a generation.
        path: of the PNG.
        title: above the picture.
    """
    figure, axes = new_figure()
    from matplotlib.collections import LineCollection

    points = {one["id"]: (row["generation"] + 1, one["fitness"]) for row in rows for one in everyone(row)}
    chosen = line_of(rows[-1]["best_id"], rows) if rows else set()
    born = [one for row in rows for one in everyone(row) if one["fitness"] is not None]
    pairs = [(parent, one["id"]) for one in born for parent in one["parents"]]
    for bold, colour, width in ((False, OTHER_COLOUR, 0.5), (True, GENE_COLOUR, 1.8)):
        ends = [[points[one] for one in pair] for pair in pairs if chosen.issuperset(pair) is bold]
        axes.add_collection(LineCollection(ends, colors=colour, linewidths=width, zorder=1 + bold), autolim=True)
    for survived, face in ((False, "white"), (True, GENE_COLOUR)):
        shown = [points[one["id"]] for row in rows for one in everyone(row) if one["survived"] is survived]
        shown = [(x, y) for x, y in shown if y is not None]
        label = "survives its tournament" if survived else "eliminated"
        axes.scatter(*_columns(shown), s=36, c=face, edgecolors=GENE_COLOUR, zorder=3, label=label)
    axes.plot([], [], color=GENE_COLOUR, lw=1.8, label="lineage of the best")
    axes.plot([row["generation"] + 1 for row in rows], [row["mean"] for row in rows], color=LINE_COLOUR, label="mean")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="generation", ylabel="fitness: accuracy of critics on held-out classes", title=plain(title))
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def _columns(points: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [x for x, _ in points], [y for _, y in points]
