"""What a person at a terminal sees: results on stdout, progress and remarks on stderr."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from learngene_hub.progress import Task

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print `value` as JSON to stdout and nothing else."""
    stdout.print(json.dumps(value, indent=2), markup=False)


class _BarTask:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._fields: dict[str, float | str] = {}

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move the bar and show `fields` beside it; a field stays until it is given anew."""
        self._fields |= fields
        shown = ", ".join(f"{name} {value}" for name, value in self._fields.items())
        self._progress.update(self._task, advance=amount, fields_shown=shown)


class _SpeedColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Speed in the task's unit."""
        return Text(f"{task.speed:,.0f} {task.fields['unit']}/s" if task.speed else "", style="dim")


class TerminalReporter:
    """Draws bars on stderr where that is a terminal; elsewhere only the lines appear."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    @contextmanager
    def task(self, title: str, total: float | None, unit: str = "it") -> Iterator[Task]:
        """Show a bar with speed and time left until the context ends."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[fields_shown]}", style="dim"),
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
        ) as progress:
            task = progress.add_task(title, total=total, unit=unit, fields_shown="")
            yield _BarTask(progress, task)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        stderr.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        stderr.print(f"warning: {text}", style="yellow", markup=False)
