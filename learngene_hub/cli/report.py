"""`learngene report`."""

from pathlib import Path
from typing import Annotated

import typer

from learngene_hub.cli.console import importing, stdout
from learngene_hub.cli.genes import SOURCE_HELP, known_gene

EXAMPLE = "Example: learngene report runs/demo"


def report(
    run: Annotated[
        str, typer.Argument(help=f"Run, finished or not. {SOURCE_HELP}", metavar="RUN", callback=known_gene)
    ],
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write.  [default: evolution.html, in RUN if it is one]")
    ] = None,
) -> None:
    """Write the page of an evolution.

    It shows fitness, who descends from whom, and cost. `learngene evolve` writes it when it is done; this makes it
    anew, or in the middle of a run.
    """
    with importing():
        from learngene_hub.evolution.page import write_page

    stdout.print(str(write_page(run, out)), markup=False)
