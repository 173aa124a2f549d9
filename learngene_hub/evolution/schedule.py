"""The numbers of each generation, as its recipe has them: individuals, steps, images, rates."""

import math

from learngene_hub.rates import Rate, falling, restarting
from learngene_hub.recipe import Recipe


def population_size(recipe: Recipe, generation: int) -> int:
    """Individuals born in `generation`: one while the founder is raised, then the whole population."""
    return 1 if generation < recipe.evolution.founders else recipe.evolution.population


def life_steps(recipe: Recipe, generation: int) -> int:
    """Training steps of one life: a founder takes those of a whole population, so that generations cost the same."""
    return recipe.ancestry.steps * (recipe.evolution.population // population_size(recipe, generation))


def mutation_rate(recipe: Recipe, generation: int) -> float:
    """Chance of a gene channel to be exchanged; 0 for a lone individual: no tournament could undo it (ours)."""
    return recipe.evolution.mutation_rate if population_size(recipe, generation) > 1 else 0.0


def generation_images(recipe: Recipe, generation: int) -> int:
    """Training images that `generation` costs at most, critics and the recombinant's included."""
    individuals = population_size(recipe, generation)
    size = recipe.evolution.tournament_size if recipe.evolution.selection == "tournament" else 1
    groups = math.ceil(individuals / min(size, individuals))
    critics = individuals + (recipe.evolution.recombination == "average" and groups > 1)
    batches = life_steps(recipe, generation) + recipe.ancestry.statistics_batches
    ancestry = individuals * batches * recipe.ancestry.batch_size
    return ancestry + critics * recipe.critic.tasks * recipe.critic.steps * recipe.critic.batch_size


def rates(recipe: Recipe, now: int) -> tuple[Rate, Rate | None]:
    """Learning rate of newborn weights, and of inherited ones where it is another."""
    begin, end = now / recipe.evolution.generations, (now + 1) / recipe.evolution.generations
    match recipe.ancestry.schedule:
        case "generation":
            return falling(), None
        case "evolution":
            return falling(begin, end), None
        case "two-speed":
            return restarting(begin, end), falling(begin, end)
