"""The cost of an evolution, estimated before it runs."""

import time
from dataclasses import dataclass
from functools import cache
from itertools import repeat

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.core.rng import generator
from learngene_hub.data.counting import tell_left_out
from learngene_hub.evolution.ancestor import find_ancestor, line_channels
from learngene_hub.evolution.environment import Supply, data_source, take_stock
from learngene_hub.evolution.plan import GenerationPlan, network_body, pick_precision, plan_line, plan_search
from learngene_hub.gene.config import Dtype
from learngene_hub.gene.folder import stored_dtype
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.networks import LearngeneNetwork, Structure, build, plan_structure
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.training.loop import Precision, Training, autocast, train

MEASURED_STEPS = 3
POOLS = 2  # on the disk at once: the last one, and the one that is being written
WARMUP_STEPS = 2


@dataclass(frozen=True)
class Forecast:
    """The cost of one evolution.

    Attributes:
        network_parameters: of an ancestry network without its classifier.
        gene_parameters: of the learngene.
        gene_bytes: size of its file.
        checkpoint_bytes: largest size of the saved states on the disk.
        data: available classes and images; None if they are on the Hub, which is not asked.
        images: training images of ancestry networks, critics and the search for a shape together.
        search_images: those of the search, 0 if there is none.
        flops: of all training, counted as three forward passes per image (ours).
        search_flops: those of the search.
        seconds: estimated from a few steps of one network on the device; without data loading.
        images_per_second: speed of these steps.
        memory_bytes: of one ancestry network in training: weights, gradients, momentum and what the backward pass
            needs (ours).
        device: of these steps.
        precision: of convolutions.
        ancestor_sha256: of the gene that the evolution begins from; None: no gene.
        ancestor_images: training images of that gene's evolution, not counted in `images`; None: not recorded.
    """

    network_parameters: int
    gene_parameters: int
    gene_bytes: int
    checkpoint_bytes: int
    data: Supply | None
    images: int
    search_images: int
    flops: float
    search_flops: float
    seconds: float
    images_per_second: float
    memory_bytes: int
    device: str
    precision: str
    ancestor_sha256: str | None
    ancestor_images: int | None

    @property
    def gene_share(self) -> float:
        """Gene parameters over network parameters, in (0, 1]."""
        return self.gene_parameters / self.network_parameters


def forecast(recipe: Recipe, *, device: torch.device, reporter: Reporter = SilentReporter()) -> Forecast:  # noqa: B008
    """Estimate the cost of `recipe` on `device`, and check that it has enough images; none is decoded.

    Raises:
        DataError: images on this machine cannot be read, or are too few.
        NetworkError: the network cannot be built.
        GeneFileError, HubError, RecipeError, DataError: see `find_ancestor` and `Ancestor.refuse_seen`.
    """
    ancestor = find_ancestor(recipe)
    tell_left_out(data_source(recipe), reporter)
    if ancestor is not None:
        ancestor.tell(recipe, reporter)
    data, body = take_stock(recipe, ancestor), network_body(recipe)
    channels, precision = line_channels(recipe, ancestor), pick_precision(recipe, device)
    thin = plan_structure(body.network, depth=body.depth, channels=channels)
    plans, size = plan_line(recipe, precision=precision), recipe.data.image_size
    line = sum(plan.images for plan in plans)
    rate = _images_per_second(plans[-1], size, device)
    search = plan_search(recipe, classes=recipe.ancestry.ways, precision=precision)
    search_images = search.images if search else 0
    searched = search_images / _images_per_second(search.ancestor, size, device) if search else 0.0
    record = None if ancestor is None else ancestor.record
    return Forecast(
        network_parameters=body.structure.parameters(in_chans=body.in_chans),
        gene_parameters=thin.parameters(in_chans=body.in_chans),
        gene_bytes=_bytes(thin, body.in_chans, recipe.gene.dtype),
        checkpoint_bytes=POOLS * recipe.evolution.pool_size * _bytes(thin, body.in_chans, "float32"),
        data=data,
        images=line + search_images,
        search_images=search_images,
        flops=evolution_flops(recipe),
        search_flops=search_images * _flops(search.ancestor.body, size) if search else 0.0,
        seconds=line / rate + searched,
        images_per_second=rate,
        memory_bytes=_memory(plans[-1], size),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=precision,
        ancestor_sha256=None if record is None else record.sha256,
        ancestor_images=None if record is None else record.images,
    )


def evolution_flops(recipe: Recipe) -> float:
    """Floating-point operations of all training of `recipe`, counted as three forward passes per image (ours)."""
    size = recipe.data.image_size
    search = plan_search(recipe, classes=recipe.ancestry.ways, precision="float32")
    searched = search.images * _flops(search.ancestor.body, size) if search else 0.0
    images = sum(plan.images for plan in plan_line(recipe, precision="float32"))
    return images * _flops(network_body(recipe), size) + searched


@cache
def _flops(body: Body, image_size: int) -> float:
    """Floating-point operations of one image in an ancestry network; counting takes a tenth of a second."""
    with torch.device("meta"):
        return training_flops(build(body.network, num_classes=0, width=body.width, depth=body.depth), image_size)


def _bytes(structure: Structure, in_chans: int, dtype: Dtype) -> int:
    """Size of a file of `dtype` with all tensors of `structure`."""
    with torch.device("meta"):
        tensors = [torch.empty(shape) for shape in structure.shapes(in_chans=in_chans).values()]
    return sum(tensor.numel() * stored_dtype(tensor, dtype).itemsize for tensor in tensors)


def training_flops(network: LearngeneNetwork, image_size: int) -> float:
    """Floating-point operations of one image forward and backward; the network must be on the meta device."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, network.in_chans, image_size, image_size, device="meta"))
    return 3.0 * float(counter.get_total_flops())


def _images_per_second(plan: GenerationPlan, size: int, device: torch.device) -> float:
    """Images per second of a few ancestry steps on noise."""
    life, ways = plan.ancestry.training, plan.ancestry.ways
    network = placed(newborn(plan.body, num_classes=ways, gene=None, seed=plan.seed), device)
    count = life.optimisation.batch_size
    images = torch.rand(count, plan.body.in_chans, size, size, generator=generator(plan.seed, "plan")).to(device)
    batch = images, torch.arange(count).remainder(ways).to(device)

    def run(steps: int) -> float:
        began = time.perf_counter()
        train(network, repeat(batch), Training(life.optimisation, steps, life.precision))
        return time.perf_counter() - began

    run(WARMUP_STEPS)
    return MEASURED_STEPS * count / run(MEASURED_STEPS)


def _memory(plan: GenerationPlan, size: int) -> int:
    """Bytes of one ancestry network in training."""
    optimisation = plan.ancestry.training.optimisation
    network = newborn(plan.body, num_classes=plan.ancestry.ways, gene=None, seed=plan.seed)
    few, more = (_saved_bytes(network, plan.ancestry.training.precision, size, count) for count in (2, 4))
    copies = 4 if optimisation.optimizer == "adamw" else 3  # weights, gradients and the optimiser's memory
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    return copies * weights + few + (more - few) // 2 * (optimisation.batch_size - 2)


def _saved_bytes(network: LearngeneNetwork, precision: Precision, size: int, count: int) -> int:
    """Bytes that autograd keeps of one forward pass of `count` images, without the weights themselves."""
    known = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(count, network.in_chans, size, size)
    with saved_tensors_hooks(note, lambda tensor: tensor), autocast(images.device, precision):
        logits = network(images)
    del logits  # which held what is kept until now
    return sum(kept.values())
