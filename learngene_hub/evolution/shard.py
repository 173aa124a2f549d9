"""Shards: individuals that are raised together and then scored, as a task for whatever engine there is.

A shard is a pure function of itself and the setting: parents' genes go in, genes with their loss and fitness come out.
How individuals are cut into shards follows from the recipe and the back end alone, never from the number of workers,
and so do the threads of each; that is why any number of workers, on any engine, gives the same bytes on a CPU (ours).
"""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from learngene_hub.backends import TOGETHER, Backend, Training
from learngene_hub.birth import Body
from learngene_hub.data import Task, sample_task
from learngene_hub.errors import EngineError
from learngene_hub.evolution.ancestry import Birth, Life, Trained, raise_learngenes
from learngene_hub.evolution.critics import critic_fitness
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.population import JOBS, LOOP, Job
from learngene_hub.evolution.schedule import life_steps, mutation_rate, population_size, rates
from learngene_hub.recipe import Recipe
from learngene_hub.rng import generator
from learngene_hub.training import Precision, best_precision
from learngene_hub.workers import Step, chip_kind, threads


@dataclass(frozen=True)
class Setting:
    """What stays the same over all generations of a run.

    Attributes:
        recipe: the constants.
        body: what every network is built as.
        channels: channel group -> channels that are gene.
        environment: the images.
        critic_tasks: what critics learn, the same in every generation.
        threads: of all workers of a machine together, >= 1; see `manner`.
    """

    recipe: Recipe
    body: Body
    channels: Mapping[str, int]
    environment: Environment
    critic_tasks: tuple[Task, ...]
    threads: int

    def on(self, device: torch.device) -> "Setting":
        """The same setting with its images on `device`."""
        return replace(self, environment=self.environment.on(device))


@dataclass(frozen=True)
class Manner:
    """How the jobs of one generation are done.

    Attributes:
        backends: job -> its back end.
        threads: job -> threads of a worker at it.
        precision: of convolutions and products.
    """

    backends: Mapping[Job, Backend]
    threads: Mapping[Job, int]
    precision: Precision


@dataclass(frozen=True)
class Raised:
    """What an ancestry network leaves: its learngene, its last training loss and its fitness, NaN where it failed."""

    gene: Mapping[str, Tensor]
    loss: float
    fitness: float


@dataclass(frozen=True)
class Shard:
    """Individuals of one generation that are raised together; each gene is then scored.

    Attributes:
        generation: from 0.
        numbers: of the individuals in their generation.
        parents: gene that each inherits; None for a founder.
        manner: how.
    """

    generation: int
    numbers: tuple[int, ...]
    parents: tuple[Mapping[str, Tensor] | None, ...]
    manner: Manner

    @property
    def label(self) -> str:
        """What the log calls it."""
        first, last = self.numbers[0] + 1, self.numbers[-1] + 1
        who = f"individual {first}" if first == last else f"individuals {first} to {last}"
        return f"generation {self.generation + 1}, {who}"

    def __call__(self, setting: Setting, step: Step) -> list[Raised]:
        """Each individual's gene, loss and fitness, in order.

        Raises:
            EngineError: see `check_precision`.
        """
        check_precision(self.manner.precision, setting)
        births = [
            birth(parent, number, self.generation, setting, step)
            for number, parent in zip(self.numbers, self.parents, strict=True)
        ]
        backend, base = self.manner.backends["ancestry"], setting.environment.base
        with threads(self.manner.threads["ancestry"]):
            shared = life(setting, self.generation, self.manner.precision)
            trained = raise_learngenes(births, base, shared, backend=backend)
        return [Raised(one.gene, one.loss, self._fitness(one, setting, step)) for one in trained]

    def _fitness(self, trained: Trained, setting: Setting, step: Step) -> float:
        return math.nan if math.isnan(trained.loss) else Score(trained.gene, self.manner)(setting, step)


@dataclass(frozen=True)
class Score:
    """A gene to be scored by the critics.

    Attributes:
        gene: the learngene.
        manner: how.
    """

    gene: Mapping[str, Tensor]
    manner: Manner

    @property
    def label(self) -> str:
        """What the log calls it."""
        return "the critics of the survivors' average"

    def __call__(self, setting: Setting, step: Step) -> float:
        """Its fitness, NaN if a critic failed; a function of the gene alone, whatever generation it is from.

        Raises:
            EngineError: see `check_precision`.
        """
        check_precision(self.manner.precision, setting)
        with threads(self.manner.threads["critics"]):
            return critic_fitness(
                self.gene,
                setting.environment.held_out,
                setting.critic_tasks,
                critic_training(setting, self.manner.precision),
                body=setting.body,
                cross=setting.recipe.gene.cross,
                seed=setting.recipe.seed,
                backend=self.manner.backends["critics"],
                on_step=partial(step, doing="critics"),
            )


