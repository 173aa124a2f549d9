"""Where the channels of a learngene come from: the draws of mutation, made once more from their addresses."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from learngene_hub.descent import everyone
from learngene_hub.evolution.body import network_body, recipe_channels
from learngene_hub.evolution.plan import plan_generation
from learngene_hub.networks import plan_structure
from learngene_hub.operators import exchange
from learngene_hub.recipe import Recipe
from learngene_hub.rng import generator


def channel_births(rows: Sequence[Mapping[str, Any]], id_: int, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Channel group -> for each gene channel of the individual `id_`, the generation that brought it into its line.

    The line begins with a founder, or with the average of several genes, whose channels are all as old as itself.

    Args:
        rows: of `metrics.jsonl`.
        id_: of the individual.
        recipe: of the evolution, with its overrides.
    """
    (begin, _), *lives = _line(rows, id_)
    body, channels = network_body(recipe), recipe_channels(recipe)
    structure = plan_structure(body.network, width=body.width, depth=body.depth)
    sizes = structure.groups
    births = {group: torch.full((channels[group],), begin) for group in sizes}
    for generation, number in lives:
        plan = plan_generation(recipe, generation, precision="float32", threads=1)
        draws = generator(recipe.seed, "mutate", generation, number)
        orders = exchange(sizes, channels, rate=plan.ancestry.mutation_rate, generator=draws)
        for group, born in births.items():
            born[orders[group][: len(born)] >= len(born)] = generation
    return {group: tuple(born.tolist()) for group, born in births.items()}


def _line(rows: Sequence[Mapping[str, Any]], id_: int) -> list[tuple[int, int]]:
    """Generation and number of the individual `id_` and of those it descends from alone, the oldest first."""
    places = {
        one["id"]: (row["generation"], number, one["parents"])
        for row in rows
        for number, one in enumerate(everyone(row))
    }
    line = []
    while True:
        generation, number, parents = places[id_]
        line.append((generation, number))
        if len(parents) != 1:
            return line[::-1]
        id_ = parents[0]
