"""The page of an evolution, from the files of its run or of its gene."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import LOCK_NAME, expanded, is_there, write_text
from learngene_hub.evolution.checkpoint import has_state, load_state
from learngene_hub.evolution.metrics import read_metrics
from learngene_hub.gene.config import Origin
from learngene_hub.gene.folder import CONFIG_NAME, GENE_FOLDER, METRICS_NAME, read_config
from learngene_hub.gene.source import locate
from learngene_hub.report.evaluation import REPORT_NAME
from learngene_hub.report.evolution import EVOLUTION_NAME, render_evolution
from learngene_hub.report.results import RESULTS_NAME

DAMAGED = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError)  # what drawing such rows leads to
MOST_GROUPS = 1000  # of channels, that are drawn


@dataclass(frozen=True)
class _Past:
    """An evolution as its files describe it; `origin` is that of its gene, if there is one already."""

    rows: Sequence[Mapping[str, Any]]
    title: str
    origin: Origin | None
    page: Path

    @property
    def chosen(self) -> int:
        """The individual whose learngene is the result, or the fittest of the last generation so far."""
        return self.origin.lineage[0].id if self.origin else int(self.rows[-1]["best_id"])


def write_page(source: str, page: Path | None = None) -> Path:
    """Write the page of a run, finished or not, or of the evolution of a gene; the path of the page.

    Args:
        source: folder of a run, or a gene as `Learngene.from_pretrained` takes it.
        page: HTML file to write; None: `evolution.html` in the folder, or a file here that is named after the
            gene, such as `gtl-vgg11-mini.html`.

    Raises:
        RunError: there are no rows of the evolution, or damaged ones, or it is the folder of an evaluation.
        GeneFileError: there is no gene of this name.
        HubError: the gene cannot be downloaded.
        LearngeneError: matplotlib is not installed.
    """
    past = _run(expanded(source)) or _gene(source)
    if not past.rows:
        raise RunError(f"{source}: expected {METRICS_NAME} with a row for every generation, found none")
    try:
        text = _drawn(past)
    except DAMAGED as error:
        raise RunError(f"{source}: damaged rows of {METRICS_NAME} ({error!r:.200})") from None
    page = expanded(page or past.page)
    write_text(page, text)
    return page


def _drawn(past: _Past) -> str:
    alive = {record["id"] for row in past.rows for record in row["individuals"] if record["fitness"] is not None}
    if past.chosen not in alive:
        raise LookupError(f"no individual {past.chosen}")
    search = past.rows[0].get("search")
    if search and len(search["groups"]) > MOST_GROUPS:
        raise ValueError(f"more than {MOST_GROUPS} groups")
    return render_evolution(past.rows, title=past.title, chosen=past.chosen)


def _run(folder: Path) -> _Past | None:
    """The run in `folder`; None if there is none."""
    if not has_state(folder):
        if (folder / RESULTS_NAME).is_file():
            return None
        if (folder / LOCK_NAME).is_file() and not any((folder / name).exists() for name in (CONFIG_NAME, GENE_FOLDER)):
            raise RunError(f"{folder}: no generation of an evolution is finished here yet")
        return None
    saved, gene = load_state(folder), folder / GENE_FOLDER
    origin = read_config(gene).origin if (gene / CONFIG_NAME).is_file() else None
    return _Past(saved.state.rows, saved.recipe["name"], origin, folder / EVOLUTION_NAME)


def _gene(source: str) -> _Past:
    """The evolution of a gene, as its folder tells it."""
    home = expanded(source)
    if (home / RESULTS_NAME).is_file() and not any((home / name).exists() for name in (CONFIG_NAME, GENE_FOLDER)):
        raise RunError(f"{source}: expected a run or a gene, found an evaluation; its page is {REPORT_NAME} there")
    located = locate(source, names=(CONFIG_NAME, METRICS_NAME))
    origin = located.read(read_config).origin
    if origin is None:
        raise RunError(f"{source}: this gene was cut from a network, not evolved, so it has no page")
    page = located.folder / EVOLUTION_NAME if is_there(home) else Path(re.sub("[/:]", "-", source) + ".html")
    return _Past(read_metrics(located.folder), origin.recipe, origin, page)
