"""Rank genes by how well they suit a user's images: one leave-one-out probe per gene."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from learngene_hub.core.device import on_cpu
from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.core.rng import seeded_initialisation
from learngene_hub.data.batches import Images
from learngene_hub.data.image_set import ImageSet, Normalisation
from learngene_hub.evaluation.statistics import confidence
from learngene_hub.evolution.dry_run import training_flops
from learngene_hub.finetuning.photos import Photos, load_for_choice
from learngene_hub.finetuning.probe import fit_probe, layer_features
from learngene_hub.gene.learngene import Learngene
from learngene_hub.inheritance.descendant import from_learngene
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.networks.layers import LayersHead


@dataclass(frozen=True)
class Suited:
    """How well a gene suits a user's images.

    Attributes:
        name: of the gene.
        accuracy: leave-one-out top-1 accuracy of its probe on the training and validation images, in [0, 1].
        behind: accuracy of the best gene minus this one's, in [0, 1].
        behind_ci95: half the width of the 95 % confidence interval of `behind`, over the images.
        flops: floating-point operations of training its network with one image of the gene's size, once.
    """

    name: str
    accuracy: float
    behind: float
    behind_ci95: float
    flops: float


def rank_genes(names: Sequence[str], photos: Photos, *, reporter: Reporter) -> list[Suited]:
    """The genes `names`, ranked by how well they suit `photos`, best first, of equal ones the cheapest.

    Images are scaled to the pixels of each gene, as `finetune` does. Test images are not read.

    Raises:
        GeneFileError, HubError: a gene cannot be found, fetched or loaded.
        DataError: the images cannot be read, or are too few; see `load_for_choice`.
        NetworkError: a gene's network has no batch norms, which a probe needs.
    """
    probed, loaded, flops = [], dict[int, ImageSet](), dict[str, float]()
    with on_cpu(), reporter.task("probing", len(names), "genes") as bar:
        for name in names:
            gene = Learngene.from_pretrained(name)
            size = gene.config.image_size
            if size not in loaded:  # warnings are the same for every size
                heard = SilentReporter() if loaded else reporter
                loaded[size] = load_for_choice(photos, image_size=size, reporter=heard)
            network = from_learngene(gene, num_classes=0)
            probed.append((name, _right(network, loaded[size]).double()))
            flops[name] = training_flops(network.to("meta"), size)
            bar.advance()
    probed.sort(key=lambda gene: (-int(gene[1].sum()), flops[gene[0]]))
    best = probed[0][1]
    return [
        Suited(
            name,
            accuracy=float(right.mean()),
            behind=float((best - right).mean()),
            behind_ci95=confidence((best - right).tolist()) or 0.0,
            flops=flops[name],
        )
        for name, right in probed
    ]


def _right(network: LearngeneNetwork, images: ImageSet) -> Tensor:
    """Which images a probe of `network`, which has inherited a gene, gets right, each left out in turn."""
    cfg = network.pretrained_cfg
    normalisation = Normalisation.of(cfg["mean"], cfg["std"])
    ready = Images.build(images, normalisation, padding=0, flip=False)
    features = layer_features(network, ready)
    with seeded_initialisation(0, "probe"):
        head = LayersHead(features.shape[1], images.num_classes, drop_rate=0.0)
    _, right = fit_probe(head, features, ready.labels)
    return right
