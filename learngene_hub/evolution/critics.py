"""Critics: what a learngene is worth is what networks that inherit it learn from few images."""

import math
from collections.abc import Callable, Sequence

from learngene_hub.core.rng import generator
from learngene_hub.data import Task
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.genome.genome import Genome
from learngene_hub.training.fewshot import Images, query_accuracy, support_batches
from learngene_hub.training.loop import Training, train


def critic_accuracies(
    gene: Genome,
    images: Images,
    tasks: Sequence[Task],
    training: Training,
    *,
    body: Body,
    cross: str,
    seed: int,
    on_step: Callable[[int], None] = lambda images: None,
) -> tuple[float, ...]:
    """The accuracies of critic networks that inherit `gene`, one a task; their mean is its fitness.

    Critics on held-out classes: attested, ECO (NeurIPS 2025). Their size and training: ours. All learngenes of an
    evolution meet the same tasks, newborn weights and batches, so that fitness is a function of the gene and compares
    across generations, as the scores of the gene pool need it.

    Args:
        gene: what they inherit.
        images: of the held-out classes.
        tasks: of equally many classes.
        training: optimiser, steps and precision.
        body: what is built.
        cross: see `learngene_hub.genome.surgery.inherit`.
        seed: of the evolution.
        on_step: called with the number of images of every step of every critic.

    Returns:
        Top-1 accuracies in [0, 1]; NaN where a training diverged.
    """
    accuracies = []
    for number, task in enumerate(tasks):
        network = newborn(
            body, num_classes=len(task.classes), gene=gene, cross=cross, seed=seed, path=("critic", number)
        )
        network = placed(network, images.device)
        draws = generator(seed, "critic batches", number)
        batches = support_batches(images, task, training.optimisation.batch_size, draws)
        loss = train(network, batches, training, on_step=on_step)
        accuracies.append(loss if math.isnan(loss) else query_accuracy(network, images, task, training.precision))
    return tuple(accuracies)
