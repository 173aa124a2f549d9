"""In which precision the networks of a run are trained: the same on all workers and in all generations."""

import platform
from dataclasses import dataclass
from typing import Any

import torch

from learngene_hub.core.errors import EngineError
from learngene_hub.evolution.plan import GenerationPlan
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.training.loop import Precision, best_precision
from learngene_hub.workers import Pool, Step, chip_kind


@dataclass(frozen=True)
class Looking:
    """The question which precision is best, as a task."""

    label = "the question which precision is best"

    def __call__(self, shared: Any, step: Step) -> Precision:  # noqa: ANN401 - whatever holds an environment
        """The best on the worker's device."""
        return best_precision(shared.environment.base.device)


def settle_precision(recipe: Recipe, workers: Pool[Any]) -> Precision:
    """The precision of all networks of a run; `auto` stands for what is best on the first worker of `workers`."""
    if recipe.precision != "auto":
        return recipe.precision
    ((_, precision),) = workers.run([Looking()])
    workers.record()  # it is no part of a generation
    return precision


def pick_precision(recipe: Recipe, device: torch.device) -> Precision:
    """The recipe's precision, or what `device` does best."""
    return best_precision(device) if recipe.precision == "auto" else recipe.precision


def check_precision(plan: GenerationPlan, device: torch.device) -> None:
    """Do nothing, unless `auto` stands for bfloat16 in this run, and `device` would only emulate it.

    Raises:
        EngineError: it is so.
    """
    precision = plan.ancestry.training.precision
    if plan.needs_native_precision and precision == "bfloat16" and best_precision(device) != precision:
        raise EngineError(
            f"precision: the run was begun in bfloat16, so workers need it, but {platform.node()} computes on "
            f"{chip_kind(device)}; leave that machine out, or begin again with precision=float32 and another --out"
        )
