"""Genetic Transfer Learning, one generation at a time: `next_generation` is the algorithm.

Feng 2024 (arXiv:2401.08139): train a population, select learngenes by tournaments, mutate them, pass them on
(attested). All numbers, the scores of the gene pool, founders and recombination: ours; see `Recipe`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learngene_hub.backends import Backend, Training
from learngene_hub.birth import Body
from learngene_hub.data import Task, sample_task
from learngene_hub.evolution.ancestry import Birth, Life, Trained, raise_learngenes
from learngene_hub.evolution.critics import critic_fitness
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.population import JOBS, LOOP, EvolutionState, Individual, Job
from learngene_hub.operators import average, tournament, update_scores
from learngene_hub.progress import Task as Bar
from learngene_hub.rates import Rate, falling, restarting
from learngene_hub.recipe import Recipe
from learngene_hub.rng import generator
from learngene_hub.training import Precision


@dataclass(frozen=True)
class Setting:
    """What stays the same over all generations of a run.

    Attributes:
        recipe: the constants.
        body: what every network is built as.
        channels: channel group -> channels that are gene.
        environment: the images.
        critic_tasks: what critics learn, the same in every generation.
        precision: of convolutions.
    """

    recipe: Recipe
    body: Body
    channels: Mapping[str, int]
    environment: Environment
    critic_tasks: tuple[Task, ...]
    precision: Precision


def next_generation(state: EvolutionState, setting: Setting, bar: Bar) -> tuple[EvolutionState, dict[str, Any]]:
    """Inherit, train, mutate, score, hold tournaments, update the gene pool.

    Returns:
        The state after the generation, and its row of `metrics.jsonl`.

    Raises:
        SelectionError: every individual failed.
    """
    began, now, recipe = time.monotonic(), state.generation, setting.recipe
    parents = _parents(state.pool, recipe, now)
    backends = used_backends(state, recipe)
    births = [birth(parent, number, now, setting, bar) for number, parent in enumerate(parents)]
    trained = raise_learngenes(births, setting.environment.base, life(setting, now), backend=backends["ancestry"])
    critics = _Critics(now, setting, backends["critics"], bar)
    born = [
        _individual(state.next_id + number, [parent] if parent else [], one, critics)
        for number, (parent, one) in enumerate(zip(parents, trained, strict=True))
    ]
    survivors = _select(born, recipe, now)
    recombinant = _recombine(survivors, state.next_id + len(born), recipe, critics)
    least = max(one.fitness for one in survivors) if recipe.evolution.selection == "tournament" else 0.0
    is_fit = recombinant is not None and recombinant.fitness >= least
    entering = [recombinant] if recombinant is not None and is_fit else survivors
    after = replace(
        state,
        generation=now + 1,
        next_id=state.next_id + len(born) + (recombinant is not None),
        pool=_update_pool(state.pool, entering, setting),
        images=state.images + generation_images(recipe, now),
        seconds=state.seconds + time.monotonic() - began,
    )
    row = _metrics_row(after, born, trained, survivors, recombinant, recombinant_enters=is_fit)
    return after, row | {"backends": backends}


def population_size(recipe: Recipe, generation: int) -> int:
    """Individuals born in `generation`: one while the founder is raised, then the whole population."""
    return 1 if generation < recipe.evolution.founder_generations else recipe.evolution.population


def life_steps(recipe: Recipe, generation: int) -> int:
    """Training steps of one life: a founder takes those of a whole population, so that generations cost the same."""
    return recipe.ancestry.steps * (recipe.evolution.population // population_size(recipe, generation))


def mutation_rate(recipe: Recipe, generation: int) -> float:
    """Chance of a gene channel to be exchanged; 0 for a lone individual: no tournament could undo it (ours)."""
    return recipe.evolution.mutation_rate if population_size(recipe, generation) > 1 else 0.0


def generation_images(recipe: Recipe, generation: int) -> int:
    """Training images that `generation` costs at most, critics and the recombinant's included."""
    individuals = population_size(recipe, generation)
    groups = math.ceil(individuals / min(recipe.evolution.tournament_size, individuals))
    critics = individuals + (recipe.evolution.recombination == "average" and groups > 1)
    batches = life_steps(recipe, generation) + recipe.ancestry.statistics_batches * (recipe.gene.cross == "zero")
    ancestry = individuals * batches * recipe.ancestry.batch_size
    return ancestry + critics * recipe.critic.tasks * recipe.critic.steps * recipe.critic.batch_size


