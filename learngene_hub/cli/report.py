"""`learngene report`."""

from pathlib import Path
from typing import Annotated

import typer

from learngene_hub.cli.console import importing, stdout
from learngene_hub.cli.genes import SOURCE_HELP

EXAMPLE = "Example: learngene report runs/demo"


def report(
    run: Annotated[str, typer.Argument(help=f"Run, finished or not. {SOURCE_HELP}", metavar="RUN")],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write.  [default: evolution.html in RUN, or NAME.html here]"),
    ] = None,
) -> None:
    """Write the report of an evolution.

    The report shows fitness, lineage and cost. `learngene evolve` writes it at its end; this command writes it again,
    or during a run.
    """
    with importing():
        from learngene_hub.evolution.page import write_page

    stdout.print(str(write_page(run, out)), markup=False)
