"""Prints the table of methods of finetune.md: what a few photos are told apart by, for three sets of classes.

`python -m docs.photo_methods /data/flowers_102 10 10 3 4 5`: 10 classes, 10 images a class to train and to validate
on, classes drawn with seeds 3, 4 and 5. The images are of the gene's pixels; the times are CPU seconds of this process.
timm's `resnet18` trains from scratch for as long as the default takes, at the best of three learning rates, and once
more with the validation images.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import timm
import torch

from docs.flower_photos import write_photos
from learngene_hub import Learngene
from learngene_hub.core.progress import SilentReporter
from learngene_hub.data import Normalisation
from learngene_hub.finetuning import Photos, Settings, finetune
from learngene_hub.finetuning.fit import Loaded, accuracy_of, fit_all, fit_best_rate, fit_network, logits_of
from learngene_hub.finetuning.photos import load_photos
from learngene_hub.finetuning.run import PADDED
from learngene_hub.workers import on_cpu

GENE = "gtl/resnet12-mini"
HEAD = "| seed | default | probe | full | probe, no gene | full, no gene | `resnet18` | CPU seconds, default | probe |"


def measure(gene: Learngene, photos: Path, out: Path, seed: int) -> str:
    """A row: test accuracies in percent, of the default, each method with the gene and without, and `resnet18`."""
    probe_seconds = _timed(gene, photos, out / "probe", Settings(method="probe", image_size=gene.config.image_size))[1]
    record, seconds = _timed(gene, photos, out / "default", Settings(compare="scratch"))
    starts = [record[start]["compared"] for start in ("learngene", "scratch")]
    accuracies = [record["learngene"], *(start[method] for start in starts for method in ("probe", "full"))]
    cells = [f"{100 * one['test_accuracy']:.1f}" for one in accuracies]
    with on_cpu():
        cells.append(f"{100 * _resnet18(gene, photos, seconds / 2):.1f}")
    kept = record["learngene"]["method"]
    return f"| {seed} | {' | '.join(cells)} | {seconds / 2:.0f} | {probe_seconds:.0f} | <!-- kept: {kept} -->"


def _timed(gene: Learngene, photos: Path, out: Path, settings: Settings) -> tuple[Mapping[str, Any], float]:
    began = process_time()
    record = finetune(gene, photos, out=out, settings=settings, reporter=SilentReporter()).record
    return record, process_time() - began


def _resnet18(gene: Learngene, photos: Path, seconds: float) -> float:
    """Test accuracy, in [0, 1], of what learns for so many CPU seconds: three rates, and once more on all images."""
    size, silent = gene.config.image_size, SilentReporter()
    parts = load_photos(Photos(photos), image_size=size, gene_size=size, method="full", seed=0, reporter=silent)
    normalisation = Normalisation.of(gene.config.mean, gene.config.std)
    images = Loaded.build(parts, normalisation, padding=size // PADDED, flip=True, device=torch.device("cpu"))
    assert images.test is not None
    newborn = partial(_newborn, parts.train.num_classes)
    began = process_time()
    fit_network(newborn(), images, Settings(epochs=1), 0.001)
    epochs = max(1, int(seconds / 4 / (process_time() - began)))
    settings = Settings(epochs=epochs, patience=epochs)
    best, _ = fit_best_rate(newborn, images, settings, start="resnet18", reporter=silent)
    fit_all(network := newborn(), images, settings, best.lr, start="resnet18", reporter=silent)
    return accuracy_of(logits_of(network, images.test), images.test.labels)


def _newborn(classes: int) -> Any:  # noqa: ANN401  # timm's network in the place of ours
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=classes)


if __name__ == "__main__":
    source, classes, count, *seeds = sys.argv[1:]
    sys.stdout.write(f"{HEAD}\n{'|---' * HEAD[1:].count('|')}|\n")
    for seed in map(int, seeds):
        with TemporaryDirectory() as folder:
            photos = Path(folder, "photos")
            write_photos(Path(source), photos, classes=int(classes), count=int(count), seed=seed)
            sys.stdout.write(f"{measure(Learngene.from_pretrained(GENE), photos, Path(folder), seed)}\n")
            sys.stdout.flush()
