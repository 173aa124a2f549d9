"""Which back end trains the networks of a run: as its recipe says, or the faster one on this machine."""

from collections.abc import Mapping
from dataclasses import replace

from learngene_hub.backends import Choice, Trainee, choose
from learngene_hub.errors import RecipeError
from learngene_hub.evolution.ancestry import trainee
from learngene_hub.evolution.critics import critic
from learngene_hub.evolution.generation import Setting, birth, critic_training, life
from learngene_hub.evolution.population import JOBS, Job
from learngene_hub.progress import Reporter, SilentReporter


def choose_backends(setting: Setting, reporter: Reporter) -> Mapping[Job, Choice]:
    """Job -> its back end for a whole run.

    With `auto` each job is timed once on a machine, see `learngene_hub.backends.choose`.

    Raises:
        RecipeError: the recipe asks for `graph`, but networks are not trained on a CUDA device.
    """
    recipe, device = setting.recipe, setting.environment.base.device
    if recipe.backend == "graph" and device.type != "cuda":
        raise RecipeError(
            f"backend: expected auto, loop or grouped where networks are trained on {device.type}, found graph, which "
            "needs a CUDA device; change it, or give --device cuda"
        )
    if recipe.backend != "auto":
        return dict.fromkeys(JOBS, Choice(recipe.backend))
    size = recipe.data.image_size
    population, tasks = recipe.evolution.population, recipe.critic.tasks
    last = life(setting, recipe.evolution.generations - 1)
    return {
        "ancestry": choose(_ancestor(setting), population, last.training, image_size=size, warn=reporter.warn),
        "critics": choose(_critic(setting), tasks, critic_training(setting), image_size=size, warn=reporter.warn),
    }


def _ancestor(setting: Setting) -> Trainee:
    """An ancestry network as most are: its leading weights inherited."""
    with SilentReporter().task("choosing", None) as bar:
        founder = trainee(birth(None, 0, 0, setting, bar), setting.environment.base, life(setting, 0))
    assert founder.thin is not None
    shapes = {name: tuple(t.shape) for name, t in founder.thin.named_parameters() if not name.startswith("head.")}
    return replace(founder, inherited=shapes)


def _critic(setting: Setting) -> Trainee:
    recipe = setting.recipe
    return critic(
        None,
        0,
        setting.environment.held_out,
        setting.critic_tasks[0],
        critic_training(setting),
        body=setting.body,
        cross=recipe.gene.cross,
        seed=recipe.seed,
    )
