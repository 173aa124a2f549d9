"""Ctrl-C told as Ctrl-C, also where a library in C makes an error of its own out of it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from learngene_hub.core.errors import LearngeneError


@contextmanager
def interruptible(say: str) -> Iterator[None]:
    """A block whose failure after Ctrl-C is told as `KeyboardInterrupt(say)`.

    Python raises `KeyboardInterrupt` in whatever code is running. Callbacks of matplotlib, say, hand any exception to
    C, which comes back as a `ValueError`. What the block did without failing stays done.

    Raises:
        KeyboardInterrupt: the block failed after Ctrl-C; with the words of an inner block, if there are any.
        LearngeneError: likewise, as it is: it may be a later failure, after a Ctrl-C that a library swallowed.
    """
    with _noted() as pressed:
        try:
            yield
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(str(stop) or say) from None
        except Exception as error:  # whatever a library made of Ctrl-C
            if pressed() and not isinstance(error, LearngeneError | typer.Exit):
                raise KeyboardInterrupt(say) from error
            raise


@contextmanager
def _noted() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT has come; it does what it did before, too."""
    before, seen = signal.getsignal(signal.SIGINT), threading.Event()
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield seen.is_set  # SIGINT is ignored, or not for this thread
        return

    def note(number: int, frame: FrameType | None) -> None:
        seen.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield seen.is_set
    finally:
        signal.signal(signal.SIGINT, before)
