"""`report.html`: one self-contained page, for phones and wide screens."""

from base64 import b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from learngene_hub.core.files import write_text
from learngene_hub.core.plain_text import printable
from learngene_hub.report import numbers
from learngene_hub.report.findings import is_learngene, lead_over, measure_words, ranked, rivals, standing, sweeps
from learngene_hub.report.plots.canvas import svg_address, write_png
from learngene_hub.report.plots.evaluation import draw_curves, draw_starts, draw_sweep
from learngene_hub.report.results import PROTOTYPE, SCRATCH, DescendantResult, Results
from learngene_hub.report.sentences import constants, headline, limits, network_words, rates_at_the_edge

REPORT_NAME = "report.html"
COMPARISON_NAME, CURVES_NAME, SWEEP_NAME = "comparison.png", "curves.png", "sweep.png"
_NO_BREAK = "\N{NO-BREAK SPACE}"


def write_report(results: Results, folder: Path, *, samples: bytes | None) -> Path:
    """Write `report.html` and the pictures that apply: `comparison.png`, `curves.png`, `sweep.png`.

    Returns the path of the page. `samples` is a PNG with images of the tasks; None: the page goes without.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    first, tasks = results.descendants[0], f"{results.tasks} task{'' if results.tasks == 1 else 's'}"
    title = f"{results.data}, {results.test_classes}, {tasks}\n{results.setting}"
    write_png(draw_starts(first, results.headline, title=title), folder / COMPARISON_NAME)
    if _has_curves(results):
        write_png(draw_curves(first, results.steps, title=title), folder / CURVES_NAME)
    if sweeps(results):
        write_png(draw_sweep(results, title=title), folder / SWEEP_NAME)
    write_text(folder / REPORT_NAME, render_report(results, samples=samples))
    return folder / REPORT_NAME


def render_report(results: Results, *, samples: bytes | None) -> str:
    """The page as HTML; it loads no other files.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    template = page_template("report.html.jinja", network_words, measure_words)
    picture = None if samples is None else b64encode(samples).decode("ascii")
    return template.render(results=results, samples=picture, **_about(results), **_descendants(results)) + "\n"


def _about(results: Results) -> dict[str, Any]:
    """What the page says of the evaluation as a whole."""
    names = dict.fromkeys(gene.name for gene in results.genes)
    return {
        "title": " and ".join(names),
        "limits": limits(results),
        "protocol": constants(results.protocol),
        "edge": rates_at_the_edge(results.descendants[0]),
        "rates": sorted({lr for start in results.descendants[0].starts for lr in start.tuning}, key=float),
    }


def _descendants(results: Results) -> dict[str, Any]:
    """What the page says of the starts."""
    first, gene = results.descendants[0], results.genes[0].start
    is_prototype_more = results.headline != PROTOTYPE and bool(ranked(first, PROTOTYPE))
    return {
        "sentences": headline(results, first, gene),
        "more_genes": [headline(results, first, other.start)[0] for other in results.genes[1:]],
        "tiles": _tiles(results, first, gene),
        "descendants": [(descendant, _rows(descendant, results.headline)) for descendant in results.descendants],
        "with_leads": any(start.start not in {SCRATCH, gene} for start in first.starts),
        "bars": svg_address(draw_starts(first, results.headline)),
        "prototype_bars": svg_address(draw_starts(first, PROTOTYPE)) if is_prototype_more else None,
        "prototype_rows": _rows(first, PROTOTYPE),
        "curves": svg_address(draw_curves(first, results.steps)) if _has_curves(results) else None,
        "sweeps": svg_address(draw_sweep(results)) if sweeps(results) else None,
    }


def _has_curves(results: Results) -> bool:
    """Whether a start was measured at all of several steps."""
    steps = {str(step) for step in results.steps}
    return len(steps) > 1 and any(steps <= start.measures.keys() for start in results.descendants[0].starts)


def _tiles(results: Results, descendant: DescendantResult, gene: str) -> list[tuple[str, str]]:
    """Figures for the top of the page, each with what it says."""
    mine, measure = descendant.start(gene), results.headline
    tiles = [(f"{numbers.accuracy(mine.measures[measure])} %", f"accuracy of {gene}")]
    tiles.append((numbers.points(mine.gain[measure]), "points over scratch"))
    for rival in rivals(descendant, gene, measure)[:1]:
        lead = lead_over(descendant, gene, rival, measure)
        tiles.append((numbers.points(lead), f"points over {rival.start}, the best other start"))
    return [*tiles, (f"{numbers.percent(mine.inherited)} %", "of the parameters are inherited")]


def _rows(descendant: DescendantResult, measure: str) -> list[dict[str, Any]]:
    """The starts in the table: `standing` tells on which side of it the first learngene is."""
    return [
        {
            "start": start,
            "is_gene": is_learngene(start.start),
            "value": start.measures[measure],
            "gain": start.gain.get(measure),
            "lead": (lead := start.lead.get(measure)),
            "standing": standing(lead) if lead else "",
        }
        for start in ranked(descendant, measure)
    ]


@cache
def page_template(name: str, *filters: Callable[..., str]) -> Template:
    """The template of a page; whatever is put in is text, not markup; `filters` are called as their functions."""
    environment = Environment(
        loader=PackageLoader("learngene_hub", "report"),
        autoescape=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {words.__name__: words for words in (*numbers.WORDS, *filters)}
    environment.filters |= {
        "keep": lambda text: text.replace(" ± ", f"{_NO_BREAK}±{_NO_BREAK}").replace(" %", f"{_NO_BREAK}%"),
        "cell": lambda number: number.replace("± ", f"±{_NO_BREAK}"),
    }
    return environment.get_template(name)
