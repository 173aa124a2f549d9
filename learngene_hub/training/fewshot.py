"""Fitting a network to one task, as critics and the descendants of an evaluation do."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from learngene_hub.data.batches import Images
from learngene_hub.data.tasks import Task
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.training.loop import Batch, Precision, accuracy, autocast, epochs


def query_accuracy(network: LearngeneNetwork, images: Images, task: Task, precision: Precision) -> float:
    """Top-1 accuracy in [0, 1] on the task's query images; the network is left in eval mode."""
    parts = zip(images.parts(task.query), images.parts(task.query_labels), strict=True)
    return accuracy(network, ((images.plain(index), _to(images, labels)) for index, labels in parts), precision)


@torch.no_grad()
def prototype_accuracy(network: LearngeneNetwork, images: Images, task: Task, precision: Precision) -> float:
    """Top-1 accuracy in [0, 1] on the query images, each given the class with the nearest mean of support features.

    Features are pooled, centred by the mean of all support features, and compared by cosine (ours; nearest class
    means: Snell 2017, arXiv:1703.05175).
    """
    network.eval()

    def features(index: Tensor) -> Tensor:
        parts = []
        for part in images.parts(index):
            with autocast(images.device, precision):
                maps = network.forward_features(images.plain(part))
                parts.append(network.forward_head(maps, pre_logits=True).float())
        return torch.cat(parts)

    support, query = features(task.support), features(task.query)
    labels, centre = _to(images, task.support_labels), support.mean(dim=0)
    classes = [(support[labels == label] - centre).mean(dim=0) for label in range(task.n_way)]
    prototypes = normalize(torch.stack(classes), dim=1)  # (n_way, features)
    nearest = (normalize(query - centre, dim=1) @ prototypes.T).argmax(dim=1)
    return float((nearest == _to(images, task.query_labels)).float().mean())


def support_batches(images: Images, task: Task, batch_size: int, draws: torch.Generator) -> Iterator[Batch]:
    """An endless series of augmented batches of the task's support images."""
    for chosen in epochs(len(task.support), batch_size, draws):
        yield images.train(task.support[chosen], draws), _to(images, task.support_labels[chosen])


def _to(images: Images, labels: Tensor) -> Tensor:
    return labels.to(images.device, non_blocking=True)
