"""Scores as `Results`: means, intervals, paired differences, shares and costs."""

from collections.abc import Mapping, Sequence
from functools import partial

from learngene_hub.evaluation.candidates import Candidate
from learngene_hub.evaluation.measuring import TEST, Plan
from learngene_hub.evaluation.scoring import Scored
from learngene_hub.evaluation.starts import Start, learngene
from learngene_hub.evaluation.statistics import paired, summarise
from learngene_hub.genome.birth import Body, newborn
from learngene_hub.genome.surgery import inherited_parts
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.report.results import SCRATCH, DescendantResult, GeneRecord, Measure, Results, StartResult


def make_results(
    candidates: Sequence[Candidate],
    scored: Sequence[Scored],
    plan: Plan,
    *,
    data: str,
    images: str,
    seeds: Sequence[int],
    environment: Mapping[str, str | int],
) -> Results:
    """The results of an evaluation on classes of the data set `data`; leads are those of the first candidate.

    `images` is a hash of the images of these classes.
    `scored` has the score of every start in every kind of descendant; `environment` has versions and hardware.
    """
    protocol = plan.protocol
    bodies = dict.fromkeys(score.cell.body for score in scored)
    return Results(
        protocol=protocol.constants(),
        data=data,
        classes=plan.sources[TEST].classes,
        images=images,
        steps=protocol.measured_at,
        headline=protocol.headline,
        seeds=tuple(seeds),
        tasks=len(seeds) * protocol.tasks,
        genes=tuple(map(_record, candidates)),
        descendants=tuple(
            _descendant(body, [score for score in scored if score.cell.body == body], candidates[0].start)
            for body in bodies
        ),
        environment=dict(environment),
        recipe="" if candidates[0].recipe is None else candidates[0].recipe.public_text,
    )


def newborn_of(body: Body, start: Start) -> LearngeneNetwork:
    """A new descendant that inherits from `start`, before training.

    Raises:
        InheritanceError: the start does not fit.
    """
    return newborn(body, num_classes=2, gene=start.genome, seed=0)


def _record(candidate: Candidate) -> GeneRecord:
    config, origin = candidate.gene.config, candidate.origin
    return GeneRecord(
        start=candidate.start,
        name=origin.recipe,
        sha256=config.sha256,
        network=config.network,
        width=config.width,
        depth=config.depth,
        parameters=config.parameters,
        seed=origin.seed,
        cost=learngene(candidate).cost,
    )


def _descendant(body: Body, scored: Sequence[Scored], first_gene: str) -> DescendantResult:
    scores = {score.cell.start.name: score for score in scored}
    against = partial(_start_result, scratch=scores[SCRATCH], gene=scores[first_gene], first_gene=first_gene)
    structure = body.structure
    return DescendantResult(
        network=body.network,
        width=body.width,
        depth=structure.depth,
        parameters=structure.parameters(in_chans=body.in_chans),
        starts=tuple(map(against, scored)),
    )


def _start_result(score: Scored, *, scratch: Scored, gene: Scored, first_gene: str) -> StartResult:
    start, network = score.cell.start, newborn_of(score.cell.body, score.cell.start)
    state, accuracies = network.state_dict(), score.accuracies
    parts = {} if start.genome is None else inherited_parts(state, network.structure, start.genome)
    inherited = sum(part.numel() for part in parts.values())
    gain = {name: paired(values, scratch.accuracies[name]) for name, values in accuracies.items()}
    lead = {name: paired(gene.accuracies[name], values) for name, values in accuracies.items()}
    return StartResult(
        start=start.name,
        description=start.description,
        lr=score.lr,
        tuning={str(lr): accuracy for lr, accuracy in score.tuning.items()},
        inherited=inherited / network.structure.parameters(in_chans=network.in_chans),
        cost=start.cost,
        measures={
            name: Measure(accuracies=tuple(values), **summarise(values).model_dump())
            for name, values in accuracies.items()
        },
        gain={} if start.name == SCRATCH else gain,
        lead={} if start.name == first_gene else lead,
    )
