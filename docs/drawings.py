"""Draws the pictures of the documents that depend on genes: white panels, readable on dark pages too, and on a phone.

    python -m docs.drawings

They show the results in docs/results; the other pictures were drawn by this file of commit 3a65c5a.
"""

from collections.abc import Sequence
from pathlib import Path
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
TARGETS = {"its own data": GENE_COLOUR, "other photos": LINE_COLOUR, "digits": OTHER_COLOUR}
SIZES = ROOT / "docs" / "results" / "sizes"
SIZE_STARTS = {
    LEARNGENE: ("one gene for all", GENE_COLOUR),
    "narrow": ("one thin network for all", LINE_COLOUR),
    "pretrained": ("one whole network for all", "#0f172a"),
    EACH_SIZE: ("pre-trained for each", "#0369a1"),
    SCRATCH: ("from scratch", OTHER_COLOUR),
}


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


def draw_worth_over_sizes(path: Path, size: Literal["depth", "width"], name: str) -> None:
    """Accuracy in networks of each depth or width, and the cost of all: one start for all, or one each; 95 % CI."""
    figure, (above, below) = new_figure(7.4, 8.6, rows=2)
    above.get_gridspec().set_height_ratios((3, 1))  # type: ignore[union-attr]
    results = Results.load(SIZES / name)
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


def _finish(figure: "Figure", path: Path, *, ncols: int, fontsize: int) -> None:
    """Put the legend above the panel, and write the picture."""
    figure.legend(loc="outside upper center", ncols=ncols, fontsize=fontsize, frameon=False)
    write_png(figure, path)


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name.removeprefix("gtl/").replace("-", "-\n", 1) for name in names])
    axes.invert_yaxis()
    axes.tick_params(labelsize=SMALL)


if __name__ == "__main__":
    draw_gene_beside_scratch(IMAGES / "gene-beside-scratch.png")
    draw_transfer(IMAGES / "transfer.png")
    draw_worth_over_sizes(IMAGES / "worth-over-depths.png", "depth", "vgg11-cifar-fs-depths-4.json")
    draw_worth_over_sizes(IMAGES / "worth-over-widths.png", "width", "vgg11-cifar-fs-widths-4.json")
