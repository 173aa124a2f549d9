"""Training one network on one task. Knows nothing of evolution.

`train` runs the optimiser; with a `Circuit` it adds the gene's own loss: the thin network inside the leading channels
must solve the task alone, through the same weights, beside the full network (circuit loss: ours).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from learngene_hub.networks import LearngeneNetwork

Precision = Literal["float32", "bfloat16"]
Batch = tuple[Tensor, Tensor]

CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


class Optimisation(Protocol):
    """The constants of a training; a recipe's `ancestry` and `critic` sections are such."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def batch_size(self) -> int:
        """Images a step."""

    @property
    def optimizer(self) -> str:
        """`sgd` (with momentum) or `adamw`."""

    @property
    def lr(self) -> float:
        """Highest learning rate."""

    @property
    def momentum(self) -> float:
        """Momentum of `sgd`, in [0, 1)."""

    @property
    def weight_decay(self) -> float:
        """Decay of kernels and the classifier's weight, not of norms and biases."""

    @property
    def warmup(self) -> int:
        """Steps of rising learning rate."""

    @property
    def label_smoothing(self) -> float:
        """In [0, 1)."""

    @property
    def clip_norm(self) -> float | None:
        """Largest norm of the gradient; None: no clipping."""


@dataclass(frozen=True)
class Span:
    """The part of a falling cosine that a training runs through: fractions of the whole, 0 <= begin < end <= 1."""

    begin: float = 0.0
    end: float = 1.0


class Circuit:
    """The thin network of the gene, reading its weights from the full network at every call.

    Its batch norms see what the circuit computes alone, and keep their own statistics.

    Args:
        network: the full network.
        thin: a network of the gene's channels only, same depth, classes and device; its own weights are not used.
    """

    def __init__(self, network: LearngeneNetwork, thin: LearngeneNetwork) -> None:
        self._thin = thin.train()
        self._full = dict(network.named_parameters())
        self._shapes = {name: weight.shape for name, weight in thin.named_parameters()}

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)` for `images` of shape `(batch, in_chans, size, size)`."""
        weights = {name: leading(self._full[name], shape) for name, shape in self._shapes.items()}
        logits: Tensor = functional_call(self._thin, weights, (images,))
        return logits


def leading(tensor: Tensor, shape: Iterable[int]) -> Tensor:
    """The view of the leading `shape` entries of `tensor`."""
    for dim, size in enumerate(shape):
        tensor = tensor.narrow(dim, 0, size)
    return tensor


def train(
    network: nn.Module,
    batches: Iterator[Batch],
    optimisation: Optimisation,
    *,
    steps: int,
    precision: Precision,
    span: Span = Span(),
    circuit: Callable[[Tensor], Tensor] | None = None,
    circuit_loss: float = 0.0,
    on_step: Callable[[int], None] = lambda step: None,
) -> float:
    """Train `network` in place and give its mean cross-entropy over the last steps.

    Args:
        network: left in train mode.
        batches: gives `(images, labels)`: `(batch, in_chans, size, size)` float32 and `(batch,)` int64.
        optimisation: optimiser and its constants.
        steps: optimiser steps to take.
        precision: of convolutions and products; weights stay float32.
        span: part of the cosine the learning rate falls through.
        circuit: gives logits of the gene's circuit for the same images.
        circuit_loss: weight of its cross-entropy.
        on_step: called after every step with the number of images seen in it.

    Returns:
        Cross-entropy of the full network in nats; NaN as soon as a look at the loss finds it not finite.
    """
    network.train()
    optimizer = _make_optimizer(network, optimisation)
    losses: list[Tensor] = []
    for step in range(steps):
        factor = learning_rate_factor(step, steps, warmup=optimisation.warmup, span=span)
        for group in optimizer.param_groups:
            group["lr"] = optimisation.lr * factor
        images, labels = next(batches)
        losses.append(_step(network, images, labels, optimizer, optimisation, precision, circuit, circuit_loss))
        on_step(len(labels))
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            mean = float(torch.stack(losses[-CHECK_EVERY:]).mean())
            if not math.isfinite(mean):
                return math.nan
    return mean


def learning_rate_factor(step: int, steps: int, *, warmup: int, span: Span) -> float:
    """Factor on the learning rate at `step` of `steps`: linear warm-up times a cosine that falls from 1 to 0.

    >>> learning_rate_factor(0, 100, warmup=0, span=Span())
    1.0
    >>> learning_rate_factor(50, 100, warmup=0, span=Span())
    0.5
    """
    progress = span.begin + (span.end - span.begin) * step / steps
    rise = min(1.0, (step + 1) / (warmup + 1))
    return round(rise * 0.5 * (1 + math.cos(math.pi * progress)), 12)


@torch.no_grad()
def measure_statistics(network: nn.Module, images: Iterable[Tensor], precision: Precision) -> None:
    """Replace the running statistics of every batch norm of `network` by their mean over batches of `images`."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    network.train()
    with autocast(_device(network), precision):
        for batch in images:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[Batch], precision: Precision) -> float:
    """Top-1 accuracy in [0, 1] of `network`, in eval mode, over `batches` of `(images, labels)`."""
    network.eval()
    right, seen = 0, 0
    with autocast(_device(network), precision):
        for images, labels in batches:
            right += int((network(images).argmax(dim=1) == labels).sum())
            seen += len(labels)
    return right / seen


def epochs(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of `batch_size` indices below `count` without end: one random order of all after another."""
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which convolutions run in `precision` on `device`."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=torch.bfloat16)


def best_precision(device: torch.device) -> Precision:
    """`bfloat16` where the device computes it natively, else `float32`."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "float32"


def _step(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    optimisation: Optimisation,
    precision: Precision,
    circuit: Callable[[Tensor], Tensor] | None,
    circuit_loss: float,
) -> Tensor:
    loss_function = nn.CrossEntropyLoss(label_smoothing=optimisation.label_smoothing)
    with autocast(images.device, precision):
        logits = network(images)
        alone = circuit(images) if circuit is not None and circuit_loss > 0 else None
    loss: Tensor = loss_function(logits.float(), labels)
    total = loss if alone is None else loss + circuit_loss * loss_function(alone.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    if optimisation.clip_norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), optimisation.clip_norm)
    optimizer.step()
    return loss.detach()


def _make_optimizer(network: nn.Module, optimisation: Optimisation) -> torch.optim.Optimizer:
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": optimisation.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if optimisation.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=optimisation.lr, fused=True)
    return torch.optim.SGD(groups, lr=optimisation.lr, momentum=optimisation.momentum, fused=True)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
