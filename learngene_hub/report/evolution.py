"""`evolution.html`: an evolution as one file that needs nothing else, with a tree of descent that can be followed."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from learngene_hub.descent import Record, everyone, line_of
from learngene_hub.report import numbers
from learngene_hub.report.charts import LineChart, amount_chart, line_chart
from learngene_hub.report.lineage import tree
from learngene_hub.report.templates import page_template
from learngene_hub.results import Summary

EVOLUTION_NAME = "evolution.html"
_SCRIPT = "evolution.js"


@dataclass(frozen=True)
class Story:
    """One generation in the table.

    Attributes:
        generation: from 1.
        born: individuals, without a recombinant.
        survived: winners of tournaments.
        failed: individuals whose training diverged.
        best: highest fitness, in [0, 1].
        mean: of all that did not fail.
        images: training images of this generation.
        seconds: wall time of this generation; of a founder taken over from another run, that of the other run too.
        trained: how, as far as the metrics say.
    """

    generation: int
    born: int
    survived: int
    failed: int
    best: float
    mean: float
    images: int
    seconds: float
    trained: str


@dataclass(frozen=True)
class Layer:
    """Gene channels of a group, by the generation that brought them in: (generation from 1, share, opacity)."""

    name: str
    channels: int
    founders: int
    parts: tuple[tuple[int, float, float], ...]


def render_evolution(
    rows: Sequence[Record], *, title: str, chosen: int, births: Mapping[str, Sequence[int]] | None = None
) -> str:
    """The page of an evolution as HTML; it loads nothing, and runs the one script that is in it.

    Args:
        rows: of `metrics.jsonl`, one a generation, at least one.
        title: name of the evolution.
        chosen: id of the individual whose learngene is the result so far.
        births: channel group -> for each of its gene channels the generation that brought it in; None: not known.
    """
    script = files("learngene_hub.report").joinpath(_SCRIPT).read_text(encoding="utf-8")
    stories = _stories(rows)
    return (
        page_template("evolution.html.jinja").render(
            title=title,
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
            rows=rows,
            sentences=_sentences(rows, chosen),
            tiles=_tiles(rows, chosen),
            tree=tree(rows, chosen),
            stories=stories,
            fitness=_fitness(stories),
            costs=_costs(stories),
            layers=[_layer(name, found) for name, found in (births or {}).items()],
            trained=stories[-1].trained,
        )
        + "\n"
    )


def _stories(rows: Sequence[Record]) -> list[Story]:
    before = [(0, 0.0), *((row["images"], row["seconds"]) for row in rows)]
    return [
        Story(
            generation=row["generation"] + 1,
            born=len(row["individuals"]),
            survived=sum(one["survived"] for one in row["individuals"]),
            failed=row["failed"],
            best=row["best"],
            mean=row["mean"],
            images=row["images"] - images,
            seconds=row["seconds"] - seconds,
            trained=_trained(row),
        )
        for row, (images, seconds) in zip(rows, before[:-1], strict=True)
    ]


def _trained(row: Record) -> str:
    """How the networks of a generation were trained, as far as its row says."""
    engine = row.get("engine") or {}
    words = [str(engine["place"])] if "place" in engine else []
    return ", ".join(words + ([f"{engine['retried']} retried"] if engine.get("retried") else []))


def _fitness(stories: Sequence[Story]) -> LineChart:
    places = [one.generation for one in stories]
    values = {
        "best": [Summary(mean=one.best, ci95=None) for one in stories],
        "mean": [Summary(mean=one.mean, ci95=None) for one in stories],
    }
    kinds = {"best": "gene", "mean": "scratch"}
    return line_chart(
        "Fitness: accuracy of critics on held-out classes, %", "generation", places, values, kinds, is_even=True
    )


def _costs(stories: Sequence[Story]) -> list[LineChart]:
    places = [one.generation for one in stories]
    amounts: Mapping[str, Sequence[float]] = {
        "Seconds a generation": [one.seconds for one in stories],
        "Training images a generation": [one.images for one in stories],
    }
    return [amount_chart(title, "generation", places, {"": values}, {"": "gene"}) for title, values in amounts.items()]


def _find(rows: Sequence[Record], id_: int) -> tuple[Record, Record]:
    return next((one, row) for row in rows for one in everyone(row) if one["id"] == id_)


def _sentences(rows: Sequence[Record], chosen: int) -> list[str]:
    one, row = _find(rows, chosen)
    line = sorted(line_of(chosen, rows) - {chosen}, reverse=True)
    descent = f"It descends from {', '.join(map(str, line[:12]))}" if line else "It has no ancestors"
    more = f" and {len(line) - 12} more" if len(line) > 12 else ""
    return [
        f"The learngene that came out is that of individual {one['id']}, born in generation {row['generation'] + 1}: "
        f"fitness {numbers.percent(one['fitness'])} %.",
        f"{descent}{more}.",
        "Fitness is the accuracy of its critics on held-out classes. It was selected by this, so it is no measure of "
        "what it is worth: that is what learngene evaluate finds, on classes the evolution never saw.",
    ]


def _tiles(rows: Sequence[Record], chosen: int) -> list[tuple[str, str]]:
    people = [one for row in rows for one in row["individuals"]]
    survived, failed = sum(one["survived"] for one in people), sum(row["failed"] for row in rows)
    fate = f"individuals in {len(rows)} generation{'s' if len(rows) > 1 else ''}, {survived} survived"
    seconds = max(rows[-1]["seconds"], 0.001)  # what is rounded to
    return [
        (f"{numbers.percent(_find(rows, chosen)[0]['fitness'])} %", "fitness of the learngene"),
        (numbers.count(len(people)), fate + (f", {failed} failed" if failed else "")),
        (numbers.count(rows[-1]["images"]), "training images, those of critics included"),
        (f"{numbers.seconds(seconds)} s", f"{numbers.count(rows[-1]['images'] / seconds)} images a second"),
    ]


def _layer(name: str, births: Sequence[int]) -> Layer:
    counts = sorted(Counter(births).items())
    faintest = max(1, counts[-1][0] - counts[0][0])
    parts = tuple(
        (generation + 1, 100 * count / len(births), round(1 - 0.75 * (generation - counts[0][0]) / faintest, 2))
        for generation, count in counts
    )
    return Layer(name, len(births), counts[0][1], parts)
