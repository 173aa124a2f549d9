"""From a gene folder to a network that has the gene, against the same network from scratch."""

from pathlib import Path
from tempfile import TemporaryDirectory

import timm

from benchmarks.measure import Figure, Goal, interleaved, ratio, typical
from learngene_hub import extract, from_learngene

NETWORKS = ("lg_vgg11", "lg_resnet12")
WIDTHS = (1.0, 0.5)
CLASSES = 5
GOAL = Goal("at most", 1.2)


def figures() -> list[Figure]:
    """One figure a network and width."""
    return [_compare(network, width) for network in NETWORKS for width in WIDTHS]


def _compare(network: str, width: float) -> Figure:
    def scratch() -> None:
        timm.create_model(network, num_classes=CLASSES, width=width)

    with TemporaryDirectory() as folder:
        gene = extract(timm.create_model(network, num_classes=CLASSES, width=width)).save_pretrained(Path(folder))

        def load() -> None:
            from_learngene(gene, num_classes=CLASSES)

        times = interleaved({"timm": scratch, "gene": load}, rounds=21)
    detail = f"{typical(times, 'gene') * 1e3:.1f} against {typical(times, 'timm') * 1e3:.1f} ms"
    what = f"from_learngene / timm.create_model, {network}, width {width:g}"
    return Figure("loading", what, ratio(times, "gene", "timm"), detail, GOAL)
