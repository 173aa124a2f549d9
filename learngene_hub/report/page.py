"""`report.html`: one file that needs nothing else, in light and dark, on a phone and on a wide screen."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learngene_hub.files import write_text
from learngene_hub.findings import Sweep, find, is_learngene, lead_over, measure_words, ranked, standing, sweeps
from learngene_hub.plots import draw_curves, draw_starts, draw_sweep
from learngene_hub.report import numbers
from learngene_hub.report.charts import BarChart, LineChart, bar_chart, best_rival, kind, line_chart
from learngene_hub.report.sentences import constants, headline, limits, network_words, rates_at_the_edge
from learngene_hub.report.templates import page_template
from learngene_hub.results import PROTOTYPE, DescendantResult, Results, StartResult, Summary

REPORT_NAME = "report.html"
COMPARISON_NAME, CURVES_NAME, SWEEP_NAME = "comparison.png", "curves.png", "sweep.png"


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page and what it says."""

    figure: str
    words: str


@dataclass(frozen=True)
class Row:
    """A start in the table: `standing` tells on which side of it the first learngene is."""

    start: StartResult
    kind: str
    value: Summary
    gain: Summary | None
    lead: Summary | None
    standing: str


def write_report(results: Results, folder: Path, *, samples: bytes | None) -> Path:
    """Write `report.html` and the pictures that apply: `comparison.png`, `curves.png`, `sweep.png`.

    Args:
        results: what the page is about.
        folder: it is made if need be.
        samples: PNG with images of the tasks; None: the page goes without.

    Returns:
        Path of the page.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    first, title = results.descendants[0], _picture_title(results)
    draw_starts(first, results.headline, folder / COMPARISON_NAME, title=title)
    if len(results.steps) > 1:
        draw_curves(first, results.steps, folder / CURVES_NAME, title=title)
    if sweeps(results):
        draw_sweep(results, folder / SWEEP_NAME, title=title)
    write_text(folder / REPORT_NAME, render_report(results, samples=samples))
    return folder / REPORT_NAME


def render_report(results: Results, *, samples: bytes | None) -> str:
    """The page as HTML; it loads nothing, from the network or elsewhere.

    Args:
        results: what the page is about.
        samples: PNG with images of the tasks; None: the page goes without.
    """
    template = page_template("report.html.jinja", {one.__name__: one for one in (network_words, measure_words)})
    picture = None if samples is None else b64encode(samples).decode("ascii")
    return template.render(results=results, samples=picture, **_about(results), **_judged(results)) + "\n"


def _about(results: Results) -> dict[str, Any]:
    """What the page says of the evaluation as a whole."""
    names = dict.fromkeys(gene.name for gene in results.genes)
    return {
        "title": " and ".join(names),
        "limits": limits(results),
        "protocol": constants(results.protocol),
        "edge": rates_at_the_edge(results.descendants[0]),
        "rates": sorted({lr for one in results.descendants[0].starts for lr in one.tuning}, key=float),
    }


def _judged(results: Results) -> dict[str, Any]:
    """What the page says of the starts."""
    first, gene = results.descendants[0], results.genes[0].start
    charts = [bar_chart(one, results.headline) for one in results.descendants]
    return {
        "sentences": headline(results, first, gene),
        "more_genes": [headline(results, first, one.start)[0] for one in results.genes[1:]],
        "tiles": _tiles(results, first, gene),
        "judged": [
            (one, chart, _rows(one, results.headline)) for one, chart in zip(results.descendants, charts, strict=True)
        ],
        "prototype": _prototype(results, first),
        "curves": _curves(results, first),
        "curve_rows": [(one, kind(one.start, None)) for one in ranked(first, results.headline)],
        "sweeps": [(one, _sweep_charts(one, results.headline)) for one in sweeps(results)],
    }


def _picture_title(results: Results) -> str:
    tasks = f"{results.tasks} task{'' if results.tasks == 1 else 's'}"
    return f"{results.data}, {results.judged_by}, {tasks}\n{results.setting}"


def _tiles(results: Results, descendant: DescendantResult, gene: str) -> list[Tile]:
    mine, measure = find(descendant, gene), results.headline
    if mine is None or measure not in mine.measures:
        return []
    tiles = [Tile(f"{numbers.accuracy(mine.measures[measure])} %", f"accuracy of {gene}")]
    if measure in mine.gain:
        tiles.append(Tile(numbers.points(mine.gain[measure]), "points over scratch"))
    rival = best_rival(descendant, measure)
    lead = lead_over(descendant, gene, descendant.start(rival), measure) if rival else None
    if lead is not None:
        tiles.append(Tile(numbers.points(lead), f"points over {rival}, the best other start"))
    return [*tiles, Tile(f"{numbers.percent(mine.inherited)} %", "of the parameters are inherited")]


def _rows(descendant: DescendantResult, measure: str) -> list[Row]:
    best = best_rival(descendant, measure)
    return [_row(one, kind(one.start, best), measure) for one in ranked(descendant, measure)]


def _row(start: StartResult, drawn_as: str, measure: str) -> Row:
    lead = start.lead.get(measure)
    side = standing(lead) if lead else ""
    return Row(start, drawn_as, start.measures[measure], start.gain.get(measure), lead, side)


def _prototype(results: Results, descendant: DescendantResult) -> tuple[BarChart, list[Row]] | None:
    """The measure before training, unless it is the one shown above anyway."""
    if results.headline == PROTOTYPE or not ranked(descendant, PROTOTYPE):
        return None
    return bar_chart(descendant, PROTOTYPE), _rows(descendant, PROTOTYPE)


def _curves(results: Results, descendant: DescendantResult) -> LineChart | None:
    series = {
        one.start: [one.measures[str(step)] for step in results.steps]
        for one in descendant.starts
        if all(str(step) in one.measures for step in results.steps)
    }
    if len(results.steps) < 2 or not series:
        return None
    best = best_rival(descendant, results.headline)
    kinds = {name: kind(name, best) for name in series}
    return line_chart("Accuracy, %", "training steps", results.steps, series, kinds)


def _sweep_charts(sweep: Sweep, measure: str) -> list[LineChart]:
    """Gain over scratch, then the accuracies themselves."""
    names, gains = sweep.starts(), [name for name in sweep.starts() if is_learngene(name)]
    accuracies = _whole({name: [one.start(name).measures.get(measure) for one in sweep.descendants] for name in names})
    gain = _whole({name: [one.start(name).gain.get(measure) for one in sweep.descendants] for name in gains})
    kinds = {name: kind(name, None) for name in names}
    charts = []
    if gain:
        charts.append(line_chart("Gain over scratch, points", sweep.axis, sweep.places(), gain, kinds, include=[0.0]))
    if accuracies:
        charts.append(line_chart("Accuracy, %", sweep.axis, sweep.places(), accuracies, kinds))
    return charts


def _whole(series: Mapping[str, Sequence[Summary | None]]) -> dict[str, list[Summary]]:
    """The lines that have a value at every place."""
    found = {name: [value for value in values if value is not None] for name, values in series.items()}
    return {name: values for name, values in found.items() if len(values) == len(series[name])}
