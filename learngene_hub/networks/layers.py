"""The layers our networks share."""

import threading

import torch
from timm.models import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from learngene_hub.networks.small_maps import convolve, is_faster


def convolution(in_channels: int, out_channels: int, *, kernel: int, slope: float) -> nn.Conv2d:
    """A convolution of stride 1 that keeps the map's size and has no bias, freshly initialised.

    A bias would vanish in the batch norm behind it. Initial weights are normal with the variance that keeps gradients
    in scale (fan-out), as in timm's VGG (attested in its source), drawn from the global CPU generator. The weight is
    (out_channels, in_channels, kernel, kernel), with an odd `kernel`; `slope` is that of the leaky ReLU behind it.
    """
    conv = Convolution(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, a=slope, mode="fan_out", nonlinearity="leaky_relu")
    return conv


class Convolution(nn.Conv2d):
    """Trains on small maps by `small_maps.convolve` where that is faster; elsewhere, and in eval mode, as any other."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, out_channels, height, width) maps of `x`, (batch, in_channels, height, width)."""
        if self.training:
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            form = (self.groups, self.stride, self.padding, self.dilation, self.bias)  # which others may have changed
            if form == (1, (1, 1), (1, 1), (1, 1), None) and is_faster(x, self.weight, dtype):
                return convolve(x.to(dtype), self.weight.to(dtype))
        maps: Tensor = self._conv_forward(x, self.weight, self.bias)
        return maps


LAYERS = "layers"
"""Name of the pool that `LayersHead` stands for, beside those of timm."""


class LayersHead(nn.Module):
    """A classifier of the mean and maximum of every channel of every layer, standardised (ours).

    It is what a linear probe of a frozen network needs: the last layer alone knows less of images unlike those the
    network was trained on. `in_features` are means and maxima; all names are those of timm's `ClassifierHead`.
    """

    def __init__(self, in_features: int, num_classes: int, *, drop_rate: float) -> None:
        super().__init__()
        self.pool_type = LAYERS  # which timm writes into its config.json
        self.num_features = in_features
        self.norm = nn.BatchNorm1d(in_features, affine=False)
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Put a fresh linear layer in place; the pool is always the same."""
        self.fc: nn.Module = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(batch, classes) logits of `x` (batch, in_features, 1, 1); with `pre_logits` what they are computed of."""
        x = self.drop(self.norm(x.flatten(1)))
        if pre_logits:
            return x
        logits: Tensor = self.fc(x)
        return logits


_hooked = threading.RLock()  # held while hooks are in a network, which threads may share


def pooled_layers(stages: nn.Module, x: Tensor) -> Tensor:
    """(batch, features, 1, 1) mean and maximum of what every batch norm in `stages` gives for images `x`.

    Threads take turns.
    """
    pooled: list[Tensor] = []
    caller = threading.get_ident()

    def pool(module: nn.Module, inputs: object, maps: Tensor) -> None:
        if threading.get_ident() == caller:
            pooled.append(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))

    with _hooked:
        hooks = [norm.register_forward_hook(pool) for norm in stages.modules() if hasattr(norm, "running_mean")]
        try:
            stages(x)
        finally:
            for hook in hooks:
                hook.remove()
    return torch.cat(pooled, dim=1)[:, :, None, None]


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