def critic_training(setting: Setting) -> Training:
    """How critics are trained."""
    critic = setting.recipe.critic
    return Training(critic, critic.steps, setting.precision)


def used_backends(state: EvolutionState, recipe: Recipe) -> dict[Job, Backend]:
    """Job -> its back end in the generation to come; a lone network is always trained by the loop."""
    sizes = {"ancestry": population_size(recipe, state.generation), "critics": recipe.critic.tasks}
    return {job: state.backends[job] if sizes[job] > 1 else LOOP for job in JOBS}


def _parents(pool: Sequence[Individual], recipe: Recipe, now: int) -> Sequence[Individual | None]:
    """Ancestors of the newborns of generation `now`: none, the founder, or members of the gene pool.

    While a founder is raised, and in the first generation after it, its lineage is one unbroken line (ours). Then
    ancestors are drawn in proportion to score (attested for GRL, arXiv:2306.10225).
    """
    count = population_size(recipe, now)
    if not pool:
        return [None] * count
    if now <= recipe.evolution.founder_generations:
        return [max(pool, key=lambda one: one.id)] * count
    scores = torch.tensor([max(one.score, 1e-9) for one in pool])
    draws = generator(recipe.seed, "parents", now)
    return [pool[int(i)] for i in torch.multinomial(scores, count, replacement=True, generator=draws)]


def birth(parent: Individual | None, number: int, now: int, setting: Setting, bar: Bar) -> Birth:
    """The individual `number` of generation `now`, to be raised."""
    recipe, base = setting.recipe, setting.environment.base
    draws = generator(recipe.seed, "ancestry task", now, number)
    ways, shots = recipe.ancestry.ways, recipe.ancestry.images_per_class
    return Birth(
        parent.gene if parent else None,
        sample_task(base.labels, n_way=ways, n_shot=shots, n_query=0, generator=draws),
        (now, number),
        _stepper(bar, now, f"individual {number + 1}/{population_size(recipe, now)}"),
    )


def life(setting: Setting, now: int) -> Life:
    """What the ancestry networks of generation `now` have in common."""
    recipe = setting.recipe
    rate, gene_rate = _rates(recipe, now)
    training = Training(
        recipe.ancestry,
        life_steps(recipe, now),
        setting.precision,
        rate=rate,
        gene_rate=gene_rate,
        circuit_loss=recipe.ancestry.circuit_loss,
    )
    return Life(
        setting.body,
        setting.channels,
        recipe.gene.cross,
        training,
        mutation_rate=mutation_rate(recipe, now),
        statistics_batches=recipe.ancestry.statistics_batches,
        seed=recipe.seed,
    )


def _rates(recipe: Recipe, now: int) -> tuple[Rate, Rate | None]:
    """Learning rate of newborn weights, and of inherited ones where it is another."""
    begin, end = now / recipe.evolution.generations, (now + 1) / recipe.evolution.generations
    match recipe.ancestry.schedule:
        case "generation":
            return falling(), None
        case "evolution":
            return falling(begin, end), None
        case "two-speed":
            return restarting(begin, end), falling(begin, end)


@dataclass(frozen=True)
class _Critics:
    """The fitness of a learngene in generation `now`, as a function."""

    now: int
    setting: Setting
    backend: Backend
    bar: Bar

    def __call__(self, gene: Mapping[str, Tensor]) -> float:
        setting, recipe = self.setting, self.setting.recipe
        return critic_fitness(
            gene,
            setting.environment.held_out,
            setting.critic_tasks,
            critic_training(setting),
            body=setting.body,
            cross=recipe.gene.cross,
            seed=recipe.seed,
            backend=self.backend,
            on_step=_stepper(self.bar, self.now, "critics"),
        )


