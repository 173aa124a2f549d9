"""Draws the pictures of README.md and of the documents: white panels, readable on dark pages too, and on a phone.

    python -m docs.drawings

`worth-over-pixels.png` is drawn from the table of image sizes in log 34, `cycle.png` from the words below, all others
from the results in docs/results.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from docs.tables import FEW_SHOT, ROOT, gene_results, judged_by_all
from learngene_hub.evaluation.pretraining import EACH_SIZE
from learngene_hub.gene.names import shipped_genes
from learngene_hub.report import numbers
from learngene_hub.report.plots.canvas import GENE_COLOUR, LINE_COLOUR, OTHER_COLOUR, new_figure, write_png
from learngene_hub.report.results import LEARNGENE, SCRATCH, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = ROOT / "docs" / "images"
LARGE, SMALL, HIGH = 15, 13, 0.4  # font sizes, and the height of a bar
DIGITS = "transfer-digits"
PIXELS_PAGE = ROOT / "docs" / "log" / "34-default-of-finetune.md"
PIXELS = re.compile(r"^\| (\d+) \| ([\d. ]+) \| ([\d. ]*)\| ", re.MULTILINE)  # size, accuracies with the gene, without
TARGETS = {"its own data": GENE_COLOUR, "other photos": LINE_COLOUR, "digits": OTHER_COLOUR}
SIZES = ROOT / "docs" / "results" / "sizes"
SIZE_STARTS = {
    LEARNGENE: ("one gene for all", GENE_COLOUR),
    "narrow": ("one thin network for all", LINE_COLOUR),
    "pretrained": ("one whole network for all", "#0f172a"),
    EACH_SIZE: ("pre-trained for each", "#0369a1"),
    SCRATCH: ("from scratch", OTHER_COLOUR),
}
FRACTIONS = SIZES / "vgg11-cifar-fs-fractions.json"
TAPER = re.compile(r"learngene:curve-[\d.]+-0\.01")  # genes of all sizes in the same taper
STEPS: Sequence[tuple[str, str, str]] = (  # what is done, on what, colour
    (
        "shape",
        "how many channels of each layer\nare gene: a taper, or found by a\nsearch in slices of one network",
        OTHER_COLOUR,
    ),
    ("1  inherit", "newborn networks start\nfrom a gene; the rest\nis random", GENE_COLOUR),
    ("2  train, extract", "they learn base classes;\nthe gene is cut out\nand mutated", GENE_COLOUR),
    ("3  critics", "new networks with the gene\nlearn held-out classes:\nthe gene's fitness", LINE_COLOUR),
    ("4  tournament", "the fittest genes are kept\nfor the next generation", LINE_COLOUR),
)


def draw_gene_beside_scratch(path: Path) -> None:
    """Accuracy on novel classes of networks from scratch and from each gene of the package, with 95 % CI."""
    names = shipped_genes()
    figure, (axes,) = new_figure(7.4, 1.4 + 0.7 * len(names))
    for place, name in enumerate(names):
        results = gene_results(name)[FEW_SHOT]
        for start, shift, colour in ((LEARNGENE, -HIGH / 2, GENE_COLOUR), (SCRATCH, HIGH / 2, OTHER_COLOUR)):
            measured = results.descendants[0].start(start).measures[results.headline]
            mean, ci = 100 * measured.mean, 100 * (measured.ci95 or 0)
            label = {LEARNGENE: "with the gene", SCRATCH: "from scratch"}[start] if place == 0 else None
            axes.barh(place + shift, mean, HIGH, xerr=ci, color=colour, capsize=4, label=label)
            axes.text(2, place + shift, numbers.percent(measured.mean), va="center", color="white", fontsize=LARGE)
    _name_rows(axes, names)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy on photos of 5 novel classes, %\n20 images per class, 60 steps", fontsize=LARGE)
    _finish(figure, path, ncols=2, fontsize=LARGE)


def draw_transfer(path: Path) -> None:
    """Points that each gene of the package gains over scratch on its own data, other photos and digits; 95 % CI."""
    figure, (axes,) = new_figure(7.4, 5.4)
    names = judged_by_all()
    for place, name in enumerate(names):
        found = gene_results(name)
        photos = next(one for one in found if one.startswith("transfer") and one != DIGITS)
        for row, (key, (label, colour)) in enumerate(zip((FEW_SHOT, photos, DIGITS), TARGETS.items(), strict=True)):
            gain = found[key].descendants[0].start(LEARNGENE).gain[found[key].headline]
            mean, ci = 100 * gain.mean, 100 * (gain.ci95 or 0)
            where = place + (row - 1) * 0.27
            axes.barh(where, mean, 0.27, xerr=ci, color=colour, capsize=4, label=label if place == 0 else None)
    _name_rows(axes, names)
    axes.axvline(0, color="#475569", linewidth=1)
    axes.set_xlabel("gain over scratch, percentage points", fontsize=LARGE)
    _finish(figure, path, ncols=3, fontsize=SMALL)


def draw_worth_over_pixels(path: Path) -> None:
    """Accuracy of probes at the image sizes of log 34, with the gene and without: each draw and the mean."""
    figure, (axes,) = new_figure(7.4, 5.0)
    rows = PIXELS.findall(PIXELS_PAGE.read_text(encoding="utf-8"))
    for column, label, colour in ((1, "with the gene", GENE_COLOUR), (2, "without", OTHER_COLOUR)):
        drawn = {int(row[0]): [float(one) for one in row[column].split()] for row in rows if row[column].strip()}
        for size, accuracies in drawn.items():
            axes.plot([size] * len(accuracies), accuracies, "o", color=colour, markersize=8, alpha=0.6)
        means = [fmean(accuracies) for accuracies in drawn.values()]
        axes.plot(list(drawn), means, "D-", color=colour, linewidth=3, markersize=10, label=label)
    axes.set_xticks([int(row[0]) for row in rows])
    axes.tick_params(labelsize=LARGE)
    axes.set_ylim(50, 100)
    axes.set_xlabel("pixels of a side\ndots: draws of 10 classes of flowers; diamonds: means", fontsize=LARGE)
    axes.set_ylabel("accuracy of a probe, %", fontsize=LARGE)
    _finish(figure, path, ncols=2, fontsize=LARGE)


def draw_worth_over_sizes(path: Path, size: Literal["depth", "width"]) -> None:
    """Accuracy in networks of each depth or width, and the cost of all: one start for all, or one each; 95 % CI."""
    figure, (above, below) = new_figure(7.4, 8.6, rows=2)
    above.get_gridspec().set_height_ratios((3, 1))  # type: ignore[union-attr]
    results = Results.load(SIZES / f"vgg11-cifar-fs-{size}s.json")
    starts = [start.start for start in results.descendants[0].starts if start.start in SIZE_STARTS]
    high = 0.85 / len(starts)
    for row, start in enumerate(sorted(starts, key=list(SIZE_STARTS).index)):
        (label, colour), found = SIZE_STARTS[start], [one.start(start) for one in results.descendants]
        for place, measured in enumerate(one.measures[results.headline] for one in found):
            mean, ci = 100 * measured.mean, 100 * (measured.ci95 or 0)
            where = place + (row - (len(starts) - 1) / 2) * high
            above.barh(where, mean, high, xerr=ci, color=colour, capsize=3, label=label if place == 0 else None)
            above.text(2, where, numbers.percent(measured.mean), va="center", color="white", fontsize=SMALL)
        flops = sum(one.cost.flops for one in (found if start == EACH_SIZE else found[:1]))
        below.barh(row, flops / 1e14, 0.8, color=colour)
        below.text(flops / 1e14, row, f" {flops / 1e14:.1f}", va="center", fontsize=SMALL)
    above.set_yticks(range(len(results.descendants)), [f"{size} {getattr(one, size):g}" for one in results.descendants])
    above.set_xlim(0, 100)
    above.set_xlabel("accuracy on photos of 5 novel classes, %", fontsize=LARGE)
    below.set_yticks([])
    below.set_xlabel(f"cost before the tasks, for all {size}s, 1e14 FLOPs", fontsize=LARGE)
    for axes in (above, below):
        axes.invert_yaxis()
        axes.tick_params(labelsize=LARGE)
    _finish(figure, path, ncols=2, fontsize=SMALL)


def draw_worth_over_fractions(path: Path) -> None:
    """Accuracy over the share of a network's parameters that are gene: tapers, other shapes, and all of them."""
    figure, (axes,) = new_figure(7.4, 5.4)
    results = Results.load(FRACTIONS)
    starts = {start.start: start for start in results.descendants[0].starts}
    tapers = sorted((start for name, start in starts.items() if TAPER.fullmatch(name)), key=lambda one: one.inherited)
    for label, drawn, style, colour in (
        ("tapers", tapers, "D-", GENE_COLOUR),
        ("found by a search", [starts["learngene:curve-sobol-0"]], "s", LINE_COLOUR),
        ("even shape", [starts["learngene:curve-0.45-1"]], "o", OTHER_COLOUR),
        ("the whole network", [starts["pretrained"]], "*", "#0f172a"),
    ):
        means = [100 * start.measures[results.headline].mean for start in drawn]
        shares = [100 * start.inherited for start in drawn]
        axes.plot(shares, means, style, color=colour, linewidth=3, markersize=11, label=label)
    axes.axhline(100 * starts[SCRATCH].measures[results.headline].mean, color=OTHER_COLOUR, label="from scratch")
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 40, 100], [f"{share} %" for share in (2, 5, 10, 20, 40, 100)])
    axes.minorticks_off()
    axes.set_yticks(range(60, 85, 5))
    axes.tick_params(labelsize=LARGE)
    axes.set_xlabel("parameters that are gene", fontsize=LARGE)
    axes.set_ylabel("accuracy on 5 novel classes, %", fontsize=LARGE)
    _finish(figure, path, ncols=2, fontsize=SMALL)


