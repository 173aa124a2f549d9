"""Critics: what a learngene is worth is what networks that inherit it learn from few images."""

import math
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from learngene_hub.backends import Backend, Trainee, Training, train_each
from learngene_hub.birth import Body, newborn, placed
from learngene_hub.data import Task
from learngene_hub.fitting import Images, query_accuracy, support_batches
from learngene_hub.rng import generator
from learngene_hub.training import Batch


def critic_fitness(
    gene: Mapping[str, Tensor],
    images: Images,
    tasks: tuple[Task, ...],
    training: Training,
    *,
    body: Body,
    cross: str,
    seed: int,
    backend: Backend,
    on_step: Callable[[int], None] = lambda images: None,
) -> float:
    """Mean accuracy of critic networks that inherit `gene`, one a task.

    Critics on held-out classes: attested, ECO (NeurIPS 2025). Their size and training: ours. All learngenes of an
    evolution meet the same tasks, newborn weights and batches, so that fitness is a function of the gene and compares
    across generations, as the scores of the gene pool need it.

    Args:
        gene: what they inherit.
        images: of the held-out classes.
        tasks: of equally many classes.
        training: optimiser, steps and precision.
        body: what is built.
        cross: see `learngene_hub.operators.inherit`.
        seed: of the evolution.
        backend: how they are trained; they differ by rounding only.
        on_step: called with the number of images of every step of every critic.

    Returns:
        Mean top-1 accuracy in [0, 1]; NaN if any training diverged.
    """
    newborns = (
        critic(gene, number, images, task, training, body=body, cross=cross, seed=seed, on_step=on_step)
        for number, task in enumerate(tasks)
    )
    scores = [
        math.nan if math.isnan(one.loss) else query_accuracy(one.trainee.network, images, task, training.precision)
        for task, one in zip(tasks, train_each(newborns, training, backend=backend), strict=True)
    ]
    return sum(scores) / len(scores)


def critic(
    gene: Mapping[str, Tensor] | None,
    number: int,
    images: Images,
    task: Task,
    training: Training,
    *,
    body: Body,
    cross: str,
    seed: int,
    on_step: Callable[[int], None] = lambda images: None,
) -> Trainee:
    """The newborn critic of `task`, the task with this `number`, and what it will learn from."""
    path = ("critic", number)
    network = newborn(body, num_classes=len(task.classes), gene=gene, cross=cross, seed=seed, path=path)

    def batches() -> Iterator[Batch]:
        draws = generator(seed, "critic batches", number)
        return support_batches(images, task, training.optimisation.batch_size, draws)

    return Trainee(placed(network, images.device), batches, on_step=on_step)
