"""The search for the shape of a gene: the best numbers of channels in every group, at a fixed size of the gene.

One whole network is trained, the network of the search, and its channels are ordered by importance. A shape is a
leading slice of this network. A new network inherits the slice and is trained for a short time, as in the evolution;
then critics give the slice its fitness, since its fitness before training says little about its accuracy after later
generations. The mean of the best random shapes is trained and judged on new tasks, with other random numbers, beside
an even shape: the same fraction of every group. All of this is ours. Tournaments among shapes found no better ones
(docs/log, entries 25, 26 and 32).
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from learngene_hub.core.errors import SelectionError
from learngene_hub.core.progress import Reporter
from learngene_hub.core.progress import Task as Bar
from learngene_hub.core.rng import derive_seed
from learngene_hub.core.store import KeyedLines
from learngene_hub.evolution.ancestry import AncestryTask
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.individual import Beginning
from learngene_hub.evolution.operators import mean_shape, random_shapes
from learngene_hub.evolution.plan import CriticPlan, SearchPlan
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.importance import cut, magnitude
from learngene_hub.genome.shape import Shape, ShapeSpace
from learngene_hub.genome.surgery import State, extract
from learngene_hub.networks import Structure
from learngene_hub.workers import Pool

FORMAT = 4  # raise it when the same plan gives other accuracies
ATTEMPTS = 20  # to draw a shape that was not scored before


@dataclass(frozen=True)
class ScoredShape:
    """A shape and its score by critics.

    Attributes:
        id: number of the shape, unique in its search, in order of creation.
        parents: ids of the shapes that it is the mean of.
        channels: group -> leading channels that are gene.
        fitness: mean accuracy of its critics, in [0, 1]; NaN if one diverged, or before it is scored.
        seconds: wall time that passed until it was scored, after the one before; 0 if an equal shape was scored before.
    """

    id: int
    parents: tuple[int, ...]
    channels: Shape
    fitness: float = math.nan
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether it has no fitness."""
        return math.isnan(self.fitness)

    @property
    def row(self) -> dict[str, Any]:
        """The shape as a JSON-compatible dict."""
        return {
            "id": self.id,
            "parents": list(self.parents),
            "channels": list(self.channels.values()),
            "fitness": None if self.has_failed else self.fitness,
        }


