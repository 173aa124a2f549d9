"""One function for all back ends: trainees in, fitted networks out, in groups that fit into memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from learngene_hub.backends.graph import train_branches
from learngene_hub.backends.grouped import train_group
from learngene_hub.backends.jobs import BACKENDS, Backend, Fitted, Trainee, Training
from learngene_hub.backends.loop import train_alone
from learngene_hub.backends.memory import networks_at_once
from learngene_hub.errors import LearngeneError


def train_each(trainees: Iterable[Trainee], training: Training, *, backend: Backend) -> Iterator[Fitted]:
    """Train `trainees` of one shape and give them in their order.

    A trainee is taken from `trainees` no sooner than it is needed: `loop` holds one at a time, the others as many as
    `memory.networks_at_once` says.

    Args:
        trainees: the networks and what they learn from; alike in shape, thin network and `inherited`.
        training: the constants.
        backend: how; the results differ by rounding only.

    Raises:
        LearngeneError: there is no such back end, or `graph` was to train networks that are not on a CUDA device.
        NetworkError: trainees that `grouped` was to train differ in shape, or batches for `graph` in size.
    """
    match backend:
        case "loop":
            return (train_alone(one, training) for one in trainees)
        case "grouped":
            return _in_groups(trainees, training, train_group)
        case "graph":
            return _in_groups(trainees, training, train_branches)
        case _:
            raise LearngeneError(f"backend {backend!r}: expected {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}")


def _in_groups(
    trainees: Iterable[Trainee],
    training: Training,
    train: Callable[[Sequence[Trainee], Training], Iterable[Fitted]],
) -> Iterator[Fitted]:
    waiting = iter(trainees)
    if (first := next(waiting, None)) is None:
        return
    images, _ = next(first.batches())
    limit = networks_at_once(first, training, images.shape[-1])
    waiting = chain([first], waiting)
    del first  # which is not held any longer than its group
    while group := list(islice(waiting, limit)):
        yield from train(group, training)
        group = []  # which is let go before the next is born
