"""The two layers our networks share."""

import torch
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from learngene_hub.networks.small_maps import convolve, pays


def convolution(in_channels: int, out_channels: int, *, kernel: int, slope: float) -> nn.Conv2d:
    """A convolution of stride 1 that keeps the map's size and has no bias, freshly initialised.

    A bias would vanish in the batch norm behind it. Initial weights are normal with the variance that keeps gradients
    in scale (fan-out), as in timm's VGG (attested in its source), drawn from the global CPU generator.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: odd side of the kernel, in pixels.
        slope: of the leaky ReLU behind it, 0 for a plain one.

    Returns:
        Layer with a weight of shape (out_channels, in_channels, kernel, kernel).
    """
    conv = Convolution(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, a=slope, mode="fan_out", nonlinearity="leaky_relu")
    return conv


class Convolution(nn.Conv2d):
    """Trains on small maps by `small_maps.convolve` where that is faster; elsewhere, and in eval mode, as any other."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, out_channels, height, width) maps of `x`, (batch, in_channels, height, width)."""
        if self.training and not torch.jit.is_scripting() and self._suits(x):  # type: ignore[attr-defined]
            return self._convolve(x)
        maps: Tensor = self._conv_forward(x, self.weight, self.bias)
        return maps

    @torch.jit.unused
    def _convolve(self, x: Tensor) -> Tensor:
        return convolve(x.to(_dtype(x)), self.weight.to(_dtype(x)))

    @torch.jit.unused
    def _suits(self, x: Tensor) -> bool:
        """Whether it is as `convolution` makes it, with a kernel of side 3; elsewhere it may have been changed."""
        plain = (self.groups, self.stride, self.padding, self.dilation, self.bias)
        return plain == (1, (1, 1), (1, 1), (1, 1), None) and pays(x, self.weight, _dtype(x))


def _dtype(x: Tensor) -> torch.dtype:
    """Of a convolution of `x`."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class HalvingPool(nn.Module):
    """Max-pool of side and stride 2; a map with a side of 1 pixel passes unpooled.

    The exception lets networks of five poolings run on images of 28 pixels (ours).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h // 2, w // 2) maxima of `x` of shape (batch, channels, h, w), or `x` itself."""
        return x if min(x.shape[-2:]) < 2 else F.max_pool2d(x, 2)


# Their choice depends on the map's size, which torch.fx cannot trace; timm's `feature_cls="fx"` takes them as a whole.
register_notrace_module(Convolution)
register_notrace_module(HalvingPool)
