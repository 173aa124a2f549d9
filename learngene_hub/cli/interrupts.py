"""Ctrl-C with a message of the command."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(say: str) -> Iterator[None]:
    """Turn Ctrl-C inside the block into `KeyboardInterrupt(say)`.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; an inner block's message comes first.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or say) from None
