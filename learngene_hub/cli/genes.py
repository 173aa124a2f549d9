"""`learngene info` and `learngene verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from learngene_hub.cli.console import print_json
from learngene_hub.cli.tables import print_pairs, print_table

if TYPE_CHECKING:
    from learngene_hub.gene.folder import GeneConfig

INFO_EXAMPLE = "Example: learngene info runs/demo --json"
VERIFY_EXAMPLE = "Example: learngene verify runs/demo"

GenePath = Annotated[Path, typer.Argument(help="Gene folder, or the folder of a run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def info(gene: GenePath, as_json: AsJson = False) -> None:
    """Show what a gene is and how it came to be."""
    from learngene_hub.gene.folder import find_gene, read_config

    config = read_config(find_gene(gene))
    if as_json:
        print_json(config.model_dump(mode="json"))
    else:
        print_pairs(str(gene), _describe(config))


def verify(gene: GenePath, as_json: AsJson = False) -> None:
    """Run every check of a gene folder and name each; exit 1 if one fails."""
    from learngene_hub.gene.folder import find_gene
    from learngene_hub.gene.folder import verify as run

    checks = run(find_gene(gene))
    if as_json:
        print_json([{"check": check.name, "ok": check.fault is None, "fault": check.fault} for check in checks])
    else:
        print_table(str(gene), ("check", "result"), [(check.name, check.fault or "ok") for check in checks])
    if any(check.fault for check in checks):
        raise typer.Exit(1)


def _describe(config: "GeneConfig") -> dict[str, str]:
    pairs = {
        "network": f"{config.network}, width {config.width}, depth {config.depth}",
        "gene": f"{config.parameters:,} parameters: {config.fraction:.0%} of the channels of every layer",
        "images": f"{config.image_size} pixels, {config.in_chans} channels",
        "mean, std": f"{[round(x, 4) for x in config.mean]}, {[round(x, 4) for x in config.std]}",
        "sha256": f"{config.sha256} (as recorded; `learngene verify` checks it)",
    }
    origin = config.origin
    if origin is None:
        return pairs | {"origin": "cut from a network, not evolved"}
    data = origin.data
    return pairs | {
        "recipe": " ".join([origin.recipe, *origin.overrides]),
        "data": f"{data.source}: {len(data.base)} base, {len(data.held_out)} held-out, {len(data.novel)} novel classes",
        "fitness": f"{origin.fitness:.3f} (accuracy of critics on held-out classes; it was selected by this)",
        "lineage": " <- ".join(str(one.id) for one in origin.lineage[:12]),
        "cost": f"{origin.cost.images:,} images, {origin.cost.seconds:,.0f} s on {origin.cost.device}",
        "seed": str(origin.seed),
    }
