"""How much of the machine's convolution peak a training step of a full lg_vgg11 reaches."""

from itertools import repeat

import torch
from torch.nn.functional import conv2d

from benchmarks.measure import Figure, Goal, interleaved, ratio, typical
from learngene_hub.core.rng import generator
from learngene_hub.evolution.dry_run import training_flops
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.networks import build
from learngene_hub.recipe.sections import OptimisationSection
from learngene_hub.training.loop import Training, best_precision, train

BATCH = 64
SIZE = 32
CLASSES = 16
CHANNELS = 256
STEPS = OptimisationSection(steps=2, batch_size=BATCH)


def figures() -> list[Figure]:
    """One figure: FLOPs a second of the step over those of the convolution."""
    cpu, draws = torch.device("cpu"), generator(0, "noise")
    precision = best_precision(cpu)
    network = placed(newborn(Body("lg_vgg11"), num_classes=CLASSES, gene=None, seed=0), cpu)
    with torch.device("meta"):
        step = training_flops(build("lg_vgg11", num_classes=CLASSES), SIZE) * BATCH * STEPS.steps
    images = torch.rand(BATCH, 3, SIZE, SIZE, generator=draws).to(memory_format=torch.channels_last)
    batches = repeat((images, torch.arange(BATCH) % CLASSES))

    dtype = getattr(torch, precision)
    shape = (BATCH // 2, CHANNELS, SIZE // 2, SIZE // 2)
    x = torch.rand(shape, generator=draws).to(dtype, memory_format=torch.channels_last)
    kernel = torch.rand(CHANNELS, CHANNELS, 3, 3, generator=draws).to(dtype, memory_format=torch.channels_last)
    convolution = 2.0 * x.numel() * kernel[0].numel()

    @torch.no_grad()
    def convolve() -> None:
        conv2d(x, kernel, padding=1)

    def steps() -> None:
        train(network, batches, Training(STEPS, STEPS.steps, precision))

    times = interleaved({"convolution": convolve, "step": steps}, rounds=9)
    rates = {"convolution": convolution / typical(times, "convolution"), "step": step / typical(times, "step")}
    detail = f"{rates['step'] / 1e9:,.0f} of {rates['convolution'] / 1e9:,.0f} GFLOP/s, {precision}, batches of {BATCH}"
    share = ratio(times, "convolution", "step") * step / convolution
    return [Figure("peak", f"lg_vgg11 step / 3x3 convolution, {SIZE} px", share, detail, Goal("at least", 0.65))]