@dataclass(frozen=True)
class ShapeSearch:
    """A search with its plan, data and workers.

    Attributes:
        plan: of it.
        workers: do all training.
        bar: shows images.
        images: hash of all images of the run and of their classes.
        folder: where accuracies are kept, so that an interrupted search can be continued.
        reporter: told of fitness.
    """

    plan: SearchPlan
    workers: Pool[Environment]
    bar: Bar
    images: str
    folder: Path
    reporter: Reporter

    def run(self) -> Beginning:
        """What the evolution begins from: the slice in the best shape, after all shapes were scored.

        The row of `metrics.jsonl` has the `images` of all this, and its wall time in `seconds`, including that of
        shapes that were scored before an interruption.

        Raises:
            SelectionError: the network of the search, or every shape, failed.
            EngineError: see `next_generation`.
        """
        plan = self.plan
        space = ShapeSpace(plan.ancestor.body, plan.fraction)
        structure, (state, seconds) = space.structure, self._ancestor(space)
        whole = cut(state, structure, structure.channels, magnitude, seed=plan.ancestor.seed)
        everyone = self._random(space, whole)
        mean, even = self._finals(space, everyone, whole)
        best = _fittest((mean, even))[0]
        sizes = ShapeSpace(plan.body, plan.fraction).fitted(space.fractions(best.channels))
        found = "best random shape" if len(mean.parents) < 2 else f"mean of the best {len(mean.parents)} shapes"
        self.reporter.line(
            f"fitness on new tasks: {found} {mean.fitness:.3f}, even shape {even.fitness:.3f}; shape of the gene: "
            f"{', '.join(map(str, sizes.values()))}"
        )
        seconds += sum(shape.seconds for shape in (*everyone, mean, even))
        row = {
            "width": plan.ancestor.body.width,
            "groups": list(structure.groups),
            "channels": list(structure.channels.values()),
            "shapes": [shape.row for shape in everyone],
            "mean": mean.row,
            "even": even.row,
            "best": best.row,
            "images": plan.ancestor.images
            + plan.images_a_shape(plan.critics) * _number_of_shapes(everyone)
            + plan.images_a_shape(plan.final_critics) * _number_of_shapes((mean, even)),
            "seconds": round(seconds, 3),
            "engine": self.workers.record(),
        }
        return Beginning(sizes, extract(whole.tensors, structure, best.channels), {"search": row})

    def step(self, images: int, doing: str) -> None:
        """Move the bar by `images`."""
        self.bar.advance(images, now=doing)

    def _ancestor(self, space: ShapeSpace) -> tuple[State, float]:
        """The tensors of the whole network, and the seconds of its training."""
        task = AncestryTask(self.plan.ancestor, 0, None, space.structure.channels, "the network of the search")
        began = time.monotonic()
        ((_, outcome),) = self.workers.run([task], self.step)
        if outcome.genome is None:
            raise SelectionError(f"{task.label} failed (NaN); lower `ancestry.lr`")
        return outcome.genome.tensors, time.monotonic() - began

    def _random(self, space: ShapeSpace, whole: Genome) -> list[ScoredShape]:
        """Random shapes, scored; they differ if `ATTEMPTS` draws find one that does."""
        known = set[tuple[int, ...]]()
        shapes: list[ScoredShape] = []
        drawn = random_shapes(space, seed=derive_seed(self.plan.ancestor.seed, "shapes"))
        for number in range(self.plan.search.population):
            for _ in range(ATTEMPTS):
                channels = next(drawn)
                if tuple(channels.values()) not in known:
                    break
            known.add(tuple(channels.values()))
            shapes.append(ScoredShape(number, (), channels))
        everyone = self._scored(space.structure, whole, shapes, critics=self.plan.critics, draw=0)
        alive = [shape.fitness for shape in everyone if not shape.has_failed]
        if not alive:
            raise SelectionError(f"all {len(everyone)} shapes failed (NaN); lower `ancestry.lr` or `critic.lr`")
        self.reporter.line(f"{len(everyone)} shapes: fitness best {max(alive):.3f}, mean {fmean(alive):.3f}")
        return everyone

    def _finals(self, space: ShapeSpace, everyone: Sequence[ScoredShape], whole: Genome) -> list[ScoredShape]:
        """The mean of the best shapes, and an even one, scored on new tasks."""
        distinct = {tuple(shape.channels.values()): shape for shape in reversed(everyone)}
        best = _fittest(list(distinct.values()))[: self.plan.search.parents]
        mean, ids = mean_shape([shape.channels for shape in best], space), tuple(shape.id for shape in best)
        finals = [ScoredShape(len(everyone), ids, mean), ScoredShape(len(everyone) + 1, (), space.even())]
        scored = self._scored(space.structure, whole, finals, critics=self.plan.final_critics, draw=1)
        if all(shape.has_failed for shape in scored):
            raise SelectionError("both shapes of the last comparison failed (NaN); lower `ancestry.lr` or `critic.lr`")
        return scored

    def _scored(
        self, structure: Structure, whole: Genome, shapes: Sequence[ScoredShape], *, critics: CriticPlan, draw: int
    ) -> list[ScoredShape]:
        """The same shapes with their fitness, which is kept on disk as it comes; equal shapes are scored once.

        `whole` is the network of the search, channels in order of importance; `draw` numbers networks and batches.
        """
        lines = KeyedLines(self.folder, critics.purpose, self._key(whole, critics, draw), self.reporter)
        scores = {tuple(line["channels"]): (line["fitness"], line["seconds"]) for line in lines.read()}
        channels_of = {tuple(shape.channels.values()): shape.channels for shape in shapes}
        unscored = [sizes for sizes in channels_of if sizes not in scores]
        life = replace(self.plan.life, critics=critics)
        tasks = [
            AncestryTask(
                life,
                draw,
                extract(whole.tensors, structure, channels_of[sizes]),
                channels_of[sizes],
                f"{critics.purpose} {number}/{len(unscored)}",
            )
            for number, sizes in enumerate(unscored, start=1)
        ]
        self.step((len(shapes) - len(unscored)) * self.plan.images_a_shape(critics), critics.purpose)
        before = time.monotonic()
        for number, outcome in self.workers.run(tasks, self.step):
            fitness, now = None if math.isnan(outcome.fitness) else outcome.fitness, time.monotonic()
            scores[unscored[number]] = fitness, round(now - before, 3)
            lines.append({"channels": unscored[number], "fitness": fitness, "seconds": round(now - before, 3)})
            before = now
        return _with_scores(shapes, scores)

    def _key(self, whole: Genome, critics: CriticPlan, draw: int) -> dict[str, Any]:
        """All that fitness depends on, beside the shape."""
        life = self.plan.life
        return {
            "format": FORMAT,
            "images": self.images,
            "ancestor": whole.sha256,
            "plan": repr((life.generation, life.seed, life.body, life.ancestry, critics, draw)),
        }


def _with_scores(
    shapes: Sequence[ScoredShape], scores: Mapping[tuple[int, ...], tuple[float | None, float]]
) -> list[ScoredShape]:
    """The same shapes with their fitness and seconds; the seconds of equal shapes count once."""
    scored, timed = [], set[tuple[int, ...]]()
    for shape in shapes:
        sizes = tuple(shape.channels.values())
        fitness, seconds = scores[sizes]
        seconds = 0.0 if sizes in timed else seconds
        scored.append(replace(shape, fitness=math.nan if fitness is None else fitness, seconds=seconds))
        timed.add(sizes)
    return scored


def _number_of_shapes(shapes: Sequence[ScoredShape]) -> int:
    """How many of them differ."""
    return len({tuple(shape.channels.values()) for shape in shapes})


def _fittest(shapes: Sequence[ScoredShape]) -> list[ScoredShape]:
    """Those that did not fail, the fittest first, of equals the first-born."""
    return sorted((shape for shape in shapes if not shape.has_failed), key=lambda shape: (-shape.fitness, shape.id))
