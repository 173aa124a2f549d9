"""Ctrl-C told in the words of the command."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(say: str) -> Iterator[None]:
    """A block that Ctrl-C ends as `KeyboardInterrupt(say)`; what it did stays done.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; with the words of an inner block, if there are any.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or say) from None
