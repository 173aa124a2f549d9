"""Several networks of one shape, trained as one network whose convolutions have a group for each.

The channels of all networks lie side by side and no layer mixes them, so each network learns what it would learn
alone, up to rounding (ours). Small networks gain: one call does the work of many. Only what is not finite may pass from
one group to the next, where a kernel reads beyond the last channel of a group and multiplies by zero; so a training
that comes upon it is given up, and nothing has changed.
"""

import copy
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learngene_hub.backends.jobs import Fitted, Trainee, Training
from learngene_hub.backends.loop import train_alone
from learngene_hub.errors import NetworkError
from learngene_hub.networks import Convolution
from learngene_hub.rates import Rate, Slow, falling
from learngene_hub.training import (
    CHECK_EVERY,
    Batch,
    Circuit,
    Optimisation,
    Precision,
    at_least_float32,
    is_look,
    leading,
    make_optimizer,
    paced,
    take_step,
)


class GroupedLinear(nn.Module):
    """As many linear layers side by side as `count` says, each the copy of `linear`.

    Attributes:
        weight: (count * out_features, in_features), the rows of one layer after those of another.
        bias: (count * out_features,), or None.
    """

    def __init__(self, linear: nn.Linear, count: int) -> None:
        super().__init__()
        self.count = count
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(batch, count * out_features) outputs of inputs `x` of shape (batch, count * in_features)."""
        inputs = torch.unflatten(x, 1, (self.count, -1)).transpose(0, 1)  # (count, batch, in_features)
        weights = of_each(self.weight, self.count).transpose(1, 2)  # (count, in_features, out_features)
        outputs = torch.bmm(inputs, weights) if self.bias is None else self._with_bias(inputs, weights)
        return outputs.transpose(0, 1).flatten(1)

    def _with_bias(self, inputs: Tensor, weights: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.view(self.count, 1, -1), inputs, weights)


def side_by_side(networks: Sequence[nn.Module]) -> nn.Module:
    """One network that computes what all `networks` compute, and shares no tensor with them.

    Its input is `(batch, len(networks) * in_chans, size, size)`, its output `(batch, len(networks) * classes)`. Every
    tensor of it is the concatenation, along its first dimension, of the tensors of the same name.

    Raises:
        NetworkError: the networks differ in shape, or have tensors outside of convolutions, batch norms and linear
            layers.
    """
    _check_alike(networks)
    joined = _grouped(copy.deepcopy(networks[0]), len(networks))
    for name, module in joined.named_modules():
        alike = [network.get_submodule(name) for network in networks]
        for key, weight in list(module.named_parameters(recurse=False)):
            tensors = [one.get_parameter(key).detach() for one in alike]
            setattr(module, key, nn.Parameter(torch.cat(tensors), requires_grad=weight.requires_grad))
        for key, buffer in list(module.named_buffers(recurse=False)):
            if buffer.ndim > 0:  # the number of batches seen is the same for all
                setattr(module, key, torch.cat([one.get_buffer(key) for one in alike]))
    return joined


@torch.no_grad()
def write_back(joined: nn.Module, networks: Sequence[nn.Module]) -> None:
    """Copy weights and statistics of `joined`, made by `side_by_side`, into the `networks` it was made of."""
    state = joined.state_dict()
    for number, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            own = of_each(state[name], len(networks))[number] if tensor.ndim > 0 else state[name]
            tensor.copy_(own)


def of_each(tensor: Tensor, count: int) -> Tensor:
    """The view `(count, n, ...)` of a tensor `(count * n, ...)` of a network made by `side_by_side`."""
    return torch.unflatten(tensor, 0, (count, -1))


def leading_of_each(tensor: Tensor, shape: Sequence[int], *, count: int) -> Tensor:
    """The leading entries of each network's part of `tensor`, side by side again, in all of `shape`."""
    return leading(of_each(tensor, count), (count, shape[0] // count, *shape[1:])).flatten(0, 1)


def train_group(group: Sequence[Trainee], training: Training) -> Iterable[Fitted]:
    """Train a group as one network; if one of them diverges, all of them again by `loop`, so that it fails alone.

    Raises:
        NetworkError: they differ in shape, or in what they inherit.
    """

    def on_step(images: int) -> None:
        for one in group:
            one.on_step(images)

    if any(one.inherited != group[0].inherited for one in group):
        raise NetworkError("Networks trained side by side must inherit alike: give each the same `inherited`.")
    batches = [one.batches() for one in group]
    losses = train_together(
        [one.network for one in group],
        batches,
        training.optimisation,
        steps=training.steps,
        precision=training.precision,
        rate=training.rate,
        thins=[one.thin for one in group if one.thin is not None],
        circuit_loss=training.circuit_loss,
        inherited=group[0].inherited,
        gene_rate=training.gene_rate,
        on_step=on_step,
    )
    if losses is None:  # its steps have been reported already
        return (train_alone(replace(one, on_step=_silent(one)), training) for one in group)
    return map(Fitted, group, losses, batches)


def _silent(one: Trainee) -> Callable[[int], None]:
    """Signs of life of a network whose images have been counted."""
    return lambda images: one.on_step(0)


def train_together(
    networks: Sequence[nn.Module],
    batches: Sequence[Iterator[Batch]],
    optimisation: Optimisation,
    *,
    steps: int,
    precision: Precision,
    rate: Rate = falling(),  # noqa: B008
    thins: Sequence[nn.Module] = (),
    circuit_loss: float = 0.0,
    inherited: Mapping[str, tuple[int, ...]] | None = None,
    gene_rate: Rate | None = None,
    on_step: Callable[[int], None] = lambda images: None,
) -> list[float] | None:
    """Train `networks` in place, as `training.train` does one after another, and give their losses.

    Args:
        networks: of one shape, on one device; left in train mode.
        batches: one iterator a network, of `(images, labels)`: `(batch, in_chans, size, size)` and `(batch,)` int64.
        optimisation: optimiser and its constants; gradients are clipped network by network.
        steps: optimiser steps to take.
        precision: of convolutions and products.
        rate: of the learning rate, after a linear warm-up.
        thins: one thin network a network, for the circuit loss; see `training.Circuit`.
        circuit_loss: weight of the circuits' cross-entropy.
        inherited: name -> shape of the leading weights that follow `gene_rate`, in every network.
        gene_rate: theirs; None: the same as `rate`.
        on_step: called after every step with the number of images that each network saw.

    Returns:
        One cross-entropy a network, in nats. None as soon as a look finds one that is not finite, or weights are not
        finite in the end: `networks` and `thins` are then as they were.

    Raises:
        NetworkError: the networks cannot be joined; see `side_by_side`.
    """
    count = len(networks)
    joined = side_by_side([network.train() for network in networks])
    thin = side_by_side(thins) if thins and circuit_loss > 0 else None
    circuit = None if thin is None else Circuit(joined, thin, partial(leading_of_each, count=count))
    slow = Slow(_inherited(joined, inherited, count), gene_rate) if inherited and gene_rate else None
    optimizer = make_optimizer(joined, optimisation)
    losses = deque[Tensor](maxlen=CHECK_EVERY)
    for step in paced(optimizer, optimisation, steps=steps, rate=rate, slow=slow):
        batch = _beside(next(one) for one in batches)
        losses.append(
            take_step(
                joined,
                batch,
                optimizer,
                precision,
                loss=partial(_cross_entropy, label_smoothing=optimisation.label_smoothing),
                circuit=circuit,
                circuit_loss=circuit_loss,
                clip=partial(clip_each, list(joined.parameters()), optimisation.clip_norm, count),
            )
        )
        on_step(len(batch[1]))
        if is_look(step, steps):
            means: list[float] = torch.stack(tuple(losses)).mean(dim=0).tolist()
            if not all(map(math.isfinite, means)):
                return None
    if not _is_finite(joined) or (thin is not None and not _is_finite(thin)):
        return None
    write_back(joined, networks)
    if thin is not None:
        write_back(thin, thins)
    return means


@torch.no_grad()
def clip_each(weights: Sequence[Tensor], max_norm: float | None, count: int) -> None:
    """Clip the gradients of `count` networks side by side, each by its own norm, as `clip_grad_norm_` clips one's.

    Args:
        weights: of a network made by `side_by_side`.
        max_norm: largest Euclidean norm of all gradients of one network; None: they are left alone.
        count: networks.
    """
    if max_norm is None:
        return
    gradients = [of_each(weight.grad, count) for weight in weights if weight.grad is not None]
    norms = [torch.linalg.vector_norm(one, dim=tuple(range(1, one.ndim))) for one in gradients]  # (count,) each
    factors = (max_norm / (torch.linalg.vector_norm(torch.stack(norms), dim=0) + 1e-6)).clamp(max=1.0)
    for one in gradients:
        one.mul_(factors.view(-1, *[1] * (one.ndim - 1)))


def _cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """(count,) means over the batch, of logits (batch, count * classes) and labels (batch, count)."""
    batch, count = labels.shape
    rows = at_least_float32(logits).view(batch * count, -1)
    each = cross_entropy(rows, labels.flatten(), label_smoothing=label_smoothing, reduction="none")
    return each.view(batch, count).mean(dim=0)


def _beside(drawn: Iterator[Batch]) -> Batch:
    """Images (batch, count * in_chans, size, size), channels last like those drawn, and labels (batch, count)."""
    images, labels = zip(*drawn, strict=True)
    return torch.cat(images, dim=1), torch.stack(labels, dim=1)


def _is_finite(network: nn.Module) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def _inherited(joined: nn.Module, shapes: Mapping[str, tuple[int, ...]], count: int) -> list[Tensor]:
    weights = dict(joined.named_parameters())
    return [leading(of_each(weights[name], count), (count, *shape)) for name, shape in shapes.items()]


def _grouped(module: nn.Module, count: int) -> nn.Module:
    """`module` with `count` groups, its tensors still those of one network."""
    if isinstance(module, nn.Conv2d) and type(module) in {nn.Conv2d, Convolution}:  # the first for mypy
        module.in_channels, module.out_channels = module.in_channels * count, module.out_channels * count
        module.groups *= count
    elif type(module) is nn.BatchNorm2d:
        module.num_features *= count
    elif type(module) is nn.Linear:
        return GroupedLinear(module, count)
    elif [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        raise NetworkError(
            f"Networks can be trained side by side where only Conv2d, BatchNorm2d and Linear have tensors; found "
            f"{type(module).__name__}. Train them one after another: backend=loop."
        )
    for name, child in module.named_children():
        setattr(module, name, _grouped(child, count))
    return module


def _check_alike(networks: Sequence[nn.Module]) -> None:
    first, *others = ({name: tuple(t.shape) for name, t in one.state_dict().items()} for one in networks)
    for number, other in enumerate(others, start=1):
        if other != first:
            name = next(one for one in first | other if first.get(one) != other.get(one))
            raise NetworkError(
                f"Networks trained side by side must be of one shape; {name} is {first.get(name)} in the first and "
                f"{other.get(name)} in number {number + 1}."
            )
