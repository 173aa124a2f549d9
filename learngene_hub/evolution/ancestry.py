"""The life of an ancestry network: it inherits a learngene, learns one k-way task, and its learngene is extracted.

`Life` is the unit of work of an evolution: a pure function of itself and the shared data, so that any worker may do it,
and do it again. Any number of workers, with either engine, gives the same bytes on a CPU (ours).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from learngene_hub.birth import Body, gene_network, newborn, placed
from learngene_hub.data import Task, sample_task
from learngene_hub.engine import Step, threads
from learngene_hub.evolution.critics import critic_fitness
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.plan import GenerationPlan
from learngene_hub.evolution.precision import check_precision
from learngene_hub.fitting import support_batches
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.operators import extract, mutate
from learngene_hub.rng import generator
from learngene_hub.training import measure_statistics, train

HEAD = "head.fc.weight"


@dataclass(frozen=True)
class SharedData:
    """What all workers of a run look at.

    Attributes:
        body: what every network is built as.
        channels: channel group -> channels that are gene.
        environment: the images.
        critic_tasks: what critics learn, the same in every generation.
    """

    body: Body
    channels: Mapping[str, int]
    environment: Environment
    critic_tasks: tuple[Task, ...]

    def on(self, device: torch.device) -> "SharedData":
        """The same with its images on `device`."""
        return replace(self, environment=self.environment.on(device))


@dataclass(frozen=True)
class Outcome:
    """What an ancestry network leaves: its learngene, its last training loss and its fitness, NaN where it failed."""

    gene: Mapping[str, Tensor]
    loss: float
    fitness: float


@dataclass(frozen=True)
class Life:
    """One individual to be raised and scored, as a task for a worker.

    Attributes:
        plan: of its generation.
        number: of the individual in it, from 0.
        parent: gene that it inherits; None for the first founder.
    """

    plan: GenerationPlan
    number: int
    parent: Mapping[str, Tensor] | None

    @property
    def label(self) -> str:
        """What the log calls it."""
        return f"generation {self.plan.generation + 1}, individual {self.number + 1}"

    def __call__(self, shared: SharedData, step: Step) -> Outcome:
        """The individual's gene, loss and fitness.

        Raises:
            EngineError: see `check_precision`.
        """
        plan = self.plan
        check_precision(plan, shared.environment.base.device)
        doing = f"individual {self.number + 1}/{plan.individuals}"
        with threads(plan.ancestry.threads):
            gene, loss = self._live(shared, partial(step, doing=doing))
        if math.isnan(loss):
            return Outcome(gene, loss, math.nan)
        with threads(plan.critics.threads):
            fitness = critic_fitness(
                gene,
                shared.environment.held_out,
                shared.critic_tasks,
                plan.critics.training,
                body=shared.body,
                cross=plan.cross,
                seed=plan.seed,
                on_step=partial(step, doing="critics"),
            )
        return Outcome(gene, loss, fitness)

    def _live(self, shared: SharedData, on_step: Callable[[int], None]) -> tuple[dict[str, Tensor], float]:
        """Inherit, train, mutate, extract: the learngene, mutated, and the last loss; no gene where it is NaN.

        The order is attested (ECO, NeurIPS 2025), though mutation and extraction are one step here: mutation decides
        which of the trained network's channels are the learngene.
        """
        base, plan = shared.environment.base, self.plan.ancestry
        task = sample_task(
            base.labels,
            n_way=plan.ways,
            n_shot=plan.images_per_class,
            n_query=0,
            generator=self._draws("ancestry task"),
        )
        network = self._newborn(shared, len(task.classes))
        batches = support_batches(base, task, plan.training.optimisation.batch_size, self._draws("ancestry batches"))
        inherited = _inherited(network, self.parent or {})
        loss = train(network, batches, plan.training, inherited=inherited, on_step=on_step)
        if math.isnan(loss):
            return {}, loss

        def shown() -> Iterator[Tensor]:
            for images, labels in islice(batches, plan.statistics_batches):
                on_step(len(labels))
                yield images

        return self._gene(network, shared, shown()), loss

    def _newborn(self, shared: SharedData, classes: int) -> LearngeneNetwork:
        """The network that inherits from the parent, on the device of the images."""
        network = newborn(
            shared.body,
            num_classes=classes,
            gene=self.parent,
            cross=self.plan.cross,
            seed=self.plan.seed,
            path=(self.plan.generation, self.number),
        )
        return placed(network, shared.environment.base.device)

    def _gene(self, network: LearngeneNetwork, shared: SharedData, images: Iterator[Tensor]) -> dict[str, Tensor]:
        """The learngene of the trained `network`, its batch norms measured alone on `images`."""
        channels, specs, device = shared.channels, network.conv_specs(), shared.environment.base.device
        state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        rate = self.plan.ancestry.mutation_rate
        state = mutate(state, specs, channels, rate=rate, head=HEAD, generator=self._draws("mutate"))
        thin = placed(gene_network(shared.body, channels, num_classes=0), device)
        thin.load_state_dict(thin.state_dict() | extract(state, specs, channels))
        measure_statistics(thin, images, self.plan.ancestry.training.precision)
        alone = {name: tensor.cpu() for name, tensor in thin.state_dict().items()}
        return extract(alone, thin.conv_specs(), channels)

    def _draws(self, purpose: str) -> torch.Generator:
        return generator(self.plan.seed, purpose, self.plan.generation, self.number)


def _inherited(network: LearngeneNetwork, gene: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights that `network` has from `gene`."""
    weights = {name for name, _ in network.named_parameters()}
    return {name: tuple(tensor.shape) for name, tensor in gene.items() if name in weights}
