"""The genetic operators: pure functions from tensors, shapes and numbers to new ones; generators are on the CPU."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from learngene_hub.core.errors import SelectionError
from learngene_hub.genome.shape import Shape, ShapeSpace
from learngene_hub.genome.surgery import State, reorder
from learngene_hub.networks import Structure

MOST_RATIO = 1000  # of the proportions of a random shape's middle or last group and its first
KNOTS = 3  # of the curve through the proportions of a random shape


def mutate(
    state: State, structure: Structure, sizes: Mapping[str, int], *, rate: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The same network, with some gene channels of every group exchanged for channels outside the gene.

    Channels change places with kernel, norm and the matching inputs of the layers that read them, so the network
    computes the same as before. Only which channels come first changes, and so the learngene.
    Mutation: attested, Feng 2024 (arXiv:2401.08139, abstract). This form of it: ours.

    Args:
        state: the trained network's tensors.
        structure: of the network.
        sizes: group -> channels that are gene.
        rate: chance of each gene channel to be exchanged, in [0, 1]; at least one unit of a group stays.
        generator: source of the draws, on the CPU.
    """
    orders = {
        name: group.channels_of(_exchange(group.size // group.unit, sizes[name] // group.unit, rate, generator))
        for name, group in structure.groups.items()
    }
    return reorder(state, structure, orders)


def random_shapes(space: ShapeSpace, *, seed: int) -> Iterator[dict[str, int]]:
    """An endless series of shapes, whose proportions follow random curves over the groups in forward order (ours).

    A curve is straight on a logarithmic scale between the first group, the middle and the last. The middle and the last
    are up to `MOST_RATIO` times as high as the first, or as low; both ratios are from a scrambled Sobol sequence, which
    covers them evenly: 24 shapes hold as good a one as 96 independent draws do (docs/log, entry 37). Shapes whose
    groups are drawn one by one give worse genes (entry 32).

    Args:
        space: of shapes, with their budget.
        seed: of the scrambling.
    """
    points = torch.quasirandom.SobolEngine(KNOTS - 1, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    names, most = list(space.structure.groups), math.log(MOST_RATIO)
    while True:
        heights = most * (2 * points.draw(1, dtype=torch.float64) - 1)
        knots = torch.cat([heights.new_zeros(1, 1), heights], dim=1)[None]
        curve = interpolate(knots, len(names), mode="linear", align_corners=True)[0, 0].exp()
        yield space.fitted(dict(zip(names, curve.tolist(), strict=True)))


def mean_shape(shapes: Sequence[Shape], space: ShapeSpace) -> dict[str, int]:
    """A shape with the geometric mean of the fractions of `shapes`, the fittest first, fitted to the budget.

    Weights fall with the logarithm of the rank, as in evolution strategies: attested for vectors, Hansen and Ostermeier
    2001 (doi:10.1162/106365601750190398). That shapes are so recombined: ours.
    """
    weights = [math.log(len(shapes) + 0.5) - math.log(rank) for rank in range(1, len(shapes) + 1)]
    fractions = [space.fractions(shape) for shape in shapes]
    logs = {name: [math.log(one[name]) for one in fractions] for name in space.structure.groups}
    return space.fitted({name: math.exp(fmean(values, weights)) for name, values in logs.items()})


def tournament(fitness: Tensor, *, size: int, generator: torch.Generator) -> Tensor:
    """Indices of the winners of disjoint random groups, one per group, in rising order.

    Tournament selection of learngenes: attested, Feng 2024 (arXiv:2401.08139, abstract). Group size, draw: ours.

    Args:
        fitness: `(population,)` critic accuracy in [0, 1], higher is better; NaN marks a failed run and never wins.
        size: individuals per group, 1 or more; the last group may be smaller.
        generator: source of the draws, on the CPU.

    Returns:
        `(winners,)` int64 indices into `fitness`, without repeats; a group in which all failed has no winner.

    Raises:
        SelectionError: every individual failed.
    """
    groups = torch.split(torch.randperm(len(fitness), generator=generator), size)
    ranked = torch.where(fitness.isnan(), -math.inf, fitness)
    winners = [int(group[ranked[group].argmax()]) for group in groups]
    alive = sorted(winner for winner in winners if not math.isnan(float(fitness[winner])))
    if not alive:
        raise SelectionError(
            f"all {len(fitness)} individuals of the generation failed (NaN, or values too large); lower `ancestry.lr` "
            "or `critic.lr`"
        )
    return torch.tensor(alive)


def update_scores(
    pool: Mapping[int, float],
    survivors: Mapping[int, float],
    lineage: Mapping[int, Mapping[int, int]],
    *,
    decay: float,
    credit: float,
) -> dict[int, float]:
    """Scores of the gene pool after a generation, survivors included.

    Every old score is multiplied by `decay`; every survivor enters with its fitness and adds to its ancestors' scores.
    Score update by lineage: attested for the forerunner GRL (arXiv:2306.10225); these formulas: ours.

    Args:
        pool: id -> score so far.
        survivors: id -> fitness of this generation's winners.
        lineage: survivor's id -> (ancestor's id -> steps up the lineage).
        decay: factor on old scores, in [0, 1].
        credit: share of its fitness a survivor gives an ancestor, to the power of the steps, in [0, 1).
    """
    scores = {member: score * decay for member, score in pool.items()}
    for survivor, fitness in survivors.items():
        for ancestor, steps in lineage[survivor].items():
            if ancestor in scores:
                scores[ancestor] += credit**steps * fitness
    return scores | dict(survivors)


def _exchange(total: int, kept: int, rate: float, generator: torch.Generator) -> Tensor:
    """An order of `total` channels in which some of the first `kept` have changed places with later ones."""
    leaving = (torch.rand(kept, generator=generator) < rate).nonzero().flatten()
    entering = kept + torch.randperm(total - kept, generator=generator)
    count = min(len(leaving), len(entering), kept - 1)
    leaving = leaving[torch.randperm(len(leaving), generator=generator)[:count]]
    order = torch.arange(total)
    order[leaving], order[entering[:count]] = entering[:count], leaving
    return order
