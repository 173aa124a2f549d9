"""Critics: what a learngene is worth is what networks that inherit it learn from few images."""

from collections.abc import Callable, Mapping

from torch import Tensor

from learngene_hub.birth import Body, newborn, placed
from learngene_hub.data import Task
from learngene_hub.fitting import Images, fit_task
from learngene_hub.rng import generator
from learngene_hub.training import Optimisation, Precision


def critic_fitness(
    gene: Mapping[str, Tensor],
    images: Images,
    tasks: tuple[Task, ...],
    optimisation: Optimisation,
    *,
    body: Body,
    cross: str,
    precision: Precision,
    seed: int,
    on_step: Callable[[int], None] = lambda images: None,
) -> float:
    """Mean accuracy of critic networks that inherit `gene`, one a task.

    Critics on held-out classes: attested, ECO (NeurIPS 2025). Their size and training: ours. All learngenes of an
    evolution meet the same tasks, newborn weights and batches, so that fitness is a function of the gene and compares
    across generations, as the scores of the gene pool need it.

    Returns:
        Mean top-1 accuracy in [0, 1]; NaN if any training diverged.
    """
    scores = []
    for number, task in enumerate(tasks):
        path = ("critic", number)
        network = newborn(body, num_classes=len(task.classes), gene=gene, cross=cross, seed=seed, path=path)
        network = placed(network, images.device)
        draws = generator(seed, "critic batches", number)
        scores.append(fit_task(network, images, task, optimisation, precision=precision, draws=draws, on_step=on_step))
    return sum(scores) / len(scores)
