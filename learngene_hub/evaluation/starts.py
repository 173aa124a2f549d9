"""What a descendant can start from: nothing, a gene, or a baseline that costs as much as the gene.

A slice is a gene without evolution: some channels cut out of a network that was trained as usual.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from torch import Tensor

from learngene_hub.core.errors import LearngeneError, RecipeError, SelectionError, TrainingError, did_you_mean
from learngene_hub.core.plain_text import one_line
from learngene_hub.core.rng import generator
from learngene_hub.data.tasks import sample_task
from learngene_hub.evaluation.candidates import Candidate
from learngene_hub.evaluation.pretraining import (
    EACH_SIZE,
    FULL,
    NARROW,
    NARROW_EVEN,
    NARROW_FLOPS,
    TEACHER,
    WIDER,
    Budget,
    planned,
    pretrain,
)
from learngene_hub.evolution.critics import measured_alone
from learngene_hub.evolution.dry_run import training_flops
from learngene_hub.gene.config import DataRecord
from learngene_hub.genome.birth import Body
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.importance import Ranking, at_random, batch_norm, cut, evenly, magnitude
from learngene_hub.genome.surgery import extract
from learngene_hub.networks import Structure, plan_structure
from learngene_hub.report.results import SCRATCH, Cost
from learngene_hub.training.fewshot import support_batches
from learngene_hub.workers import threads


@dataclass(frozen=True)
class Start:
    """One start.

    Attributes:
        name: its name in tables.
        description: in a few words.
        genome: what a descendant inherits, in the leading channels of its layers; None: nothing.
        cost: of its training.
        size: the only kind of descendant that it fits; None: all.
        data: records of the images that it was trained on; empty if there are none, or if they are not known.
    """

    name: str
    description: str
    genome: Genome | None
    cost: Cost
    size: Body | None = None
    data: tuple[DataRecord, ...] = ()


def scratch() -> Start:
    """The start from scratch: nothing is inherited."""
    return Start(SCRATCH, "nothing inherited", None, Cost())


def learngene(candidate: Candidate) -> Start:
    """The start from a gene."""
    gene, cost = candidate.gene, candidate.origin.cost
    made = Cost(images=cost.images, flops=candidate.flops, seconds=cost.seconds, device=cost.device)
    description = f"the gene, {gene.config.fraction:.0%} of the channels"
    if (before := candidate.origin.ancestor) is not None:
        images = "" if before.images is None else f", whose {before.images:,} images are not counted"
        description += f"; it began from {one_line(before.name)}{images}"
    return Start(candidate.start, description, gene.genome, made, data=gene.config.all_data)


def make_baselines(names: Sequence[str], budget: Budget) -> list[Start]:
    """The baselines called `names`, trained if they are not in the cache; one that diverges is left out."""
    cost = budget.candidate.origin.cost
    budget.reporter.line(
        f"baselines are trained first, unless they are in the cache: {', '.join(names)}. The gene took "
        f"{cost.images:,} images and {cost.seconds / 60:.3g} minutes on {cost.device}; each baseline gets "
        "as many images, or FLOPs"
    )
    starts = []
    more = "" if budget.ancestor is None else "; it began from the same gene"
    for name in names:
        try:
            made = BASELINES[name](name, budget)
            starts += [replace(start, description=start.description + more) for start in made]
        except (RecipeError, TrainingError, SelectionError) as error:
            budget.reporter.warn(f"{name} is left out: {error}")
    return starts


def _network(
    name: str, budget: Budget, *, description: str, title: str | None = None, size: Body | None = None
) -> list[Start]:
    """All of a network that was trained as usual, called `title` there; for descendants of one `size`, or of all."""
    structure, state, cost = _trained(budget, title or name, size)
    return [Start(name, description, extract(state, structure, structure.channels), cost, size)]


def _each_size(name: str, budget: Budget) -> list[Start]:
    """A network for every kind of descendant, each trained on the same share of the images."""
    if [*budget.sizes] == [budget.body]:
        raise TrainingError("at the gene's own size alone it equals `pretrained`; give another --width or --depth")
    description = f"a network of this size, trained on 1 of {len(budget.sizes)} parts of the images"
    return [start for size in budget.sizes for start in _network(name, budget, description=description, size=size)]


def _narrow_even(name: str, budget: Budget) -> list[Start]:
    """Beside `NARROW`, says how much the shape of a thin network matters (ours)."""
    _refuse_ancestor(budget)
    if not isinstance(budget.recipe.gene.shape, str):
        raise TrainingError("gene.shape is a list of channels, so gene.fraction does not say how large the gene is")
    return _network(name, budget, description="a thin network of as many parameters, of an even shape")


def _slice(name: str, budget: Budget, *, description: str, ranking: Ranking) -> list[Start]:
    tensors = plan_structure(budget.body.network, depth=budget.body.depth).tensors
    if ranking is batch_norm and not any(axes.is_statistic for axes in tensors):
        raise TrainingError("the network has layers without a batch norm")
    structure, state, cost = _trained(budget, FULL)
    genome = cut(state, structure, budget.candidate.gene.config.channels, ranking, seed=budget.recipe.seed)
    return [Start(name, description, _with_own_statistics(genome, budget), cost)]


def _weight_selection(name: str, budget: Budget) -> list[Start]:
    """All weights of a network of the gene's own kind, evenly chosen from one `TEACHER` times as wide."""
    structure, state, cost = _trained(budget, WIDER)
    genome = cut(state, structure, budget.body.structure.channels, evenly, seed=budget.recipe.seed)
    description = f"the whole network, evenly chosen from one {TEACHER} times as wide (Xu 2024)"
    return [Start(name, description, _with_own_statistics(genome, budget), cost)]


