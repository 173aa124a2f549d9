"""Does a gene help? Descendants beside networks from scratch: same tasks, images, steps and seeds.

Every task is met by every start. The newborn weights that are not inherited, the batches and their augmentation are
equal for all starts of a task; the starts differ in what they inherit, and in nothing else.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from learngene_hub import __version__
from learngene_hub.birth import Body, newborn, placed
from learngene_hub.data import DataSource, Normalisation, load_classes
from learngene_hub.descendant import from_learngene
from learngene_hub.errors import DataError, LearngeneError
from learngene_hub.files import write_text
from learngene_hub.fitting import Images, draw_tasks, fit_task, on_device, pick_device
from learngene_hub.gene.folder import DataRecord, find_gene
from learngene_hub.gene.learngene import Learngene
from learngene_hub.plots import check_can_draw, draw_comparison
from learngene_hub.progress import Reporter, SilentReporter
from learngene_hub.rng import generator
from learngene_hub.training import best_precision

RESULTS_NAME = "results.json"
COMPARISON_NAME = "comparison.png"
STARTS = ("scratch", "learngene")


@dataclass(frozen=True)
class FewShot:
    """The few-shot protocol (ours): k-way tasks of a few images from novel classes, a fixed number of steps.

    Attributes:
        ways: classes a task.
        shots: training images a class.
        queries: test images a class, none of them among the training images.
        tasks: tasks a seed.
        steps: optimiser steps.
        batch_size: images a step.
        optimizer: `sgd` or `adamw`.
        lr: highest learning rate; it falls along a cosine.
    """

    ways: int = 5
    shots: int = 20
    queries: int = 100
    tasks: int = 10
    steps: int = 60
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 5
    label_smoothing: float = 0.0
    clip_norm: float | None = 5.0


def evaluate(
    gene: Learngene | str | Path,
    *,
    data: str | None = None,
    protocol: FewShot = FewShot(),
    seeds: Sequence[int] = (0, 1, 2),
    width: float | None = None,
    depth: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    reporter: Reporter = SilentReporter(),  # noqa: B008
) -> dict[str, Any]:
    """Accuracy on novel classes of networks from scratch and of descendants of `gene`.

    Args:
        gene: a `Learngene` with an origin, its folder, or the folder of a run.
        data: local copy of the gene's data set, or its Hub id; None: as the recipe's preset finds it.
        protocol: what every network is given.
        seeds: one set of tasks and of newborn weights each.
        width: of the networks; None: as in the evolution.
        depth: likewise.
        out: folder for `results.json` and `comparison.png`; None: nothing is written.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        reporter: told of progress.

    Returns:
        `{"scratch": {"mean", "ci95", "accuracies"}, "learngene": {...}, "difference": {...}, "tasks",
        "parameters_inherited", ...}`; accuracies are top-1 in [0, 1], one a task, in the same order for all starts.

    Raises:
        LearngeneError: the gene has no origin, so its novel classes are unknown.
        DataError: the novel images cannot be had.
    """
    if out is not None:
        check_can_draw()
    source = "memory" if isinstance(gene, Learngene) else str(find_gene(Path(gene)))
    gene = gene if isinstance(gene, Learngene) else Learngene.from_pretrained(gene)
    if gene.config.origin is None:
        raise LearngeneError("this gene does not say which classes it has never seen; only evolved genes do")
    images = _novel_images(gene, gene.config.origin.data, data, device=pick_device(device), reporter=reporter)
    body = Body(gene.config.network, width or gene.config.width, depth or gene.config.depth, gene.config.in_chans)
    accuracies: dict[str, list[float]] = {start: [] for start in STARTS}
    with reporter.task("evaluating", len(seeds) * protocol.tasks * len(STARTS), "net") as bar:
        for seed in seeds:
            for start, values in _run_seed(gene, images, protocol, seed, body, bar.advance).items():
                accuracies[start] += values
    descendant = from_learngene(gene, num_classes=protocol.ways, width=body.width, depth=body.depth)
    results = _results(accuracies, protocol, seeds) | {
        "parameters_inherited": descendant.inheritance.share,
        "width": body.width,
        "depth": body.depth,
        "gene": {"name": gene.config.origin.recipe, "sha256": gene.config.sha256, "network": gene.config.network},
        "data": gene.config.origin.data.source,
        "package_version": __version__,
        "torch_version": torch.__version__,
    }
    if out is not None:
        write_results(results, Path(out), title=f"{source}: {protocol.ways}-way, {protocol.shots} images a class")
    return results


def write_results(results: Mapping[str, Any], out: Path, *, title: str) -> None:
    """Write `results.json` and `comparison.png` into the folder `out`."""
    write_text(out / RESULTS_NAME, json.dumps(results, indent=2) + "\n")
    draw_comparison({start: results[start] for start in STARTS}, out / COMPARISON_NAME, title=title)


def confidence(values: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of the mean of `values`, by Student's t; NaN for one value."""
    if len(values) < 2:
        return math.nan
    return student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with `freedom` >= 2 degrees, from the normal one (Cornish-Fisher series).

    >>> round(student_quantile(10), 3)
    2.228
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / float(freedom**power) for power, term in enumerate(terms)), 0.0)


