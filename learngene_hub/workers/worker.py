"""How a worker runs its tasks in any process, its answers, and how the shared data gets there.

Large tensors are sent separately, so that all workers of a machine can read the same memory. The rest is pickled, as
`multiprocessing` and Ray do with everything they send between the processes of one run, which have the same code.
Pickled data is never read from a file.
"""

import io
import pickle
import traceback
from collections.abc import Sequence
from ctypes import c_longlong
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from learngene_hub.core.device import at_work_on, chip_kind, chip_name
from learngene_hub.core.errors import LearngeneError, lack_of_memory

LARGE = 4 << 20  # bytes from which a tensor is shared between processes; smaller ones are copied


@dataclass(frozen=True)
class Payload:
    """Shared data, pickled without its large tensors, and each of these tensors once, also as numpy arrays."""

    frame: bytes
    tensors: Sequence[Any]


def pack(shared: object) -> Payload:
    """`shared` as a payload; large tensors are not copied."""
    frame = io.BytesIO()
    pickler = _Pickler(frame)
    pickler.dump(shared)
    return Payload(frame.getvalue(), pickler.large)


def unpack(payload: Payload) -> Any:  # noqa: ANN401
    """The packed object; its large tensors share the memory of the payload, and must only be read."""
    tensors = [data if isinstance(data, Tensor) else torch.from_numpy(data) for data in payload.tensors]
    unpickler = pickle.Unpickler(io.BytesIO(payload.frame))
    unpickler.persistent_load = tensors.__getitem__  # type: ignore[method-assign]
    return unpickler.load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.large: list[Tensor] = []
        self._positions: dict[int, int] = {}

    def persistent_id(self, value: object) -> int | None:
        """The position of a large tensor among all, each once; None for what is pickled as usual."""
        if type(value) is not Tensor or value.nbytes < LARGE:
            return None
        position = self._positions.setdefault(id(value), len(self.large))
        if position == len(self.large):
            self.large.append(value)
        return position


@dataclass(frozen=True)
class Done:
    """The result of a task, the images of its steps, the worker's chip, and its properties that affect rounding."""

    value: Any
    images: int
    chip: str
    kind: str


@dataclass(frozen=True)
class Failed:
    """The exception of a task; `trace` is its traceback, empty for errors of this package."""

    error: Exception
    trace: str


@dataclass(frozen=True)
class OutOfMemory:
    """A task ran out of memory; `asked` says how much it needed."""

    asked: str


Answer = Done | Failed | OutOfMemory


class Worker:
    """Runs one task after another; counts the images of each in `images`, or in its own memory."""

    def __init__(self, payload: Payload, device: str, images: c_longlong | None = None) -> None:
        self._payload, self._device = payload, torch.device(device)
        self._images = c_longlong() if images is None else images

    @cached_property
    def _shared(self) -> Any:  # noqa: ANN401
        return unpack(self._payload).on(self._device)

    def do(self, task: bytes) -> bytes:
        """Run a pickled task; the pickled answer, even if the task fails."""
        self._images.value = 0
        try:
            with at_work_on(self._device):
                value = pickle.loads(task)(self._shared, self._step)
                done = Done(value, self._images.value, chip_name(self._device), chip_kind(self._device))
                return pickle.dumps(done)
        except Exception as error:  # which the driver raises
            return pickle.dumps(_failure(error))

    def images(self) -> int:
        """Images of the present task's steps so far."""
        return self._images.value

    def _step(self, images: int, doing: str) -> None:
        self._images.value += images


def named(error: BaseException) -> str:
    """The type of an exception and the first line of its message."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _failure(error: Exception) -> Failed | OutOfMemory:
    match error:
        case MemoryError() | RuntimeError() if asked := lack_of_memory(error):
            return OutOfMemory(asked)
        case LearngeneError():
            return Failed(_sendable(error), "")
        case _:
            return Failed(_sendable(error), "".join(traceback.format_exception(error)))


def _sendable(error: Exception) -> Exception:
    """`error`, or what can be sent of it, since an exception may hold anything."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # as may pickling
        return RuntimeError(named(error))
    return error
