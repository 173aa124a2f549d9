"""Training one network on one task, independent of evolution.

`training_steps` is the only training loop of the package: `train` runs it to its end, fine-tuning epoch by epoch.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learngene_hub.core.device import cpu_has_bfloat16
from learngene_hub.recipe.sections import OptimisationSection
from learngene_hub.training.rates import Falling, Rate, Slow, rate_factor

Precision = Literal["float32", "bfloat16"]
Batch = tuple[Tensor, Tensor]

CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        optimisation: optimiser and its constants.
        steps: optimiser steps.
        precision: of convolutions and products; weights stay float32.
        rate: course of the learning rate, after a linear warm-up.
        gene_rate: course of the learning rate of inherited weights; None: the same.
    """

    optimisation: OptimisationSection
    steps: int
    precision: Precision
    rate: Rate = field(default_factory=Falling)
    gene_rate: Rate | None = None


def train(
    network: nn.Module,
    batches: Iterator[Batch],
    training: Training,
    *,
    inherited: Sequence[Tensor] = (),
    on_step: Callable[[int], None] = lambda images: None,
) -> float:
    """Train `network` in place and give its mean cross-entropy over the last steps.

    Args:
        network: left in train mode.
        batches: gives `(images, labels)`: `(batch, in_chans, size, size)` float32 and `(batch,)` int64.
        training: optimiser, steps, precision and rates.
        inherited: views of the parts of weights that follow `gene_rate`.
        on_step: called after every step with the number of images seen in it.

    Returns:
        Cross-entropy in nats, label smoothing included; NaN as soon as a check finds a loss that is not finite.
    """
    network.train()
    losses, mean = deque[Tensor](maxlen=CHECK_EVERY), math.nan
    steps = training_steps(network, batches, training, inherited=inherited)
    for step, (loss, _, labels) in enumerate(steps, start=1):
        losses.append(loss)
        on_step(len(labels))
        if step % CHECK_EVERY == 0 or step == training.steps:
            mean = float(torch.stack(tuple(losses)).mean())
            if not math.isfinite(mean):
                return math.nan
    return mean


def training_steps(
    network: nn.Module,
    batches: Iterator[Batch],
    training: Training,
    *,
    inherited: Sequence[Tensor] = (),
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Train `network` in place step by step; each step gives its loss, logits `(batch, classes)` and labels `(batch,)`.

    The network must be in train mode whenever the next step is asked for. For the arguments see `train`.
    """
    optimisation = training.optimisation
    optimizer = make_optimizer(network, optimisation)
    slow = Slow(inherited if training.gene_rate else [], training.gene_rate or Falling())
    for step in range(training.steps):
        factor = rate_factor(step, training.steps, training.rate, optimisation.warmup)
        for group in optimizer.param_groups:
            group["lr"] = optimisation.lr * factor
        slow.remember(step / training.steps, factor)
        images, labels = next(batches)
        with autocast(images.device, training.precision):
            logits = network(images)
        loss = mean_cross_entropy(logits, labels, optimisation.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if optimisation.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), optimisation.clip_norm)
        optimizer.step()
        slow.hold_back()
        yield loss.detach(), logits.detach(), labels


@torch.no_grad()
def measure_statistics(network: nn.Module, images: Iterable[Tensor], precision: Precision) -> None:
    """Replace the running statistics of every batch norm of `network` by their mean over batches of `images`."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    network.train()
    with autocast(_device(network), precision):
        for number, batch in enumerate(images, start=1):
            for norm in norms:
                norm.momentum = 1 / number  # the mean so far; None would be it too, but asks the device for the number
            if norms:
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
    """An endless series of batches of `batch_size` indices below `count`: one random order of all after another."""
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
        with torch.cuda.device(device):
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_has_bfloat16() else "float32"


def make_optimizer(network: nn.Module, optimisation: OptimisationSection) -> torch.optim.Optimizer:
    """The optimiser of all trainable weights of `network`; only kernels and the classifier's weight decay."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": optimisation.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if optimisation.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=optimisation.lr, fused=True)
    return torch.optim.SGD(groups, lr=optimisation.lr, momentum=optimisation.momentum, fused=True)


def mean_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean over the batch, in nats, of `logits` `(batch, classes)` and `labels` `(batch,)`."""
    # In float32, or as they are where they are float64: losses are never computed in less.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