def _individual(id_: int, parents: Sequence[Individual], trained: Trained, critics: _Critics) -> Individual:
    """The individual with its fitness: NaN if its training failed."""
    ancestors: dict[int, int] = {}
    for parent in parents:
        for ancestor, steps in ((parent.id, 0), *parent.ancestors.items()):
            ancestors[ancestor] = min(steps + 1, ancestors.get(ancestor, steps + 1))
    fitness = math.nan if math.isnan(trained.loss) else critics(trained.gene)
    return Individual(id_, critics.now, tuple(one.id for one in parents), ancestors, fitness, fitness, trained.gene)


def _select(born: Sequence[Individual], recipe: Recipe, now: int) -> list[Individual]:
    """The survivors: winners of tournaments, or everybody alive where the recipe wants no selection."""
    fitness = torch.tensor([one.fitness for one in born])
    size = min(recipe.evolution.tournament_size, len(born)) if recipe.evolution.selection == "tournament" else 1
    winners = tournament(fitness, size=size, generator=generator(recipe.seed, "tournament", now))
    return [born[winner] for winner in winners.tolist()]


def _recombine(survivors: Sequence[Individual], id_: int, recipe: Recipe, critics: _Critics) -> Individual | None:
    """The average of several survivors, scored like them; None where the recipe wants none, or it fails (ours).

    It takes the survivors' place only if it is at least as fit: the average of strangers is worth nothing.
    """
    if recipe.evolution.recombination == "none" or len(survivors) < 2:
        return None
    trained = Trained(average([one.gene for one in survivors]), loss=0.0)
    recombinant = _individual(id_, survivors, trained, critics)
    return None if math.isnan(recombinant.fitness) else recombinant


def _update_pool(
    pool: Sequence[Individual], entering: Sequence[Individual], setting: Setting
) -> tuple[Individual, ...]:
    """The gene pool with its new scores, best first, cut to size; ancestors that left it are forgotten."""
    evolution = setting.recipe.evolution
    worth = {one.id: one.fitness if evolution.selection == "tournament" else 1.0 for one in entering}
    scores = update_scores(
        {one.id: one.score for one in pool},
        worth,
        {one.id: one.ancestors for one in entering},
        decay=evolution.decay,
        credit=evolution.credit,
    )
    ranked = sorted((*pool, *entering), key=lambda one: (-scores[one.id], -one.id))[: evolution.pool_size]
    kept = {one.id for one in ranked}
    return tuple(
        replace(one, score=scores[one.id], ancestors={i: s for i, s in one.ancestors.items() if i in kept})
        for one in ranked
    )


def _metrics_row(
    after: EvolutionState,
    born: Sequence[Individual],
    trained: Sequence[Trained],
    survivors: Sequence[Individual],
    recombinant: Individual | None,
    *,
    recombinant_enters: bool,
) -> dict[str, Any]:
    alive = [one for one in born if not math.isnan(one.fitness)]
    surviving = {one.id for one in survivors}
    best = max([*alive, *([recombinant] if recombinant else [])], key=lambda one: one.fitness)
    return {
        "generation": after.generation - 1,
        "best": best.fitness,
        "mean": sum(one.fitness for one in alive) / len(alive),
        "best_id": best.id,
        "failed": len(born) - len(alive),
        "individuals": [
            _describe(one, survived=one.id in surviving) | {"loss": _or_none(left.loss)}
            for one, left in zip(born, trained, strict=True)
        ],
        "recombinant": _describe(recombinant, survived=recombinant_enters) if recombinant else None,
        "pool": [one.id for one in after.pool],
        "images": after.images,
        "seconds": round(after.seconds, 3),
    }


def _describe(one: Individual, *, survived: bool) -> dict[str, Any]:
    return {"id": one.id, "parents": list(one.parents), "fitness": _or_none(one.fitness), "survived": survived}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _stepper(bar: Bar, now: int, doing: str) -> Callable[[int], None]:
    return lambda images: bar.advance(images, generation=now + 1, now=doing)
