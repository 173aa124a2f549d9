"""An ancestry network's life: it inherits a learngene, learns one k-way task, and its learngene is extracted."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from learngene_hub.birth import Body, gene_network, newborn, placed
from learngene_hub.data import Task
from learngene_hub.fitting import Images, support_batches
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.operators import extract, mutate
from learngene_hub.rng import generator
from learngene_hub.training import (
    Batch,
    Circuit,
    Optimisation,
    Precision,
    Rate,
    Slow,
    leading,
    measure_statistics,
    train,
)

HEAD = "head.fc.weight"


@dataclass(frozen=True)
class Trained:
    """What an ancestry network leaves: its learngene, mutated, and its last training loss (nats; NaN if it failed)."""

    gene: Mapping[str, Tensor]
    loss: float


def raise_learngene(
    parent: Mapping[str, Tensor] | None,
    images: Images,
    task: Task,
    optimisation: Optimisation,
    *,
    body: Body,
    channels: Mapping[str, int],
    cross: str,
    steps: int,
    rate: Rate,
    gene_rate: Rate | None,
    circuit_loss: float,
    mutation_rate: float,
    statistics_batches: int,
    precision: Precision,
    seed: int,
    path: tuple[int, int],
    on_step: Callable[[int], None] = lambda images: None,
) -> Trained:
    """Inherit, train, mutate, extract: one individual of one generation, a pure function of its arguments.

    The order is attested (ECO, NeurIPS 2025), though mutation and extraction are one step here: mutation decides
    which of the trained network's channels are the learngene. The circuit loss is ours.

    Args:
        parent: the learngene inherited; None for a founder.
        images: of the base classes.
        task: the k-way task of this life.
        optimisation: optimiser and its constants.
        body: what is built.
        channels: group -> channels that are gene.
        cross: see `learngene_hub.operators.inherit`.
        steps: optimiser steps of this life.
        rate: of the learning rate in this life.
        gene_rate: of the inherited weights instead; None: the same.
        circuit_loss: weight of the gene's own loss; 0: none.
        mutation_rate: see `learngene_hub.operators.mutate`.
        statistics_batches: batches over which the circuit's batch norms are measured before extraction.
        precision: of convolutions.
        seed: of the evolution.
        path: generation and number of the individual.
        on_step: called with the number of images of every step.
    """
    network = newborn(body, num_classes=len(task.classes), gene=parent, cross=cross, seed=seed, path=path)
    network = placed(network, images.device)
    thin = gene_network(body, channels, num_classes=len(task.classes))
    thin = placed(thin, images.device)
    batches = support_batches(images, task, optimisation.batch_size, generator(seed, "ancestry batches", *path))
    loss = train(
        network,
        batches,
        optimisation,
        steps=steps,
        precision=precision,
        rate=rate,
        circuit=Circuit(network, thin),
        circuit_loss=circuit_loss,
        slow=Slow(_inherited(network, parent), gene_rate) if parent and gene_rate else None,
        on_step=on_step,
    )
    if math.isnan(loss):
        return Trained({}, loss)
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    draws = generator(seed, "mutate", *path)
    state = mutate(state, network.conv_specs(), channels, rate=mutation_rate, head=HEAD, generator=draws)
    gene = extract(state, network.conv_specs(), channels)
    if cross == "zero":
        thin.load_state_dict(thin.state_dict() | gene)
        measure_statistics(thin, _counted(islice(batches, statistics_batches), on_step), precision)
        gene = extract({name: t.cpu() for name, t in thin.state_dict().items()}, thin.conv_specs(), channels)
    return Trained(gene, loss)


def _counted(batches: Iterable[Batch], on_step: Callable[[int], None]) -> Iterator[Tensor]:
    for images, labels in batches:
        on_step(len(labels))
        yield images


def _inherited(network: LearngeneNetwork, gene: Mapping[str, Tensor]) -> list[Tensor]:
    """Views of the weights that `network` has from `gene`."""
    weights = dict(network.named_parameters())
    return [leading(weights[name], tensor.shape) for name, tensor in gene.items() if name in weights]
