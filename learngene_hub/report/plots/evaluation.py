"""The pictures of an evaluation: all starts beside each other, learning curves, sweeps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from learngene_hub.report import numbers
from learngene_hub.report.findings import is_learngene, measure_words, ranked, sweeps
from learngene_hub.report.plots.canvas import GENE_COLOUR, OTHER_COLOUR, new_figure, plain
from learngene_hub.report.results import SCRATCH, DescendantResult, Results, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCRATCH_COLOUR = "#475569"
_MARKERS = "osD^vPX"  # several genes have the same colour; baselines repeat one after ten
_LONGEST_NAME = 28


def draw_starts(descendant: DescendantResult, measure: str, *, title: str = "") -> "Figure":
    """Accuracy of each start, best on top: bars from zero with 95 % confidence intervals, and a point for every task.

    Starts without `measure` are left out.
    """
    shown = ranked(descendant, measure)[::-1]
    figure, (axes,) = new_figure(height=1.5 + 0.36 * max(3, len(shown)))
    for row, start in enumerate(shown):
        value = start.measures[measure]
        axes.barh(row, 100 * value.mean, 0.68, color=_colour(start.start), alpha=0.85, zorder=2)
        offsets = [row - 0.24 + 0.48 * (i + 0.5) / len(value.accuracies) for i in range(len(value.accuracies))]
        dots = [100 * accuracy for accuracy in value.accuracies]
        axes.scatter(dots, offsets, s=5, c="black", alpha=0.3, lw=0, zorder=3)
        if value.ci95 is not None:
            axes.errorbar(100 * value.mean, row, xerr=100 * value.ci95, color="black", capsize=3, lw=1.2, zorder=4)
        axes.text(1.03, row, numbers.accuracy(value), transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_yticks(range(len(shown)), [_short(start.start) for start in shown])
    axes.set(xlabel=f"accuracy {measure_words(measure)}, %", xlim=(0, 100))
    axes.set_title(plain(title), fontsize=10)
    for label, start in zip(axes.get_yticklabels(), shown, strict=True):
        label.set(color=_ink(start.start), weight="bold" if is_learngene(start.start) else "normal")
    return figure


def draw_curves(descendant: DescendantResult, steps: Sequence[int], *, title: str = "") -> "Figure":
    """Accuracy over the training steps, a line for each start, with the 95 % intervals of learngenes and scratch.

    A start that was not measured after each of `steps`, which rise, is left out.
    """
    figure, (axes,) = new_figure(width=6.8, height=4.4)
    for start in ranked(descendant, str(steps[-1])):
        if all(str(step) in start.measures for step in steps):
            _line(axes, start.start, steps, [start.measures[str(step)] for step in steps])
    _set_ticks(axes, steps)
    axes.set(xlabel="training steps", ylabel="accuracy, %")
    axes.set_title(plain(title), fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_sweep(results: Results, *, title: str = "") -> "Figure":
    """Gain of the learngenes over scratch, and the accuracies of both, against width and depth; one row a sweep."""
    rows, labels = sweeps(results), ("gain over scratch, points", "accuracy, %")
    figure, panels = new_figure(8.0, 0.5 + 3.2 * len(rows), rows=len(rows), columns=2)
    for sweep, *pair in zip(rows, panels[::2], panels[1::2], strict=True):
        for axes, part, label in zip(pair, ("gain", "measures"), labels, strict=True):
            for start in sweep.starts():
                values = [getattr(one.start(start), part).get(results.headline) for one in sweep.descendants]
                _line(axes, start, sweep.values(), values)
            _set_ticks(axes, sweep.values())
            axes.set(xlabel=f"{sweep.axis} ({plain(sweep.fixed)})", ylabel=label)
        pair[0].axhline(0, color="black", lw=0.8)
        pair[1].legend(frameon=False, fontsize=8)
    figure.suptitle(plain(title), fontsize=10)
    return figure


def _line(axes: "Axes", start: str, xs: Sequence[float], values: Sequence[Summary | None]) -> None:
    """A line in percent, of learngenes and scratch with the band of its intervals; other starts have thin ones."""
    points = [(x, value) for x, value in zip(xs, values, strict=True) if value is not None]
    if not points:
        return
    bold = is_learngene(start) or start == SCRATCH
    width, size, dashes = (2.2 if bold else 1.0), (5 if bold else 3), ("--" if start == SCRATCH else "-")
    x, means = [x for x, _ in points], [100 * value.mean for _, value in points]
    number = len(axes.lines)
    colour, marker = (_colour(start) if bold else f"C{number}"), _MARKERS[number % len(_MARKERS)]
    axes.plot(x, means, marker=marker, ms=size, label=_short(start), color=colour, lw=width, ls=dashes)
    if bold:
        ends = [100 * (value.ci95 or 0.0) for _, value in points]
        lower, upper = ([mean + side * end for mean, end in zip(means, ends, strict=True)] for side in (-1, 1))
        axes.fill_between(x, lower, upper, color=colour, alpha=0.15, lw=0)


def _set_ticks(axes: "Axes", values: Sequence[float]) -> None:
    """Ticks where the values are; a logarithmic axis where they are far apart."""
    if values[0] > 0 and values[-1] / values[0] > 8:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def _colour(start: str) -> str:
    return GENE_COLOUR if is_learngene(start) else SCRATCH_COLOUR if start == SCRATCH else OTHER_COLOUR


def _ink(start: str) -> str:
    return GENE_COLOUR if is_learngene(start) else "black"


def _short(name: str) -> str:
    """The name of a start, cut where it would take the room of the picture."""
    return plain(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")
