"""In which precision, and by which back end, the networks of a run are trained.

As its recipe says, or as is best where the first worker is; then all workers do so, to the end of the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from learngene_hub.backends import CANDIDATES, Backend, Choice, Trainee, Training, choose
from learngene_hub.errors import RecipeError
from learngene_hub.evolution.ancestry import Life, trainee
from learngene_hub.evolution.critics import critic
from learngene_hub.evolution.population import JOBS, Job
from learngene_hub.evolution.shard import Setting, birth, critic_training, life, manner
from learngene_hub.progress import Reporter
from learngene_hub.recipe import Recipe
from learngene_hub.training import Precision, best_precision
from learngene_hub.workers import Pool, Step


def settle_precision(recipe: Recipe, workers: Pool[Setting]) -> Precision:
    """The precision of all networks of a run; `auto` stands for what is best on the first of `workers`."""
    if recipe.precision != "auto":
        return recipe.precision
    ((_, precision),) = workers.run([Looking()])
    workers.record()  # it is no part of a generation
    return precision


@dataclass(frozen=True)
class Looking:
    """The question what precision is best, as a task."""

    label = "the question which precision is best"

    def __call__(self, setting: Setting, step: Step) -> Precision:
        """The best on the worker's device."""
        return best_precision(setting.environment.base.device)


def choose_backends(
    setting: Setting, workers: Pool[Setting], precision: Precision, reporter: Reporter
) -> Mapping[Job, Choice]:
    """Job -> its back end for a whole run.

    With `auto` each job is timed once on a machine, see `learngene_hub.backends.choose`, by one of `workers`.

    Raises:
        RecipeError: the recipe asks for `graph`, but networks are not trained on a CUDA device.
    """
    backend = setting.recipe.backend
    if backend in {"loop", "grouped"}:
        return dict.fromkeys(JOBS, Choice(backend))
    ((_, chosen),) = workers.run([Choosing(precision, workers.count)])
    workers.record()  # it is no part of a generation
    for warning in chosen.warnings:
        reporter.warn(warning)
    return chosen.choices


@dataclass(frozen=True)
class Chosen:
    """Job -> its choice, and what the user should know of them."""

    choices: Mapping[Job, Choice]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Choosing:
    """The choice of back ends for networks in `precision`, shared out among `workers`, as a task."""

    precision: Precision
    workers: int
    label = "the choice of a back end"

    def __call__(self, setting: Setting, step: Step) -> Chosen:
        """Job -> its back end, each timed with the threads that its shards will have."""
        if setting.recipe.backend == "graph":
            return _graph(setting.environment.base.device)
        recipe, warnings = setting.recipe, list[str]()
        pick = partial(choose, image_size=recipe.data.image_size, warn=warnings.append)
        last = life(setting, recipe.evolution.generations - 1, self.precision)
        among = {one: self._threads(one, setting)["ancestry"] for one in CANDIDATES}
        example = _ancestor(setting, last, step)
        ancestry = pick(example, recipe.evolution.population, last.training, threads_of=among, workers=self.workers)
        among = dict.fromkeys(CANDIDATES, self._threads(ancestry.backend, setting)["critics"])
        training = critic_training(setting, self.precision)
        critics = pick(_critic(setting, training, step), recipe.critic.tasks, training, threads_of=among)
        return Chosen({"ancestry": ancestry, "critics": critics}, tuple(warnings))

    def _threads(self, backend: Backend, setting: Setting) -> Mapping[Job, int]:
        """Job -> threads of a worker in the last generation, if `backend` trains it."""
        last = setting.recipe.evolution.generations - 1
        backends = dict.fromkeys(JOBS, backend)
        return manner(backends, self.precision, setting.recipe, last, count=setting.threads).threads


def _graph(device: torch.device) -> Chosen:
    if device.type != "cuda":
        raise RecipeError(
            f"backend: expected auto, loop or grouped where networks are trained on {device.type}, found graph, which "
            "needs a CUDA device; change it, or give --device cuda"
        )
    return Chosen(dict.fromkeys(JOBS, Choice("graph")), ())


def _ancestor(setting: Setting, shared: Life, step: Step) -> Trainee:
    """An ancestry network as most are: its leading weights inherited."""
    founder = trainee(birth(None, 0, 0, setting, step), setting.environment.base, shared)
    assert founder.thin is not None
    shapes = {name: tuple(t.shape) for name, t in founder.thin.named_parameters() if not name.startswith("head.")}
    return replace(founder, inherited=shapes)


def _critic(setting: Setting, training: Training, step: Step) -> Trainee:
    recipe = setting.recipe
    return critic(
        None,
        0,
        setting.environment.held_out,
        setting.critic_tasks[0],
        training,
        body=setting.body,
        cross=recipe.gene.cross,
        seed=recipe.seed,
        on_step=partial(step, doing="critics"),
    )
