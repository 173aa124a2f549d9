"""Does a gene help? Descendants beside networks from scratch: same tasks, images, steps and seeds.

Every task is met by every start. The newborn weights that are not inherited, the batches and their augmentation are
equal for all starts of a task. The starts differ in what they inherit, and in the learning rate that suits each best
on held-out classes: with one rate for all, the start that it happens to suit would win.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learngene_hub import __version__
from learngene_hub.birth import Body, newborn, placed
from learngene_hub.data import DataSource, Normalisation, load_classes
from learngene_hub.descendant import from_learngene
from learngene_hub.errors import DataError, LearngeneError
from learngene_hub.files import write_text
from learngene_hub.fitting import Images, draw_tasks, fit_task, on_device, pick_device
from learngene_hub.gene.folder import find_gene
from learngene_hub.gene.learngene import Learngene
from learngene_hub.plots import check_can_draw, draw_comparison
from learngene_hub.progress import Reporter, SilentReporter
from learngene_hub.recipe import OptimisationSection
from learngene_hub.rng import generator
from learngene_hub.training import best_precision

RESULTS_NAME = "results.json"
COMPARISON_NAME = "comparison.png"
Starts = Mapping[str, Mapping[str, Tensor] | None]
"""Name of a start -> the gene it inherits; None: nothing."""

TUNING_SEED = 1_000_003  # apart from the small seeds of the tasks that count


@dataclass(frozen=True)
class FewShot:
    """The few-shot protocol (ours): k-way tasks of a few images from novel classes, a fixed number of steps.

    Attributes:
        ways: classes a task.
        shots: training images a class.
        queries: test images a class, none of them among the training images.
        tasks: tasks a seed.
        steps: optimiser steps.
        lr: highest learning rate, which falls along a cosine; None: each start has its own, the best of `rates` on
            tasks of held-out classes.
        rates: learning rates to choose from.
        tuning_tasks: held-out tasks for the choice.
        batch_size: images a step.
    """

    ways: int = 5
    shots: int = 20
    queries: int = 100
    tasks: int = 10
    steps: int = 60
    lr: float | None = None
    rates: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    tuning_tasks: int = 4
    batch_size: int = 64

    def optimisation(self, lr: float) -> OptimisationSection:
        """What one network is trained by, at the learning rate `lr`."""
        return OptimisationSection(steps=self.steps, batch_size=self.batch_size, lr=lr, warmup=5)


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
        `{"scratch": {"mean", "ci95", "accuracies", "lr", "tuning"}, "learngene": {...}, "difference": {...}, "tasks",
        "parameters_inherited", ...}`; accuracies are top-1 in [0, 1], one a task, in the same order for all starts;
        `tuning` holds the accuracy on held-out classes of every learning rate tried.

    Raises:
        LearngeneError: the gene has no origin, so its novel classes are unknown.
        DataError: the images cannot be had.
    """
    if out is not None:
        check_can_draw()
    source = "memory" if isinstance(gene, Learngene) else str(find_gene(Path(gene)))
    gene = gene if isinstance(gene, Learngene) else Learngene.from_pretrained(gene)
    config = gene.config
    if config.origin is None:
        raise LearngeneError("this gene does not say which classes it has never seen; only evolved genes do")
    width, depth = (config.width if width is None else width), (config.depth if depth is None else depth)
    body = Body(config.network, width, depth, config.in_chans)
    starts: Starts = {"scratch": None, "learngene": gene.tensors}
    load = partial(_images, gene, data=data, device=pick_device(device), reporter=reporter)
    novel = load(config.origin.data.novel)
    held_out = load(config.origin.data.held_out) if protocol.lr is None else novel
    protocol = _with_room(protocol, [novel, held_out], reporter)
    trial = partial(_trial, body=body, protocol=protocol)
    if protocol.lr is None:
        tuning = _tune(starts, held_out, trial, protocol, reporter)
        rates = {start: max(tried, key=tried.__getitem__) for start, tried in tuning.items()}
    else:
        tuning, rates = {start: {} for start in starts}, dict.fromkeys(starts, protocol.lr)
    accuracies = _compare(starts, rates, novel, trial, protocol, seeds, reporter)
    descendant = from_learngene(gene, num_classes=protocol.ways, width=body.width, depth=body.depth)
    results = _results(accuracies, rates, tuning, protocol, seeds) | {
        "parameters_inherited": descendant.inheritance.share,
        "width": body.width,
        "depth": body.depth,
        "gene": {"name": config.origin.recipe, "sha256": gene.config.sha256, "network": gene.config.network},
        "data": config.origin.data.source,
        "package_version": __version__,
        "torch_version": torch.__version__,
    }
    if out is not None:
        write_results(results, Path(out), title=f"{source}: {protocol.ways}-way, {protocol.shots} images a class")
    return results


def write_results(results: Mapping[str, Any], out: Path, *, title: str) -> None:
    """Write `results.json` and `comparison.png` into the folder `out`."""
    write_text(out / RESULTS_NAME, json.dumps(results, indent=2, allow_nan=False) + "\n")
    draw_comparison({start: results[start] for start in ("scratch", "learngene")}, out / COMPARISON_NAME, title=title)


