"""The nouns of a job: networks to be trained, what they have in common, and what comes of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from learngene_hub.networks import LearngeneNetwork
from learngene_hub.rates import Rate, falling
from learngene_hub.training import Batch, Optimisation, Precision

Backend = Literal["loop", "grouped", "graph"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


@dataclass(frozen=True)
class Trainee:
    """One network to be trained.

    Attributes:
        network: changed in place.
        batches: gives what it learns from, without end, and from the start whenever it is called.
        thin: its thin network, for the circuit loss; None: no such loss.
        inherited: name -> shape of its leading weights that follow the gene's rate.
        on_step: called with the number of images of every step.
    """

    network: LearngeneNetwork
    batches: Callable[[], Iterator[Batch]]
    thin: LearngeneNetwork | None = None
    inherited: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    on_step: Callable[[int], None] = lambda images: None


@dataclass(frozen=True)
class Fitted:
    """A trainee after its training.

    Attributes:
        trainee: with the trained network.
        loss: in nats, as of `training.train`; NaN if it diverged.
        batches: go on where the training left them.
    """

    trainee: Trainee
    loss: float
    batches: Iterator[Batch]


@dataclass(frozen=True)
class Training:
    """What the trainees of one job have in common.

    Attributes:
        optimisation: optimiser and its constants.
        steps: optimiser steps.
        precision: of convolutions and products.
        rate: of the learning rate, after a linear warm-up.
        gene_rate: of inherited weights instead; None: the same.
        circuit_loss: weight of the thin network's cross-entropy.
    """

    optimisation: Optimisation
    steps: int
    precision: Precision
    rate: Rate = field(default_factory=falling)
    gene_rate: Rate | None = None
    circuit_loss: float = 0.0
