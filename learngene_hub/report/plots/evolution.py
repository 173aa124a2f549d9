"""The picture of an evolution, from its metrics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from learngene_hub.report.lineage import line_of
from learngene_hub.report.plots.canvas import GENE_COLOUR, LINE_COLOUR, OTHER_COLOUR, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 400  # individuals from which on the picture is crowded


def draw_evolution(rows: Sequence[Mapping[str, Any]], *, chosen: int, title: str = "") -> "Figure":
    """Fitness of every individual over the generations, survivors filled, with lines from parents to children.

    Where there are more than `MANY`, only the result and its ancestors are joined by lines.

    `rows` are those of `metrics.jsonl`, `chosen` is the id of the individual whose learngene is the result.
    """
    figure, (axes,) = new_figure()
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    born = [
        (row["generation"] + 1, record)
        for row in rows
        for record in row["individuals"]
        if record["fitness"] is not None
    ]
    points = {record["id"]: (generation, 100 * record["fitness"]) for generation, record in born}
    line = line_of(chosen, rows)
    pairs = [(parent, record["id"]) for _, record in born for parent in record["parents"]]
    is_crowded = len(points) > MANY
    for is_line, colour, width in ((False, OTHER_COLOUR, 0.5), (True, GENE_COLOUR, 1.8))[is_crowded:]:
        ends = [[points[id_] for id_ in pair] for pair in pairs if line.issuperset(pair) is is_line]
        lines = LineCollection(ends, colors=colour, linewidths=width, zorder=1 + is_line)
        axes.add_collection(lines, autolim=True)
    size = 4 if is_crowded else 36
    for survived, face, label in ((False, "white", "eliminated"), (True, GENE_COLOUR, "survives its tournament")):
        shown = [points[record["id"]] for _, record in born if record["survived"] is survived]
        if not shown:
            continue
        x, y = zip(*shown, strict=True)
        axes.scatter(x, y, s=size, c=face, edgecolors=GENE_COLOUR, zorder=3, label=label)
    if len(line) > 1:
        axes.plot([], [], color=GENE_COLOUR, lw=1.8, label="result and its ancestors")
    means = [100 * row["mean"] for row in rows]
    generations = [row["generation"] + 1 for row in rows]
    look = {"zorder": 3.5} if is_crowded else {"zorder": 0.5, "lw": 4.0, "marker": "_", "ms": 18, "mew": 4.0}
    axes.plot(generations, means, color=LINE_COLOUR, label="mean of the generation", **look)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(generations[0] - 0.5, generations[-1] + 0.5)
    axes.set(xlabel="generation", ylabel="fitness: accuracy of critics\non held-out classes, %", title=plain(title))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
