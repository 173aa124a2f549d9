"""The pictures: an evolution from its metrics, and descendants beside each other."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from learngene_hub.errors import LearngeneError
from learngene_hub.files import atomic_path

GENE_COLOUR, OTHER_COLOUR, LINE_COLOUR = "#0f766e", "#94a3b8", "#d97706"


def draw_evolution(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Fitness of every individual over the generations, survivors filled, with lines from parents to children.

    Args:
        rows: of `metrics.jsonl`, one a generation.
        path: of the PNG.
        title: above the picture.
    """
    figure, axes = _figure()
    points = {one["id"]: (row["generation"] + 1, one["fitness"]) for row in rows for one in _everyone(row)}
    chosen = _lineage(rows)
    for row in rows:
        for one in _everyone(row):
            for parent in one["parents"]:
                _connect(axes, points[parent], points[one["id"]], bold=one["id"] in chosen and parent in chosen)
    for survived, face in ((False, "white"), (True, GENE_COLOUR)):
        shown = [points[one["id"]] for row in rows for one in _everyone(row) if one["survived"] is survived]
        shown = [(x, y) for x, y in shown if y is not None]
        label = "survives its tournament" if survived else "eliminated"
        axes.scatter(*_columns(shown), s=36, c=face, edgecolors=GENE_COLOUR, zorder=3, label=label)
    axes.plot([], [], color=GENE_COLOUR, lw=1.8, label="lineage of the best")
    axes.plot([row["generation"] + 1 for row in rows], [row["mean"] for row in rows], color=LINE_COLOUR, label="mean")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="generation", ylabel="fitness: accuracy of critics on held-out classes", title=title)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_comparison(results: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Accuracy of each start: bars with 95 % confidence intervals, and a point for every task.

    Args:
        results: start -> `{"mean", "ci95", "accuracies"}`, in drawing order.
        path: of the PNG.
        title: above the picture.
    """
    figure, axes = _figure(width=1.6 + 1.7 * len(results))
    for place, (start, result) in enumerate(results.items()):
        colour = GENE_COLOUR if start == "learngene" else OTHER_COLOUR
        interval = 100 * (result["ci95"] or 0.0)
        axes.bar(place, 100 * result["mean"], 0.6, yerr=interval, capsize=5, color=colour, alpha=0.85)
        values = result["accuracies"]
        offsets = [place - 0.2 + 0.4 * (i + 0.5) / len(values) for i in range(len(values))]
        axes.scatter(offsets, [100 * value for value in values], s=7, c="black", alpha=0.45, zorder=3)
        axes.annotate(f"{100 * result['mean']:.1f}", (place, 2), ha="center", color="white", weight="bold")
    axes.set_xticks(range(len(results)), list(results))
    axes.set(ylabel="accuracy on novel classes, %", ylim=(0, 100))
    axes.set_title(title, fontsize=9)
    _save(figure, path)


def check_can_draw() -> None:
    """Refuse before long work what could not be drawn after it.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise LearngeneError('pictures need matplotlib: pip install "learngene-hub[evolve]"')


def _everyone(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*row["individuals"], *([row["recombinant"]] if row["recombinant"] else [])]


def _lineage(rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """Ids of the last generation's best and of all its ancestors."""
    parents = {one["id"]: one["parents"] for row in rows for one in _everyone(row)}
    waiting, found = [rows[-1]["best_id"]] if rows else [], set()
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(parents[one])
    return found


def _connect(axes: Any, parent: tuple[int, float], child: tuple[int, float | None], *, bold: bool) -> None:  # noqa: ANN401
    if child[1] is not None:
        style = {"color": GENE_COLOUR, "lw": 1.8} if bold else {"color": OTHER_COLOUR, "lw": 0.5}
        axes.plot(*_columns([parent, child]), zorder=2 if bold else 1, **style)


def _columns(points: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [x for x, _ in points], [y for _, y in points]


def _figure(width: float = 7.0) -> tuple[Any, Any]:
    check_can_draw()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
