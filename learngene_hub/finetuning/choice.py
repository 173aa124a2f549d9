"""Which gene suits a user's images: a probe of each, images left out in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.core.rng import seeded_initialisation
from learngene_hub.data import ImageSet, Normalisation
from learngene_hub.finetuning.photos import Photos, load_for_choice
from learngene_hub.finetuning.probe import fit_probe, layer_features
from learngene_hub.gene.learngene import Learngene
from learngene_hub.inheritance.descendant import from_learngene
from learngene_hub.networks.layers import LayersHead
from learngene_hub.training.fewshot import on_device
from learngene_hub.workers import on_cpu


@dataclass(frozen=True)
class Suited:
    """How a gene suits images: top-1 accuracy of its probe, in [0, 1], each image of `image_size` left out in turn."""

    name: str
    accuracy: float
    image_size: int


def rank_genes(names: Sequence[str], photos: Photos, *, reporter: Reporter) -> list[Suited]:
    """The genes called `names`, the one that suits `photos` best first; images for tests are not read.

    Raises:
        GeneFileError, HubError: a gene cannot be found, fetched or loaded.
        DataError: the images cannot be read, or are too few; see `load_for_choice`.
    """
    suited, loaded = [], dict[int, ImageSet]()
    with on_cpu(), reporter.task("probing", len(names), "genes") as bar:
        for name in names:
            gene = Learngene.from_pretrained(name)
            size = gene.config.image_size
            if size not in loaded:  # warnings are the same for every size
                heard = SilentReporter() if loaded else reporter
                loaded[size] = load_for_choice(photos, gene_size=size, reporter=heard)
            suited.append(Suited(name, _left_out_accuracy(gene, loaded[size]), loaded[size].image_size))
            bar.advance()
    return sorted(suited, key=lambda gene: -gene.accuracy)


def _left_out_accuracy(gene: Learngene, images: ImageSet) -> float:
    network = from_learngene(gene, num_classes=0)
    cfg = network.pretrained_cfg
    normalisation = Normalisation.of(cfg["mean"], cfg["std"])
    ready = on_device(images, normalisation, padding=0, flip=False, device=torch.device("cpu"))
    features = layer_features(network, ready)
    with seeded_initialisation(0, "probe"):
        head = LayersHead(features.shape[1], images.num_classes, drop_rate=0.0)
    return fit_probe(head, features, ready.labels).left_out_accuracy
