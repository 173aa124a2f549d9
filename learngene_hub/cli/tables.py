"""Tables on stdout."""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from learngene_hub.cli.console import stdout
from learngene_hub.core.plain_text import one_line, printable

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
