"""`learngene evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from learngene_hub.cli.console import TerminalReporter, print_json, stderr
from learngene_hub.cli.tables import print_table

EXAMPLE = "Example: learngene evaluate runs/demo --tasks 5 --seeds 2 --out runs/demo"


def evaluate(
    gene: Annotated[Path, typer.Argument(help="Gene folder, or the folder of a run.")],
    data: Annotated[str | None, typer.Option(help="Local copy of the gene's data set, or its Hub id.")] = None,
    ways: Annotated[int, typer.Option(min=2, help="Novel classes a task.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Training images a class.")] = 20,
    queries: Annotated[int, typer.Option(min=1, help="Test images a class.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 60,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks a seed.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... of tasks and newborn weights.")] = 3,
    lr: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=10, help="One learning rate for all.  [default: each start's best on held-out classes]"
        ),
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=0.05, max=4, help="Of the networks.  [default: the gene's own]")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=11, help="Depth of the networks.  [default: the gene's own]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and comparison.png.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compare descendants of a gene with networks from scratch, on classes its evolution never saw."""
    from learngene_hub.evaluation import FewShot
    from learngene_hub.evaluation import evaluate as run

    protocol = FewShot(ways=ways, shots=shots, queries=queries, tasks=tasks, steps=steps, lr=lr)
    results = run(
        gene,
        data=data,
        protocol=protocol,
        seeds=range(seeds),
        width=width,
        depth=depth,
        out=out,
        device=device,
        reporter=TerminalReporter(),
    )
    if as_json:
        print_json(results)
    else:
        _show(results)
    if out is not None:
        stderr.print(f"picture: {out / 'comparison.png'}; all numbers: {out / 'results.json'}", markup=False)


def _show(results: dict[str, Any]) -> None:
    protocol, tasks = results["protocol"], results["tasks"]
    title = (
        f"{protocol['ways']}-way, {protocol['shots']} images a class, {protocol['steps']} steps, "
        f"{tasks} tasks of novel classes ({results['data']})"
    )
    names = {"scratch": "scratch", "learngene": "learngene", "difference": "learngene - scratch, paired"}
    rows = [(name, _percent(results[key]), str(results[key].get("lr", ""))) for key, name in names.items()]
    print_table(title, ("start", "accuracy, %, mean ± 95 % CI", "learning rate"), rows)


def _percent(summary: dict[str, Any]) -> str:
    interval = "?" if summary["ci95"] is None else f"{100 * summary['ci95']:.1f}"
    return f"{100 * summary['mean']:.1f} ± {interval}"
