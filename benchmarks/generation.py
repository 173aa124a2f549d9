"""What an evolution spends its CPU time on.

The phases are the functions of the package that do them, replaced for the time of a run by ones that look at the
clock; a phase inside another counts as itself. The recipe is the demo's, with fewer and smaller generations.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.measure import ROUNDS, Figure, Goal
from learngene_hub import EngineOptions, Recipe, evolve

OVERRIDES = ("evolution.generations=2", "evolution.population=2")
WARM_UP = (
    "evolution.generations=1",
    "ancestry.steps=2",
    "critic.steps=2",
    "critic.tasks=1",
    "data.images_per_class=64",
)
GOAL = Goal("at most", 0.05)

TRAINING = "training, critics' included"
CRITICS = "births and tests of critics"
ONCE = ("images", "gene folder")
REST = "the rest"
PHASES: Mapping[str, tuple[str, ...]] = {
    "images": ("evolution.run.load_environment",),
    "birth": ("evolution.ancestry.newborn", "evolution.ancestry.placed"),
    TRAINING: ("evolution.ancestry.train", "evolution.critics.train"),
    "batch norms of the gene": ("evolution.ancestry.measured_alone",),
    "mutation and extraction": ("evolution.ancestry.mutate", "evolution.ancestry.extract"),
    CRITICS: ("evolution.ancestry.critic_accuracies",),
    "checkpoint": ("evolution.run.save_state", "evolution.run.write_metrics"),
    "gene folder": (
        "evolution.run.write_gene",
        "evolution.run.render_card",
        "evolution.run.draw_evolution",
        "evolution.run.write_png",
        "evolution.run.render_evolution",
    ),
}
"""Phase -> functions, by the module of the package that calls them."""


def figures() -> list[Figure]:
    """The share of every phase, and of all that is neither training nor critics."""
    _run(WARM_UP)
    runs = [_run(OVERRIDES) for _ in range(ROUNDS)]

    def figure(what: str, phases: tuple[str, ...], *, of: tuple[str, ...], goal: Goal | None = None) -> Figure:
        shares = [sum(run[one] for one in phases) / sum(run[one] for one in of) for run in runs]
        seconds = [statistics.median(sum(run[one] for one in part) for run in runs) for part in (phases, of)]
        detail = f"{seconds[0]:.2f} of {seconds[1]:.2f} CPU seconds"
        return Figure("generation", what, statistics.median(shares), detail, goal)

    every = (*PHASES, REST)
    overhead = tuple(one for one in every if one not in {TRAINING, CRITICS})
    again = tuple(one for one in every if one not in ONCE)
    each = tuple(one for one in overhead if one not in ONCE)
    return [
        figure("neither training nor critics / generations", each, of=again, goal=GOAL),
        figure("neither training nor critics / whole run", overhead, of=every),
        *(figure(f"{phase} / whole run", (phase,), of=every) for phase in every),
    ]


def _run(overrides: tuple[str, ...]) -> Mapping[str, float]:
    """CPU seconds of every phase of one evolution."""
    with TemporaryDirectory() as folder:
        recipe = Recipe.from_file("demo", overrides)
        with clocked() as spent:
            began = time.process_time()
            evolve(recipe, out=Path(folder) / "run", device="cpu", engine=EngineOptions(workers=1))
            total = time.process_time() - began
    return {phase: spent[phase] for phase in PHASES} | {REST: total - sum(spent.values())}


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """CPU seconds of the phases inside, filled as they end."""
    spent: dict[str, float] = defaultdict(float)
    inner = [0.0]  # time of phases inside the one that runs, for each that runs

    def timed(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            inner.append(0.0)
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.process_time() - began
                spent[phase] += took - inner.pop()
                inner[-1] += took

        return call

    with ExitStack() as stack:
        for phase, places in PHASES.items():
            for place in places:
                module, name = place.rsplit(".", 1)
                owner = import_module(f"learngene_hub.{module}")
                stack.enter_context(patch.object(owner, name, timed(phase, getattr(owner, name))))
        yield spent
