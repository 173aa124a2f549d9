"""What every worker does with a task, however it is reached, and how its answer is read."""

import traceback

import torch

from learngene_hub.engine.parcel import Parcel, unwrap, wrap
from learngene_hub.engine.task import Done, Lost, Outcome, Refused, Step
from learngene_hub.errors import LearngeneError, lack_of_memory


def answer(parcel: Parcel, scene: object, step: Step) -> Parcel:
    """Do the task in `parcel`; its outcome, as a parcel that can be made and opened whatever went wrong."""
    try:
        return wrap(Done(unwrap(parcel)(scene, step)))
    except Exception as error:  # which the driver hears of, and decides
        return wrap(_failure(error))


def read_answer(parcel: Parcel) -> Outcome:
    """What `answer` gave; a loss if the code here cannot read it."""
    try:
        outcome: Outcome = unwrap(parcel)
    except Exception as error:  # unpickling raises whatever it likes
        return Lost(f"sent what cannot be read ({named(error)})")
    return outcome


def named(error: Exception) -> str:
    """What kind of exception it is, and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _failure(error: Exception) -> Lost | Refused:
    """A loss is what another machine, or this one later, may not meet; all else would fail wherever it is tried."""
    match error:
        case MemoryError() | RuntimeError() if asked := lack_of_memory(error):
            return Lost(f"out of memory ({asked})")
        case LearngeneError():
            return Refused(_sendable(error))
        case OSError():
            return _failed(error)
        case RuntimeError() if _is_of_the_device(error):
            return _failed(error)
        case _:
            return Refused(_sendable(error), "".join(traceback.format_exception(error)))


def _failed(error: Exception) -> Lost:
    """A loss, whose traceback the worker writes as a process that dies of it would."""
    traceback.print_exception(error)
    return Lost(f"failed ({named(error)})")


def _sendable(error: Exception) -> Exception:
    """`error` without what it was raised from, or what can be sent of it, since an exception may hold anything."""
    try:
        unwrap(wrap(error))
    except Exception:  # as may pickling
        return RuntimeError(named(error))
    return error


def _is_of_the_device(error: RuntimeError) -> bool:
    return isinstance(error, torch.AcceleratorError) or str(error).startswith(("CUDA error", "cuDNN error"))
