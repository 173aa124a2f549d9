"""Critics score a learngene by what networks that inherit it learn from few images."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.tasks import sample_task
from learngene_hub.evolution.plan import GenerationPlan
from learngene_hub.genome.birth import Body, gene_network, newborn, placed
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import extract
from learngene_hub.training.fewshot import query_accuracy, support_batches
from learngene_hub.training.loop import Precision, measure_statistics, train


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
    gene: Genome, images: Images, plan: GenerationPlan, on_step: Callable[[int], None]
) -> tuple[float, ...]:
    """The accuracies in [0, 1] of critic networks that inherit `gene`, one per task; NaN where a training diverged.

    Their mean is the gene's fitness. Critics on held-out classes: attested, ECO (NeurIPS 2025). Their size and
    training: ours. All learngenes that are scored for the same purpose get the same tasks, initial weights and batches,
    so that fitness is a function of the gene and compares across generations, as the scores of the gene pool need it.

    Args:
        gene: the learngene that critics inherit.
        images: of the held-out classes.
        plan: of the generation, with its `critics`.
        on_step: called with the number of images of every step of every critic.
    """
    critics, training, purpose = plan.critics.section, plan.critics.training, plan.critics.purpose
    accuracies = []
    for number in range(critics.tasks):
        task = sample_task(
            images.labels,
            n_way=critics.ways,
            n_shot=critics.shots,
            n_query=critics.queries,
            generator=generator(plan.seed, f"{purpose} task", number),
        )
        network = newborn(
            plan.body,
            num_classes=len(task.classes),
            gene=gene,
            seed=plan.seed,
            path=(purpose, number),
        )
        network = placed(network, images.device)
        draws = generator(plan.seed, f"{purpose} batches", number)
        batches = support_batches(images, task, training.optimisation.batch_size, draws)
        loss = train(network, batches, training, on_step=on_step)
        accuracies.append(loss if math.isnan(loss) else query_accuracy(network, images, task, training.precision))
    return tuple(accuracies)
