"""`evaluate`: genes in, `Results` out; an interrupted evaluation can be continued."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import product
from operator import index
from pathlib import Path

import torch

from learngene_hub import __version__
from learngene_hub.core.device import device_name, on_cpu, pick_device, processor_name
from learngene_hub.core.errors import InheritanceError, LearngeneError
from learngene_hub.core.files import claim, expanded
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.data.cache import cache_folder
from learngene_hub.data.extras import optional_module
from learngene_hub.data.rows import refuse_inside
from learngene_hub.evaluation.cache import ResultsCache
from learngene_hub.evaluation.candidates import Candidate, ancestor_of, load_candidates
from learngene_hub.evaluation.checkpoints import load_checkpoints
from learngene_hub.evaluation.earlier import EarlierResults, constants_of, named_hashes
from learngene_hub.evaluation.measuring import TEST, THREADS, EvaluationData, Plan
from learngene_hub.evaluation.outcome import make_results, newborn_of
from learngene_hub.evaluation.pretraining import Budget
from learngene_hub.evaluation.protocols import Protocol, find_protocol
from learngene_hub.evaluation.scoring import Cell, Scored, first_round, report_cost, score_all
from learngene_hub.evaluation.sources import Target, base_images, shown, sources_of
from learngene_hub.evaluation.starts import Start, check_baselines, learngene, make_baselines, scratch
from learngene_hub.evolution.plan import pick_precision
from learngene_hub.gene.learngene import Learngene
from learngene_hub.genome.birth import Body
from learngene_hub.report.evaluation import REPORT_NAME, write_report
from learngene_hub.report.plots.canvas import check_can_draw
from learngene_hub.report.results import RESULTS_NAME, Results
from learngene_hub.training.loop import Precision, best_precision
from learngene_hub.workers import Engine, EngineOptions, Step, make_engine, threads

PRETRAINED_FOLDER = "pretrained"


@dataclass(frozen=True)
class Descendants:
    """Which networks inherit: all combinations of these fields; an empty field stands for the gene's own value.

    Widths are factors on the channels of every layer.
    """

    networks: tuple[str, ...] = ()
    widths: tuple[float, ...] = ()
    depths: tuple[int, ...] = ()

    def bodies(self, gene: Learngene) -> list[Body]:
        """All combinations, for `gene`."""
        config = gene.config
        shapes = product(
            self.networks or (config.network,), self.depths or (config.depth,), self.widths or (config.width,)
        )
        sizes = dict.fromkeys((network, float(width), index(depth)) for network, depth, width in shapes)
        return [Body(*size, config.in_chans) for size in sizes]


def evaluate(
    genes: Sequence[Learngene | str | Path] | Learngene | str | Path,
    *,
    data: str | Path | Target | None = None,
    target: str | Path | Target | None = None,
    protocol: Protocol | str = "few-shot",
    baselines: Sequence[str] = (),
    checkpoints: Sequence[str | Path] = (),
    descendants: Descendants = Descendants(),
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path | None = None,
    engine: EngineOptions = EngineOptions(),  # noqa: B008
    device: str = "auto",
    reporter: Reporter = LoggingReporter(),  # noqa: B008
) -> Results:
    """Compare descendants of `genes` with scratch and baselines, on classes that the genes have never seen.

    On a CPU, an interrupted run that is continued on the same kind of CPU ends with the same results, byte for
    byte, as an uninterrupted one; only the seconds that the training of a baseline took may differ.

    Args:
        genes: one or more genes: a `Learngene` with an origin, or what `from_learngene` takes. The first
            sets which classes are novel and held-out, and how much baselines may cost.
        data: local copy of the gene's data set or, if it is no preset, its Hub id; None: as the recipe says; a
            `Target` can name its columns.
        target: for `transfer`: an image folder, Parquet folder, preset or Hub id; a `Target` can name its columns
            and an image size.
        protocol: how every network is trained and tested, or the name of a shipped protocol.
        baselines: names out of `BASELINES`, or `all`. Those that need training are trained first, and kept.
        checkpoints: further starts, whole networks or genes of the same family: safetensors files, folders with one,
            runs, or names of genes of the package. Their images are normalised as for the first gene.
        descendants: the networks that inherit.
        seeds: each gives one set of tasks and of initial weights.
        out: folder for `results.json`, `report.html`, pictures and `tasks/`; None: nothing is written.
        engine: where networks are trained, each by one thread: in this process, in several, or on a Ray cluster; by as
            many workers as there are cores, or one per GPU, unless it says otherwise. Baselines that need training are
            trained by this process, one after the other, with all its threads.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        reporter: told of progress.

    Raises:
        LearngeneError: a gene has no origin, has seen the novel classes, or cannot be compared with the first; an
            unknown protocol or baseline; too few classes or images; no seed, or the same seed twice.
        GeneFileError, HubError: a gene cannot be found, fetched or loaded.
        InheritanceError, NetworkError: a gene does not fit into a descendant, a checkpoint fits into no descendant, or
            there is no such network.
        RunError: another process works in `out`, or it holds results of other genes, images or another protocol, or of
            more starts, networks, seeds or tasks.
        DataError, HubError: the images cannot be found, fetched or read.
        EngineError: the workers cannot be started, or are lost with the same network again and again.
        StorageError: no space, or no permission, in `out`.
    """
    optional_module("scipy.special")  # of the intervals: refused before anything is trained
    if out is not None:
        check_can_draw()
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    data, target = (Target(str(place)) if isinstance(place, str | Path) else place for place in (data, target))
    wanted = check_baselines([baselines] if isinstance(baselines, str) else baselines)
    checkpoints = [checkpoints] if isinstance(checkpoints, str | Path) else checkpoints
    local_device = pick_device(device) if engine.name == "local" else torch.device("cpu")
    if data is not None and data.image_size is not None:
        raise LearngeneError("data: the gene's own images take no image_size; only a target does")
    seeds = _whole(seeds)
    candidates = load_candidates([genes] if isinstance(genes, Learngene | str | Path) else genes)
    if wanted and candidates[0].recipe is None:
        raise LearngeneError(f"baselines need the gene's recipe: {candidates[0].fault}")
    folder = None if out is None else expanded(out)
    for place in (data, target):
        if folder is not None and place is not None:
            refuse_inside(folder, place.path)
    bodies = descendants.bodies(candidates[0].gene)
    starts = _starts(candidates, checkpoints, bodies)
    most = len(bodies) * (len(starts) + len(wanted)) * max(len(seeds) * protocol.tasks, first_round(protocol))
    workforce = make_engine(engine, device=device, local_device=local_device, most=most)
    name = candidates[0].data.source if target is None else target.name
    with nullcontext() if folder is None else claim(folder), on_cpu():
        earlier = EarlierResults.of(folder)
        hashes = [candidate.gene.config.sha256 for candidate in candidates]
        earlier.refuse_other(constants_of(protocol.constants()) | {"data": name, "genes": named_hashes(hashes)})
        earlier.refuse_less(protocol, seeds=seeds, starts=[*starts, *wanted], bodies=bodies)
        seen = [record for start in starts for record in start.data]
        with reporter.task("looking for images", None):
            sources = sources_of(seen, data=data, target=target, protocol=protocol, reporter=reporter)
        record, normalisation = shown(candidates[0].data, target), candidates[0].gene.config.normalisation
        plan = Plan(protocol, sources, normalisation, padding=record.crop_padding, flip=record.flip)
        shared = _loaded(plan, workforce.home, reporter)
        plan, images = shared.plan, shared.fingerprints()[TEST][:12]
        classes = ", ".join(plan.sources[TEST].classes)
        earlier.refuse_other({"classes": classes, "images": images, "queries": plan.protocol.queries})
        if wanted:
            trainer = local_device if engine.name == "local" else _own_device(device, reporter)
            starts += make_baselines(wanted, _budget(candidates[0], bodies, data, trainer, reporter))
            torch.cuda.empty_cache()  # workers may need the memory
        shared = replace(shared, pairs=_pairs(starts, bodies, reporter))
        scored, environment = _scored(shared, workforce, seeds, folder, reporter)
        results = make_results(candidates, scored, plan, data=name, images=images, seeds=seeds, environment=environment)
        if folder is not None:
            results.save(folder / RESULTS_NAME)
            with reporter.task(f"writing {folder / REPORT_NAME}", None):
                write_report(results, folder)
    return results


def _whole(seeds: Sequence[int]) -> list[int]:
    """The seeds as numbers of Python: those of numpy are no JSON."""
    try:
        numbers = [index(seed) for seed in seeds]
    except TypeError:
        raise LearngeneError(f"seeds: expected whole numbers, such as (0, 1, 2), found {seeds!r}") from None
    if not numbers or len(set(numbers)) < len(numbers):
        raise LearngeneError(f"seeds: expected one or more, all different, found {numbers}")
    return numbers


def _starts(candidates: Sequence[Candidate], checkpoints: Sequence[str | Path], bodies: Sequence[Body]) -> list[Start]:
    """Scratch, the genes and the user's own starts; a start that does not fit is refused before long work."""
    starts = [scratch(), *map(learngene, candidates)]
    for body, start in product(bodies, starts):
        newborn_of(body, start)
    own = load_checkpoints([Path(path) for path in checkpoints], bodies[0], candidates[0])
    for start in own:
        _check_fits(start, bodies)
    return [*starts, *own]


