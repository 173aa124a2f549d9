"""Accuracies measured so far, kept on disk, so that nothing is measured twice.

There is one file for each start and kind of descendant, with one line and checksum for each network. The name of the
file has a hash of everything that affects its lines: a changed gene or protocol begins a new file. A damaged line is
measured again.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from learngene_hub.core.progress import Reporter
from learngene_hub.core.store import KeyedLines
from learngene_hub.evaluation.measuring import Unit
from learngene_hub.evaluation.starts import Start
from learngene_hub.genome.birth import Body
from learngene_hub.report.results import CHECKPOINT

FOLDER = "tasks"
MOST_NAME = 50  # letters of a start in the name of its file
Measured = dict[str, float]


class ResultsCache:
    """The measured units of one `start` in one kind of descendant, `body`; without a `folder` nothing is kept.

    `constants`, and a hash of the `images` of each role, are everything else that affects a result.
    """

    def __init__(
        self,
        folder: Path | None,
        start: Start,
        body: Body,
        constants: Mapping[str, Any],
        images: Mapping[str, str],
        *,
        reporter: Reporter,
    ) -> None:
        tensors = None if start.genome is None else start.genome.sha256
        key = {"tensors": tensors, "body": asdict(body), "constants": constants, "images": dict(images)}
        title = CHECKPOINT if start.name.startswith(CHECKPOINT) else start.name  # however many there are
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in title[:MOST_NAME])
        self._lines = KeyedLines(None if folder is None else folder / FOLDER, name, key, reporter)
        lines = self._lines.read()
        self._kept: dict[Unit, Measured] = {
            Unit(line["role"], line["seed"], line["number"], line["lr"]): line["measured"] for line in lines
        }

    def __contains__(self, unit: Unit) -> bool:
        return unit in self._kept

    def __getitem__(self, unit: Unit) -> Measured:
        return self._kept[unit]

    def enter(self, unit: Unit, measured: Measured) -> None:
        """Keep what was measured on `unit`."""
        self._kept[unit] = measured
        self._lines.append(asdict(unit) | {"measured": measured})
