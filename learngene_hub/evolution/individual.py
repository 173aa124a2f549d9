"""The data types of an evolution: individuals, what the first of them inherit, and the state passed on. All frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learngene_hub.genome.genome import Genome
from learngene_hub.training.loop import Precision


@dataclass(frozen=True)
class Individual:
    """One learngene of the gene pool, with its lineage, fitness and score.

    Attributes:
        id: number of the individual, unique in its evolution, in order of creation.
        generation: generation that created it, from 0.
        parents: ids of the learngenes it inherited from; empty in the first generation.
        ancestors: id -> steps up the lineage, of those ancestors that are still in the gene pool.
        fitness: mean top-1 accuracy of its critics, in [0, 1], higher is better.
        score: its weight when ancestors of new individuals are drawn, >= 0.
        genome: its tensors and its number of channels in every group.
    """

    id: int
    generation: int
    parents: tuple[int, ...]
    ancestors: Mapping[int, int]
    fitness: float
    score: float
    genome: Genome


@dataclass(frozen=True)
class Beginning:
    """The inputs of the first generation.

    Attributes:
        sizes: group -> channels of its genes.
        genome: gene that it inherits; None: nothing.
        first_row: the entries on these inputs in its row of `metrics.jsonl`.
    """

    sizes: Mapping[str, int]
    genome: Genome | None
    first_row: Mapping[str, Any]


@dataclass(frozen=True)
class EvolutionState:
    """Everything that the next generation needs; together with the recipe it determines all later generations.

    Attributes:
        generation: the next generation to run, from 0.
        next_id: id of the next new individual.
        pool: the gene pool, best score first.
        images: training images seen so far by ancestry and critic networks together.
        seconds: wall time so far, that of the search included.
        precision: of convolutions and products, the same in the whole run; None: not settled yet.
        rows: what `metrics.jsonl` tells of each generation.
    """

    generation: int = 0
    next_id: int = 0
    pool: tuple[Individual, ...] = ()
    images: int = 0
    seconds: float = 0.0
    precision: Precision | None = None
    rows: tuple[Mapping[str, Any], ...] = ()
