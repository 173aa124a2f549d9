"""Genetic Transfer Learning, one generation at a time: `next_generation` is the algorithm.

Feng 2024 (arXiv:2401.08139): train a population, select learngenes by tournaments, mutate them, pass them on
(attested). All numbers, the scores of the gene pool, founders and recombination: ours; see `Recipe`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learngene_hub.evolution.founders import Founder, Founders
from learngene_hub.evolution.population import EvolutionState, Individual
from learngene_hub.evolution.schedule import generation_images, population_size
from learngene_hub.evolution.shard import Manner, Raised, Score, Setting, Shard, cut, manner
from learngene_hub.operators import average, tournament, update_scores
from learngene_hub.progress import Task as Bar
from learngene_hub.recipe import Recipe
from learngene_hub.rng import generator
from learngene_hub.workers import Pool


def next_generation(
    state: EvolutionState, setting: Setting, workers: Pool[Setting], bar: Bar, founders: Founders | None = None
) -> tuple[EvolutionState, dict[str, Any]]:
    """Inherit, train, mutate, score, hold tournaments, update the gene pool.

    Args:
        state: what the generations before have left.
        setting: of the run.
        workers: does all training, on this setting.
        bar: shows images.
        founders: where lone founders are kept for other runs, and looked for; None: nowhere.

    Returns:
        The state after the generation, and its row of `metrics.jsonl`.

    Raises:
        SelectionError: every individual failed.
        EngineError: a worker has not the precision of the run, or the workers are lost again and again.
    """
    assert state.precision is not None
    began, now, recipe = time.monotonic(), state.generation, setting.recipe
    parents = _parents(state.pool, recipe, now)
    how = manner(state.backends, state.precision, recipe, now, count=setting.threads)
    work = _Work(how, now, workers, bar)
    raised, founder, seconds_before = _raised(parents, work, setting, founders)
    born = [
        _individual(state.next_id + number, [parent] if parent else [], one, now)
        for number, (parent, one) in enumerate(zip(parents, raised, strict=True))
    ]
    survivors = _select(born, recipe, now)
    recombinant = _recombine(survivors, state.next_id + len(born), recipe, work)
    least = max(one.fitness for one in survivors) if recipe.evolution.selection == "tournament" else 0.0
    is_fit = recombinant is not None and recombinant.fitness >= least
    entering = [recombinant] if recombinant is not None and is_fit else survivors
    after = replace(
        state,
        generation=now + 1,
        next_id=state.next_id + len(born) + (recombinant is not None),
        pool=_update_pool(state.pool, entering, setting),
        images=state.images + generation_images(recipe, now),
        seconds=state.seconds + seconds_before + time.monotonic() - began,
    )
    row = _metrics_row(after, born, raised, survivors, recombinant, recombinant_enters=is_fit)
    engine = workers.record() if founder is None else founder.engine
    return after, row | {"backends": dict(work.manner.backends), "engine": engine}


@dataclass(frozen=True)
class _Work:
    """The work of generation `now`, and who does it."""

    manner: Manner
    now: int
    workers: Pool[Setting]
    bar: Bar

    def raise_all(self, shards: Sequence[Shard]) -> list[Raised]:
        """The individuals of `shards`, raised and scored."""
        parts = dict(self.workers.run(shards, self._step))
        return [one for number in sorted(parts) for one in parts[number]]

    def found(self, shards: Sequence[Shard]) -> Founder:
        """The only individual of `shards`, raised now."""
        began = time.monotonic()
        (raised,) = self.raise_all(shards)
        return Founder(raised, time.monotonic() - began, self.workers.record())

    def score(self, gene: Mapping[str, Tensor]) -> float:
        """The fitness of a gene that nobody raised."""
        return dict(self.workers.run([Score(gene, self.manner)], self._step))[0]

    def _step(self, images: int, doing: str) -> None:
        self.bar.advance(images, generation=self.now + 1, now=doing)


def _raised(
    parents: Sequence[Individual | None], work: _Work, setting: Setting, founders: Founders | None
) -> tuple[list[Raised], Founder | None, float]:
    """The newborns of `parents`; the founder among them that is kept, and the seconds another run spent on it."""
    shards = cut([one.gene if one else None for one in parents], work.now, work.manner)
    if founders is None or len(parents) > 1:
        return work.raise_all(shards), None, 0.0
    founder, is_old = founders.get(shards[0], setting, partial(work.found, shards))
    if is_old:
        work.bar.advance(generation_images(setting.recipe, work.now), generation=work.now + 1, now="raised before")
    return [founder.raised], founder, founder.seconds if is_old else 0.0


def _parents(pool: Sequence[Individual], recipe: Recipe, now: int) -> Sequence[Individual | None]:
    """Ancestors of the newborns of generation `now`: none, the founder, or members of the gene pool.

    While a founder is raised, and in the first generation after it, its lineage is one unbroken line (ours). Then
    ancestors are drawn in proportion to score (attested for GRL, arXiv:2306.10225).
    """
    count = population_size(recipe, now)
    if not pool:
        return [None] * count
    if now <= recipe.evolution.founders:
        return [max(pool, key=lambda one: one.id)] * count
    scores = torch.tensor([max(one.score, 1e-9) for one in pool])
    draws = generator(recipe.seed, "parents", now)
    return [pool[int(i)] for i in torch.multinomial(scores, count, replacement=True, generator=draws)]


def _individual(id_: int, parents: Sequence[Individual], raised: Raised, now: int) -> Individual:
    """The individual of generation `now` with its ancestors."""
    ancestors: dict[int, int] = {}
    for parent in parents:
        for ancestor, steps in ((parent.id, 0), *parent.ancestors.items()):
            ancestors[ancestor] = min(steps + 1, ancestors.get(ancestor, steps + 1))
    return Individual(
        id_, now, tuple(one.id for one in parents), ancestors, raised.fitness, raised.fitness, raised.gene
    )


def _select(born: Sequence[Individual], recipe: Recipe, now: int) -> list[Individual]:
    """The survivors: winners of tournaments, or everybody alive where the recipe wants no selection."""
    fitness = torch.tensor([one.fitness for one in born])
    size = min(recipe.evolution.tournament_size, len(born)) if recipe.evolution.selection == "tournament" else 1
    winners = tournament(fitness, size=size, generator=generator(recipe.seed, "tournament", now))
    return [born[winner] for winner in winners.tolist()]


def _recombine(survivors: Sequence[Individual], id_: int, recipe: Recipe, work: _Work) -> Individual | None:
    """The average of several survivors, scored like them; None where the recipe wants none, or it fails (ours).

    It takes the survivors' place only if it is at least as fit: the average of strangers is worth nothing.
    """
    if recipe.evolution.recombination == "none" or len(survivors) < 2:
        return None
    gene = average([one.gene for one in survivors])
    fitness = work.score(gene)
    return None if math.isnan(fitness) else _individual(id_, survivors, Raised(gene, 0.0, fitness), work.now)


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
    founders = {one.id for one in entering if one.generation < evolution.founders}
    ranked = sorted((*pool, *entering), key=lambda one: (-scores[one.id], -one.id))
    # a founder enters whatever its score, else its line would break
    kept = {one.id for one in sorted(ranked, key=lambda one: one.id not in founders)[: evolution.pool_size]}
    return tuple(
        replace(one, score=scores[one.id], ancestors={i: s for i, s in one.ancestors.items() if i in kept})
        for one in ranked
        if one.id in kept
    )


def _metrics_row(
    after: EvolutionState,
    born: Sequence[Individual],
    raised: Sequence[Raised],
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
            for one, left in zip(born, raised, strict=True)
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
