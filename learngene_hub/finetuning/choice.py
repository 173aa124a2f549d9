"""Which gene suits a user's images: a probe of each, images left out in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.data import Normalisation
from learngene_hub.finetuning.fit import Loaded
from learngene_hub.finetuning.photos import Parts, Photos, load_photos
from learngene_hub.finetuning.probe import fit_probe, layer_features
from learngene_hub.gene.learngene import Learngene
from learngene_hub.inheritance.descendant import from_learngene
from learngene_hub.networks.layers import LAYERS, LayersHead
from learngene_hub.workers import on_cpu


@dataclass(frozen=True)
class Suited:
    """How a gene suits images.

    Attributes:
        name: of the gene.
        accuracy: top-1, in [0, 1], of its probe on training and validation images, each left out in turn.
        image_size: pixels of a side that they were scaled to.
    """

    name: str
    accuracy: float
    image_size: int


def rank_genes(names: Sequence[str], photos: Photos, *, reporter: Reporter) -> list[Suited]:
    """The genes called `names`, the one that suits `photos` best first; images for tests are not looked at.

    Raises:
        GeneFileError, HubError: a gene cannot be found, fetched or loaded.
        DataError: the images cannot be read, or are too few; see `load_photos`.
    """
    suited = []
    with on_cpu(), reporter.task("probing", len(names), "genes") as bar:
        for name in names:
            gene = Learngene.from_pretrained(name)
            size = gene.config.image_size
            parts = load_photos(photos, image_size=None, gene_size=size, seed=0, reporter=SilentReporter())
            suited.append(Suited(name, _left_out_accuracy(gene, parts), parts.train.image_size))
            bar.advance()
    return sorted(suited, key=lambda one: -one.accuracy)


def _left_out_accuracy(gene: Learngene, parts: Parts) -> float:
    network = from_learngene(gene, num_classes=parts.train.num_classes, global_pool=LAYERS)
    cfg = network.pretrained_cfg
    normalisation = Normalisation(tuple(cfg["mean"]), tuple(cfg["std"]))
    images = Loaded.build(parts, normalisation, padding=0, flip=False, device=torch.device("cpu"))
    features = torch.cat([layer_features(network, part) for part in (images.train, images.val)])
    labels = torch.cat([images.train.labels, images.val.labels])
    return fit_probe(cast("LayersHead", network.head), features, labels).left_out_accuracy
