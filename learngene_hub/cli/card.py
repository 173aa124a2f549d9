"""`learngene card`."""

from pathlib import Path
from typing import Annotated

import typer

from learngene_hub.cli.console import importing, stdout

EXAMPLE = "Example: learngene card runs/demo --results runs/demo/evaluation"


def card(
    gene: Annotated[str, typer.Argument(metavar="GENE", help="Gene folder, or the folder of a run.")],
    results: Annotated[
        list[Path],
        typer.Option(help="results.json of `learngene evaluate --out`, or its folder; may be given several times."),
    ],
) -> None:
    """Put results into a gene's model card, and print its path.

    The evaluation in the card, its pictures and the model-index of the metadata are replaced; all other text stays. A
    missing card is created.
    """
    from learngene_hub.core.errors import GeneFileError
    from learngene_hub.core.files import expanded, is_there
    from learngene_hub.gene.names import refuse_unknown, shipped_genes

    refuse_unknown(gene)
    if not is_there(expanded(gene)):
        known = "this gene comes with the package, so its card is not changed" if gene in shipped_genes() else None
        raise GeneFileError(f"{gene}: {known or 'no such folder'}; give a gene folder, or the folder of a run")
    with importing():
        from learngene_hub.evaluation.card import write_evaluation
        from learngene_hub.gene.folder import find_gene

    stdout.print(str(write_evaluation(find_gene(expanded(gene)), results)), markup=False)
