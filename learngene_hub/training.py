"""Training one network on one task. Knows nothing of evolution.

`train` runs the optimiser; with a `Circuit` it adds the gene's own loss: the thin network inside the leading channels
must solve the task alone, through the same weights, beside the full network (circuit loss: ours).
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from learngene_hub.rates import Rate, Slow, falling, rate_factor
from learngene_hub.workers.device import cpu_has_bfloat16

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


Cut = Callable[[Tensor, Sequence[int]], Tensor]
"""The part of a tensor that has a given shape."""


class Circuit:
    """The thin network of the gene, reading its weights from the full network at every call.

    Its batch norms see what the circuit computes alone, and keep their own statistics.

    Args:
        network: the full network.
        thin: a network of the gene's channels only, same depth, classes and device; its own weights are not used.
        cut: what a weight of the thin network is of the full network's weight, given the thin one's shape.
    """

    def __init__(self, network: nn.Module, thin: nn.Module, cut: Cut | None = None) -> None:
        self._thin = thin.train()
        self._cut = leading if cut is None else cut
        self._full = dict(network.named_parameters())
        self._shapes = {name: weight.shape for name, weight in thin.named_parameters()}

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)` for `images` of shape `(batch, in_chans, size, size)`."""
        weights = {name: self._cut(self._full[name], shape) for name, shape in self._shapes.items()}
        logits: Tensor = functional_call(self._thin, weights, (images,))
        return logits


def leading(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The view of the leading `shape` entries of `tensor`; a view of them all too.

    Else autocast would keep one cast for a network and its circuit, and their gradients would be added in bfloat16.
    """
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
    rate: Rate = falling(),  # noqa: B008
    circuit: Callable[[Tensor], Tensor] | None = None,
    circuit_loss: float = 0.0,
    slow: Slow | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> float:
    """Train `network` in place and give its mean cross-entropy over the last steps.

    Args:
        network: left in train mode.
        batches: gives `(images, labels)`: `(batch, in_chans, size, size)` float32 and `(batch,)` int64.
        optimisation: optimiser and its constants.
        steps: optimiser steps to take.
        precision: of convolutions and products; weights stay float32.
        rate: of the learning rate, after a linear warm-up.
        circuit: gives logits of the gene's circuit for the same images.
        circuit_loss: weight of its cross-entropy.
        slow: weights that follow a rate of their own.
        on_step: called after every step with the number of images seen in it.

    Returns:
        Cross-entropy of the full network in nats; NaN as soon as a look at the loss finds it not finite.
    """
    network.train()
    optimizer = make_optimizer(network, optimisation)
    losses = deque[Tensor](maxlen=CHECK_EVERY)
    for step in paced(optimizer, optimisation, steps=steps, rate=rate, slow=slow):
        batch = next(batches)
        losses.append(
            take_step(
                network,
                batch,
                optimizer,
                precision,
                loss=partial(mean_cross_entropy, label_smoothing=optimisation.label_smoothing),
                circuit=circuit,
                circuit_loss=circuit_loss,
                clip=partial(clip_gradients, network, optimisation.clip_norm),
            )
        )
        on_step(len(batch[1]))
        if is_look(step, steps):
            mean = float(torch.stack(tuple(losses)).mean())
            if not math.isfinite(mean):
                return math.nan
    return mean


def paced(
    optimizer: torch.optim.Optimizer, optimisation: Optimisation, *, steps: int, rate: Rate, slow: Slow | None
) -> Iterator[int]:
    """The numbers of `steps` steps: the learning rate is set before each, `slow` weights are held back after it."""
    for step in range(steps):
        factor = rate_factor(step, steps, rate, optimisation.warmup)
        for group in optimizer.param_groups:
            group["lr"] = optimisation.lr * factor
        if slow is not None:
            slow.remember(step / steps, factor)
        yield step
        if slow is not None:
            slow.hold_back()


def is_look(step: int, steps: int) -> bool:
    """Whether the losses are looked at after `step` of `steps`."""
    return (step + 1) % CHECK_EVERY == 0 or step + 1 == steps


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
        with torch.cuda.device(device):
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_has_bfloat16() else "float32"


def at_least_float32(logits: Tensor) -> Tensor:
    """`logits` in float32, or as they are where they are float64: losses are never computed in less."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def make_optimizer(network: nn.Module, optimisation: Optimisation, lr: Tensor | None = None) -> torch.optim.Optimizer:
    """The optimiser of all trainable weights of `network`; only kernels and the classifier's weight decay.

    It reads its learning rate from the tensor `lr`, on the device, if there is one, so that a CUDA graph can hold it.
    """
    rate: float | Tensor = optimisation.lr if lr is None else lr
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": optimisation.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if optimisation.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True, capturable=lr is not None)
    return torch.optim.SGD(groups, lr=rate, momentum=optimisation.momentum, fused=True)


def take_step(
    network: nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    clip: Callable[[], object],
    circuit: Callable[[Tensor], Tensor] | None = None,
    circuit_loss: float = 0.0,
    differentiate: Callable[[Tensor], object] = torch.autograd.backward,
) -> Tensor:
    """One optimiser step of a network, or of several side by side.

    Args:
        network: whose weights move.
        batch: images and labels.
        optimizer: of its weights.
        precision: of convolutions and products.
        loss: of logits and labels; one value, or one a network, which are added up.
        clip: called when the gradients are there.
        circuit: gives logits of the gene's circuit for the same images.
        circuit_loss: weight of its loss; 0: the circuit is not asked.
        differentiate: gives the weights the gradients of a loss.

    Returns:
        What `loss` gave before the step, without the circuit's.
    """
    images, labels = batch
    with autocast(images.device, precision):
        logits = network(images)
        alone = circuit(images) if circuit is not None and circuit_loss > 0 else None
    losses = loss(logits, labels)
    total = losses.sum() if alone is None else losses.sum() + circuit_loss * loss(alone, labels).sum()
    optimizer.zero_grad(set_to_none=True)
    differentiate(total)
    clip()
    optimizer.step()
    return losses.detach()


def mean_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean over the batch, in nats, of `logits` `(batch, classes)` and `labels` `(batch,)`."""
    return nn.functional.cross_entropy(at_least_float32(logits), labels, label_smoothing=label_smoothing)


def clip_gradients(network: nn.Module, norm: float | None) -> None:
    """Scale the gradients of `network` to the Euclidean norm `norm` where it is larger; None: they are left alone."""
    if norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), norm)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
