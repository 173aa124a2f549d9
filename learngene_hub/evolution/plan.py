"""What an evolution will cost, told before it runs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from learngene_hub.backends import Trainee, Training
from learngene_hub.backends.memory import networks_at_once, training_bytes
from learngene_hub.birth import Body, gene_network, newborn, placed
from learngene_hub.evolution.body import gene_shape, network_body, recipe_channels
from learngene_hub.evolution.schedule import generation_images, life_steps, population_size
from learngene_hub.evolution.shard import pick_precision
from learngene_hub.evolution.supply import Supply, take_stock
from learngene_hub.gene.config import Dtype
from learngene_hub.gene.folder import stored_dtype
from learngene_hub.networks import LearngeneNetwork, build
from learngene_hub.recipe import Recipe
from learngene_hub.rng import generator
from learngene_hub.training import Circuit, train

MEASURED_STEPS = 3
WARMUP_STEPS = 2


@dataclass(frozen=True)
class Plan:
    """The cost of one evolution.

    Attributes:
        network_parameters: of an ancestry network without its classifier.
        gene_parameters: of the learngene.
        gene_bytes: size of its file.
        checkpoint_bytes: largest size of the saved state.
        data: the images there are; None if they are on the Hub, which is not asked.
        images: training images, ancestry and critic networks together.
        flops: of all training, counted as three forward passes an image (ours).
        seconds: estimated from a few steps of one network on the device, as in a loop; without data loading.
        images_per_second: in these steps.
        memory_bytes: of one ancestry network in training: weights, gradients, momentum and what the backward pass
            needs (ours).
        at_once: ancestry networks trained at once, unless by `loop`, which holds one at a time.
        device: they ran on.
        precision: of convolutions.
    """

    network_parameters: int
    gene_parameters: int
    gene_bytes: int
    checkpoint_bytes: int
    data: Supply | None
    images: int
    flops: float
    seconds: float
    images_per_second: float
    memory_bytes: int
    at_once: int
    device: str
    precision: str

    @property
    def gene_share(self) -> float:
        """Gene parameters over network parameters, in (0, 1]."""
        return self.gene_parameters / self.network_parameters


def make_plan(recipe: Recipe, *, device: torch.device) -> Plan:
    """Count and measure what `recipe` will cost on `device`, and look whether its images suffice; none is decoded.

    Raises:
        DataError: images on this machine cannot be read, or do not suffice.
        NetworkError: the network cannot be built.
    """
    data, body = take_stock(recipe), network_body(recipe)
    channels = recipe_channels(recipe)
    full, thin = _networks(body, channels)
    images = _all_images(recipe)
    rate = _measure(recipe, body, channels, device)
    memory_bytes, at_once = _side_by_side(recipe, body, channels, device)
    gene = gene_shape(recipe)
    return Plan(
        network_parameters=sum(weight.numel() for weight in full.parameters()),
        gene_parameters=sum(weight.numel() for weight in thin.parameters()),
        gene_bytes=_bytes(gene, recipe.gene.dtype),
        checkpoint_bytes=_bytes(gene, "float32") * recipe.evolution.pool_size,
        data=data,
        images=images,
        flops=evolution_flops(recipe, body, channels),
        seconds=images / rate,
        images_per_second=rate,
        memory_bytes=memory_bytes,
        at_once=at_once,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=pick_precision(recipe, device),
    )


def evolution_flops(recipe: Recipe, body: Body, channels: Mapping[str, int]) -> float:
    """Floating-point operations of all training of `recipe`, counted as three forward passes an image (ours)."""
    full, thin = (training_flops(one, recipe.data.image_size) for one in _networks(body, channels))
    ancestry = sum(_ancestry_images(recipe, one) for one in range(recipe.evolution.generations))
    return _all_images(recipe) * full + (recipe.ancestry.circuit_loss > 0) * ancestry * thin


def _networks(body: Body, channels: Mapping[str, int]) -> tuple[LearngeneNetwork, LearngeneNetwork]:
    """The full and the thin network, on the meta device."""
    with torch.device("meta"):
        full = build(body.network, num_classes=0, width=body.width, depth=body.depth)
        return full, gene_network(body, channels, num_classes=0)


def _bytes(gene: Mapping[str, Tensor], dtype: Dtype) -> int:
    return sum(tensor.numel() * stored_dtype(tensor, dtype).itemsize for tensor in gene.values())


def _all_images(recipe: Recipe) -> int:
    return sum(generation_images(recipe, one) for one in range(recipe.evolution.generations))


def _ancestry_images(recipe: Recipe, generation: int) -> int:
    return population_size(recipe, generation) * life_steps(recipe, generation) * recipe.ancestry.batch_size


def training_flops(network: LearngeneNetwork, image_size: int) -> float:
    """Floating-point operations of one image forward and backward; the network lies on the meta device."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, network.in_chans, image_size, image_size, device="meta"))
    return 3.0 * float(counter.get_total_flops())


def _side_by_side(recipe: Recipe, body: Body, channels: Mapping[str, int], device: torch.device) -> tuple[int, int]:
    """Bytes of one ancestry network in training, and how many are trained at once unless by a loop."""
    ways, size = recipe.ancestry.ways, recipe.data.image_size
    network = newborn(body, num_classes=ways, gene=None, cross="zero", seed=recipe.seed)
    example = Trainee(placed(network, device), lambda: iter(()), gene_network(body, channels, num_classes=ways))
    job = Training(recipe.ancestry, 1, pick_precision(recipe, device), circuit_loss=recipe.ancestry.circuit_loss)
    at_once = min(recipe.evolution.population, networks_at_once(example, job, size))
    return training_bytes(example, job, size), at_once


def _measure(recipe: Recipe, body: Body, channels: Mapping[str, int], device: torch.device) -> float:
    """Images per second of a few ancestry steps on noise."""
    ways, size = recipe.ancestry.ways, recipe.data.image_size
    network = newborn(body, num_classes=ways, gene=None, cross="zero", seed=recipe.seed)
    network = placed(network, device)
    thin = placed(gene_network(body, channels, num_classes=ways), device)
    noise = generator(recipe.seed, "plan")
    images = torch.rand(recipe.ancestry.batch_size, body.in_chans, size, size, generator=noise).to(device)
    labels = torch.arange(recipe.ancestry.batch_size).remainder(ways).to(device)

    def run(steps: int) -> float:
        began = time.perf_counter()
        train(
            network,
            repeat((images, labels)),
            recipe.ancestry,
            steps=steps,
            precision=pick_precision(recipe, device),
            circuit=Circuit(network, thin),
            circuit_loss=recipe.ancestry.circuit_loss,
        )
        return time.perf_counter() - began

    run(WARMUP_STEPS)
    return MEASURED_STEPS * recipe.ancestry.batch_size / run(MEASURED_STEPS)
