"""Progress reports of long work, independent of how they are shown.

The library calls a `Reporter`; the command line brings one that draws progress bars
(`learngene_hub.cli.console.TerminalReporter`). A library user who passes none sees warnings only, by Python's logging.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from learngene_hub.core.plain_text import printable


class Task(Protocol):
    """One progress bar."""

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Move on by `amount` steps; `fields` are shown beside the bar, such as `loss=1.2`."""


class Reporter(Protocol):
    """Receives progress and messages."""

    def task(self, title: str, total: float | None, unit: str = "steps") -> AbstractContextManager[Task]:
        """Open a bar of `total` steps (None: length unknown) counted in `unit`; it closes with the context."""

    def line(self, text: str) -> None:
        """Show one permanent line, such as the summary of a generation."""

    def warn(self, text: str) -> None:
        """Show one warning that the user can act on."""


class _SilentTask:
    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Do nothing."""


class _WithoutBars:
    @contextmanager
    def task(self, title: str, total: float | None, unit: str = "steps") -> Iterator[Task]:
        """Open a bar that nobody sees."""
        yield _SilentTask()

    def line(self, text: str) -> None:
        """Drop the line."""


class SilentReporter(_WithoutBars):
    """A `Reporter` that says nothing."""

    def warn(self, text: str) -> None:
        """Drop the warning."""


class LoggingReporter(_WithoutBars):
    """A `Reporter` that logs warnings, as `learngene_hub`, and says nothing else: the default of long work."""

    def warn(self, text: str) -> None:
        """Log the warning, which Python prints to stderr unless it is told otherwise."""
        logging.getLogger("learngene_hub").warning(printable(text))
