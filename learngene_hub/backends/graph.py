"""Several networks beside each other on a CUDA device: the steps of all as one CUDA graph, a stream for each (ours).

A graph is recorded once and replayed at every step, so that the host starts one thing, not thousands of kernels. What
it was recorded with stays: so a `Branch` keeps batch, learning rate and loss in tensors that are written in place, and
its step asks nothing of the device. Only `captured` needs CUDA; `uncaptured` takes the same steps anywhere.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from learngene_hub.backends.jobs import Fitted, Trainee, Training
from learngene_hub.errors import LearngeneError, NetworkError
from learngene_hub.rates import rate_factor, slow_part
from learngene_hub.training import (
    CHECK_EVERY,
    Circuit,
    clip_gradients,
    is_look,
    leading,
    make_optimizer,
    mean_cross_entropy,
    take_step,
)

WARM_UP = 3  # steps before a capture, as many as `torch.cuda.make_graphed_callables` takes

Step = Callable[[], None]


@dataclass(frozen=True)
class Dials:
    """The numbers that change from step to step, the same for all branches, as tensors on the device.

    Attributes:
        lr: () learning rate; float32 on CUDA, where fused optimisers read no other type.
        part: () part of every step that slow weights take, in the weights' type.
    """

    lr: Tensor
    part: Tensor

    @classmethod
    def like(cls, weight: Tensor) -> "Dials":
        """Dials for networks with weights like `weight`, at zero."""
        precise = torch.float32 if weight.is_cuda else torch.float64
        zero = torch.zeros((), device=weight.device, dtype=precise)
        return cls(zero, torch.zeros_like(zero, dtype=weight.dtype))

    def turn(self, training: Training, step: int) -> None:
        """Set them for `step`."""
        factor = rate_factor(step, training.steps, training.rate, training.optimisation.warmup)
        self.lr.fill_(training.optimisation.lr * factor)
        if training.gene_rate is not None:
            self.part.fill_(slow_part(training.gene_rate, step / training.steps, factor))


class Branch:
    """One network in training, all that its step reads and writes in tensors that stay where they are.

    Args:
        trainee: the network, changed in place, and what it learns from; its first batch shows how all are made.
        training: the constants.
        dials: learning rate and part, turned before every step.
        loss: () where the cross-entropy of the full network is written, in nats.

    Attributes:
        trainee: as given.
        batches: those still to be drawn.
    """

    def __init__(self, trainee: Trainee, training: Training, dials: Dials, loss: Tensor) -> None:
        self.trainee, self.batches = trainee, trainee.batches()
        self._training, self._dials, self._loss = training, dials, loss
        first = next(self.batches)
        self._waiting = chain([first], self.batches)
        self._images, self._labels = (torch.empty_like(tensor).copy_(tensor) for tensor in first)
        self._network = trainee.network.train()
        self._circuit = None if trainee.thin is None else Circuit(trainee.network, trainee.thin)
        self._optimizer = make_optimizer(self._network, training.optimisation, dials.lr)
        self._weights = [weight for weight in self._network.parameters() if weight.requires_grad]
        shapes = {} if training.gene_rate is None else trainee.inherited
        self._slow = [leading(self._network.get_parameter(name), shapes[name]).detach() for name in shapes]
        self._before = [torch.empty_like(weight) for weight in self._slow]

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self._images.device

    def load(self) -> None:
        """Make the next batch the one that the next step learns from.

        Raises:
            NetworkError: it has another shape than the first.
        """
        for buffer, tensor in zip((self._images, self._labels), next(self._waiting), strict=True):
            if tensor.shape != buffer.shape:
                raise NetworkError(
                    f"A captured step needs batches of one shape; expected {tuple(buffer.shape)}, found "
                    f"{tuple(tensor.shape)}. Train such networks one after another: backend=loop."
                )
            buffer.copy_(tensor, non_blocking=True)

    def report(self) -> None:
        """Tell the trainee of a step."""
        self.trainee.on_step(len(self._labels))

    def step(self) -> None:
        """Take one step with the batch and the dials as they are; nothing in it waits for the device."""
        training = self._training
        for before, weight in zip(self._before, self._slow, strict=True):
            before.copy_(weight)
        loss = take_step(
            self._network,
            (self._images, self._labels),
            self._optimizer,
            training.precision,
            loss=partial(mean_cross_entropy, label_smoothing=training.optimisation.label_smoothing),
            circuit=self._circuit,
            circuit_loss=training.circuit_loss,
            clip=partial(clip_gradients, self._network, training.optimisation.clip_norm),
            differentiate=self._differentiate,
        )
        self._loss.copy_(loss)
        for before, weight in zip(self._before, self._slow, strict=True):
            weight.copy_(torch.lerp(before, weight, self._dials.part))

    def warm_up(self) -> None:
        """Take `WARM_UP` steps, then put everything back as it was before them.

        The optimiser keeps its tensors, at zero: with momentum of zero a step is what a first step is.
        """
        state = self._state()
        before = [tensor.clone() for tensor in state]
        for _ in range(WARM_UP):
            self.step()
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        for tensors in self._optimizer.state.values():
            for tensor in tensors.values():
                tensor.zero_()
        self.release()

    def release(self) -> None:
        """Give back the gradients, which may lie in the memory of a graph."""
        self._optimizer.zero_grad(set_to_none=True)

    def _state(self) -> list[Tensor]:
        """Weights and statistics, also those of the circuit's batch norms."""
        modules = (self.trainee.network, self.trainee.thin)
        return [tensor for module in modules if module is not None for tensor in module.state_dict().values()]

    def _differentiate(self, loss: Tensor) -> None:
        """Set the gradients, each laid out in memory as its weight is, since fused optimisers read them side by side.

        `backward` would see to the layout, but may remember the stream of a step before, which no capture survives.
        """
        gradients = torch.autograd.grad(loss, self._weights)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            alike = gradient.stride() == weight.stride()
            weight.grad = gradient if alike else torch.empty_like(weight).copy_(gradient)