def confidence(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean of `values`, by Student's t; None for one value."""
    if len(values) < 2:
        return None
    return student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with `freedom` >= 1 degrees.

    Exact for 1 and 2; above from the normal quantile by its Cornish-Fisher series.

    >>> round(student_quantile(10), 3)
    2.228
    """
    if freedom <= 2:
        return math.tan(0.475 * math.pi) if freedom == 1 else 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / float(freedom**power) for power, term in enumerate(terms)), 0.0)


def _images(
    gene: Learngene, names: Sequence[str], data: str | None, *, device: torch.device, reporter: Reporter
) -> Images:
    assert gene.config.origin is not None
    record = gene.config.origin.data
    if record.preset is None and data is None and record.source.count("/") != 1:
        raise DataError(f"the gene was evolved on a local folder {record.source!r}; say where it is with --data")
    source = DataSource(
        preset=record.preset,
        path=data if data is not None or record.preset is not None else record.source,
        image_size=record.image_size,
        images_per_class=record.images_per_class,
        seed=record.seed,
        revision=record.revision,
        image_column=record.image_column,
        label_column=record.label_column,
        on_corrupt=record.on_corrupt,
    )
    images = load_classes(source, names, reporter=reporter)
    normalisation = Normalisation(_triple(gene.config.mean), _triple(gene.config.std))
    return on_device(images, normalisation, padding=record.crop_padding, flip=record.flip, device=device)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _tune(
    starts: Starts, images: Images, trial: Callable[..., list[float]], protocol: FewShot, reporter: Reporter
) -> dict[str, dict[float, float]]:
    """Start -> learning rate -> mean accuracy on tasks of held-out classes."""
    tuning: dict[str, dict[float, float]] = {start: {} for start in starts}
    total = len(starts) * len(protocol.rates) * protocol.tuning_tasks
    with reporter.task("choosing learning rates", total, "net") as bar:
        for start, inherited in starts.items():
            for lr in protocol.rates:
                count = protocol.tuning_tasks
                values = trial(inherited, images, lr, seed=TUNING_SEED, count=count, on_network=bar.advance)
                tuning[start][lr] = statistics.fmean(values)
            best = max(tuning[start], key=tuning[start].__getitem__)
            reporter.line(f"{start}: learning rate {best}, {tuning[start][best]:.3f} on held-out classes")
    return tuning


def _compare(
    starts: Starts,
    rates: Mapping[str, float],
    images: Images,
    trial: Callable[..., list[float]],
    protocol: FewShot,
    seeds: Sequence[int],
    reporter: Reporter,
) -> dict[str, list[float]]:
    """Start -> accuracy on every task of every seed."""
    accuracies: dict[str, list[float]] = {start: [] for start in starts}
    with reporter.task("evaluating", len(seeds) * protocol.tasks * len(starts), "net") as bar:
        for seed in seeds:
            for start, inherited in starts.items():
                count, lr = protocol.tasks, rates[start]
                values = trial(inherited, images, lr, seed=seed, count=count, on_network=bar.advance)
                reporter.line(f"seed {seed}, {start}: {statistics.fmean(values):.3f} on novel classes")
                accuracies[start] += values
    return accuracies


def _with_room(protocol: FewShot, roles: Sequence[Images], reporter: Reporter) -> FewShot:
    """The protocol with as many test images a class as the smallest class has to spare."""
    smallest = min(int(torch.bincount(images.labels).min()) for images in roles)
    if smallest <= protocol.shots:
        raise LearngeneError(
            f"{protocol.shots} training images a class, but a class has only {smallest}: lower --shots"
        )
    room = smallest - protocol.shots
    if room >= protocol.queries:
        return protocol
    reporter.warn(f"a class has only {smallest} images: {room} of them are tested on instead of {protocol.queries}")
    return replace(protocol, queries=room)


def _trial(
    gene: Mapping[str, Tensor] | None,
    images: Images,
    lr: float,
    *,
    seed: int,
    count: int,
    body: Body,
    protocol: FewShot,
    on_network: Callable[[], None] = lambda: None,
) -> list[float]:
    """Accuracies of networks with `gene`, or from scratch, on `count` tasks; NaN becomes 0, nothing was learned."""
    ways = min(protocol.ways, int(images.labels.max()) + 1) if seed == TUNING_SEED else protocol.ways
    tasks = draw_tasks(
        images.labels,
        count=count,
        n_way=ways,
        n_shot=protocol.shots,
        n_query=protocol.queries,
        seed=seed,
        path=("evaluation task",),
    )
    accuracies = []
    for number, task in enumerate(tasks):
        path = ("evaluation", number)
        network = newborn(body, num_classes=ways, gene=gene, cross="zero", seed=seed, path=path)
        network = placed(network, images.device)
        draws, precision = generator(seed, "evaluation batches", number), best_precision(images.device)
        accuracy = fit_task(network, images, task, protocol.optimisation(lr), precision=precision, draws=draws)
        accuracies.append(0.0 if math.isnan(accuracy) else accuracy)
        on_network()
    return accuracies


def _results(
    accuracies: Mapping[str, Sequence[float]],
    rates: Mapping[str, float],
    tuning: Mapping[str, Mapping[float, float]],
    protocol: FewShot,
    seeds: Sequence[int],
) -> dict[str, Any]:
    rows = {
        start: _summary(values) | {"lr": rates[start], "tuning": {str(lr): a for lr, a in tuning[start].items()}}
        for start, values in accuracies.items()
    }
    gain = [ours - other for ours, other in zip(accuracies["learngene"], accuracies["scratch"], strict=True)]
    return {
        **rows,
        "difference": _summary(gain) | {"statistic": "mean of the differences paired by task, Student's t"},
        "tasks": len(gain),
        "seeds": list(seeds),
        "protocol": {"name": "few-shot", **asdict(protocol)},
        "optimisation": protocol.optimisation(1.0).model_dump(exclude={"lr"}),
    }


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "ci95": confidence(values), "accuracies": list(values)}
