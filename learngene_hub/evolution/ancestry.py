"""Training of an ancestry network: it inherits a learngene, learns one k-way task, and its learngene is extracted.

`AncestryTask` is the unit of work of an evolution: a pure function of itself and the images, so that any worker can
run it, and repeat it. Any number of workers, with either engine, gives the same bytes on a CPU (ours).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from learngene_hub.core.rng import generator
from learngene_hub.data.tasks import sample_task
from learngene_hub.evolution.critics import critic_accuracies, measured_alone
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.operators import mutate
from learngene_hub.evolution.plan import GenerationPlan, check_precision
from learngene_hub.gene.folder import value_fault
from learngene_hub.genome.birth import newborn, placed
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import extract, inherited_parts
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.training.fewshot import support_batches
from learngene_hub.training.loop import train
from learngene_hub.workers import Step, threads


@dataclass(frozen=True)
class Outcome:
    """The result of an ancestry network: learngene, last training loss and fitness; None and NaN if it failed.

    Fitness is NaN without critics, too.
    """

    genome: Genome | None
    loss: float
    fitness: float


@dataclass(frozen=True)
class AncestryTask:
    """Individual `number`, from 0, of a generation, to be trained and scored, as a task for a worker.

    Its own gene has `sizes`, group -> channels; it inherits the gene `parent`, if any. `title` is its name in the log
    and the bar, if it is no individual of a generation but belongs to a search.
    """

    plan: GenerationPlan
    number: int
    parent: Genome | None
    sizes: Mapping[str, int]
    title: str = ""

    @property
    def label(self) -> str:
        """Name of the task in the log."""
        return self.title or f"generation {self.plan.generation + 1}, individual {self.number + 1}"

    def __call__(self, environment: Environment, step: Step) -> Outcome:
        """The individual's gene, loss and fitness.

        Raises:
            EngineError: see `check_precision`.
        """
        plan = self.plan
        check_precision(plan, environment.base.device)
        doing = self.title or f"individual {self.number + 1}/{plan.individuals}"
        with threads(plan.ancestry.threads):
            genome, loss = self.live(environment, partial(step, doing=doing))
        if genome is None or any(value_fault(name, tensor) for name, tensor in genome.tensors.items()):
            return Outcome(None, loss, math.nan)
        with threads(plan.critics.threads):
            on_step = partial(step, doing=self.title or "critics")
            accuracies = critic_accuracies(genome, environment.held_out, plan, on_step)
        return Outcome(genome, loss, sum(accuracies) / len(accuracies) if accuracies else math.nan)

    def live(self, environment: Environment, on_step: Callable[[int], None]) -> tuple[Genome | None, float]:
        """Inherit, train, mutate, extract: the mutated learngene and the last loss; no learngene if the loss is NaN.

        The order is attested (ECO, NeurIPS 2025), though mutation and extraction are one step here: mutation decides
        which of the trained network's channels are the learngene.
        """
        base, plan = environment.base, self.plan.ancestry
        task = sample_task(
            base.labels,
            n_way=plan.ways,
            n_shot=plan.images_per_class,
            n_query=0,
            generator=self._draws("ancestry task"),
        )
        network = newborn(
            self.plan.body,
            num_classes=len(task.classes),
            gene=self.parent,
            seed=self.plan.seed,
            path=(self.plan.generation, self.number),
        )
        network = placed(network, base.device)
        batches = support_batches(base, task, plan.training.optimisation.batch_size, self._draws("ancestry batches"))
        inherited: list[Tensor] = []  # views of what the weights have from the parent
        if self.parent is not None:
            inherited += inherited_parts(dict(network.named_parameters()), network.structure, self.parent).values()
        loss = train(network, batches, plan.training, inherited=inherited, on_step=on_step)
        if math.isnan(loss):
            return None, loss

        def shown() -> Iterator[Tensor]:
            for images, labels in islice(batches, plan.statistics_batches):
                on_step(len(labels))
                yield images

        return self._gene(network, shown(), base.device), loss

    def _gene(self, network: LearngeneNetwork, images: Iterator[Tensor], device: torch.device) -> Genome:
        """The learngene of the trained `network`, its norms measured alone on `images`."""
        structure, rate = network.structure, self.plan.ancestry.mutation_rate
        state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        state = mutate(state, structure, self.sizes, rate=rate, generator=self._draws("mutate"))
        gene, precision = extract(state, structure, self.sizes), self.plan.ancestry.training.precision
        return measured_alone(gene, self.plan.body, images, precision, device)

    def _draws(self, purpose: str) -> torch.Generator:
        return generator(self.plan.seed, purpose, self.plan.generation, self.number)
