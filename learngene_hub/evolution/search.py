"""The search for the shape of a gene: which number of channels of every group is worth most, at one size.

One whole network is trained, the ancestor, and its channels are ordered by importance. A shape then costs nothing until
critics train on it: it is a leading slice of that one network. Shapes compete in tournaments; the winners live on and
have children by recombination and mutation. The best ones are scored once more on fresh tasks, beside a gene with the
same fraction of every group. Tournaments and mutation of learngenes: attested, Feng 2024 (arXiv:2401.08139, abstract).
That shapes are what evolves, and all of the rest: ours.
"""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from learngene_hub.core.errors import SelectionError
from learngene_hub.core.progress import Reporter
from learngene_hub.core.progress import Task as Bar
from learngene_hub.core.rng import generator
from learngene_hub.core.store import KeyedLines
from learngene_hub.data import Task
from learngene_hub.evolution.ancestry import AncestryTask, SharedData
from learngene_hub.evolution.critics import critic_accuracies
from learngene_hub.evolution.founders import Founder, Founders
from learngene_hub.evolution.operators import mutate_shape, random_shape, recombine_shapes, tournament
from learngene_hub.evolution.plan import CriticPlan, GenerationPlan, SearchPlan, check_precision
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.importance import cut, magnitude
from learngene_hub.genome.shape import Shape, ShapeSpace
from learngene_hub.genome.surgery import extract
from learngene_hub.networks import Structure
from learngene_hub.training.fewshot import draw_tasks
from learngene_hub.workers import Pool, Step, threads

FORMAT = 1  # raise it when the same plan gives other accuracies
ATTEMPTS = 20  # to draw a shape that was not scored before


