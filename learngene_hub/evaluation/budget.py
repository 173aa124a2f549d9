"""What alternatives to a gene may cost, and what is trained for them.

An alternative that needs training gets as many training images as the evolution of the gene cost, on the same base
classes, by the optimiser of the gene's recipe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from learngene_hub.core.progress import Reporter
from learngene_hub.evaluation.pretraining import Pretraining
from learngene_hub.evolution.dry_run import evolution_flops, training_flops
from learngene_hub.gene.learngene import Learngene
from learngene_hub.genome.birth import Body, gene_network
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.training.fewshot import Images
from learngene_hub.training.loop import Precision
from learngene_hub.workers import EngineOptions

FULL, WIDER = "the full network", "a wider network"
TEACHER = 1.5  # widths of the gene's ancestors: 2.25 times the arithmetic


@dataclass(frozen=True)
class Budget:
    """What alternatives may cost, and how they are made: as the gene was.

    Attributes:
        gene: what they are compared with.
        recipe: the gene's own.
        base: images of its base classes, as its ancestors saw them.
        base_hash: their fingerprint, padding included.
        images_hash: of those and of the held-out ones.
        precision: of its convolutions.
        threads: by which each network is trained, on a CPU; they change the last digits.
        device: as the user named it.
        engine: what evolves ablations.
        folder: where trained networks are kept.
        reporter: told of progress.
    """

    gene: Learngene
    recipe: Recipe
    base: Images
    base_hash: str
    images_hash: str
    precision: Precision
    threads: int
    device: str
    engine: EngineOptions
    folder: Path
    reporter: Reporter

    @property
    def body(self) -> Body:
        """Of the gene's ancestors."""
        config = self.gene.config
        return Body(config.network, config.width, config.depth, config.in_chans)

    @property
    def images(self) -> int:
        """Training images that the evolution cost."""
        assert self.gene.config.origin is not None
        return self.gene.config.origin.cost.images

    @property
    def flops(self) -> float:
        """Floating-point operations that it cost."""
        return evolution_flops(self.recipe, self.body)


def plan_flops(plan: Pretraining, budget: Budget) -> float:
    """Floating-point operations of the whole training."""
    return plan.images * training_flops(plan.build(0).to("meta"), budget.recipe.data.image_size)


def _full_plan(budget: Budget) -> Pretraining:
    return _plan(budget, None, budget.images)


def _wider_plan(budget: Budget) -> Pretraining:
    return replace(_full_plan(budget), width=budget.body.width * TEACHER)


def _thin_plan(budget: Budget) -> Pretraining:
    return _plan(budget, budget.gene.config.channels, budget.images)


def _longer_plan(budget: Budget) -> Pretraining:
    """The thin network for as many FLOPs as the evolution cost."""
    thin = gene_network(budget.body, budget.gene.config.channels, num_classes=0)
    images = round(budget.flops / training_flops(thin.to("meta"), budget.recipe.data.image_size))
    return _plan(budget, budget.gene.config.channels, images)


def _plan(budget: Budget, channels: Mapping[str, int] | None, images: int) -> Pretraining:
    body = budget.body
    assert body.depth is not None
    return Pretraining(
        network=body.network,
        width=body.width,
        depth=body.depth,
        in_chans=body.in_chans,
        channels=channels,
        images=images,
        optimisation=budget.recipe.ancestry.constants(),
        data=budget.base_hash,
        flip=budget.base.batches.flip,
        precision=budget.precision,
        seed=budget.recipe.seed,
    )


PLANS: Mapping[str, Callable[[Budget], Pretraining]] = MappingProxyType(
    {FULL: _full_plan, WIDER: _wider_plan, "narrow": _thin_plan, "narrow-flops": _longer_plan}
)
"""Title of a network that is trained as usual -> its plan."""
