"""Objects on their way to another process: their tensors apart, so that large ones need not be copied.

They are pickled, as `multiprocessing` and Ray pickle whatever they carry; it is between the processes of one run, whose
code is the same, and nothing of it is ever read from a file.
"""

import io
import pickle
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parcel:
    """An object in two parts.

    Attributes:
        frame: the object without its tensors.
        tensors: these, in the order of their first occurrence: numpy arrays, or tensors in shared memory.
    """

    frame: bytes
    tensors: Sequence[Any]


def as_array(tensor: Tensor) -> Any:  # noqa: ANN401
    """`tensor` as a numpy array, which any pickle can carry; it shares the memory of a tensor on the CPU."""
    return tensor.detach().cpu().numpy()


def wrap(thing: object, carry: Callable[[Tensor], Any] = as_array) -> Parcel:
    """`thing` in two parts, each tensor as `carry` makes it."""
    frame = io.BytesIO()
    packer = _Packer(frame)
    packer.dump(thing)
    return Parcel(frame.getvalue(), [carry(tensor) for tensor in packer.tensors.values()])


def unwrap(parcel: Parcel, *, copy: bool = True) -> Any:  # noqa: ANN401
    """What was wrapped; without `copy` its tensors share the memory of the parcel's, and must only be read."""
    return _Unpacker(io.BytesIO(parcel.frame), [_tensor(one, copy=copy) for one in parcel.tensors]).load()


def _tensor(array: Any, *, copy: bool) -> Tensor:  # noqa: ANN401
    if isinstance(array, Tensor):
        return array
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array.copy() if copy else array)


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.tensors: dict[int, Tensor] = {}  # which keeps them, and with them their ids
        self._places: dict[int, int] = {}

    def persistent_id(self, thing: object) -> int | None:
        """The place of a tensor among all; None for what is pickled as usual."""
        if type(thing) is not Tensor:
            return None
        self.tensors.setdefault(id(thing), thing)
        return self._places.setdefault(id(thing), len(self._places))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, place: int) -> Tensor:
        """The tensor at its place."""
        return self._tensors[place]
