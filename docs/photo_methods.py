"""Prints what log 34 compares: how well a few photos are told apart by two methods, for several sets of classes.

`python -m docs.photo_methods /data/flowers_102 10 10 3 4 5`: 10 classes, 10 images a class to train and to validate
on, classes drawn with seeds 3, 4 and 5. The images are of the gene's pixels; the times are CPU seconds of this process.
With `rivals` as the last word, rows of networks that inherit nothing instead: the gene's own, trained as by
`--method full`, and timm's `resnet18`, for as many CPU seconds as the other took, in the same way.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import timm
import torch

from docs.flower_photos import write_photos
from learngene_hub import Learngene
from learngene_hub.core.device import on_cpu
from learngene_hub.core.progress import SilentReporter
from learngene_hub.data.batches import Images
from learngene_hub.finetuning import Photos, Settings, finetune
from learngene_hub.finetuning.fit import Loaded, accuracy_of, fit_all, fit_best_rate, fit_network, logits_of
from learngene_hub.finetuning.photos import load_photos
from learngene_hub.finetuning.run import PADDED
from learngene_hub.genome.birth import Body, newborn

SILENT = SilentReporter()
METHODS = ("full", "seconds", "probe", "seconds", "probe without the gene")
RIVALS = ("the same network", "seconds", "resnet18", "seconds")
TRAININGS = 4  # of a fine-tuning: three rates, and once more on all images


def methods(gene: Learngene, photos: Path, out: Path) -> list[str]:
    """Cells of `METHODS`: test accuracies in percent, and CPU seconds."""
    began = process_time()
    full = finetune(gene, photos, out=out / "full", settings=Settings(), reporter=SILENT).record["learngene"]
    taken, began = process_time() - began, process_time()
    settings = Settings(method="probe", image_size=gene.config.image_size, compare="scratch")
    probes = finetune(gene, photos, out=out / "probe", settings=settings, reporter=SILENT).record
    probing = (process_time() - began) / 2
    probe, scratch = (_percent(probes[start]["test_accuracy"]) for start in ("learngene", "scratch"))
    return [_percent(full["test_accuracy"]), f"{taken:.0f}", probe, f"{probing:.1f}", scratch]


def rivals(gene: Learngene, photos: Path) -> list[str]:
    """Cells of `RIVALS`: test accuracies in percent, and CPU seconds."""
    size = gene.config.image_size
    parts = load_photos(Photos(photos), image_size=size, gene_size=size, method="full", seed=0, reporter=SILENT)
    normalisation = gene.config.normalisation
    images = {
        role: Images.build(each, normalisation, padding=size // PADDED, flip=True) for role, each in parts.sets.items()
    }
    body, classes = Body(gene.config.network, gene.config.width, gene.config.depth), parts.train.num_classes
    thin = partial(newborn, body, num_classes=classes, gene=None, seed=0)
    with on_cpu():
        accuracy, seconds = _trained(thin, images, Settings())
        began = process_time()
        fit_network(_resnet18(classes), images, Settings(epochs=1), 0.001)
        epochs = max(1, int(seconds / TRAININGS / (process_time() - began)))
        settings = Settings(epochs=epochs, patience=epochs)
        rival, as_long = _trained(partial(_resnet18, classes), images, settings)
    return [_percent(accuracy), f"{seconds:.0f}", _percent(rival), f"{as_long:.0f}"]


def _trained(born: Callable[[], Any], images: Loaded, settings: Settings) -> tuple[float, float]:
    """Test accuracy, in [0, 1], and CPU seconds of the best rate, trained again on all images."""
    began, network = process_time(), born()
    best, _ = fit_best_rate(born, images, settings, start="", reporter=SILENT)
    fit_all(network, images, settings, best.lr, start="", reporter=SILENT)
    return accuracy_of(logits_of(network, images["test"]), images["test"].labels), process_time() - began


def _resnet18(classes: int) -> Any:  # noqa: ANN401  # timm's network in the place of ours
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=classes)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _print_row(cells: Sequence[object]) -> None:
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    is_rivals = sys.argv[-1] == "rivals"
    source, classes, count, *seeds = sys.argv[1:-1] if is_rivals else sys.argv[1:]
    gene = Learngene.from_pretrained("gtl/resnet12-mini-half")
    _print_row(["draw", *(RIVALS if is_rivals else METHODS)])
    for seed in seeds:
        with TemporaryDirectory() as folder:
            photos, out = Path(folder, "photos"), Path(folder)
            write_photos(Path(source), photos, classes=int(classes), count=int(count), seed=int(seed))
            _print_row([seed, *(rivals(gene, photos) if is_rivals else methods(gene, photos, out))])
