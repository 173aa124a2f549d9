"""3x3 convolutions of many channels on maps of a few pixels, as products of matrices (ours).

In bfloat16 on processors with AMX, the convolutions of torch's CPU library are made for large maps. On maps of 2 to 5
pixels they take up to eight times as long as a product of all windows with all kernels; without AMX the product is 4 to
7 % slower, and not taken. `docs/log/speed.md` has figures.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_SIDE = 5  # pixels
LEAST_CHANNELS = 96  # in and out


def is_faster(images: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether `convolve` is the faster way for maps like `images` and kernels like `weight`, computed in `dtype`."""
    return (
        images.device.type == "cpu"
        and torch.cpu._is_amx_tile_supported()
        and dtype == torch.bfloat16
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and max(images.shape[2:]) <= LARGEST_SIDE
    )


def convolve(images: Tensor, weight: Tensor) -> Tensor:
    """What `conv2d(images, weight, padding=1)` gives, up to rounding; can be differentiated as often.

    Args:
        images: (batch, in_channels, height, width) maps.
        weight: (out_channels, in_channels, 3, 3) kernels of the same type.

    Returns:
        (batch, out_channels, height, width) maps, laid out channels last.
    """
    return _Convolution.apply(images, weight)  # type: ignore[no-untyped-call, no-any-return]


class _Convolution(torch.autograd.Function):
    """A product forward, and two backward; windows are cut again rather than kept."""

    @staticmethod
    def forward(images: Tensor, weight: Tensor) -> Tensor:
        kernels = weight.permute(0, 2, 3, 1).flatten(1)  # (out_channels, 9 in_channels)
        return _as_maps(_windows(images) @ kernels.T, images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        images, weight = ctx.saved_tensors
        turned = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)  # (9 out_channels, in_channels)
        rows = gradient.permute(0, 2, 3, 1).flatten(0, 2)  # (batch height width, out_channels)
        kernels = (rows.T @ _windows(images)).view(len(weight), 3, 3, images.shape[1])
        return _as_maps(_windows(gradient) @ turned, images), kernels.permute(0, 3, 1, 2)


def _windows(maps: Tensor) -> Tensor:
    """(batch height width, 9 channels): the window around every pixel of `maps` (batch, channels, height, width)."""
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (batch, height + 2, width + 2, channels)
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # (batch, height, width, channels, 3, 3)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)


def _as_maps(rows: Tensor, like: Tensor) -> Tensor:
    """(batch, channels, height, width): `rows` (batch height width, channels) as maps of the size of `like`."""
    return rows.view(len(like), *like.shape[2:], rows.shape[1]).permute(0, 3, 1, 2)
