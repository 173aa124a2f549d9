"""Shared data on its way to a worker: large tensors apart, so that all workers of a machine can read the same memory.

The rest is pickled, as `multiprocessing` and Ray do with whatever they carry: between the processes of one run, whose
code is the same. Nothing of it is ever read from a file.
"""

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LARGE = 4 << 20  # bytes from which a tensor is shared between processes; smaller ones are copied


@dataclass(frozen=True)
class Payload:
    """Shared data, pickled without its large tensors; and these, each once: tensors, or numpy arrays."""

    frame: bytes
    tensors: Sequence[Any]


def pack(shared: object) -> Payload:
    """`shared` in two parts; its large tensors are not copied."""
    frame = io.BytesIO()
    pickler = _Pickler(frame)
    pickler.dump(shared)
    return Payload(frame.getvalue(), pickler.large)


def unpack(payload: Payload) -> Any:  # noqa: ANN401
    """What was packed; its large tensors share the memory of the payload's, and must only be read."""
    tensors = [one if isinstance(one, Tensor) else torch.from_numpy(one) for one in payload.tensors]
    unpickler = pickle.Unpickler(io.BytesIO(payload.frame))
    unpickler.persistent_load = tensors.__getitem__  # type: ignore[method-assign]
    return unpickler.load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.large: list[Tensor] = []

    def persistent_id(self, thing: object) -> int | None:
        """The position of a large tensor among all; None for what is pickled as usual."""
        if type(thing) is not Tensor or thing.nbytes < LARGE:
            return None
        if not any(one is thing for one in self.large):
            self.large.append(thing)
        return next(position for position, one in enumerate(self.large) if one is thing)
