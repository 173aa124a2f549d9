"""Verdicts as `Results`: means, intervals, paired differences, shares and costs."""

import platform
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from learngene_hub import __version__
from learngene_hub.birth import Body, newborn
from learngene_hub.evaluation.bench import CROSS, Plan
from learngene_hub.evaluation.candidates import Candidate
from learngene_hub.evaluation.judge import THREADS, Contender, Verdict
from learngene_hub.evaluation.starts import Start, learngene
from learngene_hub.evaluation.statistics import measure, paired
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.results import SCRATCH, DescendantResult, GeneRecord, Results, StartResult
from learngene_hub.workers import device_name

Judged = Sequence[tuple[Contender, Verdict]]


def make_results(
    candidates: Sequence[Candidate],
    judged: Judged,
    plan: Plan,
    *,
    data: str,
    seeds: Sequence[int],
    environment: Mapping[str, str | int],
) -> Results:
    """The results of an evaluation.

    Args:
        candidates: the genes; leads are those of the first.
        judged: every start in every kind of descendant, with its verdict.
        plan: what all had in common.
        data: name of the data set of the classes that judge.
        seeds: of the tasks.
        environment: versions and hardware, of whoever measured.
    """
    protocol = plan.protocol
    bodies = dict.fromkeys(contender.body for contender, _ in judged)
    return Results(
        protocol=protocol.constants(),
        data=data,
        classes=plan.sources["novel"].classes,
        steps=protocol.measured_at,
        headline=protocol.headline,
        seeds=tuple(seeds),
        tasks=len(seeds) * protocol.tasks,
        genes=tuple(map(_record, candidates)),
        descendants=tuple(
            _descendant(body, [one for one in judged if one[0].body == body], candidates[0].start) for body in bodies
        ),
        environment=dict(environment),
        recipe="" if candidates[0].recipe is None else candidates[0].recipe.public_text,
    )


def fit(body: Body, start: Start) -> LearngeneNetwork:
    """A descendant of `start`, as every one is born.

    Raises:
        InheritanceError: the start does not fit.
    """
    return newborn(body, num_classes=2, gene=start.tensors, cross=CROSS, seed=0)


def environment(plan: Plan) -> dict[str, str | int]:
    """Versions and hardware that outcomes may depend on, of the process that calls."""
    return {
        "learngene_hub": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(torch.device(plan.device)),
        "threads": THREADS,
        "precision": plan.precision,
    }


def _record(candidate: Candidate) -> GeneRecord:
    config = candidate.gene.config
    assert config.origin is not None
    return GeneRecord(
        start=candidate.start,
        name=config.origin.recipe,
        sha256=config.sha256,
        network=config.network,
        width=config.width,
        depth=config.depth,
        parameters=config.parameters,
        seed=config.origin.seed,
        cost=learngene(candidate.gene, candidate.start, flops=candidate.flops).cost,
    )


def _descendant(body: Body, judged: Judged, first_gene: str) -> DescendantResult:
    verdicts = {contender.start.name: verdict for contender, verdict in judged}
    against = partial(_start_result, scratch=verdicts[SCRATCH], gene=verdicts[first_gene], first_gene=first_gene)
    network = fit(body, judged[0][0].start)
    return DescendantResult(
        network=body.network,
        width=body.width,
        depth=network.depth,
        parameters=_parameters(network),
        starts=tuple(against(contender, verdict) for contender, verdict in judged),
    )


def _start_result(
    contender: Contender, verdict: Verdict, *, scratch: Verdict, gene: Verdict, first_gene: str
) -> StartResult:
    start, network = contender.start, fit(contender.body, contender.start)
    state, accuracies = network.state_dict(), verdict.accuracies
    inherited = sum(t.numel() for n, t in (start.tensors or {}).items() if n in state and "running" not in n)
    return StartResult(
        start=start.name,
        description=start.description,
        lr=verdict.lr,
        tuning={str(lr): accuracy for lr, accuracy in verdict.tuning.items()},
        inherited=inherited / _parameters(network),
        cost=start.cost,
        measures={name: measure(values) for name, values in accuracies.items()},
        gain={}
        if start.name == SCRATCH
        else {name: paired(values, scratch.accuracies[name]) for name, values in accuracies.items()},
        lead={}
        if start.name == first_gene
        else {name: paired(gene.accuracies[name], values) for name, values in accuracies.items()},
    )


def _parameters(network: LearngeneNetwork) -> int:
    return sum(weight.numel() for name, weight in network.named_parameters() if not name.startswith("head."))