@dataclass(frozen=True)
class ScoredShape:
    """A shape, and what critics make of it.

    Attributes:
        id: number of the shape, unique in its search, rising with birth.
        generation: of shapes, from 0.
        parents: ids of the shapes it descends from.
        channels: group -> leading channels that are gene.
        fitness: mean accuracy of its critics, in [0, 1]; NaN if one diverged.
    """

    id: int
    generation: int
    parents: tuple[int, ...]
    channels: Shape
    fitness: float


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        fractions: group -> fraction of its channels, of the best shape.
        row: the story of the search, in JSON types.
        images: training images that it took.
        seconds: wall time, that of another run on its ancestor included.
    """

    fractions: Mapping[str, float]
    row: Mapping[str, Any]
    images: int
    seconds: float


@dataclass(frozen=True)
class CriticTask:
    """One gene to be scored on some tasks, as a task for a worker.

    Attributes:
        label: what the log calls it.
        gene: to be scored.
        tasks: of its critics.
        critics: how they live.
        plan: of the ancestor, for what all have in common.
    """

    label: str
    gene: Genome
    tasks: tuple[Task, ...]
    critics: CriticPlan
    plan: GenerationPlan

    def __call__(self, shared: SharedData, step: Step) -> tuple[float, ...]:
        """Accuracies in [0, 1], one a task; NaN where a critic diverged.

        Raises:
            EngineError: see `check_precision`.
        """
        check_precision(self.plan, shared.environment.base.device)
        with threads(self.critics.threads):
            return critic_accuracies(
                self.gene,
                shared.environment.held_out,
                self.tasks,
                self.critics.training,
                body=self.plan.body,
                cross=self.plan.cross,
                seed=self.plan.seed,
                on_step=partial(step, doing=self.label),
            )


@dataclass(frozen=True)
class ShapeSearch:
    """A search, and what it works with.

    Attributes:
        plan: of it.
        shared: what the workers look at.
        workers: do all training.
        bar: shows images.
        ancestors: where ancestors are kept, and looked for.
        folder: where accuracies are kept, so that an interrupted search goes on.
        reporter: told of every generation.
    """

    plan: SearchPlan
    shared: SharedData
    workers: Pool[SharedData]
    bar: Bar
    ancestors: Founders
    folder: Path
    reporter: Reporter

    def run(self) -> Found:
        """Train the ancestor, let shapes compete, and give the best.

        Raises:
            SelectionError: the ancestor, or every shape of a generation, failed.
            EngineError: see `next_generation`.
        """
        began, plan = time.monotonic(), self.plan
        space = ShapeSpace(plan.ancestor.body, plan.fraction)
        ancestor, is_old = self._ancestor(space)
        assert ancestor.outcome.genome is not None
        structure = space.structure
        whole = cut(ancestor.outcome.genome.tensors, structure, structure.channels, magnitude, seed=plan.ancestor.seed)
        everyone = self._compete(space, _Scorer(self, structure, whole, plan.ancestor.critics, "shape"))
        finalists, even = self._finals(space, everyone, _Scorer(self, structure, whole, plan.final_critics, "finalist"))
        best = max((*finalists, even), key=lambda shape: (shape.fitness, -shape.id))
        self.reporter.line(
            f"shape {', '.join(map(str, best.channels.values()))}: fitness {best.fitness:.3f} on fresh tasks, "
            f"an even shape {even.fitness:.3f}"
        )
        seconds = time.monotonic() - began + (ancestor.seconds if is_old else 0.0)
        row = {
            "width": plan.ancestor.body.width,
            "groups": list(structure.groups),
            "channels": list(structure.channels.values()),
            "ancestor": {"fitness": ancestor.outcome.fitness, "loss": ancestor.outcome.loss},
            "shapes": list(map(_row, everyone)),
            "finalists": list(map(_row, finalists)),
            "even": _row(even),
            "chosen": best.id,
            "images": plan.images,
            "seconds": round(seconds, 3),
            "engine": self.workers.record(),
        }
        return Found(space.fractions(best.channels), row, plan.images, seconds)

    def _ancestor(self, space: ShapeSpace) -> tuple[Founder, bool]:
        """The whole network, and whether it was trained before."""
        task = AncestryTask(self.plan.ancestor, 0, None, space.structure.channels)

        def train() -> Founder:
            began = time.monotonic()
            ((_, outcome),) = self.workers.run([task], lambda images, doing: self.bar.advance(images, now="ancestor"))
            return Founder(outcome, time.monotonic() - began, self.workers.record())

        founder, is_old = self.ancestors.get(task, train)
        if is_old:
            self.bar.advance(self.plan.ancestor.images, now="ancestor")
        if founder.outcome.genome is None:
            raise SelectionError("the ancestor of the search failed (NaN); lower `ancestry.lr`")
        return founder, is_old

    def _compete(self, space: ShapeSpace, score: "_Scorer") -> list[ScoredShape]:
        """All shapes of all generations, scored."""
        plan, everyone, winners = self.plan, list[ScoredShape](), list[ScoredShape]()
        for generation in range(plan.generations):
            born = self._born(space, generation, everyone, winners)
            fitness = score([shape.channels for shape in born])
            born = [replace(shape, fitness=value) for shape, value in zip(born, fitness, strict=True)]
            everyone += born
            population = [*winners, *born]
            drawn = generator(plan.ancestor.seed, "shape tournament", generation)
            scores = torch.tensor([shape.fitness for shape in population], dtype=torch.float64)
            winners = [population[i] for i in tournament(scores, size=plan.tournament_size, generator=drawn).tolist()]
            alive = [shape.fitness for shape in population if not math.isnan(shape.fitness)]
            self.reporter.line(
                f"shapes {generation + 1}/{plan.generations}: fitness best {max(alive):.3f}, "
                f"mean {sum(alive) / len(alive):.3f}"
            )
        return everyone

    def _born(
        self, space: ShapeSpace, generation: int, before: Sequence[ScoredShape], winners: Sequence[ScoredShape]
    ) -> list[ScoredShape]:
        """The shapes of `generation`, none of which was there `before`."""
        born: list[ScoredShape] = []
        for number in range(self.plan.population - len(winners)):
            draws = generator(self.plan.ancestor.seed, "shape", generation, number)
            known = [shape.channels for shape in (*before, *born)]
            for _ in range(ATTEMPTS):
                parents, channels = self._child(space, winners, draws)
                if channels not in known:
                    break
            born.append(ScoredShape(len(before) + number, generation, parents, channels, math.nan))
        return born

    def _child(
        self, space: ShapeSpace, winners: Sequence[ScoredShape], draws: torch.Generator
    ) -> tuple[tuple[int, ...], dict[str, int]]:
        """A shape, and the ids of its parents: two winners, or one, or nobody."""
        if not winners or not self.plan.descends:
            return (), random_shape(space, generator=draws)
        pair = [winners[i] for i in torch.randperm(len(winners), generator=draws)[:2].tolist()]
        child = recombine_shapes(pair[0].channels, pair[-1].channels, space, generator=draws)
        return tuple(parent.id for parent in pair), mutate_shape(child, space, generator=draws)

    def _finals(
        self, space: ShapeSpace, everyone: Sequence[ScoredShape], score: "_Scorer"
    ) -> tuple[list[ScoredShape], ScoredShape]:
        """The best shapes and an even one, scored on fresh tasks."""
        plan = self.plan
        alive = [shape for shape in everyone if not math.isnan(shape.fitness)]
        finalists = sorted(alive, key=lambda shape: (-shape.fitness, shape.id))[: plan.finalists]
        even = ScoredShape(len(everyone), plan.generations, (), space.even(), math.nan)
        fitness = score([shape.channels for shape in (*finalists, even)])
        if all(map(math.isnan, fitness)):
            raise SelectionError("every shape failed on fresh tasks (NaN); lower `critic.lr`")
        *again, even = [replace(shape, fitness=value) for shape, value in zip((*finalists, even), fitness, strict=True)]
        return again, even


@dataclass(frozen=True)
class _Scorer:
    """Scores shapes of one whole ancestor; fitness is kept on disk as it comes.

    Attributes:
        search: whose workers do it.
        structure: of the ancestor.
        whole: the ancestor, its channels in order of importance.
        critics: how critics live.
        title: of a shape, in the bar and as the name of a file.
    """

    search: ShapeSearch
    structure: Structure
    whole: Genome
    critics: CriticPlan
    title: str

    def __call__(self, shapes: Sequence[Shape]) -> list[float]:
        """The fitness of every shape; NaN where a critic diverged."""
        search, lines = self.search, KeyedLines(self.search.folder, self.title, self._key, self.search.reporter)
        known = {tuple(line["channels"]): line["fitness"] for line in lines.read()}
        waiting = [shape for shape in shapes if tuple(shape.values()) not in known]
        search.bar.advance((len(shapes) - len(waiting)) * self.critics.images, now=self.title)
        tasks = self._tasks(waiting)
        for number, accuracies in search.workers.run(
            tasks, lambda images, doing: search.bar.advance(images, now=doing)
        ):
            channels, fitness = tuple(waiting[number].values()), sum(accuracies) / len(accuracies)
            known[channels] = None if math.isnan(fitness) else fitness
            lines.append({"channels": list(channels), "fitness": known[channels]})
        return [math.nan if (fitness := known[tuple(shape.values())]) is None else fitness for shape in shapes]

    @property
    def _key(self) -> dict[str, Any]:
        """All that fitness depends on, beside the shape."""
        plan = self.search.plan.ancestor
        return {
            "format": FORMAT,
            "images": self.search.ancestors.images,
            "ancestor": hashlib.sha256(save(dict(self.whole.tensors))).hexdigest(),
            "plan": repr((plan.seed, plan.body, plan.cross, self.critics)),
        }

    def _tasks(self, shapes: Sequence[Shape]) -> list[CriticTask]:
        plan, critics = self.search.plan.ancestor, self.critics
        tasks = draw_tasks(
            self.search.shared.environment.held_out.labels,
            count=critics.tasks,
            n_way=critics.ways,
            n_shot=critics.shots,
            n_query=critics.queries,
            seed=plan.seed,
            path=(f"{self.title} task",),
        )
        return [
            CriticTask(
                f"{self.title} {number}/{len(shapes)}",
                extract(self.whole.tensors, self.structure, shape),
                tasks,
                critics,
                plan,
            )
            for number, shape in enumerate(shapes, start=1)
        ]


def _row(shape: ScoredShape) -> dict[str, Any]:
    return {
        "id": shape.id,
        "generation": shape.generation,
        "parents": list(shape.parents),
        "channels": list(shape.channels.values()),
        "fitness": None if math.isnan(shape.fitness) else shape.fitness,
    }
