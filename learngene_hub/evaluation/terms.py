"""The terms on which alternatives to a gene are made, and what is trained for them.

An alternative that needs training gets as many training images as the evolution of the gene cost, on the same base
classes, by the optimiser of the gene's recipe.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from learngene_hub.birth import Body, gene_network
from learngene_hub.evaluation.pretraining import Pretraining
from learngene_hub.evolution.plan import evolution_flops, training_flops
from learngene_hub.fitting import Images
from learngene_hub.gene.learngene import Learngene
from learngene_hub.progress import Reporter
from learngene_hub.recipe import Recipe
from learngene_hub.training import Precision
from learngene_hub.workers import EngineOptions

FULL, WIDER = "the full network", "a wider network"
TEACHER = 1.5  # widths of the gene's ancestors: 2.25 times the arithmetic


@dataclass(frozen=True)
class Terms:
    """On which terms alternatives are made: those of the gene.

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
        return evolution_flops(self.recipe, self.body, self.gene.config.channels)


def plans_of(names: Sequence[str], terms: Terms) -> dict[str, Pretraining]:
    """What is trained as usual for the alternatives called `names`: title -> plan, each once, the costliest first."""
    plans = {title: PLANS[title](terms) for title in dict.fromkeys(NEEDS[name] for name in names if name in NEEDS)}
    flops = {title: plan_flops(plan, terms) for title, plan in plans.items()}
    return dict(sorted(plans.items(), key=lambda item: -flops[item[0]]))


def plan_flops(plan: Pretraining, terms: Terms) -> float:
    """Floating-point operations of the whole training."""
    return plan.images * training_flops(plan.build(0).to("meta"), terms.recipe.data.image_size)


def _full_plan(terms: Terms) -> Pretraining:
    return _plan(terms, None, terms.images)


def _wider_plan(terms: Terms) -> Pretraining:
    return replace(_full_plan(terms), width=terms.body.width * TEACHER)


def _thin_plan(terms: Terms) -> Pretraining:
    return _plan(terms, terms.gene.config.channels, terms.images)


def _longer_plan(terms: Terms) -> Pretraining:
    """The thin network for as many FLOPs as the evolution cost."""
    thin = gene_network(terms.body, terms.gene.config.channels, num_classes=0)
    images = round(terms.flops / training_flops(thin.to("meta"), terms.recipe.data.image_size))
    return _plan(terms, terms.gene.config.channels, images)


def _plan(terms: Terms, channels: Mapping[str, int] | None, images: int) -> Pretraining:
    body = terms.body
    assert body.depth is not None
    return Pretraining(
        network=body.network,
        width=body.width,
        depth=body.depth,
        in_chans=body.in_chans,
        channels=channels,
        images=images,
        optimisation=terms.recipe.ancestry.constants(),
        data=terms.base_hash,
        flip=terms.base.batches.flip,
        precision=terms.precision,
        seed=terms.recipe.seed,
    )


PLANS: Mapping[str, Callable[[Terms], Pretraining]] = MappingProxyType(
    {FULL: _full_plan, WIDER: _wider_plan, "narrow": _thin_plan, "narrow-flops": _longer_plan}
)
"""Title of a network that is trained as usual -> its plan."""
NEEDS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("pretrained", "random-slice", "magnitude-slice", "bn-slice", "even-slice"), FULL)
    | {"weight-selection": WIDER, "narrow": "narrow", "narrow-flops": "narrow-flops"}
)
"""Alternative -> the network it is made of; those that are not here are evolved."""
