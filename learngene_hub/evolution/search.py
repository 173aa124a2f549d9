"""The search for the shape of a gene: the best numbers of channels in every group, at a fixed size of the gene.

One whole network is trained, the ancestor, and its channels are ordered by importance. A shape is a leading slice of
this network. A new network inherits the slice and is trained for a short time, as in the evolution; then critics score
the slice, since its score before training says little about its worth after later generations. The mean of the best
random shapes is trained and scored on fresh tasks, with other random numbers, beside a gene with the same fraction of
every group. All of this is ours. Tournaments among shapes found no better ones (docs/log, entries 25, 26 and 32).
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors.torch import save

from learngene_hub.core.errors import SelectionError
from learngene_hub.core.progress import Reporter
from learngene_hub.core.progress import Task as Bar
from learngene_hub.core.rng import derive_seed
from learngene_hub.core.store import KeyedLines
from learngene_hub.evolution.ancestry import AncestryTask
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.individual import Beginning
from learngene_hub.evolution.kept_ancestor import TrainedAncestor, trained_ancestor
from learngene_hub.evolution.operators import mean_shape, random_shapes
from learngene_hub.evolution.plan import CriticPlan, SearchPlan
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.importance import cut, magnitude
from learngene_hub.genome.shape import Shape, ShapeSpace
from learngene_hub.genome.surgery import extract
from learngene_hub.networks import Structure
from learngene_hub.workers import Pool

FORMAT = 3  # raise it when the same plan gives other accuracies
ATTEMPTS = 20  # to draw a shape that was not scored before


@dataclass(frozen=True)
class ScoredShape:
    """A shape and its score by critics.

    Attributes:
        id: number of the shape, unique in its search, in order of creation.
        parents: ids of the shapes that it is the mean of.
        channels: group -> leading channels that are gene.
        fitness: mean accuracy of its critics, in [0, 1]; NaN if one diverged, or before it is scored.
        seconds: wall time that passed until it was scored, after the one before.
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
        folder: where the ancestor and accuracies are kept, so that an interrupted search can be continued.
        reporter: told of fitness.
    """

    plan: SearchPlan
    workers: Pool[Environment]
    bar: Bar
    images: str
    folder: Path
    reporter: Reporter

    def run(self) -> Beginning:
        """What the line begins from: the ancestor's slice in the best shape, after all shapes were scored.

        The row of `metrics.jsonl` has the `images` of all this, and its wall time in `seconds`, including that of
        interrupted starts.

        Raises:
            SelectionError: the ancestor, or every shape, failed.
            EngineError: see `next_generation`.
        """
        plan = self.plan
        space = ShapeSpace(plan.ancestor.body, plan.fraction)
        structure, ancestor = space.structure, self._ancestor(space)
        assert ancestor.outcome.genome is not None
        whole = cut(ancestor.outcome.genome.tensors, structure, structure.channels, magnitude, seed=plan.ancestor.seed)
        scorer = partial(_Scorer, self, structure, whole, hashlib.sha256(save(dict(whole.tensors))).hexdigest())
        everyone = self._random(space, scorer(plan.critics, draw=0))
        mean, even = self._finals(space, everyone, scorer(plan.final_critics, draw=1))
        best = _fittest((mean, even))[0]
        sizes = ShapeSpace(plan.body, plan.fraction).fitted(space.fractions(best.channels))
        found = "best random shape" if len(mean.parents) < 2 else f"mean of the best {len(mean.parents)} shapes"
        self.reporter.line(
            f"fitness on fresh tasks: {found} {mean.fitness:.3f}, even shape {even.fitness:.3f}; shape of the gene: "
            f"{', '.join(map(str, sizes.values()))}"
        )
        seconds = ancestor.seconds + sum(shape.seconds for shape in (*everyone, mean, even))
        row = {
            "width": plan.ancestor.body.width,
            "groups": list(structure.groups),
            "channels": list(structure.channels.values()),
            "shapes": [shape.row for shape in everyone],
            "mean": mean.row,
            "even": even.row,
            "best": best.row,
            "images": plan.images,
            "seconds": round(seconds, 3),
            "engine": self.workers.record(),
        }
        return Beginning(sizes, extract(whole.tensors, structure, best.channels), {"search": row})

    def step(self, images: int, doing: str) -> None:
        """Move the bar by `images`."""
        self.bar.advance(images, now=doing)

    def _ancestor(self, space: ShapeSpace) -> TrainedAncestor:
        """The whole network, trained now or before."""
        task = AncestryTask(self.plan.ancestor, 0, None, space.structure.channels, "the ancestor of the search")
        ancestor = trained_ancestor(
            task, self.workers, self.step, folder=self.folder, images=self.images, reporter=self.reporter
        )
        if ancestor.outcome.genome is None:
            raise SelectionError("the ancestor of the search failed (NaN); lower `ancestry.lr`")
        return ancestor

    def _random(self, space: ShapeSpace, score: "_Scorer") -> list[ScoredShape]:
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
        everyone = score(shapes)
        alive = [shape.fitness for shape in everyone if not shape.has_failed]
        if not alive:
            raise SelectionError(f"all {len(everyone)} shapes failed (NaN); lower `ancestry.lr` or `critic.lr`")
        self.reporter.line(f"{len(everyone)} shapes: fitness best {max(alive):.3f}, mean {fmean(alive):.3f}")
        return everyone

    def _finals(self, space: ShapeSpace, everyone: Sequence[ScoredShape], score: "_Scorer") -> list[ScoredShape]:
        """The mean of the best shapes, and an even one, scored on fresh tasks."""
        distinct = {tuple(shape.channels.values()): shape for shape in reversed(everyone)}
        best = _fittest(list(distinct.values()))[: self.plan.search.parents]
        mean, ids = mean_shape([shape.channels for shape in best], space), tuple(shape.id for shape in best)
        scored = score([ScoredShape(len(everyone), ids, mean), ScoredShape(len(everyone) + 1, (), space.even())])
        if all(shape.has_failed for shape in scored):
            raise SelectionError("both shapes of the finals failed (NaN); lower `ancestry.lr` or `critic.lr`")
        return scored


@dataclass(frozen=True)
class _Scorer:
    """Scores shapes of one whole ancestor; fitness is kept on disk as it comes.

    Attributes:
        search: whose workers do it.
        structure: of the ancestor.
        whole: the ancestor, its channels in order of importance.
        sha256: of its tensors.
        critics: training of the critics.
        draw: number of the draw of the networks and batches of its life.
    """

    search: ShapeSearch
    structure: Structure
    whole: Genome
    sha256: str
    critics: CriticPlan
    draw: int

    def __call__(self, shapes: Sequence[ScoredShape]) -> list[ScoredShape]:
        """The same shapes with their fitness."""
        search, purpose = self.search, self.critics.purpose
        lines = KeyedLines(search.folder, purpose, self._key, search.reporter)
        known = {tuple(line["channels"]): (line["fitness"], line["seconds"]) for line in lines.read()}
        waiting = [shape for shape in shapes if tuple(shape.channels.values()) not in known]
        images = search.plan.images_a_shape(self.critics)
        search.bar.advance((len(shapes) - len(waiting)) * images, now=purpose)
        before = time.monotonic()
        for number, outcome in search.workers.run(self._tasks(waiting), search.step):
            channels, now = tuple(waiting[number].channels.values()), time.monotonic()
            known[channels] = None if math.isnan(outcome.fitness) else outcome.fitness, round(now - before, 3)
            lines.append(
                {"channels": list(channels), **dict(zip(("fitness", "seconds"), known[channels], strict=True))}
            )
            before = now
        return [_with(shape, *known[tuple(shape.channels.values())]) for shape in shapes]

    @property
    def _key(self) -> dict[str, Any]:
        """All that fitness depends on, beside the shape."""
        life = self.search.plan.life
        return {
            "format": FORMAT,
            "images": self.search.images,
            "ancestor": self.sha256,
            "plan": repr((life.generation, life.seed, life.body, life.cross, life.ancestry, self.critics, self.draw)),
        }

    def _tasks(self, shapes: Sequence[ScoredShape]) -> list[AncestryTask]:
        life = replace(self.search.plan.life, critics=self.critics)
        return [
            AncestryTask(
                life,
                self.draw,
                extract(self.whole.tensors, self.structure, shape.channels),
                shape.channels,
                f"{self.critics.purpose} {number}/{len(shapes)}",
            )
            for number, shape in enumerate(shapes, start=1)
        ]


def _fittest(shapes: Sequence[ScoredShape]) -> list[ScoredShape]:
    """Those that did not fail, the fittest first, of equals the first-born."""
    return sorted((shape for shape in shapes if not shape.has_failed), key=lambda shape: (-shape.fitness, shape.id))


def _with(shape: ScoredShape, fitness: float | None, seconds: float) -> ScoredShape:
    return replace(shape, fitness=math.nan if fitness is None else fitness, seconds=seconds)