def _scored(
    shared: EvaluationData, workforce: Engine, seeds: Sequence[int], folder: Path | None, reporter: Reporter
) -> tuple[list[Scored], Mapping[str, str | int]]:
    """The scores of every start in every network, and the versions and hardware of the workers.

    Results of another processor are not measured again, although that processor may round differently.
    """
    plan, images = shared.plan, shared.fingerprints()
    with workforce.pool(shared, reporter) as workers:
        with reporter.task("starting workers", None):
            ((_, (precision, environment)),) = workers.run([AskWorker()])
        constants = plan.constants() | {key: value for key, value in environment.items() if key != "processor"}
        cells = [
            Cell(number, start, body, ResultsCache(folder, start, body, constants, images, reporter=reporter))
            for number, (start, body) in enumerate(shared.pairs)
        ]
        report_cost(len(cells), plan.protocol, seeds, reporter)
        scores = score_all(cells, plan.protocol, seeds, workers=workers, precision=precision, reporter=reporter)
    return scores, environment


def _check_fits(start: Start, bodies: Sequence[Body]) -> None:
    """Refuse a start that no descendant can inherit."""
    faults = []
    for body in bodies:
        try:
            newborn_of(body, start)
        except InheritanceError as error:
            faults.append(str(error))
    if len(faults) == len(bodies):
        raise InheritanceError(f"{start.description.partition('; ')[0]} fits none of the networks: {faults[0]}")


