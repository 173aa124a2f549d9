"""Output of the commands: results and tables on stdout, progress and remarks on stderr."""

import json
import math
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleRenderable, RenderHook
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.table import Table
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


class _Measured:
    """Progress, speed and time left of a task; the first step of a resumed task does not count for the speed.

    `_since` is the time of the last step of a bar, or of the last line.
    """

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self._title, self._unit, self._since = one_line(title), unit, time.monotonic()
        self._progress = Progress(get_time=time.monotonic, speed_estimate_period=math.inf)  # never started: we draw it
        self._progress.add_task("", total=total)
        self._task = self._progress.tasks[0]


class _BarTask(_Measured):
    """One line: what is done, a bar, the share, the time left and, where there is room, the fields and the rate."""

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        super().__init__(title, total, unit)
        self._fields: dict[str, float | str] = {}

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move the bar and show `fields` beside it; a field stays until it is given again."""
        self._fields |= fields
        self._progress.advance(TaskID(0), amount)
        self._since = time.monotonic()

    def __rich__(self) -> Text:
        """As wide as the terminal at most; the time left is never cut."""
        width, how_far = stderr.width - 1, self._how_far()
        line = Text(self._title, no_wrap=True)
        line.truncate(max(8, width - how_far.cell_len - 1), overflow="ellipsis")
        line = Text(" ", no_wrap=True).join((line, how_far))
        for word in self._beside():
            if line.cell_len + 2 + cell_len(word) <= width:
                line.append(f"  {word}", style="dim")
        return line

    def _how_far(self) -> Text:
        task = self._task
        if not task.total:
            return Text(f"{task.elapsed:.0f} s", style="dim")
        full = round(BAR * task.percentage / 100)
        left = ""
        if task.time_remaining is not None:  # it passes between two steps, too
            seconds = max(0.0, task.time_remaining - (time.monotonic() - self._since))
            left = f" {timedelta(seconds=round(seconds))} left"
        share = f" {task.percentage:3.0f}%"
        return Text.assemble(("━" * full, "green"), ("━" * (BAR - full), "dim"), share, (left, "cyan"))

    def _beside(self) -> list[str]:
        words = [one_line(f"{name} {value}") for name, value in self._fields.items()]
        if self._task.speed and (self._task.elapsed or 0) >= SETTLED:
            words.append(rate_words(self._task.speed, self._unit))
        return words


class _LineTask(_Measured):
    """Lines in a log file instead of a bar: one every `SILENCE` seconds."""

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move on; the first step of a resumed task does not count for the speed."""
        is_first, now = not self._task.completed, time.monotonic()
        self._progress.advance(TaskID(0), amount)
        if is_first:
            self._since = now
        elif now - self._since >= SILENCE:
            self._since = now
            stderr.print(self._line(), markup=False)

    def _line(self) -> str:
        task = self._task
        total = "" if task.total is None else f" of {task.total:,.0f}"
        speed = f" at {rate_words(task.speed, self._unit)}" if task.speed else ""
        left = "" if task.time_remaining is None else f" ({_rounded(task.time_remaining)} left)"
        return f"{self._title}: {task.completed:,.0f}{total} {self._unit}{speed}{left}"


class TerminalReporter:
    """Draws a bar on stderr if that is a terminal, else prints a line every `SILENCE` seconds."""

    def __init__(self) -> None:
        self._bars: list[_BarTask] = []

    @contextmanager
    def task(self, title: str, total: float | None, unit: str = "steps") -> Iterator[Task]:
        """Show a bar with speed and time left until the context ends; of nested bars only the innermost."""
        if not stderr.is_terminal or stderr.is_dumb_terminal:
            yield _LineTask(title, total, unit)
            return
        self._bars.append(bar := _BarTask(title, total, unit))
        try:
            with nullcontext() if len(self._bars) > 1 else self._live():
                yield bar
        finally:
            self._bars.remove(bar)

    def _live(self) -> Live:
        return Live(
            console=stderr,
            transient=True,
            get_renderable=lambda: self._bars[-1],
            redirect_stdout=stdout.is_terminal,  # else results would go where the bar is
        )

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


MOST_WHOLE = 40  # characters


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    whole_first: bool = False,
) -> None:
    """Print a table; without `columns` it has no head; `whole_first`: break the first column last.

    It is as wide as it needs, and at most as the terminal.
    A first column beyond `MOST_WHOLE` is broken all the same, so that it leaves room for the others.
    """
    head = Text(printable(title))
    table = Table(title=head, title_justify="left", box=box.SIMPLE, show_header=bool(columns))
    rows = [[*map(one_line, row)] for row in rows]
    widest = max((cell_len(row[0]) for row in rows), default=0)
    whole_first = whole_first and widest <= MOST_WHOLE
    for number in range(len(rows[0]) if rows else len(columns)):
        table.add_column(
            columns[number] if columns else "",
            overflow="fold",
            no_wrap=whole_first and number == 0,
            min_width=widest if whole_first and number == 0 else None,
        )
    for row in rows:
        table.add_row(*row)
    stdout.print(table, markup=False)
