"""`learngene list`, `learngene info` and `learngene verify`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from learngene_hub.cli.console import (
    AsJson,
    TerminalReporter,
    command,
    importing,
    print_json,
    print_table,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from learngene_hub.finetuning import Photos, Suited
    from learngene_hub.gene.config import GeneConfig, Origin
    from learngene_hub.gene.listing import GeneSummary

LIST_EXAMPLE = "Example: learngene list --hub --network lg_vgg11"
INFO_EXAMPLE = "Example: learngene info runs/demo --json"
VERIFY_EXAMPLE = "Example: learngene verify runs/demo"
ImageColumn = Annotated[str | None, typer.Option(help="Image column, if not image or img.")]
LabelColumn = Annotated[str | None, typer.Option(help="Label column, if not label or fine_label.")]
SOURCE_HELP = "Gene folder, folder of a run, name of a gene of the package, or owner/name[@revision] of the Hub."

TITLE = "learngenes; gain: accuracy over scratch in points ± 95 % CI, from the card"
COLUMNS = ("name", "network", "data", "MB", "gain", "downloads")


Source = Annotated[str, typer.Argument(help=SOURCE_HELP, metavar="GENE")]


def list_genes(
    hub: Annotated[bool, typer.Option("--hub", help="List genes on the Hub instead of this package's.")] = False,
    author: Annotated[str | None, typer.Option(help="User or organisation on the Hub.")] = None,
    network: Annotated[str | None, typer.Option(help="Network family, such as lg_vgg11.")] = None,
    search: Annotated[str | None, typer.Option(help="Part of the name.")] = None,
    photos: Annotated[
        str | None,
        typer.Option("--for", help="Your images; the genes are ranked for them by a probe.", metavar="PHOTOS"),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    as_json: AsJson = False,
) -> None:
    """List the genes of this package, or those on the Hub.

    At most the 200 most downloaded genes of the Hub are listed.
    """
    if photos is not None and hub:
        raise typer.BadParameter("--for probes the genes of this package; leave out --hub")
    with importing():
        from learngene_hub.gene.listing import list_learngenes

    with TerminalReporter().task("asking the Hub" if hub else "reading genes", None):
        genes = list_learngenes(hub=hub, author=author, network=network, search=search)
    if photos is not None and genes:
        _show_suited([gene.name for gene in genes], photos, image_column, label_column, as_json=as_json)
    elif as_json:
        print_json([asdict(gene) for gene in genes])
    elif genes:
        print_table(TITLE, COLUMNS[: 6 if hub else 5], [_row(gene, hub=hub) for gene in genes])
    else:
        stderr.print("no such gene" + ("" if hub or photos else "; add --hub to look on the Hub"), markup=False)


def info(gene: Source, as_json: AsJson = False) -> None:
    """Show what a gene is and how it was made.

    For a gene on the Hub only the config and the card are downloaded.
    """
    with importing():
        from learngene_hub.gene.folder import CARD_NAME, CONFIG_NAME, read_config
        from learngene_hub.gene.listing import read_gain
        from learngene_hub.gene.source import locate

    with TerminalReporter().task(f"reading {gene}", None):
        located = locate(gene, names=(CONFIG_NAME, CARD_NAME))
    config = located.read(read_config)
    gain, ci95 = read_gain(located.folder, warn=TerminalReporter().warn)
    if as_json:
        more = {"revision": located.revision, "gain_over_scratch": gain, "gain_ci95": ci95}
        print_json(config.model_dump(mode="json") | more)
    else:
        pairs = _describe(config)
        if gain is not None:
            pairs["gain over scratch"] = f"{_signed(gain, ci95)} points, according to its card"
        if located.revision is not None:
            pairs["revision"] = located.revision
        print_table(gene, (), pairs.items())


def verify(gene: Source, as_json: AsJson = False) -> None:
    """Run every check of a gene; the first fault is an error, with exit status 1."""
    with importing():
        from learngene_hub.gene.folder import read_gene
        from learngene_hub.gene.source import locate

    with TerminalReporter().task(f"checking {gene}", None):
        _, config = locate(gene).read(read_gene)
    if as_json:
        print_json({"ok": True, "parameters": config.parameters, "sha256": config.sha256})
    else:
        stdout.print(f"{gene}: ok ({config.parameters:,} parameters, sha256 {config.sha256})", markup=False)


def _show_suited(
    names: list[str], photos: str, image_column: str | None, label_column: str | None, *, as_json: bool
) -> None:
    with importing():
        from learngene_hub.finetuning import Photos, rank_genes

    shown = Photos(photos, on_corrupt="skip", image_column=image_column, label_column=label_column)
    ranked = rank_genes(names, shown, reporter=TerminalReporter())
    if as_json:
        print_json([asdict(gene) for gene in ranked])
        return
    least = min(gene.flops for gene in ranked)
    rows = [
        (
            gene.name,
            f"{100 * gene.accuracy:.1f}",
            f"{100 * gene.behind:.1f} ± {100 * gene.behind_ci95:.1f}" if rank else "",
            f"{gene.flops / least:.1f}",
        )
        for rank, gene in enumerate(ranked)
    ]
    title = "the best gene for your images first; accuracy in % of a linear classifier on images left out; "
    title += "behind: points below the first ± 95 % CI; cost: FLOPs of `finetune` in multiples of the lowest"
    print_table(title, ("name", "accuracy", "behind", "cost"), rows)
    level = [gene for gene in ranked if gene.behind <= gene.behind_ci95]
    if len(level) == len(ranked) > 1:
        stderr.print("all genes are level on these images: differences may be chance; more images may tell them apart")
    stderr.print(_proposal(level, shown), markup=False)


def _proposal(level: list["Suited"], photos: "Photos") -> str:
    """The next command, with the first of the genes that are `level`, or one at half its cost or less."""
    from learngene_hub.core.files import expanded

    first = level[0]
    chosen = next((gene for gene in level if gene.flops <= first.flops / 2), first)
    less = f"{100 * chosen.behind:.1f} ± {100 * chosen.behind_ci95:.1f} points behind the first, which may be chance"
    why = f"{chosen.name} is {less}, at {chosen.flops / first.flops:.0%} of its cost; " if chosen is not first else ""
    images, here = expanded(photos.path).resolve(), Path.cwd()
    out = os.path.relpath(images.with_name("photos-model")) if here.is_relative_to(images) else "photos-model"
    columns = {"--image-column": photos.image_column, "--label-column": photos.label_column}
    given = [word for option, column in columns.items() if column for word in (option, column)]
    return f"{why}next: {command('finetune', chosen.name, '--data', photos.path, '--out', out, *given)}"


def _row(gene: "GeneSummary", *, hub: bool) -> tuple[str, ...]:
    return (
        gene.name,
        gene.network or "",
        gene.data or "",
        "" if gene.megabytes is None else f"{gene.megabytes:.1f}",
        "" if gene.gain is None else _signed(gene.gain, gene.gain_ci95),
        *(("" if gene.downloads is None else f"{gene.downloads:,}",) if hub else ()),
    )


def _signed(points: float, ci95: float | None) -> str:
    return f"{points:+.1f}" + ("" if ci95 is None else f" ± {ci95:.1f}")


def _named(source: str) -> str:
    """The usual name of the data set, and its id on the Hub."""
    from learngene_hub.data.splits import title_of

    title = title_of(source)
    return title if title == source else f"{title} ({source})"


def _ancestors(origin: "Origin") -> str:
    """The gene that an evolution began from, with its own cost, then the gene before it, and so on."""
    return "; it began from ".join(
        f"{gene.name} (sha256 {gene.sha256[:12]})"
        + (f": {gene.images:,} images of {_named(gene.origin.data.source)}, not in the cost" if gene.origin else "")
        for gene in origin.ancestors
    )


def _describe(config: "GeneConfig") -> dict[str, str]:
    pairs = {
        "network": f"{config.network}, width {config.width}, depth {config.depth}",
        "gene": f"{config.parameters:,} parameters: {config.share_words}",
        "version": f"{config.version}, kernels in {config.dtype}",
        "images": f"{config.image_size} pixels, {config.in_chans} channels",
        "mean, std": f"{[round(x, 4) for x in config.mean]}, {[round(x, 4) for x in config.std]}",
        "sha256": f"{config.sha256[:12]}, as recorded (in full with --json)",
    }
    origin = config.origin
    if origin is None:
        return pairs | {"origin": "cut from a network, not evolved"}
    data, search = origin.data, origin.search
    counts = f"{len(data.base)} base, {len(data.held_out)} held-out, {len(data.novel)}"
    return pairs | {
        "recipe": " ".join([origin.recipe, *origin.overrides]),
        "data": f"{_named(data.source)}: {counts} novel classes",
        "fitness": f"{origin.fitness:.3f} (accuracy of critics on held-out classes{config.rounded_later})",
        **({"shape": f"{search.words}; {search.images:,} of the images"} if search else {}),
        "lineage": " <- ".join(str(individual.id) for individual in origin.lineage[:12]),
        **({"begins from": _ancestors(origin)} if origin.ancestor else {}),
        "cost": f"{origin.cost.images:,} images, {origin.cost.seconds:,.0f} s on {origin.cost.device}",
        "seed": str(origin.seed),
    }