def uncaptured(branches: Sequence[Branch]) -> Step:
    """The steps of all `branches`, one after another, on any device: what `captured` records."""
    for branch in branches:
        branch.warm_up()

    def step() -> None:
        for branch in branches:
            branch.step()

    return step


def captured(branches: Sequence[Branch]) -> Step:
    """The steps of all `branches` as one CUDA graph, each on a stream of its own.

    Every branch warms up on its stream first: the optimiser and the libraries of the device make tensors at a first
    step that must not be made inside a graph.

    Raises:
        LearngeneError: the networks do not lie on a CUDA device.
    """
    device = branches[0].device
    if device.type != "cuda":
        raise LearngeneError(
            f"backend 'graph': expected networks on a CUDA device, found them on {device.type}; train on cuda, or take "
            "another backend: auto, loop or grouped"
        )
    origin, *sides = (torch.cuda.Stream(device) for _ in range(1 + len(branches)))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)  # what the branches read has been written on another stream
    for branch, side in zip(branches, sides, strict=True):
        with torch.cuda.stream(side):
            branch.warm_up()
    torch.cuda.synchronize(device)  # a capture waits for the current device only
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=origin):
        for side in sides:
            side.wait_stream(origin)
        for branch, side in zip(branches, sides, strict=True):
            with torch.cuda.stream(side):
                branch.step()
        for side in sides:
            origin.wait_stream(side)
    return graph.replay


def train_branches(
    group: Sequence[Trainee], training: Training, *, join: Callable[[Sequence[Branch]], Step] = captured
) -> list[Fitted]:
    """Train a group beside each other; one that diverges is no harm to the others.

    Args:
        group: the networks, on one device, and what they learn from; batches are all of one size.
        training: the constants.
        join: what makes one step out of the branches' steps.

    Raises:
        LearngeneError: `join` is `captured`, and the networks do not lie on a CUDA device.
        NetworkError: batches differ in shape.
    """
    weight = next(group[0].network.parameters())
    dials = Dials.like(weight)
    cells = torch.zeros(len(group), device=weight.device, dtype=torch.promote_types(weight.dtype, torch.float32))
    branches = [Branch(one, training, dials, cell) for one, cell in zip(group, cells, strict=True)]
    losses = _train(branches, join(branches), training, dials, cells)
    for branch in branches:
        branch.release()
    return [Fitted(one.trainee, loss, one.batches) for one, loss in zip(branches, losses, strict=True)]


def _train(branches: Sequence[Branch], step: Step, training: Training, dials: Dials, cells: Tensor) -> list[float]:
    """Losses as of `training.train`, one a branch; one that a look finds diverged draws no more batches."""
    found, losses = [0.0] * len(branches), deque[Tensor](maxlen=CHECK_EVERY)
    for number in range(training.steps):
        living = [one for one, loss in zip(branches, found, strict=True) if not math.isnan(loss)]
        for one in living:
            one.load()
        dials.turn(training, number)
        step()
        losses.append(cells.clone())
        for one in living:
            one.report()
        if is_look(number, training.steps):
            means: list[float] = torch.stack(tuple(losses)).mean(dim=0).tolist()
            found = [new if math.isfinite(old + new) else math.nan for old, new in zip(found, means, strict=True)]
            if all(map(math.isnan, found)):
                break
    return found
