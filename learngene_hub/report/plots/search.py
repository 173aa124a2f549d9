"""The picture of a search for the shape of a gene, from its row in the metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from learngene_hub.report.lineage import Record, line_of
from learngene_hub.report.plots.canvas import GENE_COLOUR, LINE_COLOUR, MANY, OTHER_COLOUR, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 6  # shapes or generations that are drawn as bars
MOST_TICKS = 12
SPREAD = 0.6  # of a generation's shapes along the axis of generations


def draw_search(search: Record) -> "Figure":
    """Fitness of every shape by generation, with lines to its parents, and below it the best shapes as bars.

    Args:
        search: entry `search` of the first row of `metrics.jsonl`.
    """
    figure, (above, below) = new_figure(7.2, 7.0, rows=2)
    _draw_fitness(above, search)
    _draw_shapes(below, search)
    return figure


def _draw_fitness(axes: "Axes", search: Record) -> None:
    from matplotlib.collections import LineCollection

    everyone, last = (*search["shapes"], search["mean"]), search["mean"]["generation"]
    shapes = {shape["id"]: shape for shape in everyone if shape["fitness"] is not None}
    points = {id_: (_place(shape, everyone), 100 * shape["fitness"]) for id_, shape in shapes.items()}
    line = line_of(search["best"]["id"], [{"individuals": [*everyone, search["even"]]}])
    pairs = [(parent, id_) for id_, shape in shapes.items() for parent in shape["parents"] if parent in shapes]
    for is_line, colour, width in ((False, OTHER_COLOUR, 0.5), (True, GENE_COLOUR, 1.8))[len(points) > MANY :]:
        ends = [[points[id_] for id_ in pair] for pair in pairs if line.issuperset(pair) is is_line]
        axes.add_collection(LineCollection(ends, colors=colour, linewidths=width, zorder=1 + is_line))
    x, y = zip(*points.values(), strict=True)
    axes.scatter(x, y, s=18, c="white", edgecolors=GENE_COLOUR, zorder=3, label="a shape", rasterized=len(x) > MANY)
    if at := points.get(search["mean"]["id"]):
        axes.scatter(*at, s=36, c=GENE_COLOUR, marker="D", zorder=4, label="mean of the best, fresh tasks")
    if search["even"]["fitness"] is not None:
        even = 100 * search["even"]["fitness"]
        axes.scatter([last + 1], [even], s=48, c=LINE_COLOUR, marker="X", zorder=4, label="even shape, fresh tasks")
    if len(line) > 1:
        axes.plot([], [], color=GENE_COLOUR, lw=1.8, label="the best shape and its ancestors")
    step = -(-last // MOST_TICKS)
    names = [*map(str, range(1, last + 1, step))] if last > 1 else ["all shapes, tasks of the search"]
    axes.set_xticks([*range(1, last + 1, step), last + 1], [*names, "fresh tasks"])
    axes.set(xlabel="generation of shapes" if last > 1 else "", xlim=(0.5, last + 1.5))
    axes.set(ylabel="fitness: accuracy of critics\non held-out classes, %")
    _legend_above(axes)


def _draw_shapes(axes: "Axes", search: Record) -> None:
    """For every group a cluster of bars: what was chosen, after the best shapes of all or of each generation."""
    groups, full, chosen = search["groups"], search["channels"], search["best"]["channels"]
    drawn = [*_beside_the_chosen(search), ("chosen", chosen)]
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


def _place(shape: Record, shapes: Sequence[Record]) -> float:
    """Where on the axis of generations, from 1, those of one generation side by side."""
    together = [other["id"] for other in shapes if other["generation"] == shape["generation"]]
    return 1 + float(shape["generation"]) + SPREAD * ((together.index(shape["id"]) + 0.5) / len(together) - 0.5)


def _beside_the_chosen(search: Record) -> list[tuple[str, Sequence[int]]]:
    """Other shapes, with their names: the best ones up to some generations, or those of all if there is only one."""
    best = _best_so_far(search["shapes"])
    if len(best) > 1:
        return [(f"best after generation {i + 1}", best[i]) for i in range(0, len(best), -(-len(best) // MOST_BARS))]
    channels = {shape["id"]: shape["channels"] for shape in search["shapes"]}
    parents = search["mean"]["parents"][:MOST_BARS]
    return [(f"best {number}", channels[id_]) for number, id_ in enumerate(parents, start=1)]


def _best_so_far(shapes: Sequence[Record]) -> list[Sequence[int]]:
    """The channels of the fittest shape up to each generation."""
    alive = [shape for shape in shapes if shape["fitness"] is not None]
    alive.sort(key=lambda shape: (shape["fitness"], -shape["id"]), reverse=True)
    ends = range(1 + max(shape["generation"] for shape in alive))
    return [next(shape["channels"] for shape in alive if shape["generation"] <= end) for end in ends]
