"""The pictures of a fine-tuning: how it went, and what it mixes up."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from learngene_hub.report.plots.canvas import GENE_COLOUR, OTHER_COLOUR, fonts, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_training(starts: Mapping[str, Mapping[str, Any]], *, title: str) -> "Figure":
    """Loss and accuracy by epoch, training dashed, validation solid, test dotted, a dot at the epoch that is kept.

    Args:
        starts: start -> `{"best_epoch", "epochs"}`, with rows `{"epoch", "train_loss", "train_accuracy", "val_loss",
            "val_accuracy"}`, accuracies in [0, 1]; with `"test_accuracy"` where there are test images.
        title: above the picture.
    """
    colours = {start: GENE_COLOUR if start == "learngene" else OTHER_COLOUR for start in starts}
    figure, panels = new_figure(width=9.0, height=4.4, columns=2)
    from matplotlib.ticker import MaxNLocator

    for axes, key, factor in zip(panels, ("loss", "accuracy"), (1, 100), strict=True):
        for start, outcome in starts.items():
            for part, style, name in (("train", "--", "training"), ("val", "-", "validation")):
                values = [factor * row[f"{part}_{key}"] for row in outcome["epochs"]]
                axes.plot(
                    range(1, len(values) + 1), values, style, color=colours[start], label=f"{start}, {name}", lw=1.5
                )
            best = outcome["best_epoch"]
            axes.plot(best, values[best - 1], "o", color=colours[start], label=f"{start}, epoch chosen")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for start, outcome in starts.items():
        if (test := outcome.get("test_accuracy")) is not None:
            panels[1].axhline(
                100 * test, color=colours[start], ls=":", lw=1.5, label=f"{start}, test: {100 * test:.1f} %"
            )
    panels[0].set(xlabel="epoch", ylabel="loss: cross-entropy, nats", ylim=(0, None))
    panels[1].set(xlabel="epoch", ylabel="accuracy, %", ylim=(0, 103))
    shown = panels[1].get_legend_handles_labels()
    figure.legend(*shown, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure


def draw_confusion(counts: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> "Figure":
    """How often each true class (row) was taken for each (column), darker for a greater share of its row."""
    size = min(20.0, 2.6 + 0.55 * len(names))
    figure, (axes,) = new_figure(width=size + 0.6, height=size)
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    shown = [plain(name if len(name) <= 18 else f"{name[:17]}…") for name in names]
    look: dict[str, Any] = {"family": fonts(), "fontsize": 8}
    axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor", **look)
    axes.set_yticks(range(len(names)), shown, **look)
    if len(names) <= 30:
        for row, values in enumerate(counts):
            for column, count in enumerate(values):
                colour = "white" if shares[row][column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(title, fontsize=9)
    return figure
