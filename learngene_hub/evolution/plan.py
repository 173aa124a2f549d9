"""What an evolution will cost, told before it runs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from learngene_hub.birth import Body, gene_channels, gene_network, newborn, placed
from learngene_hub.evolution.run import network_body
from learngene_hub.evolution.schedule import generation_images, life_steps, population_size
from learngene_hub.evolution.shard import pick_precision
from learngene_hub.networks import LearngeneNetwork, build
from learngene_hub.recipe import Recipe
from learngene_hub.rng import generator
from learngene_hub.training import Circuit, Precision, autocast, train

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
        images: training images, ancestry and critic networks together.
        flops: of all training, counted as three forward passes an image (ours).
        seconds: estimated from a few steps of one network on the device, as in a loop; without data loading.
        images_per_second: in these steps.
        memory_bytes: of one ancestry network in training: weights, gradients, momentum and what the backward pass
            needs; `loop` holds one at a time, `grouped` up to `TOGETHER` (ours).
        device: they ran on.
        precision: of convolutions.
    """

    network_parameters: int
    gene_parameters: int
    gene_bytes: int
    checkpoint_bytes: int
    images: int
    flops: float
    seconds: float
    images_per_second: float
    memory_bytes: int
    device: str
    precision: str

    @property
    def gene_share(self) -> float:
        """Gene parameters over network parameters, in (0, 1]."""
        return self.gene_parameters / self.network_parameters


def make_plan(recipe: Recipe, *, device: torch.device) -> Plan:
    """Count and measure what `recipe` will cost on `device`; needs no images.

    Raises:
        NetworkError: the network cannot be built.
    """
    body = network_body(recipe)
    channels = gene_channels(body, recipe.gene.fraction)
    full, thin = _networks(body, channels)
    images = _all_images(recipe)
    rate = _measure(recipe, body, channels, device)
    gene_bytes = sum(t.numel() * t.element_size() for n, t in thin.state_dict().items() if "num_batches" not in n)
    return Plan(
        network_parameters=sum(weight.numel() for weight in full.parameters()),
        gene_parameters=sum(weight.numel() for weight in thin.parameters()),
        gene_bytes=gene_bytes,
        checkpoint_bytes=gene_bytes * recipe.evolution.pool_size,
        images=images,
        flops=evolution_flops(recipe, body, channels),
        seconds=images / rate,
        images_per_second=rate,
        memory_bytes=training_memory(recipe, body, channels, pick_precision(recipe, device)),
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


def _all_images(recipe: Recipe) -> int:
    return sum(generation_images(recipe, one) for one in range(recipe.evolution.generations))


def _ancestry_images(recipe: Recipe, generation: int) -> int:
    return population_size(recipe, generation) * life_steps(recipe, generation) * recipe.ancestry.batch_size


def training_flops(network: LearngeneNetwork, image_size: int) -> float:
    """Floating-point operations of one image forward and backward; the network lies on the meta device."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, network.in_chans, image_size, image_size, device="meta"))
    return 3.0 * float(counter.get_total_flops())


def training_memory(recipe: Recipe, body: Body, channels: Mapping[str, int], precision: Precision) -> int:
    """Bytes that the training of one ancestry network of `recipe` holds, by what autograd saves of two small batches.

    Weights, gradients and the optimiser's memory are float32; what is saved grows in proportion to the batch.
    """
    ways, optimisation = recipe.ancestry.ways, recipe.ancestry
    network = newborn(body, num_classes=ways, gene=None, cross="zero", seed=recipe.seed)
    thin = gene_network(body, channels, num_classes=ways)
    circuit = Circuit(network, thin) if optimisation.circuit_loss > 0 else None
    few, more = (_saved_bytes(network, circuit, recipe.data.image_size, precision, count) for count in (2, 4))
    an_image = (more - few) // 2
    copies = 4 if optimisation.optimizer == "adamw" else 3
    weights = sum(weight.numel() for weight in network.parameters()) * 4 * copies
    return weights + few + an_image * (optimisation.batch_size - 2)


def _saved_bytes(
    network: LearngeneNetwork, circuit: Circuit | None, size: int, precision: Precision, count: int
) -> int:
    """Bytes that autograd keeps of one forward pass of `count` images on the CPU, without the weights themselves."""
    known = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(count, network.in_chans, size, size)
    with saved_tensors_hooks(note, lambda tensor: tensor), autocast(images.device, precision):
        logits = [network(images)] if circuit is None else [network(images), circuit(images)]
    del logits
    return sum(kept.values())


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
