"""How the cost of an evolution grows: with generations not at all, with population and steps in proportion.

One run of 200 tiny generations tells how time, memory and the checkpoint behave over time; short runs tell the rest.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.measure import Figure, Goal, cpu_seconds, interleaved, ratio, typical
from learngene_hub import EngineOptions, Recipe, evolve
from learngene_hub.evolution import run
from learngene_hub.evolution.checkpoint import STATE_NAME, save_state
from learngene_hub.evolution.individual import EvolutionState

GENERATIONS, PART = 200, 50
RECIPE = {
    "name": "growth",
    "network": {"name": "lg_vgg11", "width": 0.06},
    "data": {
        "preset": "glyphs",
        "image_size": 28,
        "images_per_class": 12,
        "classes": {"base": 8, "held_out": 6, "novel": 6},
    },
    "evolution": {"generations": 2, "population": 4, "founder_generations": 0},
    "ancestry": {"ways": 4, "steps": 3, "batch_size": 8, "warmup": 1},
    "critic": {"ways": 3, "shots": 4, "queries": 6, "steps": 2, "tasks": 1, "batch_size": 8, "warmup": 0},
}
LIKE_MORE = Goal("at most", 1.1)


@dataclass(frozen=True)
class Mark:
    """How things stand when a generation is saved.

    Attributes:
        seconds: CPU seconds before.
        saving: CPU seconds for saving.
        memory: bytes of memory that the process holds.
        state: bytes of the checkpoint, without the rows of generations.
        opened: open files.
        files: files of the run.
    """

    seconds: float
    saving: float
    memory: int
    state: int
    opened: int
    files: int


def figures() -> list[Figure]:
    """Over time, and with the size of a generation."""
    return [*_over_time(_long_run()), *_with_size()]


def _over_time(marks: list[Mark]) -> list[Figure]:
    spans = [after.seconds - before.seconds for before, after in pairwise(marks)]
    early, late = statistics.median(spans[:PART]), statistics.median(spans[-PART:])
    saving = statistics.median(mark.saving for mark in marks)
    middle, end = marks[PART], marks[-1]
    return [
        Figure(
            "growth",
            f"time of one, last {PART} / first {PART} of {GENERATIONS} generations",
            late / early,
            f"{late * 1e3:.0f} against {early * 1e3:.0f} ms",
            LIKE_MORE,
        ),
        _grown(
            "memory", end.memory, middle.memory, f"{end.memory / 1e6:.0f} against {middle.memory / 1e6:.0f} MB", 1.02
        ),
        _grown("checkpoint", end.state, middle.state, f"{end.state / 1e6:.2f} MB, saved in {saving * 1e3:.1f} ms"),
        _grown("open files", end.opened, middle.opened, f"{end.opened} against {middle.opened}"),
        _grown("files of the run", end.files, middle.files, f"{end.files} against {middle.files}"),
    ]


def _grown(what: str, end: int, middle: int, detail: str, goal: float = 1.1) -> Figure:
    ratio_of = f"{what} after {GENERATIONS} / {PART} generations"
    return Figure("growth", ratio_of, end / middle, detail, Goal("at most", goal))


def _long_run() -> list[Mark]:
    """One mark a generation."""
    marks: list[Mark] = []

    def noted(out: Path, state: EvolutionState, *arguments: Any) -> None:  # noqa: ANN401
        before = time.process_time()
        saving = cpu_seconds(lambda: save_state(out, state, *arguments))
        size = (out / STATE_NAME).stat().st_size - len(json.dumps(state.rows))
        opened, files = len(os.listdir("/proc/self/fd")), sum(path.is_file() for path in out.rglob("*"))
        marks.append(Mark(before, saving, _memory(), size, opened, files))

    with patch.object(run, "save_state", noted):
        _evolve(f"evolution.generations={GENERATIONS}")()
    return marks


def _with_size() -> list[Figure]:
    ways = {
        "once": _evolve("ancestry.steps=10"),
        "population": _evolve("ancestry.steps=10", "evolution.population=12"),
        "steps": _evolve("ancestry.steps=30", "critic.steps=6"),
    }
    times = interleaved(ways)
    return [
        Figure(
            "growth",
            f"three times the {name} / 3",
            ratio(times, name, "once") / 3,
            f"{typical(times, name):.2f} against 3 x {typical(times, 'once'):.2f} CPU seconds",
            LIKE_MORE,
        )
        for name in ("population", "steps")
    ]


def _evolve(*overrides: str) -> Callable[[], None]:
    recipe = Recipe.from_content(json.dumps(RECIPE).encode(), overrides, file=Path("growth.yaml"))

    def work() -> None:
        with TemporaryDirectory() as folder:
            evolve(recipe, out=Path(folder) / "run", device="cpu", engine=EngineOptions(workers=1))

    return work


def _memory() -> int:
    """Bytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
