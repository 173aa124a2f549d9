"""An evaluation in Markdown, for the model card and for `report.html`, which has more."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from learngene_hub.core.files import atomic_path, write_text
from learngene_hub.core.markdown import markdown_template
from learngene_hub.core.plain_text import printable
from learngene_hub.report import numbers
from learngene_hub.report.findings import lead_over, measure_words, ranked, sweeps
from learngene_hub.report.page import render_page
from learngene_hub.report.plots.canvas import png
from learngene_hub.report.plots.evaluation import draw_curves, draw_starts, draw_sweep
from learngene_hub.report.results import PROTOTYPE, SCRATCH, DescendantResult, Results, StartResult
from learngene_hub.report.sentences import constants, headline, limits, network_words, not_won

REPORT_NAME = "report.html"
COMPARISON_NAME, CURVES_NAME, SWEEP_NAME = "comparison.png", "curves.png", "sweep.png"


@dataclass(frozen=True)
class Evaluation:
    """Results, the name that the gene in question has in them, and the address of their picture."""

    results: Results
    gene: str
    picture: str

    @property
    def mine(self) -> StartResult:
        """The gene's own results."""
        return self.results.descendants[0].start(self.gene)


def write_report(results: Results, folder: Path) -> Path:
    """Write `report.html` and the pictures that apply: `comparison.png`, `curves.png`, `sweep.png`; path of the page.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    pictures = _pictures(results)
    for name, content in pictures.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    title = " and ".join(dict.fromkeys(gene.name for gene in results.genes))
    write_text(folder / REPORT_NAME, render_page(title, _report(results, title, pictures), pictures))
    return folder / REPORT_NAME


def section(evaluations: Sequence[Evaluation]) -> str:
    """What the evaluations show, a heading for each, then their limits and the constants of their protocols."""
    parts = [_part(evaluation) for evaluation in evaluations]
    unsure = dict.fromkeys(sentence for evaluation in evaluations for sentence in limits(evaluation.results))
    apart = [
        "Tasks, data or networks differ from heading to heading. Do not compare accuracies under different headings."
    ] * (len(parts) > 1)
    names = dict.fromkeys(key for part in parts for key in part["protocol"])
    values = {name: [part["protocol"].get(name, "not used or not recorded") for part in parts] for name in names}
    return _filled("evaluation.md.jinja", parts=parts, constants=values, limits=[*apart, *unsure]).strip()


def _part(evaluation: Evaluation) -> Mapping[str, Any]:
    results, first = evaluation.results, evaluation.results.descendants[0]
    return {
        "results": results,
        "picture": evaluation.picture,
        "is_gene_size": (first.width, first.depth)
        == next((gene.width, gene.depth) for gene in results.genes if gene.start == evaluation.gene),
        "inherited": evaluation.mine.inherited,
        "headline": headline(results, first, evaluation.gene),
        "table": _table(first, evaluation.gene, results.headline),
        "not_won": not_won(results, evaluation.gene),
        "protocol": constants(results.protocol),
    }


def _table(descendant: DescendantResult, gene: str, measure: str) -> Mapping[str, Any]:
    """All starts, best first, each with the lead of the learngene called `gene`."""
    return {
        "gene": gene,
        "measure": measure,
        "with_leads": any(start.start not in {SCRATCH, gene} for start in descendant.starts),
        "starts": [
            (start, None if start.start == gene else lead_over(descendant, gene, start, measure))
            for start in ranked(descendant, measure)
        ],
    }


def _report(results: Results, title: str, pictures: Mapping[str, bytes]) -> str:
    first, gene = results.descendants[0], results.genes[0].start
    others = [(one, _table(one, gene, results.headline)) for one in results.descendants[1:]]
    return _filled(
        "report.md.jinja",
        results=results,
        title=title,
        lead=" ".join(headline(results, first, one.start)[0] for one in results.genes) if results.genes[1:] else "",
        section=Markup(section([Evaluation(results, gene, COMPARISON_NAME)])),
        starts=ranked(first, results.headline),
        measures=_measures(results),
        pictures=pictures,
        others=others,
        recipe=Markup(textwrap.indent(printable(results.recipe), "    ")),
    )


def _measures(results: Results) -> list[str]:
    """The measures that a start has, in the order of time."""
    having = {measure for start in results.descendants[0].starts for measure in start.measures}
    return [measure for measure in (PROTOTYPE, *map(str, results.steps)) if measure in having]


def _pictures(results: Results) -> dict[str, bytes]:
    """Name -> PNG."""
    first, tasks = results.descendants[0], f"{results.tasks} task{'' if results.tasks == 1 else 's'}"
    title = f"{results.data}, {results.test_classes}, {tasks}\n{results.setting}"
    figures = {COMPARISON_NAME: draw_starts(first, results.headline, title=title)}
    if _has_curves(results):
        figures[CURVES_NAME] = draw_curves(first, results.steps, title=title)
    if sweeps(results):
        figures[SWEEP_NAME] = draw_sweep(results, title=title)
    return {name: png(figure) for name, figure in figures.items()}


def _has_curves(results: Results) -> bool:
    """Whether a start was measured at all of several steps."""
    steps = {str(step) for step in results.steps}
    return len(steps) > 1 and any(steps <= start.measures.keys() for start in results.descendants[0].starts)


def _filled(template: str, **values: object) -> str:
    words = (*numbers.WORDS, network_words, measure_words)
    return markdown_template("learngene_hub.report", template, *words, is_trimmed=True).render(values)
