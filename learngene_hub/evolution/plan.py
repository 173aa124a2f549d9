"""The numbers of each generation of an evolution, all derived from its recipe in this module.

All later modules read a `GenerationPlan` instead of the recipe: the progress bar, the dry run, training, selection and
the cost in the gene's config. Facts that hold for all generations are derived here too: the size of the networks and
of their genes, and the precision, which is the same on all workers.
"""

import platform
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from learngene_hub.core.device import chip_kind
from learngene_hub.core.errors import EngineError
from learngene_hub.genome.birth import Body
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.recipe.sections import CriticSection, EvolutionSection, SearchSection
from learngene_hub.training.loop import Precision, Training, best_precision
from learngene_hub.training.rates import Falling, Rate, Restarting
from learngene_hub.workers import Pool, Step

STATISTICS_BATCHES = 5  # at most, in the life of a shape: those of the line get `ancestry.statistics_batches`


@dataclass(frozen=True)
class AncestryPlan:
    """Training of the ancestry networks of one generation: see `AncestrySection`; `threads` of torch are per network.

    `statistics_batches` is the number of batches that measure the gene's batch norms at extraction.
    """

    ways: int
    images_per_class: int | None
    training: Training
    mutation_rate: float
    statistics_batches: int
    threads: int


@dataclass(frozen=True)
class CriticPlan:
    """Training of critics, equal in every generation, so that fitness is a function of the gene.

    `threads` of torch are per network; `purpose` names them and is part of the address of all their draws.
    """

    section: CriticSection
    precision: Precision
    threads: int
    purpose: str = "critic"

    @property
    def training(self) -> Training:
        """Of one network."""
        return Training(self.section.constants(), self.section.steps, self.precision)

    @property
    def images(self) -> int:
        """Training images of the critics of one learngene, at most."""
        return self.section.tasks * self.section.steps * self.section.batch_size


@dataclass(frozen=True)
class GenerationPlan:
    """One generation.

    Attributes:
        generation: from 0; -2: the network of a search, -1: its slices.
        seed: of all random draws.
        body: size of every network.
        individuals: number of its individuals.
        evolution: the recipe's constants of selection and of the gene pool.
        needs_native_precision: refuse workers that can only emulate the run's precision.
    """

    generation: int
    seed: int
    body: Body
    individuals: int
    ancestry: AncestryPlan
    critics: CriticPlan
    evolution: EvolutionSection
    needs_native_precision: bool

    @property
    def images(self) -> int:
        """Largest number of training images of the generation, including those of critics."""
        life = self.ancestry.training
        ancestry = (life.steps + self.ancestry.statistics_batches) * life.optimisation.batch_size
        return self.individuals * (ancestry + self.critics.images)


@dataclass(frozen=True)
class SearchPlan:
    """The search for the shape of a gene.

    Attributes:
        ancestor: the whole network whose slices are compared.
        life: training of each slice, before critics inherit it.
        body: size of the networks of the evolution.
        fraction: sets the budget of a shape, see `learngene_hub.genome.shape.ShapeSpace`.
        search: the recipe's constants.
        critics: of a shape; `final_critics` are those of the finals, on new tasks.
    """

    ancestor: GenerationPlan
    life: GenerationPlan
    body: Body
    fraction: float
    search: SearchSection
    critics: CriticPlan
    final_critics: CriticPlan

    def images_a_shape(self, critics: CriticPlan) -> int:
        """Training images to train one shape and to score it by `critics`."""
        return self.life.images + critics.images

    @property
    def images(self) -> int:
        """Training images of the search, at most."""
        finals = 2 * self.images_a_shape(self.final_critics)
        return self.ancestor.images + self.search.population * self.images_a_shape(self.critics) + finals


