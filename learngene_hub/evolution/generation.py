"""Genetic Transfer Learning, one generation at a time: `next_generation` is the algorithm.

Feng 2024 (arXiv:2401.08139): train a population, select learngenes by tournaments, mutate them, pass them on
(attested). All numbers, the scores of the gene pool and founders: ours; see `Recipe`.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from learngene_hub.core.progress import Task as Bar
from learngene_hub.core.rng import generator
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.individual import Beginning, EvolutionState, Individual
from learngene_hub.evolution.operators import tournament, update_scores
from learngene_hub.evolution.plan import GenerationPlan
from learngene_hub.genome.genome import Genome
from learngene_hub.recipe.sections import EvolutionSection
from learngene_hub.workers import Pool


def next_generation(
    state: EvolutionState, plan: GenerationPlan, begin: Beginning, workers: Pool[Environment], bar: Bar
) -> EvolutionState:
    """Inherit, train, mutate, score, hold tournaments, update the gene pool.

    Args:
        state: after the generations before.
        plan: of this generation.
        begin: what an individual without parents inherits.
        workers: does all training.
        bar: shows images.

    Returns:
        The state after the generation.

    Raises:
        SelectionError: every individual failed.
        EngineError: a worker lacks the precision of the run, or too many workers were lost.
    """
    began = time.monotonic()
    parents = _parents(state.pool, plan)
    given = [(one.genome, one.genome.sizes) if one else (begin.genome, begin.sizes) for one in parents]
    tasks = [AncestryTask(plan, number, *each) for number, each in enumerate(given)]

    def advance(images: int, doing: str) -> None:
        bar.advance(images, generation=plan.generation + 1, now=doing)

    outcome_of, engine = dict(workers.run(tasks, advance)), workers.record()
    outcomes = [outcome_of[number] for number in range(len(tasks))]
    born = [
        _individual(state.next_id + number, parent, outcome, plan.generation)
        for number, (parent, outcome) in enumerate(zip(parents, outcomes, strict=True))
    ]
    survivors = _select(born, plan)
    after = replace(
        state,
        generation=plan.generation + 1,
        next_id=state.next_id + len(born),
        pool=_update_pool(state.pool, survivors, plan.evolution),
        images=state.images + plan.images,
        seconds=state.seconds + time.monotonic() - began,
    )
    row = _metrics_row(after, born, outcomes, survivors) | {"engine": engine}
    return replace(after, rows=(*state.rows, row if plan.generation else {**row, **begin.first_row}))


def _parents(pool: Sequence[Individual], plan: GenerationPlan) -> Sequence[Individual | None]:
    """Parents of the newborns: none, the founder, or members of the gene pool.

    While founders are trained, and in the first generation after them, each inherits the one before (ours). Then
    parents are drawn in proportion to score (attested for GRL, arXiv:2306.10225).
    """
    if not pool:
        return [None] * plan.individuals
    if plan.generation <= plan.evolution.founders:
        return [max(pool, key=lambda member: member.id)] * plan.individuals
    scores = torch.tensor([max(member.score, 1e-9) for member in pool])
    draws = generator(plan.seed, "parents", plan.generation)
    return [pool[int(i)] for i in torch.multinomial(scores, plan.individuals, replacement=True, generator=draws)]


def _individual(id_: int, parent: Individual | None, outcome: Outcome, generation: int) -> Individual:
    """The individual of `generation` with its ancestors."""
    ancestors: dict[int, int] = {}
    if parent is not None:
        ancestors = {parent.id: 1} | {ancestor: steps + 1 for ancestor, steps in parent.ancestors.items()}
    parents, genome = () if parent is None else (parent.id,), outcome.genome or Genome({}, {})  # of one that failed
    return Individual(id_, generation, parents, ancestors, outcome.fitness, outcome.fitness, genome)


def _select(born: Sequence[Individual], plan: GenerationPlan) -> list[Individual]:
    """The survivors: winners of tournaments, or everybody alive where the recipe wants no selection."""
    evolution = plan.evolution
    winners = tournament(
        torch.tensor([individual.fitness for individual in born]),
        size=min(evolution.tournament_size, len(born)) if evolution.selection == "tournament" else 1,
        generator=generator(plan.seed, "tournament", plan.generation),
    )
    return [born[winner] for winner in winners.tolist()]


def _update_pool(
    pool: Sequence[Individual], survivors: Sequence[Individual], evolution: EvolutionSection
) -> tuple[Individual, ...]:
    """The gene pool with its new scores, best first, cut to size; ancestors that left it are forgotten."""
    scores = update_scores(
        {member.id: member.score for member in pool},
        {winner.id: winner.fitness if evolution.selection == "tournament" else 1.0 for winner in survivors},
        {winner.id: winner.ancestors for winner in survivors},
        decay=evolution.decay,
        credit=evolution.credit,
    )
    founders = {winner.id for winner in survivors if winner.generation < evolution.founders}
    ranked = sorted((*pool, *survivors), key=lambda member: (-scores[member.id], -member.id))
    # a founder enters whatever its score, else its line would break
    kept = {member.id for member in sorted(ranked, key=lambda each: each.id not in founders)[: evolution.pool_size]}
    return tuple(
        replace(member, score=scores[member.id], ancestors={i: s for i, s in member.ancestors.items() if i in kept})
        for member in ranked
        if member.id in kept
    )


def _metrics_row(
    after: EvolutionState, born: Sequence[Individual], outcomes: Sequence[Outcome], survivors: Sequence[Individual]
) -> dict[str, Any]:
    alive = [individual for individual in born if not math.isnan(individual.fitness)]
    surviving = {individual.id for individual in survivors}
    best = max(alive, key=lambda individual: individual.fitness)
    return {
        "generation": after.generation - 1,
        "best": best.fitness,
        "mean": sum(individual.fitness for individual in alive) / len(alive),
        "best_id": best.id,
        "failed": len(born) - len(alive),
        "individuals": [
            {
                "id": individual.id,
                "parents": list(individual.parents),
                "fitness": _or_none(individual.fitness),
                "survived": individual.id in surviving,
                "loss": _or_none(outcome.loss),
            }
            for individual, outcome in zip(born, outcomes, strict=True)
        ],
        "pool": [member.id for member in after.pool],
        "images": after.images,
        "seconds": round(after.seconds, 3),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
