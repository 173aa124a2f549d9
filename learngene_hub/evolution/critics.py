"""Critics score a learngene by what networks that inherit it learn from few images."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.tasks import Task
from learngene_hub.genome.birth import Body, gene_network, newborn, placed
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import extract
from learngene_hub.training.fewshot import query_accuracy, support_batches
from learngene_hub.training.loop import Precision, Training, measure_statistics, train


def measured_alone(
    gene: Genome, body: Body, images: Iterable[Tensor], precision: Precision, device: torch.device
) -> Genome:
    """The same `gene`, of networks of `body`, with batch-norm statistics of its channels alone on `images` (ours).

    Later generations inherit this gene.
    """
    thin = placed(gene_network(body, gene.sizes, num_classes=0), device)
    thin.load_state_dict(thin.state_dict() | dict(gene.tensors))
    measure_statistics(thin, images, precision)
    return extract({name: tensor.cpu() for name, tensor in thin.state_dict().items()}, thin.structure, gene.sizes)


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
    """The accuracies of critic networks that inherit `gene`, one per task; their mean is its fitness.

    Critics on held-out classes: attested, ECO (NeurIPS 2025). Their size and training: ours. All learngenes of an
    evolution get the same tasks, initial weights and batches, so that fitness is a function of the gene and compares
    across generations, as the scores of the gene pool need it.

    Args:
        gene: the learngene that critics inherit.
        images: of the held-out classes.
        tasks: all with the same number of classes.
        training: optimiser, steps and precision.
        body: size of the networks.
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
