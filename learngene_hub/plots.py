"""The pictures: an evolution from its metrics, descendants beside each other, and what a fine-tuning came to."""

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


def draw_curves(starts: Mapping[str, Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Loss and accuracy by epoch, training dashed, validation solid, a dot at the epoch that was kept.

    Args:
        starts: start -> `{"best_epoch", "epochs"}`, with rows `{"epoch", "train_loss", "train_accuracy", "val_loss",
            "val_accuracy"}`, accuracies in [0, 1].
        path: of the PNG.
        title: above the picture.
    """
    figure, panels = _figure(width=9.0, columns=2)
    for axes, key, factor in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        for start, one in starts.items():
            colour = GENE_COLOUR if start == "learngene" else OTHER_COLOUR
            for part, style, name in (("train", "--", "training"), ("val", "-", "validation")):
                values = [factor * row[f"{part}_{key}"] for row in one["epochs"]]
                axes.plot(range(1, len(values) + 1), values, style, color=colour, label=f"{start}, {name}", lw=1.5)
            axes.plot(one["best_epoch"], values[one["best_epoch"] - 1], "o", color=colour)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set(xlabel="epoch", ylabel="loss: cross-entropy, nats", ylim=(0, None))
    panels[1].set(xlabel="epoch", ylabel="accuracy, %", ylim=(0, 103))
    panels[1].legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(title, fontsize=9)
    _save(figure, path)


def draw_confusion(counts: Sequence[Sequence[int]], names: Sequence[str], path: Path, *, title: str) -> None:
    """How often each class (row) was taken for each (column), darker for a greater share of its row.

    Args:
        counts: images, one row a true class.
        names: of the classes.
        path: of the PNG.
        title: above the picture.
    """
    size = min(20.0, 2.6 + 0.55 * len(names))
    figure, axes = _figure(width=size + 0.6, height=size)
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    shown = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), shown, fontsize=8)
    if len(names) <= 30:
        for row, values in enumerate(counts):
            for column, count in enumerate(values):
                colour = "white" if shares[row][column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
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


def _figure(width: float = 7.0, height: float = 4.2, *, columns: int = 1) -> tuple[Any, Any]:
    """A figure and its axes: one, or a tuple of `columns`."""
    check_can_draw()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[0] if columns == 1 else tuple(panels)


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