def plan_generation(recipe: Recipe, generation: int, *, precision: Precision, threads: int) -> GenerationPlan:
    """The plan of `generation`, from 0.

    A founder takes the steps of a whole population, so that generations cost the same, and all threads; the threads of
    a later generation are shared out among its individuals, those of critics in every generation as if the whole
    population were there (ours). So a gene depends on the recipe and on `threads` of a worker's machine, not on the
    worker. The `precision` of convolutions is the same in the whole run.
    """
    evolution, body = recipe.evolution, network_body(recipe)
    individuals = 1 if generation < evolution.founders else evolution.population
    return GenerationPlan(
        generation,
        recipe.seed,
        body,
        individuals,
        AncestryPlan(
            ways=recipe.ancestry.ways,
            images_per_class=recipe.ancestry.images_per_class,
            training=Training(
                recipe.ancestry.constants(),
                recipe.ancestry.steps * (evolution.population // individuals),
                precision,
                *_rates(generation, evolution.generations),
            ),
            mutation_rate=evolution.mutation_rate if individuals > 1 else 0.0,  # else no tournament could undo it
            statistics_batches=_statistics_batches(body, recipe.ancestry.statistics_batches),
            threads=max(1, threads // individuals),
        ),
        CriticPlan(recipe.critic, precision, threads=max(1, threads // evolution.population)),
        evolution,
        needs_native_precision=recipe.precision == "auto",
    )


def plan_line(recipe: Recipe, *, precision: Precision, begin: int = 0) -> list[GenerationPlan]:
    """The plans of all generations from `begin` on, for as many threads as torch has in this process."""
    generations, threads = range(begin, recipe.evolution.generations), torch.get_num_threads()
    return [plan_generation(recipe, number, precision=precision, threads=threads) for number in generations]


def plan_search(recipe: Recipe, *, classes: int, precision: Precision) -> SearchPlan | None:
    """The plan of the search for the gene's shape, with a network that learns all base `classes`; None: no search.

    Threads: as many as torch has in this process.
    """
    if recipe.gene.shape != "evolve":
        return None
    search, threads = recipe.search, torch.get_num_threads()
    line = plan_generation(recipe, 0, precision=precision, threads=threads)
    ancestor = replace(
        line,
        generation=-2,
        body=replace(line.body, width=min(line.body.width, search.width)),
        individuals=1,
        ancestry=replace(
            line.ancestry,
            ways=classes,
            training=Training(recipe.ancestry.constants(), search.ancestor_steps, precision),
            mutation_rate=0.0,
            threads=threads,
        ),
        critics=_critics(recipe, precision, threads, "none", tasks=0),  # only its slices have fitness
    )
    each = max(1, threads // search.population)
    return SearchPlan(
        ancestor,
        _slice_life(recipe, ancestor, precision, each),
        line.body,
        recipe.gene.fraction,
        search,
        _critics(recipe, precision, each, "shape", tasks=search.tasks),
        _critics(recipe, precision, each, "final", tasks=search.final_tasks),
    )


def _critics(recipe: Recipe, precision: Precision, threads: int, purpose: str, *, tasks: int) -> CriticPlan:
    section = recipe.critic.model_copy(update={"steps": recipe.search.steps, "tasks": tasks})
    return CriticPlan(section, precision, threads, purpose)


def _slice_life(recipe: Recipe, ancestor: GenerationPlan, precision: Precision, threads: int) -> GenerationPlan:
    """Training of a slice: the second of two trainings, after that of the network of the search (ours)."""
    life = Training(recipe.ancestry.constants(), recipe.search.life_steps, precision, *_rates(1, 2))
    batches = _statistics_batches(ancestor.body, min(STATISTICS_BATCHES, recipe.ancestry.statistics_batches))
    return replace(
        ancestor,
        generation=-1,
        ancestry=replace(ancestor.ancestry, training=life, statistics_batches=batches, threads=threads),
    )


@cache
def _statistics_batches(body: Body, most: int) -> int:
    """`most`, or 0 for networks without batch norms."""
    return most if any(axes.is_statistic for axes in body.structure.tensors) else 0


def _rates(life: int, lives: int) -> tuple[Rate, Rate]:
    """Learning rates of random and of inherited weights in training number `life` of `lives`."""
    whole = Falling(life / lives, (life + 1) / lives)
    return Restarting(whole.begin, whole.end), whole


def network_body(recipe: Recipe) -> Body:
    """The size of the networks of `recipe`."""
    return Body(recipe.network.name, recipe.network.width, recipe.network.depth)


def recipe_channels(recipe: Recipe) -> dict[str, int]:
    """Group -> leading channels that are gene; before a search, an even shape of the same budget.

    Raises:
        NetworkError: the network cannot be built, or does not fit a given shape.
    """
    space = ShapeSpace(network_body(recipe), recipe.gene.fraction)
    match recipe.gene.shape:
        case "evolve":
            return space.even()
        case "taper":
            return space.tapering(recipe.gene.taper)
        case channels:
            return space.given(channels)


@dataclass(frozen=True)
class FindPrecision:
    """The task that asks a worker for its best precision."""

    label = "the choice of a precision"

    def __call__(self, environment: Any, step: Step) -> Precision:  # noqa: ANN401 - an `Environment`, made later
        """The best precision on the worker's device."""
        return best_precision(environment.base.device)


def settle_precision(recipe: Recipe, workers: Pool[Any]) -> Precision:
    """The precision of all networks of a run; `auto` is the best one of the first of `workers`."""
    if recipe.precision != "auto":
        return recipe.precision
    ((_, precision),) = workers.run([FindPrecision()])
    workers.record()  # it is no part of a generation
    return precision


def pick_precision(recipe: Recipe, device: torch.device) -> Precision:
    """The recipe's precision; for `auto` the best one on `device`."""
    return best_precision(device) if recipe.precision == "auto" else recipe.precision


def check_precision(plan: GenerationPlan, device: torch.device) -> None:
    """Check that `device` computes bfloat16 natively, if `auto` chose it for this run.

    Raises:
        EngineError: `device` would only emulate it.
    """
    precision = plan.ancestry.training.precision
    if plan.needs_native_precision and precision == "bfloat16" and best_precision(device) != precision:
        raise EngineError(
            f"precision: the run was begun in bfloat16, which {platform.node()} cannot compute natively on "
            f"{chip_kind(device)}; leave that machine out, or begin again with precision=float32 and another --out"
        )