def cut(parents: Sequence[Mapping[str, Tensor] | None], generation: int, manner: Manner) -> list[Shard]:
    """The individuals with these `parents` as shards: one each for `loop`, else as many as are trained at once."""
    size = shard_size(manner.backends["ancestry"])
    starts = range(0, len(parents), size)
    numbers = tuple(range(len(parents)))
    return [Shard(generation, numbers[at : at + size], tuple(parents[at : at + size]), manner) for at in starts]


def manner(
    backends: Mapping[Job, Backend], precision: Precision, recipe: Recipe, generation: int, *, count: int
) -> Manner:
    """How the jobs of `generation` are done, on machines of `count` threads.

    The threads are shared out among the shards of the generation: a founder has all, of eight individuals in a loop
    each has an eighth, and at least one. Critics always have as many as a shard of the whole population has, so that a
    gene's fitness is the same in every generation.

    Args:
        backends: job -> back end of the run.
        precision: of the run.
        recipe: the constants.
        generation: from 0.
        count: threads to share out, >= 1.
    """
    lone = {"ancestry": population_size(recipe, generation) == 1, "critics": recipe.critic.tasks == 1}
    used: dict[Job, Backend] = {job: LOOP if lone[job] else backends[job] for job in JOBS}
    whole = math.ceil(recipe.evolution.population / shard_size(backends["ancestry"]))
    here = math.ceil(population_size(recipe, generation) / shard_size(used["ancestry"]))
    return Manner(used, {"ancestry": max(1, count // here), "critics": max(1, count // whole)}, precision)


def shard_size(backend: Backend) -> int:
    """Individuals of one shard at most."""
    return 1 if backend == LOOP else TOGETHER


def critic_training(setting: Setting, precision: Precision) -> Training:
    """How critics are trained."""
    critic = setting.recipe.critic
    return Training(critic, critic.steps, precision)


def pick_precision(recipe: Recipe, device: torch.device) -> Precision:
    """The recipe's precision, or what `device` does best."""
    return best_precision(device) if recipe.precision == "auto" else recipe.precision


def check_precision(precision: Precision, setting: Setting) -> None:
    """Do nothing, unless `auto` stands for bfloat16 in this run, and the device here would only emulate it.

    Raises:
        EngineError: it is so.
    """
    device = setting.environment.base.device
    if setting.recipe.precision == "auto" and precision == "bfloat16" and best_precision(device) != precision:
        raise EngineError(
            f"precision: the run was begun in bfloat16, so workers need it, but {platform.node()} computes on "
            f"{chip_kind(device)}; leave that machine out, or begin again with precision=float32 and another --out"
        )


def birth(parent: Mapping[str, Tensor] | None, number: int, now: int, setting: Setting, step: Step) -> Birth:
    """The individual `number` of generation `now`, to be raised from the gene of its `parent`."""
    recipe, base = setting.recipe, setting.environment.base
    draws = generator(recipe.seed, "ancestry task", now, number)
    ways, shots = recipe.ancestry.ways, recipe.ancestry.images_per_class
    return Birth(
        parent,
        sample_task(base.labels, n_way=ways, n_shot=shots, n_query=0, generator=draws),
        (now, number),
        partial(step, doing=f"individual {number + 1}/{population_size(recipe, now)}"),
    )


def life(setting: Setting, now: int, precision: Precision) -> Life:
    """What the ancestry networks of generation `now` have in common."""
    recipe = setting.recipe
    rate, gene_rate = rates(recipe, now)
    training = Training(
        recipe.ancestry,
        life_steps(recipe, now),
        precision,
        rate=rate,
        gene_rate=gene_rate,
        circuit_loss=recipe.ancestry.circuit_loss,
    )
    return Life(
        setting.body,
        setting.channels,
        recipe.gene.cross,
        training,
        mutation_rate=mutation_rate(recipe, now),
        statistics_batches=recipe.ancestry.statistics_batches,
        seed=recipe.seed,
    )