def _novel_images(
    gene: Learngene, record: DataRecord, data: str | None, *, device: torch.device, reporter: Reporter
) -> Images:
    if record.preset is None and data is None and record.source.count("/") != 1:
        raise DataError(f"the gene was evolved on a local folder {record.source!r}; say where it is with --data")
    source = DataSource(
        preset=record.preset,
        path=data if data is not None or record.preset is not None else record.source,
        image_size=record.image_size,
        images_per_class=record.images_per_class,
        seed=record.seed,
    )
    images = load_classes(source, record.novel, reporter=reporter)
    normalisation = Normalisation(_triple(gene.config.mean), _triple(gene.config.std))
    return on_device(images, normalisation, padding=record.crop_padding, flip=record.flip, device=device)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _run_seed(
    gene: Learngene, images: Images, protocol: FewShot, seed: int, body: Body, on_network: Callable[[], None]
) -> dict[str, list[float]]:
    tasks = draw_tasks(
        images.labels,
        count=protocol.tasks,
        n_way=protocol.ways,
        n_shot=protocol.shots,
        n_query=protocol.queries,
        seed=seed,
        path=("novel task",),
    )
    accuracies: dict[str, list[float]] = {start: [] for start in STARTS}
    for number, task in enumerate(tasks):
        for start in STARTS:
            inherited = gene.tensors if start == "learngene" else None
            path = ("novel", number)
            network = newborn(body, num_classes=protocol.ways, gene=inherited, cross="zero", seed=seed, path=path)
            network = placed(network, images.device)
            draws, precision = generator(seed, "novel batches", number), best_precision(images.device)
            accuracies[start].append(fit_task(network, images, task, protocol, precision=precision, draws=draws))
            on_network()
    return accuracies


def _results(accuracies: Mapping[str, Sequence[float]], protocol: FewShot, seeds: Sequence[int]) -> dict[str, Any]:
    rows = {start: _summary(values) for start, values in accuracies.items()}
    gain = [ours - other for ours, other in zip(accuracies["learngene"], accuracies["scratch"], strict=True)]
    return {
        **rows,
        "difference": _summary(gain) | {"statistic": "mean of the differences paired by task, Student's t"},
        "tasks": len(gain),
        "seeds": list(seeds),
        "protocol": {"name": "few-shot", **asdict(protocol)},
    }


def _summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and interval; a network whose training diverged counts as 0 right."""
    values = [0.0 if math.isnan(value) else value for value in values]
    return {"mean": statistics.fmean(values), "ci95": confidence(values), "accuracies": values}