def _refuse_ancestor(budget: Budget) -> None:
    if budget.ancestor is not None:
        raise TrainingError(
            f"the gene began from {budget.ancestor.name}, and a baseline of another shape cannot begin from it"
        )


BASELINES: Mapping[str, Callable[[str, Budget], list[Start]]] = MappingProxyType(
    {
        "pretrained": partial(_network, title=FULL, description="the whole network, trained on the base classes"),
        "random-slice": partial(_slice, description="as many channels as the gene, cut at random", ranking=at_random),
        "magnitude-slice": partial(_slice, description="the channels of the largest kernels", ranking=magnitude),
        "bn-slice": partial(_slice, description="the channels of the largest batch-norm weights", ranking=batch_norm),
        "even-slice": partial(_slice, description="evenly spaced channels", ranking=evenly),
        "weight-selection": _weight_selection,
        NARROW: partial(_network, description="a thin network of the gene's shape, trained on as many images"),
        NARROW_FLOPS: partial(_network, description="a thin network of the gene's shape, trained for as many FLOPs"),
        NARROW_EVEN: _narrow_even,
        EACH_SIZE: _each_size,
    }
)
"""Name -> the function that makes the baseline. All slices come from the pre-trained network of `pretrained`."""


def check_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """The same names without repeats; `all` is replaced by all names.

    Raises:
        LearngeneError: there is no such baseline.
    """
    wanted = tuple(dict.fromkeys(each for name in names for each in (BASELINES if name == "all" else (name,))))
    for name in wanted:
        if name not in BASELINES:
            expected = f"expected all, or some of {', '.join(BASELINES)}{did_you_mean(name, BASELINES)}"
            raise LearngeneError(f"baseline {name!r}: {expected}")
    return wanted


def _trained(budget: Budget, title: str, size: Body | None = None) -> tuple[Structure, Mapping[str, Tensor], Cost]:
    """The network called `title`, trained as usual: its structure, its tensors and what it cost."""
    plan = planned(title, budget, size or budget.body)
    with threads(budget.threads):
        trained = pretrain(plan, budget, title=title)
    flops = plan.images * training_flops(plan.build(0).to("meta"), budget.recipe.data.image_size)
    cost = Cost(images=plan.images, flops=flops, seconds=trained.seconds, device=trained.device)
    return plan.structure, trained.state, cost


def _with_own_statistics(genome: Genome, budget: Budget) -> Genome:
    """The slice with batch-norm statistics of its channels alone, as a gene has them."""
    classes, ancestry = int(budget.base.labels.max()) + 1, budget.recipe.ancestry
    draws = generator(budget.recipe.seed, "slice statistics")
    task = sample_task(budget.base.labels, n_way=classes, n_shot=None, n_query=0, generator=draws)
    batches = support_batches(budget.base, task, ancestry.batch_size, draws)
    shown = (next(batches)[0] for _ in range(ancestry.statistics_batches))
    return measured_alone(genome, budget.body, shown, budget.precision, budget.base.device)
