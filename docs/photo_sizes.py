"""Prints the table of image sizes of log 34: probes of photos of flowers, each size for three sets of classes.

`python -m docs.photo_sizes /data/flowers_102`, with another gene as a second word; the times are CPU seconds of this
process, all images included, for two networks where the one without the gene is probed too.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

from docs.flower_photos import write_photos
from learngene_hub import Learngene
from learngene_hub.core.progress import SilentReporter
from learngene_hub.finetuning import Settings, finetune

SIZES = (42, 64, 84, 112, 128)
SEEDS = (0, 1, 2)
COMPARED = (42, 84)  # also a probe of the network without the gene


def print_sizes(source: Path, gene: Learngene, *, classes: int, count: int) -> None:
    """Print a row for every size: test accuracy of each set of classes, in percent, and the seconds of each."""
    with TemporaryDirectory() as folder:
        for seed in SEEDS:
            write_photos(source, Path(folder, f"photos-{seed}"), classes=classes, count=count, seed=seed)
        for size in SIZES:
            rows = [_measured(Path(folder), gene, size, seed) for seed in SEEDS]
            scratch = " ".join(f"{100 * row[1]:.1f}" for row in rows) if size in COMPARED else ""
            cells = (size, " ".join(f"{100 * row[0]:.1f}" for row in rows), scratch)
            seconds = " ".join(f"{row[2]:.1f}" for row in rows)
            sys.stdout.write(f"| {' | '.join(map(str, (*cells, seconds)))} |\n")
            sys.stdout.flush()


def _measured(folder: Path, gene: Learngene, size: int, seed: int) -> tuple[float, float, float]:
    """Accuracy with the gene and without it (0: not measured), and CPU seconds for all of it."""
    began, is_compared = process_time(), size in COMPARED
    settings = Settings(method="probe", image_size=size, compare="scratch" if is_compared else None)
    out, photos = folder / f"model-{size}-{seed}", folder / f"photos-{seed}"
    record = finetune(gene, photos, out=out, settings=settings, reporter=SilentReporter()).record
    without = record["scratch"]["test_accuracy"] if is_compared else 0.0
    return record["learngene"]["test_accuracy"], without, process_time() - began


if __name__ == "__main__":
    source, name = (*sys.argv[1:], "gtl/resnet12-mini-half")[:2]
    print_sizes(Path(source), Learngene.from_pretrained(name), classes=10, count=10)
