"""`learngene card`."""

from pathlib import Path
from typing import Annotated

import typer

from learngene_hub.cli.console import importing, print_text, stderr

EXAMPLE = "Example: learngene card runs/demo --results runs/demo"


def card(
    gene: Annotated[
        str,
        typer.Argument(
            metavar="GENE",
            help="Gene folder, or the folder of a run; without --results also the name of a gene of the package.",
        ),
    ],
    results: Annotated[
        list[Path] | None,
        typer.Option(help="results.json of `learngene evaluate --out`, or its folder; may be given several times."),
    ] = None,
) -> None:
    """Put results into a gene's model card, or print the results in it.

    With --results, the evaluation in the card, its pictures and the model-index of the metadata are replaced; all
    other text stays. Without --results nothing is changed, but a missing card is created.
    """
    from learngene_hub.core.errors import GeneFileError
    from learngene_hub.core.files import expanded, is_there
    from learngene_hub.gene.names import refuse_unknown, shipped_genes

    refuse_unknown(gene)
    is_folder = is_there(expanded(gene))
    if not is_folder and gene not in shipped_genes():
        raise GeneFileError(
            f"{gene}: no such folder; expected a gene folder, the folder of a run, or a gene of the package"
        )
    with importing():
        from learngene_hub.evaluation.card import read_evaluation, write_evaluation
        from learngene_hub.gene.source import locate

    folder = locate(gene).folder
    if results:
        if not is_folder:
            raise GeneFileError(f"{gene}: this gene comes with the package, so its card is not changed; give a folder")
        stderr.print(f"card: {write_evaluation(folder, results)}", markup=False)
    print_text(read_evaluation(folder))
