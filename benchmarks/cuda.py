"""A population on a CUDA device: one graph for all, or side by side, against the eager loop; and the share of its peak.

Seconds are wall time that ends when the device is done, recording a graph included. The eager loop is the back end
`loop`: autocast to bfloat16, channels last, fused SGD, images on the device. Without a device there are no figures.
"""

import sys
import time
from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.measure import Figure, Goal, Times, Work, interleaved, ratio, typical
from benchmarks.population import CLASSES, Case, ours
from learngene_hub.backends import BACKENDS
from learngene_hub.birth import Body
from learngene_hub.evolution.plan import training_flops
from learngene_hub.networks import build
from learngene_hub.sections import OptimisationSection

EAGER, MATMUL = "loop", "matmul"
SIDE = 8192  # of the square matrices whose product is the peak
PRODUCTS = 20
STEPS = OptimisationSection(steps=100, batch_size=64)
CASES = (
    Case("lg_vgg11, 32 px", Body("lg_vgg11"), STEPS, Goal("at least", 3.0), count=16),
    Case("lg_resnet12, 32 px", Body("lg_resnet12"), STEPS, Goal("at least", 1.8), count=16),
    Case("lg_resnet12, 84 px", Body("lg_resnet12"), STEPS, Goal("at least", 1.0), count=16, size=84),
)
PEAKS = {"lg_resnet12, 84 px": Goal("at least", 0.25)}


def figures() -> list[Figure]:
    """Two figures a case and one of the peak; none without a CUDA device."""
    if not torch.cuda.is_available():
        print("cuda: left out, there is no CUDA device", file=sys.stderr)
        return []
    device = torch.device("cuda")
    print(f"cuda: {torch.cuda.get_device_name(device)}", file=sys.stderr)
    return [figure for case in CASES for figure in compare(case, device)]


def compare(case: Case, device: torch.device, *, side: int = SIDE, ways: Sequence[str] = BACKENDS) -> list[Figure]:
    """The back ends `ways` on one case, and the share that the fastest has of the rate of a product of matrices."""
    works: dict[str, Work] = {way: ours(case, way, device) for way in BACKENDS if way in ways}
    matrices = [torch.rand(side, side, device=device, dtype=torch.bfloat16) for _ in range(2)]
    times = interleaved(works | {MATMUL: partial(_multiply, *matrices)}, clock=partial(_wall_seconds, device=device))
    speed = f"{case.count} networks, batches of {case.optimisation.batch_size}"
    return [
        Figure(
            "cuda",
            f"{EAGER} / {way}, {case.name}",
            ratio(times, EAGER, way),
            f"{case.images / typical(times, way):,.0f} against {case.images / typical(times, EAGER):,.0f} images a "
            f"second; {speed}",
            case.goal if way == "graph" else None,
        )
        for way in works
        if way != EAGER
    ] + [_share(case, times, min(works, key=partial(typical, times)), side)]


def _share(case: Case, times: Times, best: str, side: int) -> Figure:
    """FLOPs a second of `best` over those of the product."""
    with torch.device("meta"):
        network = build(case.body.network, num_classes=CLASSES, width=case.body.width)
    work, product = training_flops(network, case.size) * case.images, 2.0 * side**3 * PRODUCTS
    rates = [flops / typical(times, way) / 1e12 for flops, way in ((work, best), (product, MATMUL))]
    return Figure(
        "cuda",
        f"{best} / bfloat16 matmul, {case.name}",
        ratio(times, MATMUL, best) * work / product,
        f"{rates[0]:,.3g} of {rates[1]:,.3g} TFLOP/s",
        PEAKS.get(case.name),
    )


def _multiply(left: torch.Tensor, right: torch.Tensor) -> None:
    for _ in range(PRODUCTS):
        torch.mm(left, right)


def _wall_seconds(work: Work, *, device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
