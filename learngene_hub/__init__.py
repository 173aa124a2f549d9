"""Evolve, share and inherit learngenes: small parts of trained networks, inherited by new ones.

Importing the package is cheap: each name is loaded when it is first used. It also sees to it that timm knows the
networks `lg_vgg11`, `lg_resnet12` and `lg_resnet12_wide`, and its own `resnet18` and vision transformer in any width,
as `lg_resnet18` and `lg_vit_tiny_patch4_32`, whether timm was imported before or comes later.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

__version__ = "0.1.0"

if TYPE_CHECKING:
    from learngene_hub.core.errors import LearngeneError
    from learngene_hub.evaluation.run import evaluate
    from learngene_hub.evolution.run import evolve
    from learngene_hub.gene.learngene import Learngene
    from learngene_hub.gene.listing import list_learngenes
    from learngene_hub.inheritance.descendant import InheritanceReport, extract, from_learngene, inherit
    from learngene_hub.inheritance.freezing import unfreeze
    from learngene_hub.recipe.recipe import Recipe
    from learngene_hub.workers import EngineOptions

_HOMES = {
    "EngineOptions": "workers",
    "InheritanceReport": "inheritance.descendant",
    "Learngene": "gene.learngene",
    "LearngeneError": "core.errors",
    "Recipe": "recipe.recipe",
    "evaluate": "evaluation.run",
    "evolve": "evolution.run",
    "extract": "inheritance.descendant",
    "from_learngene": "inheritance.descendant",
    "inherit": "inheritance.descendant",
    "list_learngenes": "gene.listing",
    "unfreeze": "inheritance.freezing",
}

__all__ = [
    "EngineOptions",
    "InheritanceReport",
    "Learngene",
    "LearngeneError",
    "Recipe",
    "evaluate",
    "evolve",
    "extract",
    "from_learngene",
    "inherit",
    "list_learngenes",
    "unfreeze",
]

register_post_import_hook(lambda timm: import_module("learngene_hub.networks"), "timm")


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