def _own_device(asked: str, reporter: Reporter) -> torch.device:
    """The device of this process, where workers elsewhere train on the device `asked`."""
    own = pick_device("cpu" if asked == "cpu" else "auto")
    if asked == "cuda" and own.type == "cpu":
        reporter.warn("baselines are pre-trained by this process, on its CPU: this machine has no GPU")
    return own


def _budget(
    candidate: Candidate, sizes: Sequence[Body], data: Target | None, trainer: torch.device, reporter: Reporter
) -> Budget:
    ancestor, normalisation = ancestor_of(candidate), candidate.gene.config.normalisation
    base = base_images(candidate.data, normalisation, data=data, device=trainer, reporter=reporter)
    assert candidate.recipe is not None
    precision, was = pick_precision(candidate.recipe, trainer), candidate.origin.precision
    if was is None:
        reporter.line(f"baselines are trained in {precision}; that of the gene's evolution is not recorded")
    elif was != precision:
        reporter.warn(f"baselines are trained in {precision}, the best here, but the gene was evolved in {was}")
    return Budget(
        candidate=candidate,
        ancestor=ancestor,
        base=base,
        sizes=sizes,
        precision=precision,
        threads=torch.get_num_threads(),
        folder=cache_folder() / PRETRAINED_FOLDER,
        reporter=reporter,
    )


def _loaded(plan: Plan, home: torch.device, reporter: Reporter) -> EvaluationData:
    """The images of `plan`, on the device `home`, and the plan with no more test images per class than there are."""
    _check_ways(plan, reporter)
    shared = EvaluationData.build(plan, home, reporter)
    return replace(shared, plan=replace(plan, protocol=_with_room(plan.protocol, *shared.smallest(), reporter)))


def _check_ways(plan: Plan, reporter: Reporter) -> None:
    """Check that there are enough classes for a task; those that choose learning rates may be fewer.

    Raises:
        LearngeneError: there are too few.
    """
    for role, source in plan.sources.items():
        ways, classes = plan.protocol.ways or 0, len(source.classes)
        if ways > classes and role == TEST:
            remedy = "lower --ways" if classes > 1 else "give more classes"
            raise LearngeneError(f"{ways} classes per task, but there are only {classes} to evaluate on: {remedy}")
        if ways > classes:
            reporter.warn(
                f"there are only {classes} held-out classes: learning rates are chosen on {classes}-way tasks"
            )


def _with_room(protocol: Protocol, smallest: int, name: str, reporter: Reporter) -> Protocol:
    """The protocol with no more test images per class than the smallest class, called `name`, has left."""
    shots = protocol.shots or 1
    if smallest <= shots:
        remedy = "lower --shots" if protocol.shots and smallest > 1 else "add images, or leave the class out"
        raise LearngeneError(f"expected {shots + 1} or more images per class, found {smallest} of {name!r}: {remedy}")
    room = smallest - shots if protocol.shots else smallest // 2
    if room >= protocol.queries:
        return protocol
    reporter.warn(
        f"tested on {room} images per class instead of {protocol.queries}: the class {name!r} has {smallest} in all; "
        "add images for narrower intervals"
    )
    return protocol.with_changes({"queries": room})


def _pairs(starts: Sequence[Start], bodies: Sequence[Body], reporter: Reporter) -> tuple[tuple[Start, Body], ...]:
    """Every start in every kind of descendant that it fits into; genes fit into all."""
    pairs = []
    for body, start in product(bodies, starts):
        if start.size not in (None, body):
            continue
        try:
            newborn_of(body, start)
        except InheritanceError as error:
            reporter.warn(f"{start.name} is left out at width {body.width}, depth {body.depth}: {error}")
        else:
            pairs.append((start, body))
    return tuple(pairs)


@dataclass(frozen=True)
class AskWorker:
    """The task that asks a worker for its precision, hardware and versions."""

    label = "the question about the workers' hardware"

    def __call__(self, shared: EvaluationData, step: Step) -> tuple[Precision, dict[str, str | int]]:
        """The best precision of the worker, and its versions and hardware; for a CPU also the processor."""
        device = next(iter(shared.images.values())).device
        precision = best_precision(device)
        with threads(THREADS):
            environment: dict[str, str | int] = {
                "learngene_hub": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": device_name(device),
                "threads": THREADS,
                "precision": precision,
            }
        return precision, environment | ({"processor": processor_name()} if device.type == "cpu" else {})
