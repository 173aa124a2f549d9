"""Every exception this package raises on purpose.

A message says what was expected, what was found, where, and what to do next. The command line prints exactly that
message, without a traceback, and exits with status 1.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from learngene_hub.core.plain_text import printable

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 2000  # characters of a message
_ASKED = re.compile(  # torch of CPUs, torch of GPUs, then CUDA and its libraries
    r"(can't allocate memory: you )?[Tt]ried to allocate [\d.]+ \w+"
    r"|CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_\w*ALLOC\w*_FAILED"
)


class LearngeneError(Exception):
    """Base of all errors a user can act on."""

    def __str__(self) -> str:
        """The message, shortened and without terminal control characters, since it may quote any file."""
        message = printable(super().__str__())
        return message if len(message) <= LONGEST else f"{message[:LONGEST]}..."


class RecipeError(LearngeneError):
    """A recipe is missing, malformed, or asks for something impossible; all faults are listed together."""


class DataError(LearngeneError):
    """A data set cannot be found, read, or split as asked."""


class NetworkError(LearngeneError):
    """A network cannot be built, or this package does not support it."""


class GeneFileError(LearngeneError):
    """A gene folder is incomplete, altered, unsafe, or newer than this package."""


class InheritanceError(LearngeneError):
    """A gene does not fit into a network; the layer is named."""


class SelectionError(LearngeneError):
    """No individual of a generation can be selected."""


class RunError(LearngeneError):
    """A run folder is occupied, in use, or belongs to another recipe."""


class BusyError(RunError):
    """Another process is using a folder."""


class EngineError(LearngeneError):
    """The workers of a run cannot be started, or lose the same work again and again."""


class StorageError(LearngeneError, OSError):
    """A file cannot be written: no space, or no permission."""


class TrainingError(LearngeneError):
    """A training diverged, or its result already exists."""


class HubError(LearngeneError):
    """A repository of the Hub cannot be found, read, trusted or written."""


class NoRepositoryError(HubError):
    """There is no such repository on the Hub, or none that the user may see."""


class HubUnreachableError(HubError):
    """The Hub does not answer, or says to try again later."""


class LearngeneWarning(UserWarning):
    """A remark on a problem that did not stop the work; the command line prints it as one line."""


def lack_of_memory(error: MemoryError | RuntimeError) -> str | None:
    """What was asked for when the memory of a CPU or GPU ran out, in torch's words; None if something else went wrong.

    >>> lack_of_memory(MemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"))
    'Tried to allocate 2.00 GiB'
    """
    asked = _ASKED.search(str(error))
    # torch's own class would have to be imported here
    is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not is_named and asked is None:
        return None
    return asked[0] if asked else str(error).partition("\n")[0] or type(error).__name__


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """End of a message on an unknown name: asks whether a similar one of `names` was meant; empty if there is none.

    >>> did_you_mean("narow", ["narrow", "pretrained"])
    '; did you mean `narrow`?'
    """
    return suggestion(difflib.get_close_matches(name, list(names), n=1))


def suggestion(near: Sequence[str]) -> str:
    """End of a message: asks whether one of the names `near` was meant; empty if there are none.

    >>> suggestion(["cats", "runs/cats"])
    '; did you mean `cats` or `runs/cats`?'
    """
    return f"; did you mean `{'` or `'.join(near)}`?" if near else ""


def first_fault(error: "ValidationError") -> str:
    """The first of pydantic's faults: where it is, if anywhere, and what it is."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")  # what pydantic puts before our own words
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), message)))
