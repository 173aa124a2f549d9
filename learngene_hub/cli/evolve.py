"""`learngene evolve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from learngene_hub.cli.console import TerminalReporter, command, importing, print_table, stderr, stdout
from learngene_hub.cli.engines import AUTO, Device, Engine, RayAddress, Workers
from learngene_hub.cli.recipes import RecipeSource
from learngene_hub.core.errors import StorageError

if TYPE_CHECKING:
    from learngene_hub.evolution.dry_run import Forecast
    from learngene_hub.recipe.recipe import Recipe

EXAMPLE = (
    "Example: learngene evolve demo evolution.generations=6 --out runs/longer\n\n"
    "Example: learngene evolve cifar_fs_vgg11 --engine ray --address head:6379"
)


def evolve(
    recipe: RecipeSource,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Recipe fields to change, such as data.path=photos/.", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue after the last saved generation, if any.")] = False,
    device: Device = AUTO,
    engine: Engine = "local",
    workers: Workers = None,
    address: RayAddress = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe and images, print time, memory and FLOPs, and stop.")
    ] = False,
) -> None:
    """Evolve a learngene by a recipe; the gene is written to OUT/gene.

    On CPUs of one kind, with the same number of threads, the gene is the same, byte for byte, with any engine and any
    number of workers.
    """
    from learngene_hub.core.files import expanded
    from learngene_hub.gene.names import RUNS
    from learngene_hub.recipe.recipe import Recipe

    chosen = Recipe.from_file(recipe, overrides or ())
    with importing():
        from learngene_hub.core.device import pick_device
        from learngene_hub.evolution.checkpoint import has_state
        from learngene_hub.evolution.dry_run import forecast
        from learngene_hub.evolution.run import evolve as run
        from learngene_hub.workers import EngineOptions
    folder, options = expanded(out or Path(RUNS) / chosen.name), EngineOptions(engine, workers, address)
    if dry_run:
        with TerminalReporter().task("looking at images and measuring a few steps", None):
            cost = forecast(chosen, device=pick_device(device), reporter=TerminalReporter())
        _show_cost(chosen, cost)
        return
    try:
        gene = run(chosen, out=folder, resume=resume, device=device, engine=options, reporter=TerminalReporter())
    except StorageError as error:
        if not has_state(folder):
            raise
        again = "the same command with --resume continues after the last saved generation"
        raise StorageError(f"{error}; then {again}") from None
    origin = gene.config.origin
    assert origin is not None
    made = f"learngene of {gene.config.parameters:,} parameters, fitness {origin.fitness:.3f}"
    stdout.print(f"{folder / 'gene'}: {made}", markup=False)
    from learngene_hub.evaluation.protocols import find_protocol

    data = ("--data", chosen.data.path) if chosen.data.path else ()
    novel, shots, protocol = len(origin.data.novel), chosen.critic.shots, find_protocol("few-shot")
    ways = ("--ways", str(novel)) if 1 < novel < (protocol.ways or 0) else ()
    queries = ("--queries", str(min(chosen.critic.queries, protocol.queries)))
    few = ("--shots", str(shots), *queries) if shots < (protocol.shots or 0) else ()  # there may be no more images
    after = f"; next: {command('evaluate', folder, *data, *ways, *few, '--tasks', '5', '--out', folder / 'evaluation')}"
    stderr.print(f"report: {folder / 'evolution.html'}{after if novel > 1 else ''}", markup=False)


def _show_cost(recipe: "Recipe", cost: "Forecast") -> None:
    evolution = recipe.evolution
    founders = min(evolution.founders, evolution.generations)
    duration = f"{cost.seconds / 60:.1f} minutes" if cost.seconds < 7200 else f"{cost.seconds / 3600:,.1f} hours"
    pairs = {
        "network": f"{recipe.network.name}, {cost.network_parameters:,} parameters without the classifier",
        "gene": f"{cost.gene_parameters:,} parameters ({cost.gene_share:.1%}), {cost.gene_bytes / 1e6:.1f} MB",
        "shape of the gene": _shape(recipe, cost),
        **({"begins from": _ancestor(recipe, cost)} if evolution.ancestor else {}),
        "evolution": f"{evolution.generations - founders} generations of {evolution.population} individuals"
        + (f", after {founders} of a single one, the founder" if founders else ""),
        "data": _data(recipe, cost),
        "training images": f"{cost.images:,}, with those of critics, and repeats",
        "training FLOPs": f"{cost.flops:.3g}",
        "memory": f"about {cost.memory_bytes / 1e6:,.0f} MB for each worker, plus 300 MB for torch, plus the images",
        "checkpoint": f"at most {cost.checkpoint_bytes / 1e6:.1f} MB",
        "speed": f"{cost.images_per_second:,.0f} images/s in {cost.precision} on {cost.device}, measured in 3 steps",
        "estimated time": f"{duration}, without loading the images",
    }
    print_table(f"plan of {recipe.name}", (), pairs.items())


def _shape(recipe: "Recipe", cost: "Forecast") -> str:
    """Where the shape comes from."""
    match recipe.gene.shape:
        case "taper" if recipe.evolution.ancestor is not None:
            return f"the same as {recipe.evolution.ancestor}"
        case "evolve":
            width = min(recipe.search.width, recipe.network.width)
            searched = f"a search of {cost.search_images:,} images in networks of width {width:g}"
            return f"found by {searched}, {cost.search_flops / cost.flops:.1%} of all FLOPs"
        case "taper":
            return f"a taper of {recipe.gene.taper:g}"
        case channels:
            return f"given: {', '.join(map(str, channels))}"


def _ancestor(recipe: "Recipe", cost: "Forecast") -> str:
    """The gene that the evolution begins from, and its own cost."""
    made = "an unknown number of images" if cost.ancestor_images is None else f"{cost.ancestor_images:,} images"
    return f"{recipe.evolution.ancestor} (sha256 {str(cost.ancestor_sha256)[:12]}): {made}, not counted here"


def _data(recipe: "Recipe", cost: "Forecast") -> str:
    """The available classes and images."""
    data = cost.data
    if data is None:
        seen = f", nor whether {recipe.evolution.ancestor} has seen these classes" if recipe.evolution.ancestor else ""
        return f"on the Hub, not checked{seen}; give a local copy with data.path="
    images = f"{data.fewest:,}" if data.fewest == data.most else f"{data.fewest:,} to {data.most:,}"
    return f"{data.base} base, {data.held_out} held-out, {data.novel} novel classes; {images} images per class"
