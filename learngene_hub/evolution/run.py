"""`evolve`: a recipe in, a gene folder out; interrupted at any moment, it goes on where it was."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import LOCK_NAME, atomic_path, claim, leads_out, write_text
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.core.rng import generator
from learngene_hub.evolution.ancestor import Ancestor, find_ancestor, line_channels
from learngene_hub.evolution.ancestry import SharedData
from learngene_hub.evolution.checkpoint import (
    STATE_FOLDER,
    RunInputs,
    Saved,
    append_metrics,
    check_room_for,
    has_state,
    load_state,
    read_metrics,
    save_state,
    sweep,
    truncate_metrics,
)
from learngene_hub.evolution.environment import check_supply, class_split, data_source, load_environment
from learngene_hub.evolution.founders import Founders
from learngene_hub.evolution.generation import next_generation
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.evolution.origin import gene_config
from learngene_hub.evolution.plan import network_body, plan_line, plan_search, settle_precision
from learngene_hub.evolution.search import FoundShape, ShapeSearch
from learngene_hub.gene.card import render_card
from learngene_hub.gene.folder import (
    CARD_NAME,
    GENE_FOLDER,
    METRICS_NAME,
    PICTURE_NAME,
    RECIPE_NAME,
    carry_card,
    stored,
    write_gene,
)
from learngene_hub.gene.learngene import Learngene
from learngene_hub.gene.source import Located
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report import EVOLUTION_NAME, render_evolution
from learngene_hub.report.plots import check_can_draw, draw_evolution, write_png
from learngene_hub.training.fewshot import draw_tasks, pick_device
from learngene_hub.workers import EngineOptions, make_engine, on_cpu

GROWING_KEY, FOUNDERS_KEY = "evolution.generations", "evolution.founder_generations"
STARTED = {LOCK_NAME, STATE_FOLDER, RECIPE_NAME, METRICS_NAME}  # what a run killed in its first generation leaves


def evolve(
    recipe: Recipe | str | Path,
    *,
    out: str | Path,
    resume: bool = False,
    device: str = "auto",
    engine: EngineOptions = EngineOptions(),  # noqa: B008
    founders: str | Path | None = None,
    reporter: Reporter = LoggingReporter(),  # noqa: B008
) -> Learngene:
    """Run the evolution of `recipe` in the folder `out` and give its best youngest learngene.

    The state is saved after every generation. A run that was killed and resumed ends with the same gene, byte for
    byte, as one that was left alone (on a CPU, with the same number of threads), whatever engine and however many
    workers each part had.

    Args:
        recipe: a recipe, its file, or the name of a shipped one.
        out: folder of the run: `recipe.yaml`, `metrics.jsonl`, `state/` and, at the end, `evolution.png`,
            `evolution.html` and `gene/`.
        resume: go on after the last saved generation, if there is one.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        engine: where networks are trained: in this process, in several, or on a Ray cluster. There are as
            many workers as cores, or one a GPU, unless it says otherwise. An individual of a population trains on its
            share of torch's threads, so one worker does not use all cores. Workers do not run the calling script again.
        founders: folder that keeps lone founders and ancestors of searches for other runs: recipes that differ only
            in selection or mutation share them. None: none is kept, but the ancestor of a search, in `out`.
        reporter: told of progress.

    Raises:
        RecipeError: the recipe is at fault.
        RunError: `out` holds another run, or another process is in it.
        DataError: the images cannot be found or read; or the gene that the recipe begins from knows novel classes.
        GeneFileError, HubError: that gene cannot be loaded or fetched.
        NetworkError: there is no network of the recipe's depth.
        SelectionError: every individual of a generation failed, or every shape, or the ancestor of the search.
        EngineError: the workers cannot be started, or lose the same individuals again and again.
        StorageError: no space, or no permission.
        LearngeneError: there is no such device, or no matplotlib to draw with.
    """
    check_can_draw()
    recipe, out = recipe if isinstance(recipe, Recipe) else Recipe.from_file(recipe), Path(out)
    ancestor = find_ancestor(recipe)
    local_device = pick_device(device) if engine.name == "local" else torch.device("cpu")
    most = max(recipe.evolution.population, recipe.search.population if recipe.gene.shape == "evolve" else 1)
    workforce = make_engine(engine, device=device, local_device=local_device, most=most)
    if engine.workers is not None and engine.workers > most:
        reporter.warn(
            f"{most} of {engine.workers} workers will have work: one for each individual, or shape, of a generation"
        )
    with claim(out), on_cpu():
        saved = _saved(recipe, out, resume=resume, reporter=reporter)
        recipe = recipe if saved is None else _as_begun(recipe, saved)
        check_room_for(out, recipe, ancestor)
        with reporter.task("reading images", None):
            shared = prepare(recipe, device=workforce.home, reporter=reporter, ancestor=ancestor)
        inputs = replace(_inputs(shared), ancestor=None if ancestor is None else ancestor.key)
        if saved is not None:
            _check_same(saved.inputs, inputs, out, reporter)
        with workforce.pool(shared, reporter) as workers:
            state = EvolutionState() if saved is None else saved.state
            with reporter.task("starting workers", None):
                precision = state.precision or settle_precision(recipe, workers)
            state = replace(state, precision=precision)
            truncate_metrics(out, state.generation, members=[member.id for member in state.pool])
            write_text(out / RECIPE_NAME, recipe.text)
            images = _images_hash(inputs, flip=shared.environment.base.batches.flip)
            kept = None if founders is None else Founders(Path(founders), images, reporter)
            plans, search = plan_line(recipe, precision=precision, begin=state.generation), None
            if not state.generation:
                classes, threads = len(shared.environment.split.base), torch.get_num_threads()
                search = plan_search(recipe, classes=classes, precision=precision, threads=threads)
            total = sum(plan.images for plan in plans) + (search.images if search else 0)
            with reporter.task("evolving", total, "images") as bar:
                shape, sizes = None, line_channels(recipe, ancestor)
                genome = None if ancestor is None else ancestor.gene.genome
                if search:
                    ancestors = kept or Founders(out / STATE_FOLDER, images, reporter)
                    shape = ShapeSearch(search, shared, workers, bar, ancestors, out / STATE_FOLDER, reporter).run()
                    sizes = ShapeSpace(network_body(recipe), recipe.gene.fraction).fitted(shape.fractions)
                    state = replace(state, images=shape.row["images"], seconds=shape.row["seconds"])
                    genome = shape.gene if search.begins_line else None
                for plan in plans:
                    state, row = next_generation(state, plan, sizes, workers, bar, kept, genome)
                    append_metrics(out, row if plan.generation else row | _first_row(shape, ancestor))
                    save_state(out, state, recipe.model_dump(mode="json"), inputs)
                    reporter.line(_summary(row, recipe.evolution.generations))
                    bar.advance(0, best=f"{row['best']:.3f}", mean=f"{row['mean']:.3f}")
        with reporter.task(f"writing {out / GENE_FOLDER}", None):
            return _finish(state, recipe, shared, out, ancestor)


def _first_row(shape: FoundShape | None, ancestor: Ancestor | None) -> dict[str, Any]:
    """What the row of the first generation tells of what came before it."""
    entries: dict[str, Any] = {} if shape is None else {"search": shape.row}
    if ancestor is not None:
        entries["ancestor"] = {"name": ancestor.name, "images": ancestor.record.images}
    return entries


def prepare(
    recipe: Recipe, *, device: torch.device, reporter: Reporter, ancestor: Ancestor | None = None
) -> SharedData:
    """What the workers of an evolution of `recipe`, whose line begins from `ancestor`, look at; loads the images.

    Raises:
        DataError: the images cannot be had, or do not suffice; or the gene knows some that are to be new to it.
    """
    source, split = data_source(recipe), class_split(recipe, reporter)
    if ancestor is not None:
        ancestor.refuse_seen(split)
        _tell_of_unknown(ancestor, reporter)
    environment = load_environment(
        source,
        split,
        padding=recipe.data.padding,
        flip=recipe.data.flip,
        device=device,
        reporter=reporter,
        normalisation=None if ancestor is None else ancestor.normalisation,
    )
    check_supply(recipe, split, environment.images_per_class())
    critic = recipe.critic
    tasks = draw_tasks(
        environment.held_out.labels,
        count=critic.tasks,
        n_way=critic.ways,
        n_shot=critic.shots,
        n_query=critic.queries,
        seed=recipe.seed,
        path=("critic task",),
    )
    return SharedData(environment, tasks)


def _tell_of_unknown(ancestor: Ancestor, reporter: Reporter) -> None:
    origin = ancestor.gene.config.origin
    if origin is None or not all(gene.origin for gene in origin.ancestors):
        reporter.warn(
            f"evolution.ancestor={ancestor.name}: this gene does not say which classes it has seen; held-out and novel "
            "ones must not be among them, or accuracy on them is too high"
        )


def _inputs(shared: SharedData) -> RunInputs:
    environment = shared.environment
    fingerprints = {"base": environment.base.fingerprint(), "held_out": environment.held_out.fingerprint()}
    classes = {role: list(names) for role, names in asdict(environment.split).items()}
    return RunInputs(classes, fingerprints, torch.get_num_threads())


def _images_hash(inputs: RunInputs, *, flip: bool) -> str:
    facts: list[Any] = [inputs.classes, inputs.fingerprints, flip]
    facts += [] if inputs.ancestor is None else [inputs.ancestor]  # which says how they are normalised
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _check_same(before: RunInputs, now: RunInputs, out: Path, reporter: Reporter) -> None:
    """Refuse to go on with another ancestor or other images than `before`; warn of another number of threads."""
    if before.ancestor != now.ancestor:
        was, here = (str((inputs.ancestor or {}).get("sha256"))[:12] for inputs in (before, now))
        raise RunError(
            f"{out}: was begun from another gene, sha256 {was}; evolution.ancestor has changed since, sha256 {here}: "
            "restore it, or give another --out"
        )
    if before.classes != now.classes:
        raise RunError(f"{out}: was run with other classes; the data set has changed since: give another --out")
    if before.fingerprints and before.fingerprints != now.fingerprints:
        raise RunError(f"{out}: was run with other images; the data set has changed since: give another --out")
    if before.threads not in {None, now.threads}:
        reporter.warn(
            f"{out}: was run with {before.threads} threads, goes on with {now.threads}: the gene may differ in its "
            "last digits from one that was left alone; OMP_NUM_THREADS sets them"
        )


def _saved(recipe: Recipe, out: Path, *, resume: bool, reporter: Reporter) -> Saved | None:
    """What is to be resumed; None for a fresh start in an empty folder, or after a kill in the first generation."""
    folder = out / STATE_FOLDER
    if os.path.lexists(folder) and leads_out(folder, out):
        raise RunError(f"{folder}: a link out of {out}; put the folder itself there, or give another --out")
    sweep(out)
    if not has_state(out):
        if resume:
            reporter.line(f"{out}: nothing to resume; begins at generation 1")
        foreign = sorted(path.name for path in out.iterdir() if path.name not in STARTED and path.name[0] != ".")
        if foreign:
            raise RunError(f"{out}: expected an empty folder, found {', '.join(foreign[:3])}; give another --out")
        return None
    if not resume:
        raise RunError(f"{out}: holds an evolution already; add --resume to go on with it, or give another --out")
    saved = load_state(out)
    if not saved.is_checked:
        reporter.warn(f"{out}: its state is of an older version, without a checksum: edits would not be seen")
    changed = recipe.differences(saved.recipe)
    longer = changed.pop(GROWING_KEY, None)
    if recipe.evolution.founder_generations is None:
        changed.pop(FOUNDERS_KEY, None)  # those it began with, see `_as_begun`
    if changed:
        faults = [f"  {key}: {was} in the run, {here} now" for key, (here, was) in changed.items()]
        raise RunError(f"{out}: was run with another recipe; give another --out, or undo:\n" + "\n".join(faults))
    if longer is not None:
        _check_growth(longer, saved.state, recipe, reporter)
    return saved


def _as_begun(recipe: Recipe, saved: Saved) -> Recipe:
    """The recipe with as many founders as the run began with, since more generations raise no more of them."""
    begun = Recipe.from_mapping(saved.recipe).evolution.founders
    return recipe if recipe.evolution.founders == begun else recipe.changed(f"{FOUNDERS_KEY}={begun}")


def _check_growth(longer: tuple[int, int], state: EvolutionState, recipe: Recipe, reporter: Reporter) -> None:
    now, before = longer
    if now < before:
        raise RunError(f"{GROWING_KEY} may only grow: {before} in the run, {now} now")
    if recipe.ancestry.schedule != "generation":
        reporter.warn(
            f"{GROWING_KEY} grew from {before} to {now}: the learning rate spans the whole evolution, so it rises "
            f"again at generation {state.generation + 1}; a run of {now} from the start would give another gene"
        )


def _summary(row: Mapping[str, Any], generations: int) -> str:
    failed = f", {row['failed']} failed" if row["failed"] else ""
    return (
        f"generation {row['generation'] + 1}/{generations}: fitness best {row['best']:.3f}, mean {row['mean']:.3f}"
        f"{failed}; {row['images']:,} images, {row['seconds']:.0f} s"
    )


def _finish(
    state: EvolutionState, recipe: Recipe, shared: SharedData, out: Path, ancestor: Ancestor | None
) -> Learngene:
    """Write the picture, the page and the gene folder."""
    rows = read_metrics(out)
    best = _chosen(state, recipe)
    write_png(draw_evolution(rows, chosen=best.id, title=recipe.name), out / PICTURE_NAME)
    write_text(out / EVOLUTION_NAME, render_evolution(rows, title=recipe.name, chosen=best.id))
    config = gene_config(best, rows, state, recipe, shared, ancestor)
    tensors = {name: tensor.float() for name, tensor in stored(best.genome.tensors, config.dtype).items()}
    with atomic_path(out / GENE_FOLDER) as folder:
        folder.mkdir()
        config = write_gene(folder, tensors, config)
        write_text(folder / RECIPE_NAME, recipe.public_text)
        for name in (METRICS_NAME, PICTURE_NAME):
            (folder / name).write_bytes((out / name).read_bytes())
        write_text(folder / CARD_NAME, render_card(config, name=recipe.name))
        carry_card(out / GENE_FOLDER, folder, config)
    return Learngene(tensors, config, Located(out / GENE_FOLDER, str(out)))


def _chosen(state: EvolutionState, recipe: Recipe) -> Individual:
    """The individual whose gene is the result: the fittest of the youngest, or any of them without selection."""
    last = max(member.generation for member in state.pool)
    youngest = sorted((member for member in state.pool if member.generation == last), key=lambda member: member.id)
    if recipe.evolution.selection == "none":
        return youngest[int(torch.randint(len(youngest), (), generator=generator(recipe.seed, "chosen")))]
    return max(youngest, key=lambda member: (member.fitness, -member.id))
