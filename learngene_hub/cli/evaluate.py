"""`learngene evaluate`."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from learngene_hub.cli.console import TerminalReporter, command, importing, print_table, stderr
from learngene_hub.cli.engines import AUTO, Device, Engine, RayAddress, Workers
from learngene_hub.cli.genes import SOURCE_HELP

if TYPE_CHECKING:
    from learngene_hub.evaluation.protocols import Protocol
    from learngene_hub.evaluation.sources import Target
    from learngene_hub.report.results import Results, StartResult

T = TypeVar("T", int, float)

EXAMPLE = "Example: learngene evaluate runs/demo --baselines narrow --out evidence"


def _known_paths(paths: list[Path] | None) -> list[Path] | None:
    """The same paths, checked to exist before torch is imported."""
    from learngene_hub.core.files import refuse_missing
    from learngene_hub.gene.names import shipped_genes

    for path in paths or ():
        if path.as_posix() not in shipped_genes():
            refuse_missing(path, "a safetensors file, or a folder with one", Path.exists)
    return paths


def evaluate(
    genes: Annotated[list[str], typer.Argument(metavar="GENE", help=SOURCE_HELP)],
    data: Annotated[str | None, typer.Option(help="The gene's images: a folder or a Hub id.")] = None,
    protocol: Annotated[
        str, typer.Option(help="few-shot, few-shot-5, few-shot-1, short, instinct, transfer or held-out.")
    ] = "few-shot",
    target: Annotated[str | None, typer.Option(help="For transfer: image folder, preset or Hub id.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Image column of --target or, without one, --data.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Label column of --target or, without one, --data.")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=28, max=224, metavar="PIXELS", help="Image side. Default: the gene's."),
    ] = None,
    baselines: Annotated[
        list[str] | None,
        typer.Option(help="Baselines, such as narrow,pretrained; or all."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            callback=_known_paths,
            help="Another network or gene to compare; may be given several times.",
        ),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Networks that inherit the gene. Default: the gene's.")
    ] = None,
    width: Annotated[list[str] | None, typer.Option(help="Widths of these networks, such as 0.5,1.")] = None,
    depth: Annotated[list[str] | None, typer.Option(help="Depths of these networks, such as 11,13.")] = None,
    ways: Annotated[int | None, typer.Option(min=2, help="Classes per task.")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="Training images per class.")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Test images per class.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Tasks per seed.")] = None,
    lr: Annotated[
        float | None, typer.Option(min=1e-6, max=10, help="Learning rate. Default: the best for each start.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    workers: Workers = None,
    engine: Engine = "local",
    address: RayAddress = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. Default: one in runs/.")] = None,
    device: Device = AUTO,
) -> None:
    """Compare genes with training from scratch, on novel classes.

    All networks are trained on the same tasks. After an interruption, the same command continues.
    """
    from learngene_hub.core.files import expanded, is_there
    from learngene_hub.evaluation.protocols import find_protocol
    from learngene_hub.report.results import NOVEL

    chosen = find_protocol(protocol)
    with importing():
        from learngene_hub.evaluation.run import Descendants
        from learngene_hub.evaluation.run import evaluate as run
        from learngene_hub.evaluation.starts import check_baselines
        from learngene_hub.workers import EngineOptions

    changes = {"ways": ways, "shots": shots, "queries": queries, "steps": steps, "tasks": tasks, "lr": lr}
    given = {key: value for key, value in changes.items() if value is not None}
    chosen = chosen.with_changes(given)
    asked: dict[str, Any] = {
        **_places(data, target, image_column, label_column, image_size),
        "baselines": check_baselines(_listed(baselines)),
        "checkpoints": checkpoint or (),
        "descendants": Descendants(_listed(network), _numbers(width, float), _numbers(depth, int)),
    }
    out = out or _own_folder(genes, chosen, asked)
    results = run(
        genes,
        **asked,
        protocol=chosen,
        seeds=range(seeds),
        out=out,
        engine=EngineOptions(engine, workers, address),
        device=device,
        reporter=TerminalReporter(),
    )
    _show(results)
    is_for_a_card = len(genes) == 1 and is_there(expanded(genes[0])) and results.split == NOVEL
    after = f"; next: {command('card', genes[0], '--results', out)}" if is_for_a_card else ""
    stderr.print(f"report: {out / 'report.html'}; all numbers: {out / 'results.json'}{after}", markup=False)


def _own_folder(genes: list[str], protocol: "Protocol", asked: Mapping[str, object]) -> Path:
    """Default of --out: the same folder for the same command, whatever the number of tasks and seeds."""
    from learngene_hub.gene.names import RUNS

    identity = repr((genes, replace(protocol, tasks=1), sorted(asked.items())))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:6]
    return Path(RUNS) / f"{Path(genes[0].partition('@')[0]).resolve().name}-{protocol.name}-{digest}"


def _places(
    data: str | None, target: str | None, image_column: str | None, label_column: str | None, image_size: int | None
) -> "dict[str, str | Target | None]":
    """The gene's images and those of a transfer, whose columns are named if both are given."""
    from learngene_hub.evaluation.sources import Target

    if target is not None:
        return {"data": data, "target": Target(target, image_column, label_column, image_size)}
    if image_size is not None:
        raise typer.BadParameter("--image-size needs --target")
    if image_column is None and label_column is None:
        return {"data": data, "target": None}
    if data is None:
        raise typer.BadParameter("--image-column and --label-column need --data or --target")
    return {"data": Target(data, image_column, label_column), "target": None}


def _listed(texts: Sequence[str] | None) -> tuple[str, ...]:
    """All that stands between commas, of an option that may be given several times."""
    return tuple(part.strip() for part in ",".join(texts or ()).split(",") if part.strip())


def _numbers(texts: Sequence[str] | None, kind: Callable[[str], T]) -> tuple[T, ...]:
    try:
        return tuple(kind(part) for part in _listed(texts))
    except ValueError:
        raise typer.BadParameter(f"expected numbers separated by commas, found {','.join(texts or ())!r}") from None


def _show(results: "Results") -> None:
    from learngene_hub.report import numbers
    from learngene_hub.report.findings import ranked, rivals
    from learngene_hub.report.sentences import network_words, tasks_words

    measures, headline = list(results.descendants[0].starts[0].measures), results.headline
    lead_of, of_which = "lead of the gene", ""
    if len(results.genes) > 1:
        lead_of, of_which = "lead", f"; lead: that of {results.genes[0].start} over each start"

    def row(start: "StartResult", *, with_lead: bool) -> tuple[str, ...]:
        gain, lead = (numbers.points(part[headline]) if headline in part else "" for part in (start.gain, start.lead))
        differences = (gain, lead) if with_lead else (gain,)
        accuracy = numbers.accuracy(start.measures[headline])
        return (start.start, accuracy, *differences, f"{start.lr:g}", f"{start.inherited:.1%}")

    for descendant in results.descendants:
        starts, with_lead = ranked(descendant, headline), bool(rivals(descendant, results.genes[0].start, headline))
        print_table(
            f"{network_words(descendant)}; {results.setting}; {results.data}; accuracy in %, "
            f"{tasks_words(results.tasks)}{of_which if with_lead else ''}",
            ("start", "accuracy", "gain over scratch", *([lead_of] if with_lead else []), "rate", "inherited"),
            [row(start, with_lead=with_lead) for start in starts],
        )
        if len(measures) > 1:
            columns = ("start", *(f"{name}{' steps' if name.isdigit() else ''}" for name in measures))
            curves = [(start.start, *(numbers.accuracy(start.measures[name]) for name in measures)) for start in starts]
            print_table("", columns, curves)
