"""Results with invented numbers, as an evaluation would write them."""

import math
import random
import statistics

from learngene_hub.report.results import (
    Cost,
    DescendantResult,
    GeneRecord,
    Measure,
    Results,
    StartResult,
    Summary,
)

SHA = "ab" * 32
RATES = (0.02, 0.05, 0.1, 0.2)
STARTS = {
    # name: (what it inherits, accuracy, share, training images, FLOPs, seconds)
    "learngene": ("20 % of the channels of every layer", 0.731, 0.221, 4_600_000, 3.1e15, 1204.0),
    "scratch": ("nothing", 0.552, 0.0, 0, 0.0, 0.0),
    "narrow": ("a network of the gene's size, trained on the base classes", 0.726, 0.221, 4_600_000, 1.2e15, 611.0),
    "narrow-long": ("the same, trained for as many FLOPs as the evolution", 0.748, 0.221, 11_900_000, 3.1e15, 1580.0),
    "cut": ("the leading channels of a network trained on the base classes", 0.701, 0.221, 4_600_000, 3.0e15, 1190.0),
    "cut-by-norm": ("the strongest channels of that network", 0.708, 0.221, 4_600_000, 3.0e15, 1190.0),
    "cut-at-random": ("random channels of that network", 0.664, 0.221, 4_600_000, 3.0e15, 1190.0),
    "generation-0": ("the same cut before any evolution", 0.652, 0.221, 460_000, 3.1e14, 118.0),
    "no-selection": ("a gene of an evolution whose winners were drawn by lot", 0.694, 0.221, 4_600_000, 3.1e15, 1201.0),
    "first-layers": ("the first three layers in full", 0.689, 0.198, 4_600_000, 3.0e15, 1190.0),
    "shuffled": ("the gene with the weights of each layer shuffled", 0.541, 0.221, 4_600_000, 3.1e15, 1204.0),
    "statistics": ("random weights with the mean and variance of the gene's", 0.574, 0.221, 4_600_000, 3.1e15, 1204.0),
    "full": ("the whole network trained on the base classes", 0.792, 1.0, 4_600_000, 3.0e15, 1190.0),
}


def summary(values):
    """Mean and interval of `values` (the normal quantile will do here)."""
    interval = 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "ci95": interval}


def example(starts=tuple(STARTS), *, steps=(60,), prototype=False, tasks=30, shapes=((0.5, 11),)):
    """Results of the named `starts`.

    Args:
        starts: names out of `STARTS`; a name such as `learngene:a` is like `learngene`, and a little worse.
        steps: of the curve; the last one is the headline.
        prototype: whether that measure is there, too.
        tasks: number of tasks.
        shapes: (width, depth) of each descendant.
    """
    genes = [name for name in starts if name.startswith("learngene")]
    return Results(
        protocol={
            "name": "few-shot",
            "version": 2,
            "ways": 5,
            "shots": 20,
            "queries": 100,
            "rates": RATES,
            "aim": f"5-way, 20 images a class, {steps[-1]} steps",
        },
        data="owner/cifar-fs",
        classes=("baby", "bed", "bicycle", "chimpanzee", "fox", "leopard", "man", "pickup truck", "plain", "poppy"),
        steps=steps,
        headline=str(steps[-1]),
        seeds=(0, 1, 2),
        tasks=tasks,
        genes=tuple(_gene(name, number) for number, name in enumerate(genes)),
        descendants=tuple(_descendant(starts, steps, prototype, tasks, *shape) for shape in shapes),
        environment={"package": "0.1.0", "torch": "2.9.0", "device": "NVIDIA H100", "threads": 1, "precision": "bf16"},
        recipe="# Half-width VGG11.\nname: cifar_fs_vgg11\nnetwork: {name: lg_vgg11, width: 0.5}\n",
    )


def _gene(start, number):
    cost = Cost(images=4_600_000, flops=3.1e15, seconds=1204.0, device="Intel Xeon, 1 core")
    record = {"start": start, "name": "cifar_fs_vgg11", "network": "lg_vgg11", "width": 0.5, "depth": 11}
    return GeneRecord(
        **record, sha256=SHA if number == 0 else f"{number:064x}", parameters=497_344, seed=number, cost=cost
    )


def _descendant(names, steps, prototype, tasks, width, depth):
    first = next(name for name in names if name.startswith("learngene"))
    measures = [*map(str, steps), *(["prototype"] if prototype else [])]
    found = {name: {one: _accuracies(name, one, steps, tasks, width, depth) for one in measures} for name in names}
    return DescendantResult(
        network="lg_vgg11",
        width=width,
        depth=depth,
        parameters=int(9_220_000 * width**2 * depth / 11),
        starts=tuple(_start(name, found, first) for name in names),
    )


def _accuracies(name, measure, steps, tasks, width, depth):
    base, gene = name.partition(":")[0], name.partition(":")[2]
    level = STARTS[base][1] - (0.02 if gene else 0.0) + 0.02 * math.log2(width / 0.5) - 0.01 * (depth - 11)
    if base == "scratch":
        level -= 0.02 * math.log2(width / 0.5)
    if measure == "prototype":
        level = 0.2 + 0.7 * (level - 0.5)
    else:
        level = 0.2 + (level - 0.2) * (1 - math.exp(-3.0 * (int(measure) + 1) / (steps[-1] + 1))) / (1 - math.exp(-3))
    draw, hard = random.Random(f"{name} {measure} {width} {depth}"), random.Random(0)
    return [min(1.0, max(0.0, level + hard.gauss(0, 0.05) + draw.gauss(0, 0.02))) for _ in range(tasks)]


def _start(name, found, first):
    what, _, share, images, flops, seconds = STARTS[name.partition(":")[0]]
    device = "Intel Xeon, 1 core" if images else ""
    tuning = {str(lr): 0.5 + 0.1 * found[name][next(iter(found[name]))][0] - abs(lr - 0.05) for lr in RATES}
    return StartResult(
        start=name,
        description=what,
        lr=0.05,
        tuning=tuning,
        inherited=share,
        cost=Cost(images=images, flops=flops, seconds=seconds, device=device),
        measures={one: Measure(accuracies=tuple(values), **summary(values)) for one, values in found[name].items()},
        gain={} if name == "scratch" else _differences(found[name], found.get("scratch", {})),
        lead={} if name == first else _differences(found[first], found[name]),
    )


def _differences(mine, others):
    return {
        one: Summary(**summary([a - b for a, b in zip(mine[one], others[one], strict=True)]))
        for one in mine
        if one in others
    }
