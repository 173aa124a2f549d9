"""`evolve`: a recipe in, a gene folder out; an interrupted run can be resumed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from learngene_hub.core.device import on_cpu, pick_device
from learngene_hub.core.errors import DataError
from learngene_hub.core.files import atomic_path, claim, expanded, write_text
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.core.progress import Task as Bar
from learngene_hub.core.rng import generator
from learngene_hub.data.rows import refuse_inside
from learngene_hub.evolution.ancestor import Ancestor, find_ancestor, line_channels
from learngene_hub.evolution.checkpoint import save_state
from learngene_hub.evolution.environment import Environment, load_environment
from learngene_hub.evolution.generation import next_generation
from learngene_hub.evolution.individual import Beginning, EvolutionState, Individual
from learngene_hub.evolution.metrics import write_metrics
from learngene_hub.evolution.origin import gene_config
from learngene_hub.evolution.plan import GenerationPlan, plan_line, plan_search, settle_precision
from learngene_hub.evolution.resume import SEARCH_FOLDER, check_same, find_saved, images_hash, run_inputs
from learngene_hub.evolution.search import ShapeSearch
from learngene_hub.gene.card import render_card
from learngene_hub.gene.folder import (
    CARD_NAME,
    GENE_FOLDER,
    METRICS_NAME,
    PICTURE_NAME,
    RECIPE_NAME,
    stored,
    write_gene,
)
from learngene_hub.gene.learngene import Learngene
from learngene_hub.gene.source import Located
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.evolution import EVOLUTION_NAME, render_evolution
from learngene_hub.report.plots.canvas import check_can_draw, write_png
from learngene_hub.report.plots.evolution import draw_evolution
from learngene_hub.workers import Engine, EngineOptions, Pool, make_engine


def evolve(
    recipe: Recipe | str | Path,
    *,
    out: str | Path,
    resume: bool = False,
    device: str = "auto",
    engine: EngineOptions = EngineOptions(),  # noqa: B008
    reporter: Reporter = LoggingReporter(),  # noqa: B008
) -> Learngene:
    """Run the evolution of `recipe` in the folder `out`; its result is the fittest gene of the newest in its pool.

    The state is saved after every generation. A run that was killed and resumed ends with the same gene, byte for
    byte, as an uninterrupted run (on a CPU, with the same number of threads), with any engine and any number of
    workers in each part.

    Args:
        recipe: a recipe, its file, or the name of a shipped one.
        out: folder of the run: `recipe.yaml`, `metrics.jsonl`, `state.safetensors`, `search/` if there is a search,
            and, at the end, `evolution.png`, `evolution.html` and `gene/`.
        resume: go on after the last saved generation, if there is one; a finished run is left as it is.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        engine: where networks are trained: in this process, in several, or on a Ray cluster. There are as
            many workers as cores, or one per GPU, unless it says otherwise. An individual of a population trains on its
            share of torch's threads, so one worker does not use all cores. Workers do not run the calling script again.
        reporter: told of progress.

    Raises:
        RecipeError: the recipe has faults.
        RunError: `out` holds another run, or another process uses it.
        DataError: the images cannot be found or read; or the gene that the recipe begins from has seen novel classes.
        GeneFileError: that gene cannot be loaded.
        HubError: that gene or the images cannot be downloaded.
        NetworkError: there is no network of the recipe's depth.
        SelectionError: every individual of a generation failed, or every shape, or the network of the search.
        EngineError: the workers cannot be started, or are lost with the same individuals again and again.
        StorageError: no space, or no permission.
        LearngeneError: there is no such device, or no matplotlib to draw with.
    """
    check_can_draw()
    recipe, out = recipe if isinstance(recipe, Recipe) else Recipe.from_file(recipe), expanded(out)
    ancestor = find_ancestor(recipe)
    if recipe.evolution.founders >= recipe.evolution.generations:
        reporter.warn(
            f"evolution.founder_generations={recipe.evolution.founders}: each of the {recipe.evolution.generations} "
            "generations trains one individual, so none is selected; give a lower number, or null"
        )
    if recipe.data.path is not None:
        refuse_inside(out, recipe.data.path)
    home = pick_device(device) if engine.name == "local" else torch.device("cpu")
    workforce = _workforce(recipe, engine, device, home, reporter)
    with claim(out), on_cpu():
        saved = find_saved(recipe, out, resume=resume, reporter=reporter)
        is_done = saved is not None and saved.state.generation >= recipe.evolution.generations
        if is_done and (out / GENE_FOLDER).exists():
            return Learngene.load(Located(out / GENE_FOLDER, str(out)))
        line_channels(recipe, ancestor)  # which refuses a wrong `gene.shape` before images are read
        with reporter.task("reading images", None), _restoring(out if saved else None):
            environment = load_environment(recipe, device=workforce.home, reporter=reporter, ancestor=ancestor)
        inputs = run_inputs(environment, ancestor, home if engine.name == "local" else None)
        if saved is not None:
            check_same(saved.inputs, inputs, out, reporter)
            _show(out, saved.state, recipe)
        with workforce.pool(environment, reporter) as workers:
            run = _Run(recipe, out, ancestor, environment, inputs, workers, reporter)
            state = run.evolve(EvolutionState() if saved is None else saved.state)
        with reporter.task(f"writing {out / GENE_FOLDER}", None):
            return _finish(state, recipe, environment, out, ancestor)


@contextmanager
def _restoring(begun: Path | None) -> Iterator[None]:
    """Say of images at fault what to do where a run has `begun`, whose recipe must not be changed any more."""
    try:
        yield
    except DataError as error:
        if begun is None:
            raise
        raise DataError(
            f"{begun}: was begun with images that are not there as they were; restore them, or give another --out "
            f"({error})"
        ) from None


def _workforce(recipe: Recipe, engine: EngineOptions, device: str, home: torch.device, reporter: Reporter) -> Engine:
    most = max(recipe.evolution.population, recipe.search.population if recipe.gene.shape == "evolve" else 1)
    workforce = make_engine(engine, device=device, local_device=home, most=most)
    if engine.workers is not None and engine.workers > most:
        reporter.warn(
            f"only {most} of {engine.workers} workers are needed: one for each individual, or shape, of a generation"
        )
    return workforce


@dataclass(frozen=True)
class _Run:
    """An evolution in its folder, and what it works with."""

    recipe: Recipe
    out: Path
    ancestor: Ancestor | None
    environment: Environment
    inputs: Mapping[str, Any]
    workers: Pool[Environment]
    reporter: Reporter

    def evolve(self, state: EvolutionState) -> EvolutionState:
        """Go on from `state`, generation after generation, and save each."""
        with self.reporter.task("starting workers", None):
            precision = state.precision or settle_precision(self.recipe, self.workers)
        state = replace(state, precision=precision)
        plans = plan_line(self.recipe, precision=precision, begin=state.generation)
        classes = len(self.environment.split.base)
        search = None if state.generation else plan_search(self.recipe, classes=classes, precision=precision)
        total = sum(plan.images for plan in plans) + (search.images if search else 0)
        with self.reporter.task("evolving", total, "images") as bar:
            if search is None:
                begin = self._given()
            else:
                images = images_hash(self.inputs, flip=self.environment.base.flip)
                begin = ShapeSearch(search, self.workers, bar, images, self.out / SEARCH_FOLDER, self.reporter).run()
                row = begin.first_row["search"]
                state = replace(state, images=row["images"], seconds=row["seconds"])
            for plan in plans:
                state = self._generation(state, plan, begin, bar)
        return state

    def _given(self) -> Beginning:
        channels, ancestor = line_channels(self.recipe, self.ancestor), self.ancestor
        if ancestor is None:
            return Beginning(channels, None, {})
        row = {"name": ancestor.name, "images": ancestor.record.images}
        return Beginning(channels, ancestor.gene.genome, {"ancestor": row})

    def _generation(self, state: EvolutionState, plan: GenerationPlan, begin: Beginning, bar: Bar) -> EvolutionState:
        state = next_generation(state, plan, begin, self.workers, bar)
        save_state(self.out, state, self.recipe.model_dump(mode="json"), self.inputs)
        _show(self.out, state, self.recipe)
        row = state.rows[-1]
        self.reporter.line(_summary(row, self.recipe.evolution.generations))
        bar.advance(0, best=f"{row['best']:.3f}", mean=f"{row['mean']:.3f}")
        return state


def _show(out: Path, state: EvolutionState, recipe: Recipe) -> None:
    """Write what users read of a run that goes on."""
    write_text(out / RECIPE_NAME, recipe.text)
    write_metrics(out, state.rows)


def _summary(row: Mapping[str, Any], generations: int) -> str:
    failed = f", {row['failed']} failed" if row["failed"] else ""
    return (
        f"generation {row['generation'] + 1}/{generations}: fitness best {row['best']:.3f}, mean {row['mean']:.3f}"
        f"{failed}; {row['images']:,} images, {row['seconds']:.0f} s"
    )


def _finish(
    state: EvolutionState, recipe: Recipe, environment: Environment, out: Path, ancestor: Ancestor | None
) -> Learngene:
    """Write the picture, the page and the gene folder."""
    best = _chosen(state, recipe)
    write_png(draw_evolution(state.rows, chosen=best.id, title=recipe.name), out / PICTURE_NAME)
    write_text(out / EVOLUTION_NAME, render_evolution(state.rows, title=recipe.name, chosen=best.id))
    config = gene_config(best, state, recipe, environment, ancestor)
    tensors = {name: tensor.float() for name, tensor in stored(best.genome.tensors, config.dtype).items()}
    with atomic_path(out / GENE_FOLDER) as folder:
        folder.mkdir()
        config = write_gene(folder, tensors, config)
        write_text(folder / RECIPE_NAME, recipe.public_text)
        for name in (METRICS_NAME, PICTURE_NAME):
            (folder / name).write_bytes((out / name).read_bytes())
        write_text(folder / CARD_NAME, render_card(config, name=recipe.name))
    return Learngene(tensors, config, Located(out / GENE_FOLDER, str(out)))


def _chosen(state: EvolutionState, recipe: Recipe) -> Individual:
    """The individual whose gene is the result: the fittest of the youngest, or any of them without selection."""
    last = max(member.generation for member in state.pool)
    youngest = sorted((member for member in state.pool if member.generation == last), key=lambda member: member.id)
    if recipe.evolution.selection == "none":
        return youngest[int(torch.randint(len(youngest), (), generator=generator(recipe.seed, "chosen")))]
    return max(youngest, key=lambda member: (member.fitness, -member.id))
