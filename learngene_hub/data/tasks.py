"""k-way tasks: a few classes, with support images to train on and query images to test on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from learngene_hub.core.errors import DataError


@dataclass(frozen=True, eq=False)
class Task:
    """One k-way task over an image set, as positions in the set; no image is copied.

    Attributes:
        classes: the label in the image set of each class of the task.
        support: int64 positions of the images to train on, class by class.
        support_labels: int64, like `support`, in 0 to n_way - 1.
        query: int64 positions of the images to test on, class by class; none of them is in `support`.
        query_labels: int64, like `query`, in 0 to n_way - 1.
    """

    classes: tuple[int, ...]
    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor

    @property
    def n_way(self) -> int:
        """Number of classes."""
        return len(self.classes)


def sample_task(labels: Tensor, *, n_way: int, n_shot: int | None, n_query: int, generator: torch.Generator) -> Task:
    """A task of `n_way` classes drawn from those that occur in `labels`, with images drawn per class.

    The task of an ancestry network, which trains on all images of a few classes, is `n_shot=None, n_query=0`. Every
    class in `labels` must have enough images, even if it is not drawn, so that no later draw fails (ours).

    Args:
        labels: (n,) int64 labels of an image set.
        n_way: number of classes, >= 1.
        n_shot: support images per class, >= 1; None: all that are not query.
        n_query: query images per class, >= 0.
        generator: source of the draws, on the CPU.

    Returns:
        The task; (n_way * n_shot,) support and (n_way * n_query,) query images where the numbers are given.

    Raises:
        DataError: there are fewer than `n_way` classes, or a class has too few images.
    """
    counts = torch.bincount(labels)  # (largest label + 1,)
    present = counts.nonzero().flatten()
    _check_enough(counts, present, n_way=n_way, n_shot=n_shot, n_query=n_query)
    drawn = present[torch.randperm(len(present), generator=generator)[:n_way]]
    support, query = [], []
    for label in drawn.tolist():
        images = (labels == label).nonzero().flatten()
        images = images[torch.randperm(len(images), generator=generator)]
        shot = len(images) - n_query if n_shot is None else n_shot
        support.append(images[:shot])
        query.append(images[shot : shot + n_query])
    return Task(tuple(drawn.tolist()), *_joined(support), *_joined(query))


def _joined(groups: list[Tensor]) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([len(group) for group in groups])
    return torch.cat(groups), torch.arange(len(groups)).repeat_interleave(sizes)


def _check_enough(counts: Tensor, present: Tensor, *, n_way: int, n_shot: int | None, n_query: int) -> None:
    if len(present) < n_way:
        raise DataError(f"A {n_way}-way task needs {n_way} classes, but only {len(present)} have images")
    needed = (1 if n_shot is None else n_shot) + n_query
    smallest = int(present[counts[present].argmin()])
    if counts[smallest] < needed:
        raise DataError(
            f"a task needs at least {needed} images of every class; the class with label {smallest} has "
            f"{int(counts[smallest])}"
        )
