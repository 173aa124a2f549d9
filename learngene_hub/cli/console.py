"""What a person at a terminal sees: results and tables on stdout, progress and remarks on stderr."""

import json
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, ConsoleRenderable, RenderHook
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
from rich.table import Table
from rich.text import Text

from learngene_hub.core.errors import LearngeneWarning
from learngene_hub.core.plain_text import one_line, printable
from learngene_hub.core.progress import Task

SETTLED = 2  # seconds until a bar shows a speed
SILENCE = 30  # seconds between the lines that stand for a bar where there is no terminal

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

stdout = Console(highlight=False, emoji=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


class _Printable(RenderHook):
    """Every text that a console prints, whoever wrote it; tables see to their cells themselves."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        for one in renderables:
            if isinstance(one, Text):
                one.plain = printable(one.plain)
        return renderables


for _console in (stdout, stderr):
    _console.push_render_hook(_Printable())


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print `value` as JSON to stdout and nothing else."""
    typer.echo(json.dumps(value, indent=2))


def print_text(text: str, *, end: str = "\n") -> None:
    """Print lines to stdout as they are, tabs too."""
    typer.echo(printable(text) + end, nl=False)


def show_warnings_as_lines() -> None:
    """Have each warning of ours printed as one line, without its place in the source."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:  # noqa: ANN401
        if issubclass(category, LearngeneWarning):
            stderr.print(f"warning: {message}", style="yellow", markup=False)
        else:
            shown(message, category, *place, **more)

    warnings.showwarning = show


class _BarTask:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._fields: dict[str, float | str] = {}

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move the bar and show `fields` beside it; a field stays until it is given anew."""
        self._fields |= fields
        shown = ", ".join(f"{name} {value}" for name, value in self._fields.items())
        self._progress.update(self._task, advance=amount, fields_shown=one_line(shown))


class _LineTask:
    """What a log file gets for a bar: now and then a line, the first after `SILENCE`."""

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done, self._spoke = 0.0, time.monotonic()
        self._counts_from: tuple[float, float] | None = None

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move on; what a resumed task begins with counts for no speed."""
        self._done, now = self._done + amount, time.monotonic()
        if self._counts_from is None:
            self._counts_from, self._spoke = (self._done, now), now
        elif now - self._spoke >= SILENCE:
            self._spoke = now
            stderr.print(self._line((self._done - self._counts_from[0]) / (now - self._counts_from[1])), markup=False)

    def _line(self, speed: float) -> str:
        words = [f"{self._title}: {self._done:,.0f}"]
        if self._total is not None:
            words += [f"of {self._total:,.0f}"]
        words += [self._unit]
        if speed > 0:
            words += [f"at {_speed(speed)} {self._unit}/s"]
            if self._total is not None:
                words += [f"({(self._total - self._done) / speed / 60:,.0f} min left)"]
        return " ".join(words)


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


class _SpeedColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Speed in the task's unit, once it has settled."""
        known = task.speed and (task.elapsed or 0) >= SETTLED
        return Text(f"{_speed(task.speed or 0)} {task.fields['unit']}/s" if known else "", style="dim")


class TerminalReporter:
    """Draws bars on stderr where that is a terminal; elsewhere lines, of a bar one in `SILENCE` seconds."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    @contextmanager
    def task(self, title: str, total: float | None, unit: str = "it") -> Iterator[Task]:
        """Show a bar with speed and time left until the context ends."""
        if not stderr.is_terminal or stderr.is_dumb_terminal:
            yield _LineTask(title, total, unit)
            return
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[fields_shown]}", style="dim", markup=False),
            console=stderr,
            transient=True,
            redirect_stdout=stdout.is_terminal,  # else results would go where the bar is
        ) as progress:
            task = progress.add_task(one_line(title), total=total, unit=unit, fields_shown="")
            yield _BarTask(progress, task)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        stderr.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        stderr.print(f"warning: {text}", style="yellow", markup=False)


MOST_WHOLE = 40  # characters


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    print_table(title, (), pairs.items())


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole_first: bool = False
) -> None:
    """Print a table; without `columns` it has no head; `whole_first`: break the first column last.

    A first column beyond `MOST_WHOLE` is broken all the same, so that it leaves room for the others.
    """
    table = Table(title=Text(printable(title)), title_justify="left", box=box.SIMPLE, show_header=bool(columns))
    rows = [[*map(one_line, row)] for row in rows]
    whole_first = whole_first and max((len(row[0]) for row in rows), default=0) <= MOST_WHOLE
    for number in range(len(rows[0]) if rows else len(columns)):
        table.add_column(columns[number] if columns else "", overflow="fold", no_wrap=whole_first and number == 0)
    for row in rows:
        table.add_row(*row)
    stdout.print(table, markup=False)
