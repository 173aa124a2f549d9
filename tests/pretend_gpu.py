"""A GPU that is not there: the fixture `gpu`.

Its tensors compute on the CPU, say that they lie on `cuda:0`, and refuse to meet tensors of the CPU, as those of a GPU
do. Of CUDA graphs, streams and speed it knows nothing.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

CUDA = torch.device("cuda", 0)
ASKING = {getattr(torch.Tensor, name) for name in ("__float__", "__int__", "__bool__", "item", "tolist")}
DEVICE, IS_CUDA = torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__


class Pretend(torch.Tensor):
    """A tensor on the GPU that is not there; `inner` is what it is."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="cpu",  # what C++ believes, so that autograd works
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner):
        self.inner = inner.detach()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        tensors = [one for one in tree_leaves((args, kwargs or {})) if isinstance(one, torch.Tensor)]
        mine = {id(one.inner): one for one in tensors if isinstance(one, cls)}
        strangers = [tuple(one.shape) for one in tensors if not isinstance(one, cls) and one.ndim > 0]
        if strangers and func.overloadpacket is not torch.ops.aten.copy_:
            raise RuntimeError(f"{func}: expected all tensors on {CUDA}, found some of the CPU, {strangers}")
        args, kwargs = tree_map_only(cls, lambda one: one.inner, (args, kwargs or {}))
        found = func(*args, **kwargs)
        return tree_map_only(torch.Tensor, lambda one: mine[id(one)] if id(one) in mine else cls(one), found)


class PretendGpu(TorchFunctionMode):
    """While it is entered, `cuda` is a device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, own = dict(kwargs or {}), bool(args) and isinstance(args[0], Pretend)
        if own and func == DEVICE:
            return CUDA
        if own and func == IS_CUDA:
            return True
        if own and func in ASKING:
            return func(args[0].inner)
        if own and func is torch.Tensor.numpy:
            raise TypeError("expected a tensor of the CPU, found one on cuda:0")
        if func is torch.Tensor.cpu:
            return _moved(args[0], "cpu")
        if func is torch.Tensor.to:
            device, args, kwargs = _without_device(args, kwargs)
            kwargs.pop("non_blocking", None)
            moved = _moved(args[0], device)
            return func(moved, *args[1:], **kwargs) if args[1:] or kwargs else moved
        if _is_cuda(kwargs.get("device")):
            return Pretend(func(*args, **kwargs | {"device": "cpu"}))
        return func(*args, **kwargs)


def _moved(tensor, device):
    """`tensor` on `device`; itself if it lies there already, or None is asked for."""
    own = isinstance(tensor, Pretend)
    if device is None or own == _is_cuda(device):
        return torch.Tensor.to(tensor, device) if not own and device is not None else tensor
    copy = tensor.inner.clone() if own else Pretend(tensor.detach().clone())
    return copy.requires_grad_(tensor.requires_grad)


def _without_device(args, kwargs):
    """The device that `Tensor.to` is asked for, and the arguments without it."""
    tensor, *rest = args
    rest = [part for one in rest for part in ((one.device, one.dtype) if isinstance(one, torch.Tensor) else (one,))]
    devices = [one for one in (*rest, kwargs.pop("device", None)) if isinstance(one, torch.device | str)]
    rest = [one for one in rest if not isinstance(one, torch.device | str | bool | None)]
    return (devices or [None])[0], (tensor, *rest), kwargs


def _is_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


def _grouped(tensors):
    """What clipping takes for its tensors, by device and type; C++ would say the CPU's."""
    (only,) = tensors
    return {(only[0].device, only[0].dtype): ([only], [])}


@pytest.fixture
def gpu(monkeypatch):
    """A function that gives the GPU that is not there, a context of one use; neither it nor the CPU has bfloat16."""
    there = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "is_bf16_supported": lambda including_emulation=True: False,
        "get_device_name": lambda device=None: "a GPU that is not there",
        "synchronize": lambda device=None: None,
        "device": nullcontext,
    }
    for name, value in there.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    monkeypatch.setattr(clip_grad, "_group_tensors_by_device_and_dtype", _grouped)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `network.to` cannot swap what lies elsewhere
    yield PretendGpu
    torch.__future__.set_overwrite_module_params_on_conversion(before)
