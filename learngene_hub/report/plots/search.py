"""The picture of a search for the shape of a gene, from its row in the metrics."""

from typing import TYPE_CHECKING

from learngene_hub.report.lineage import Record
from learngene_hub.report.plots.canvas import GENE_COLOUR, LINE_COLOUR, OTHER_COLOUR, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 6  # shapes that are drawn as bars
SPREAD = 0.6  # of the shapes along the axis


def draw_search(search: Record) -> "Figure":
    """Fitness of every shape, with lines from the best to their mean, and below it these shapes as bars.

    `search` is that entry of the first row of `metrics.jsonl`.
    """
    figure, (above, below) = new_figure(7.2, 7.0, rows=2)
    _draw_fitness(above, search)
    _draw_shapes(below, search)
    return figure


def _draw_fitness(axes: "Axes", search: Record) -> None:
    shapes, mean, even = search["shapes"], search["mean"], search["even"]
    points = {
        shape["id"]: (1 + SPREAD * (number / len(shapes) - 0.5), 100 * shape["fitness"])
        for number, shape in enumerate(shapes)
        if shape["fitness"] is not None
    }
    x, y = zip(*points.values(), strict=True)
    axes.scatter(x, y, s=18, c="white", edgecolors=GENE_COLOUR, zorder=3, label="a shape")
    if mean["fitness"] is not None:
        at = (2, 100 * mean["fitness"])
        for point in (points[id_] for id_ in mean["parents"] if id_ in points):
            axes.plot(*zip(point, at, strict=True), color=GENE_COLOUR, lw=1)
        axes.scatter(*at, s=36, c=GENE_COLOUR, marker="D", zorder=4, label="mean of the best, new tasks")
    if even["fitness"] is not None:
        at = (2, 100 * even["fitness"])
        axes.scatter(*at, s=48, c=LINE_COLOUR, marker="X", zorder=4, label="even shape, new tasks")
    axes.set_xticks([1, 2], ["all shapes, tasks of the search", "new tasks"])
    axes.set(xlim=(0.5, 2.5), ylabel="fitness: accuracy of critics\non held-out classes, %")
    _legend_above(axes)


def _draw_shapes(axes: "Axes", search: Record) -> None:
    """For every group a cluster of bars: the best shapes, then what was chosen."""
    groups, full, chosen = search["groups"], search["channels"], search["best"]["channels"]
    channels = {shape["id"]: shape["channels"] for shape in search["shapes"]}
    best = [channels[id_] for id_ in search["mean"]["parents"][:MOST_BARS]]
    drawn = [*((f"best {number}", one) for number, one in enumerate(best, start=1)), ("chosen", chosen)]
    width = 0.85 / len(drawn)
    for number, (name, channels) in enumerate(drawn):
        at = [group + (number - (len(drawn) - 1) / 2) * width for group in range(len(groups))]
        shares = [100 * mine / whole for mine, whole in zip(channels, full, strict=True)]
        is_chosen = name == "chosen"
        alpha = 1.0 if is_chosen else 0.25 + 0.5 * number / len(drawn)
        axes.bar(at, shares, width, color=GENE_COLOUR if is_chosen else OTHER_COLOUR, alpha=alpha, label=name)
    even = [100 * mine / whole for mine, whole in zip(search["even"]["channels"], full, strict=True)]
    for group, share in enumerate(even):
        axes.hlines(share, group - 0.45, group + 0.45, color=LINE_COLOUR, lw=1.5, label="" if group else "even shape")
    labels = [f"{plain(name)}\n{mine} of {whole}" for name, mine, whole in zip(groups, chosen, full, strict=True)]
    axes.set_xticks(range(len(groups)), labels, rotation=35 if len(groups) > 8 else 0, fontsize=8)
    axes.set(ylabel="channels that are gene, %", ylim=(0, 104))
    _legend_above(axes)


def _legend_above(axes: "Axes") -> None:
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
