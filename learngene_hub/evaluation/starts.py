"""What a descendant can start from: nothing, a gene, and every honest alternative to one."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import Tensor

from learngene_hub.backends import Backend
from learngene_hub.birth import body_channels, gene_network, placed
from learngene_hub.data import sample_task
from learngene_hub.errors import LearngeneError, SelectionError, TrainingError
from learngene_hub.evaluation.pretraining import Pretrained, Pretraining, pretrain
from learngene_hub.evaluation.slices import Ranking, at_random, batch_norm, cut, evenly, magnitude
from learngene_hub.evaluation.terms import FULL, PLANS, TEACHER, WIDER, Terms, plan_flops
from learngene_hub.evolution.population import LOOP, Job
from learngene_hub.evolution.run import evolve
from learngene_hub.files import alone
from learngene_hub.fitting import support_batches
from learngene_hub.gene.learngene import Learngene
from learngene_hub.operators import extract
from learngene_hub.results import SCRATCH, Cost
from learngene_hub.rng import generator
from learngene_hub.training import measure_statistics
from learngene_hub.workers import threads

FOUNDERS_FOLDER = "founders"


@dataclass(frozen=True)
class Start:
    """One start.

    Attributes:
        name: in tables.
        description: what it is, in a few words.
        tensors: what a descendant inherits, in the leading channels of its layers; None: nothing.
        cost: of making it.
    """

    name: str
    description: str
    tensors: Mapping[str, Tensor] | None
    cost: Cost


def scratch() -> Start:
    """Nothing inherited."""
    return Start(SCRATCH, "nothing inherited", None, Cost())


def learngene(gene: Learngene, name: str, *, flops: float) -> Start:
    """A gene."""
    assert gene.config.origin is not None
    cost = gene.config.origin.cost
    made = Cost(images=cost.images, flops=flops, seconds=cost.seconds, device=cost.device)
    return Start(name, f"the gene, {gene.config.fraction:.0%} of the channels", gene.tensors, made)


def make_baselines(names: Sequence[str], terms: Terms) -> list[Start]:
    """The alternatives called `names`, made now where they are not in the cache; one that diverges is left out."""
    starts = []
    for name in names:
        try:
            starts.append(BASELINES[name](terms))
        except (TrainingError, SelectionError) as error:
            terms.reporter.warn(f"{name} is left out: {error}")
    return starts


def check_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, `all` spelt out, each once.

    Raises:
        LearngeneError: there is no such baseline.
    """
    wanted = tuple(dict.fromkeys(one for name in names for one in (BASELINES if name == "all" else (name,))))
    for name in wanted:
        if name not in BASELINES:
            near = difflib.get_close_matches(name, BASELINES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise LearngeneError(f"baseline {name!r}: expected all, or some of {', '.join(BASELINES)}{hint}")
    return wanted


def _pretrained(terms: Terms) -> Start:
    plan, trained = _trained(terms, FULL)
    network = plan.build(0)
    tensors = extract(trained.state, network.conv_specs(), network.channel_counts())
    cost = _cost(terms, plan, trained)
    return Start("pretrained", "the full network trained on the base classes, all of it", tensors, cost)


def _slice(terms: Terms, *, name: str, description: str, ranking: Ranking) -> Start:
    plan, trained = _trained(terms, FULL)
    channels = terms.gene.config.channels
    tensors = cut(trained.state, plan.build(0).conv_specs(), channels, ranking, seed=terms.recipe.seed)
    cost = _cost(terms, plan, trained)
    return Start(name, description, _with_own_statistics(tensors, channels, terms), cost)


def _weight_selection(terms: Terms) -> Start:
    """All weights of a network of the gene's own kind, evenly chosen from one `TEACHER` times as wide."""
    plan, trained = _trained(terms, WIDER)
    counts = body_channels(terms.body)
    tensors = cut(trained.state, plan.build(0).conv_specs(), counts, evenly, seed=terms.recipe.seed)
    description = f"the whole network, evenly chosen from one {TEACHER} times as wide (Xu 2024)"
    own = _with_own_statistics(tensors, counts, terms)
    return Start("weight-selection", description, own, _cost(terms, plan, trained))


def _narrow(terms: Terms, *, name: str, description: str) -> Start:
    plan, trained = _trained(terms, name)
    tensors = extract(trained.state, plan.build(0).conv_specs(), terms.gene.config.channels)
    return Start(name, description, tensors, _cost(terms, plan, trained))


def _ablation(terms: Terms, *, name: str, description: str, change: str) -> Start:
    """The gene's own recipe with one `change`, by the back ends that made the gene.

    Ablations share their founders.
    """
    assert terms.gene.config.origin is not None
    recipe, made_by = terms.recipe.changed(change), terms.gene.config.origin.backends
    backends: dict[Job, Backend] = {"ancestry": made_by.ancestry, "critics": made_by.critics}
    others = "".join(f"-{job}-{backend}" for job, backend in backends.items() if backend != LOOP)
    out = terms.folder / f"{name}-{recipe.sha256[:24]}{others}-{terms.images_hash[:12]}"
    terms.reporter.line(f"{name}: evolving {recipe.name} with {change} in {out}")
    terms.folder.mkdir(parents=True, exist_ok=True)
    with alone(out.with_suffix(".lock"), name, terms.reporter.line):
        gene = evolve(
            recipe,
            out=out,
            resume=True,
            device=terms.device,
            engine=terms.engine,
            backends=backends,
            founders=terms.folder / FOUNDERS_FOLDER,
            reporter=terms.reporter,
        )
    return Start(name, description, gene.tensors, learngene(gene, name, flops=terms.flops).cost)


BASELINES: Mapping[str, Callable[[Terms], Start]] = MappingProxyType(
    {
        "pretrained": _pretrained,
        "random-slice": partial(
            _slice, name="random-slice", description="as many channels as the gene, cut at random", ranking=at_random
        ),
        "magnitude-slice": partial(
            _slice, name="magnitude-slice", description="the channels of the largest kernels", ranking=magnitude
        ),
        "bn-slice": partial(
            _slice, name="bn-slice", description="the channels of the largest batch-norm weights", ranking=batch_norm
        ),
        "even-slice": partial(_slice, name="even-slice", description="evenly spaced channels", ranking=evenly),
        "weight-selection": _weight_selection,
        "narrow": partial(
            _narrow,
            name="narrow",
            description="a thin network of the gene's size, trained on as many images",
        ),
        "narrow-flops": partial(
            _narrow,
            name="narrow-flops",
            description="a thin network of the gene's size, trained for as many FLOPs",
        ),
        "gtl-no-selection": partial(
            _ablation,
            name="gtl-no-selection",
            description="the gene's recipe without selection",
            change="evolution.selection=none",
        ),
        "gtl-no-mutation": partial(
            _ablation,
            name="gtl-no-mutation",
            description="the gene's recipe without mutation",
            change="evolution.mutation_rate=0",
        ),
    }
)
"""Name -> how the alternative is made. All slices come from the one pre-trained network of `pretrained`."""


def _trained(terms: Terms, title: str) -> tuple[Pretraining, Pretrained]:
    plan = PLANS[title](terms)
    with threads(terms.threads):
        return plan, pretrain(plan, terms.base, terms.folder, title=title, reporter=terms.reporter)


def _with_own_statistics(
    tensors: Mapping[str, Tensor], channels: Mapping[str, int], terms: Terms
) -> Mapping[str, Tensor]:
    """The slice of so many `channels` with batch norms that know what it computes alone, as a gene's do."""
    thin = gene_network(terms.body, channels, num_classes=2)
    thin.load_state_dict(thin.state_dict() | dict(tensors))
    thin = placed(thin, terms.base.device)
    classes, ancestry = int(terms.base.labels.max()) + 1, terms.recipe.ancestry
    draws = generator(terms.recipe.seed, "slice statistics")
    task = sample_task(terms.base.labels, n_way=classes, n_shot=None, n_query=0, generator=draws)
    batches = support_batches(terms.base, task, ancestry.batch_size, draws)
    shown = (next(batches)[0] for _ in range(ancestry.statistics_batches))
    measure_statistics(thin, shown, terms.precision)
    state = {name: tensor.cpu() for name, tensor in thin.state_dict().items()}
    return extract(state, thin.conv_specs(), channels)


def _cost(terms: Terms, plan: Pretraining, trained: Pretrained) -> Cost:
    return Cost(images=plan.images, flops=plan_flops(plan, terms), seconds=trained.seconds, device=trained.device)