def _finish(figure: "Figure", path: Path, *, ncols: int, fontsize: int) -> None:
    """Put the legend above the panel, and write the picture."""
    figure.legend(loc="outside upper center", ncols=ncols, fontsize=fontsize, frameon=False)
    write_png(figure, path)


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name.removeprefix("gtl/").replace("-", "-\n", 1) for name in names])
    axes.invert_yaxis()
    axes.tick_params(labelsize=SMALL)


def draw_cycle(path: Path) -> None:
    """The steps of an evolution, from the shape to the genes that the next generation inherits."""
    figure, (axes,) = new_figure(7.4, 6.4)
    axes.set(xlim=(0, 10), ylim=(0, 9))
    axes.axis("off")
    places = [(5, 7.8), (2.4, 4.9), (7.6, 4.9), (7.6, 1.4), (2.4, 1.4)]
    for place, (title, text, colour) in zip(places, STEPS, strict=True):
        _box(axes, place, title, text, colour)
    arrows = (((3.2, 6.6), (2.6, 6.1)), ((4.65, 4.9), (5.35, 4.9)), ((7.6, 3.7), (7.6, 2.6)))
    for begin, end in (*arrows, ((5.35, 1.4), (4.65, 1.4)), ((2.4, 2.6), (2.4, 3.7))):
        axes.annotate("", end, begin, arrowprops={"arrowstyle": "-|>", "lw": 2.5, "color": "#475569"})
    axes.text(5, 3.15, "each generation", ha="center", va="center", fontsize=LARGE, style="italic", color="#475569")
    write_png(figure, path)


def _box(axes: "Axes", centre: tuple[float, float], title: str, text: str, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = centre
    wide = 2.15 + 0.5 * (title == STEPS[0][0])
    style = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": colour, "linewidth": 3}
    axes.add_patch(FancyBboxPatch((x - wide, y - 1.05), 2 * wide, 2.1, **style))
    axes.text(x, y + 0.75, title, ha="center", va="center", fontsize=LARGE, weight="bold")
    axes.text(x, y - 0.3, text, ha="center", va="center", fontsize=SMALL)


if __name__ == "__main__":
    draw_gene_beside_scratch(IMAGES / "gene-beside-scratch.png")
    draw_transfer(IMAGES / "transfer.png")
    draw_worth_over_pixels(IMAGES / "worth-over-pixels.png")
    draw_worth_over_sizes(IMAGES / "worth-over-depths.png", "depth")
    draw_worth_over_sizes(IMAGES / "worth-over-widths.png", "width")
    draw_worth_over_fractions(IMAGES / "worth-over-fractions.png")
    draw_cycle(IMAGES / "cycle.png")
