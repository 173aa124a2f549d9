"""The lives of ancestry networks: each inherits a learngene, learns one k-way task, and its learngene is extracted."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from learngene_hub.backends import Backend, Fitted, Trainee, Training, train_each
from learngene_hub.birth import Body, gene_network, newborn, placed
from learngene_hub.data import Task
from learngene_hub.fitting import Images, support_batches
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.operators import extract, mutate
from learngene_hub.rng import generator
from learngene_hub.training import Batch, measure_statistics

HEAD = "head.fc.weight"


@dataclass(frozen=True)
class Life:
    """What the ancestry networks of one generation have in common.

    Attributes:
        body: what is built.
        channels: group -> channels that are gene.
        cross: see `learngene_hub.operators.inherit`.
        training: optimiser, steps, rates and the circuit loss, which is ours.
        mutation_rate: see `learngene_hub.operators.mutate`.
        statistics_batches: batches over which the circuit's batch norms are measured before extraction.
        seed: of the evolution.
    """

    body: Body
    channels: Mapping[str, int]
    cross: str
    training: Training
    mutation_rate: float
    statistics_batches: int
    seed: int


@dataclass(frozen=True)
class Birth:
    """One individual to be raised.

    Attributes:
        parent: the learngene inherited; None for a founder.
        task: the k-way task of its life.
        path: generation and number.
        on_step: called with the number of images of every step.
    """

    parent: Mapping[str, Tensor] | None
    task: Task
    path: tuple[int, int]
    on_step: Callable[[int], None] = lambda images: None


@dataclass(frozen=True)
class Trained:
    """What an ancestry network leaves: its learngene, mutated, and its last training loss (nats; NaN if it failed)."""

    gene: Mapping[str, Tensor]
    loss: float


def raise_learngenes(births: Sequence[Birth], images: Images, life: Life, *, backend: Backend) -> list[Trained]:
    """Inherit, train, mutate, extract: the individuals of one generation, a pure function of its arguments.

    The order is attested (ECO, NeurIPS 2025), though mutation and extraction are one step here: mutation decides
    which of the trained network's channels are the learngene. The circuit loss is ours.

    Args:
        births: the individuals; their tasks have equally many classes.
        images: of the base classes.
        life: what they have in common.
        backend: how they are trained; they differ by rounding only.
    """
    newborns = (trainee(birth, images, life) for birth in births)
    fitted = train_each(newborns, life.training, backend=backend)
    return [_leave(one, birth, life) for birth, one in zip(births, fitted, strict=True)]


def trainee(birth: Birth, images: Images, life: Life) -> Trainee:
    """The newborn network of `birth` with what it will learn from."""
    classes, channels = len(birth.task.classes), life.channels
    network = newborn(
        life.body, num_classes=classes, gene=birth.parent, cross=life.cross, seed=life.seed, path=birth.path
    )
    thin = gene_network(life.body, channels, num_classes=classes)

    def batches() -> Iterator[Batch]:
        draws = generator(life.seed, "ancestry batches", *birth.path)
        return support_batches(images, birth.task, life.training.optimisation.batch_size, draws)

    return Trainee(
        placed(network, images.device),
        batches,
        placed(thin, images.device),
        _inherited(network, birth.parent or {}),
        birth.on_step,
    )


def _leave(fitted: Fitted, birth: Birth, life: Life) -> Trained:
    if math.isnan(fitted.loss):
        return Trained({}, fitted.loss)
    network, thin = fitted.trainee.network, fitted.trainee.thin
    assert thin is not None
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    draws = generator(life.seed, "mutate", *birth.path)
    state = mutate(state, network.conv_specs(), life.channels, rate=life.mutation_rate, head=HEAD, generator=draws)
    gene = extract(state, network.conv_specs(), life.channels)
    thin.load_state_dict(thin.state_dict() | gene)
    batches = islice(fitted.batches, life.statistics_batches)
    measure_statistics(thin, _counted(batches, birth.on_step), life.training.precision)
    alone = {name: tensor.cpu() for name, tensor in thin.state_dict().items()}
    return Trained(extract(alone, thin.conv_specs(), life.channels), fitted.loss)


def _counted(batches: Iterable[Batch], on_step: Callable[[int], None]) -> Iterator[Tensor]:
    for images, labels in batches:
        on_step(len(labels))
        yield images


def _inherited(network: LearngeneNetwork, gene: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights that `network` has from `gene`."""
    weights = {name for name, _ in network.named_parameters()}
    return {name: tuple(tensor.shape) for name, tensor in gene.items() if name in weights}
