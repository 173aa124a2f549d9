"""Output of the commands: results and tables on stdout, progress and remarks on stderr."""

import json
import math
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box, progress
from rich.cells import cell_len
from rich.console import Console, ConsoleRenderable, RenderHook
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from learngene_hub.core.errors import LearngeneWarning
from learngene_hub.core.plain_text import one_line, printable
from learngene_hub.core.progress import Task

SETTLED = 2  # seconds until a bar shows a rate
BAR = 10  # columns of a bar
SILENCE = 30  # seconds between the lines that stand for a bar where there is no terminal

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

stdout = Console(highlight=False, emoji=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


class _Printable(RenderHook):
    """Every text that a console prints, whoever wrote it; tables see to their cells themselves."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        for renderable in renderables:
            if isinstance(renderable, Text):
                renderable.plain = printable(renderable.plain)
        return renderables


for _console in (stdout, stderr):
    _console.push_render_hook(_Printable())


def print_json(value: Any, *, indent: int | None = 2) -> None:  # noqa: ANN401
    """Print `value` as JSON to stdout and nothing else; without `indent`, in one line."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, indent=indent, ensure_ascii=not is_unicode)
    typer.echo("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


def print_text(text: str) -> None:
    """Print lines to stdout as they are, tabs included."""
    typer.echo(printable(text))


def help_alone(context: typer.Context) -> None:
    """Print the help of a group of commands that is called without one of them."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def command(*words: str | Path) -> str:
    """A command of `learngene` that can be copied into a shell; paths with `/`, which Windows takes without quotes.

    >>> command("predict", Path("My Photos"), "photo.jpg")
    "learngene predict 'My Photos' photo.jpg"
    """
    return shlex.join(["learngene", *(word.as_posix() if isinstance(word, Path) else word for word in words)])


def show_warnings_as_lines() -> None:
    """Print each `LearngeneWarning` as one line, without its place in the source."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *position: Any, **more: Any) -> None:  # noqa: ANN401
        if issubclass(category, LearngeneWarning):
            stderr.print(f"warning: {message}", style="yellow", markup=False)
        else:
            shown(message, category, *position, **more)

    warnings.showwarning = show


def rate_words(speed: float, unit: str) -> str:
    """A number of steps per second in words.

    >>> rate_words(1234.5, "images"), rate_words(0.05, "networks")
    ('1,234 images/s', '3 networks/min')
    """
    if speed >= 1:
        return f"{speed:,.0f} {unit}/s" if speed >= 10 else f"{speed:.1f} {unit}/s"
    each, name = (60, "min") if speed >= 1 / 60 else (3600, "hour")
    return f"{speed * each:.2g} {unit}/{name}"


def _rounded(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


class _Words(ProgressColumn):
    """Words of a task in one line, cut where there is no room."""

    def __init__(self, words: Callable[[progress.Task], str], style: str = "") -> None:
        super().__init__(Column(overflow="ellipsis"))
        self._words, self._style = words, style

    def render(self, task: progress.Task) -> Text:
        return Text(self._words(task), style=self._style, no_wrap=True, overflow="ellipsis")


def _beside(task: progress.Task) -> str:
    """The fields of a task, and its rate; if nobody knows its end, how long it has taken."""
    words = [one_line(f"{name} {value}") for name, value in task.fields["shown"].items()]
    if task.total is None:
        words.append(f"{task.elapsed:.0f} s")
    if task.speed and (task.elapsed or 0) >= SETTLED:
        words.append(rate_words(task.speed, task.fields["unit"]))
    return "  ".join(words)


def _line(task: progress.Task) -> str:
    unit = task.fields["unit"]
    total = "" if task.total is None else f" of {task.total:,.0f}"
    speed = f" at {rate_words(task.speed, unit)}" if task.speed else ""
    left = "" if task.time_remaining is None else f" ({_rounded(task.time_remaining)} left)"
    return f"{task.description}: {task.completed:,.0f}{total} {unit}{speed}{left}"


@dataclass
class _Task:
    """A bar, or, where none is drawn, a line every `SILENCE` seconds; a resumed task's first step tells no speed."""

    bars: Progress
    task: progress.Task
    is_drawn: bool
    since: float = field(default_factory=time.monotonic)  # the first step, or the last line

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move on, and show `fields` beside the bar; a field stays until it is given again."""
        is_first, now = not self.task.completed, time.monotonic()
        self.bars.update(self.task.id, advance=amount, shown=self.task.fields["shown"] | fields)
        if is_first or now - self.since >= SILENCE:
            self.since = now
            if not (is_first or self.is_drawn):
                stderr.print(_line(self.task), markup=False)


def _new_bars() -> Progress:
    return Progress(
        _Words(lambda task: task.description),
        BarColumn(BAR, table_column=Column(no_wrap=True)),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        _Words(_beside, "dim"),
        console=stderr,
        transient=True,
        get_time=time.monotonic,
        speed_estimate_period=math.inf,
        redirect_stdout=stdout.is_terminal,  # else results would go where the bar is
    )


class TerminalReporter:
    """Draws bars on stderr if that is a terminal, else prints a line every `SILENCE` seconds."""

    def __init__(self) -> None:
        self._bars = _new_bars()

    @contextmanager
    def task(self, title: str, total: float | None, unit: str = "steps") -> Iterator[Task]:
        """Show a bar with speed and time left until the context ends, below those of the tasks around it."""
        if is_first := not self._bars.tasks:
            self._bars = _new_bars()
        is_drawn = stderr.is_terminal and not stderr.is_dumb_terminal
        number = self._bars.add_task(one_line(title), total=total, unit=unit, shown={})
        try:
            with self._bars if is_drawn and is_first else nullcontext():
                yield _Task(self._bars, self._bars.tasks[-1], is_drawn)
        finally:
            self._bars.remove_task(number)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        stderr.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        stderr.print(f"warning: {text}", style="yellow", markup=False)


@contextmanager
def importing() -> Iterator[None]:
    """Show progress while the block imports torch, which takes seconds."""
    with nullcontext() if "torch" in sys.modules else TerminalReporter().task("importing torch", None):
        yield


AROUND = 3  # characters between two columns of a table


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; without `columns` it has no head.

    Cells are broken between words where the terminal is too narrow. The names in the first column and words are never
    broken: where there is no room for them, lines are longer than the terminal is wide.
    """
    rows = [[*map(one_line, row)] for row in rows]
    widths = _widths([*zip(*([columns] if columns else []), *rows, strict=True)], stdout.width)
    head = Text(printable(title), no_wrap=False, overflow="fold")
    whole = sum(widths) + AROUND * len(widths) + 1
    table = Table(title=head, title_justify="left", box=box.SIMPLE, show_header=bool(columns), width=whole)
    for number, width in enumerate(widths):
        table.add_column(columns[number] if columns else "", overflow="fold", width=width)
    for row in rows:
        table.add_row(*row)
    stdout.print(table, markup=False)


def _widths(columns: Sequence[Sequence[str]], terminal: int) -> list[int]:
    """The width of each column of cells: room for its longest word and, from left to right, for whole cells."""
    wanted = [max(map(cell_len, column)) for column in columns]
    for gap in (r"(?<!±) (?!±)", " "):  # intervals are broken last
        words = [max(cell_len(word) for cell in column for word in re.split(gap, cell)) for column in columns]
        widths = [wanted[0], *words[1:]]
        if (room := terminal - sum(widths) - AROUND * len(widths) - 1) >= 0:
            break
    for number, width in enumerate(wanted):
        more = max(0, min(room, width - widths[number]))
        widths[number], room = widths[number] + more, room - more
    return widths
