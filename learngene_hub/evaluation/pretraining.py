"""Networks trained as usual on the base classes, as baselines for genes.

Each is trained on as many images as the evolution of the gene, by the optimiser of the gene's recipe. If the evolution
began from another gene, so does each network; the cost of that gene is counted for neither.

Each is trained once and kept in the cache under a key of everything that shapes it. The training is cut into chapters
with draws of their own; after each the network is saved, so an interrupted training goes on and ends with the same
bytes (on a CPU, with the same number of threads).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from learngene_hub.core.device import device_name
from learngene_hub.core.errors import StorageError, TrainingError
from learngene_hub.core.files import read_json, write_text
from learngene_hub.core.progress import Reporter
from learngene_hub.core.rng import generator, seeded_initialisation
from learngene_hub.core.store import KeyedStore
from learngene_hub.data.batches import Images
from learngene_hub.data.cache import MOVE_CACHE
from learngene_hub.data.tasks import sample_task
from learngene_hub.evolution.ancestor import Ancestor
from learngene_hub.evolution.dry_run import evolution_flops, training_flops
from learngene_hub.evolution.plan import recipe_channels
from learngene_hub.gene.folder import write_tensors
from learngene_hub.gene.learngene import Learngene
from learngene_hub.genome.birth import Body, gene_network, placed
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import inherit
from learngene_hub.networks import LearngeneNetwork, Structure, build, plan_structure
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.recipe.sections import OptimisationSection
from learngene_hub.training.fewshot import support_batches
from learngene_hub.training.loop import Precision, Training, train
from learngene_hub.training.rates import Falling
from learngene_hub.workers import EngineOptions

FORMAT = 1  # raise it when the same plan gives another network
CHAPTERS = 10
FULL, WIDER = "the full network", "a wider network"
NARROW, NARROW_FLOPS, NARROW_EVEN = "narrow", "narrow-flops", "narrow-even"
EVEN = "gene.shape=taper", "gene.taper=1"  # changes of a recipe: as many numbers, the same fraction of every layer
EACH_SIZE = "each-size"
TEACHER = 1.5  # widths of the gene's ancestors: 2.25 times the arithmetic
TENSORS_NAME, RECORD_NAME = "network.safetensors", "record.json"


@dataclass(frozen=True)
class Pretraining:
    """Everything that shapes one pre-trained network.

    Attributes:
        network: one of `learngene_hub.families.FAMILIES`.
        width: factor on the channels of every layer.
        depth: as the network counts it.
        in_chans: channels of an image.
        channels: channels of every group instead of `width`: a thin network of the gene's shape.
        images: training images, repeats counted.
        optimisation: how it is trained; its `steps` do not count.
        data: fingerprint of the base images, padding included.
        flip: whether they are mirrored.
        precision: of convolutions.
        seed: of weights and draws.
        ancestor: key of the gene that it begins from, as the gene did; None: nothing.
        cross: of that, see `learngene_hub.genome.surgery.inherit`.
    """

    network: str
    width: float
    depth: int
    in_chans: int
    channels: Mapping[str, int] | None
    images: int
    optimisation: OptimisationSection
    data: str
    flip: bool
    precision: Precision
    seed: int
    ancestor: Mapping[str, Any] | None
    cross: str

    @property
    def key(self) -> dict[str, Any]:
        """All fields as a JSON-compatible dict; those of an ancestor only if there is one, as in older versions."""
        fields = asdict(self) | {"optimisation": self.optimisation.model_dump(exclude={"steps"}), "format": FORMAT}
        return {key: one for key, one in fields.items() if self.ancestor or key not in {"ancestor", "cross"}}

    @property
    def steps(self) -> int:
        """Optimiser steps of the training."""
        return self.images // self.optimisation.batch_size

    @property
    def structure(self) -> Structure:
        """Structure of the network."""
        return plan_structure(self.network, width=self.width, depth=self.depth, channels=self.channels)

    def build(self, num_classes: int) -> LearngeneNetwork:
        """The network before training."""
        size = {"channels": dict(self.channels)} if self.channels else {"width": self.width}
        with seeded_initialisation(self.seed, "pre-training"):
            return build(self.network, num_classes=num_classes, in_chans=self.in_chans, depth=self.depth, **size)


@dataclass(frozen=True)
class Budget:
    """How much baselines may cost, and how they are trained: as the gene was.

    Attributes:
        gene: the gene they are compared with.
        recipe: the gene's own.
        ancestor: gene that it began from, and so do they; None: nothing.
        base: images of its base classes, as its ancestors saw them.
        base_hash: their fingerprint, padding included.
        images_hash: of those and of the held-out ones.
        sizes: the kinds of descendants.
        precision: of its convolutions.
        threads: by which each network is trained, on a CPU; they change the last digits.
        device: as the user named it.
        engine: what evolves ablations.
        folder: where trained networks are kept.
        reporter: told of progress.
    """

    gene: Learngene
    recipe: Recipe
    ancestor: Ancestor | None
    base: Images
    base_hash: str
    images_hash: str
    sizes: Sequence[Body]
    precision: Precision
    threads: int
    device: str
    engine: EngineOptions
    folder: Path
    reporter: Reporter

    @property
    def body(self) -> Body:
        """Size of the gene's ancestry networks."""
        config = self.gene.config
        return Body(config.network, config.width, config.depth, config.in_chans)

    @property
    def images(self) -> int:
        """Training images of the evolution, without those of a gene that it began from."""
        assert self.gene.config.origin is not None
        return self.gene.config.origin.cost.images

    @property
    def flops(self) -> float:
        """Floating-point operations of the evolution."""
        return evolution_flops(self.recipe)


def planned(title: str, budget: Budget, body: Body) -> Pretraining:
    """The training of the network called `title`: `FULL`, `WIDER`, `EACH_SIZE`, or one of the thin ones.

    `NARROW_FLOPS` is trained for as many FLOPs as the evolution, `EACH_SIZE` on its share of the evolution's images,
    every other network on as many images as the evolution.
    """
    recipe = budget.recipe
    assert body.depth is not None
    images, channels = budget.images, None
    if title in {NARROW, NARROW_FLOPS}:
        channels = budget.gene.config.channels
    if title == NARROW_EVEN:
        channels = recipe_channels(recipe.changed(*EVEN))
    if title == EACH_SIZE:
        images //= len(budget.sizes)
    if title == NARROW_FLOPS:
        thin = gene_network(body, budget.gene.config.channels, num_classes=0)
        images = round(budget.flops / training_flops(thin.to("meta"), recipe.data.image_size))
    return Pretraining(
        network=body.network,
        width=body.width * (TEACHER if title == WIDER else 1),
        depth=body.depth,
        in_chans=body.in_chans,
        channels=channels,
        images=images,
        optimisation=recipe.ancestry.constants(),
        data=budget.base_hash,
        flip=budget.base.flip,
        precision=budget.precision,
        seed=recipe.seed,
        ancestor=None if budget.ancestor is None else budget.ancestor.key,
        cross=recipe.gene.cross,
    )


def plan_flops(plan: Pretraining, budget: Budget) -> float:
    """Floating-point operations of the whole training."""
    return plan.images * training_flops(plan.build(0).to("meta"), budget.recipe.data.image_size)


@dataclass(frozen=True)
class Pretrained:
    """A trained network, or one whose training goes on.

    Attributes:
        chapters: number of parts of its training that are done.
        state: its tensors, classifier included, on the CPU.
        seconds: of its training.
        device: it was trained on.
    """

    chapters: int
    state: Mapping[str, Tensor]
    seconds: float
    device: str


def pretrain(
    plan: Pretraining, ancestor: Genome | None, images: Images, folder: Path, *, title: str, reporter: Reporter
) -> Pretrained:
    """The network of `plan`, from the cache in `folder`, or else trained on all classes of `images`.

    Args:
        plan: of its training.
        ancestor: the gene that it begins from, as the plan says; None: nothing.
        images: of all base classes.
        folder: of the cache.
        title: of the network, in messages.
        reporter: told of progress.

    Raises:
        TrainingError: the training diverged.
    """
    store = KeyedStore(folder, title, _write, _read, reporter, MOVE_CACHE)
    with store.held(plan.key):
        saved = store.find(plan.key)
        if saved is not None and saved.chapters >= CHAPTERS:
            return saved
        with reporter.task(f"pre-training {title}", plan.steps, "steps") as bar:
            return _finish(store, plan, ancestor, saved, images, bar.advance)


def _finish(
    store: KeyedStore[Pretrained],
    plan: Pretraining,
    ancestor: Genome | None,
    saved: Pretrained | None,
    images: Images,
    on_steps: Callable[[float], None],
) -> Pretrained:
    """Train what is left of the network that was `saved`, and keep it after every chapter."""
    done = saved.chapters if saved else 0
    on_steps(_begin(plan.steps, done))
    for chapter in range(done, CHAPTERS):
        began = time.monotonic()
        state = _chapter(plan, ancestor, saved, images, chapter, lambda _: on_steps(1))
        seconds = (saved.seconds if saved else 0.0) + time.monotonic() - began
        saved = Pretrained(chapter + 1, state, round(seconds, 1), device_name(images.device))
        if saved.chapters == CHAPTERS:
            store.keep(plan.key, saved)
        else:
            with suppress(StorageError):  # that of the last one is told
                store.put(plan.key, saved)
    assert saved is not None
    return saved


def _begin(total: int, chapter: int) -> int:
    return total * chapter // CHAPTERS


def _chapter(
    plan: Pretraining,
    ancestor: Genome | None,
    before: Pretrained | None,
    images: Images,
    chapter: int,
    on_step: Callable[[int], None],
) -> dict[str, Tensor]:
    """The network after one more tenth of its training; momentum and a short warm-up begin anew."""
    classes = int(images.labels.max()) + 1
    network = plan.build(classes)
    if before is not None:
        network.load_state_dict(before.state)
    elif ancestor is not None:
        inherit(network.state_dict(), network.structure, ancestor, cross=plan.cross)
    network = placed(network, images.device)
    task = sample_task(images.labels, n_way=classes, n_shot=None, n_query=0, generator=generator(plan.seed, "classes"))
    batches = support_batches(
        images, task, plan.optimisation.batch_size, generator(plan.seed, "pre-training batches", chapter)
    )
    loss = train(
        network,
        batches,
        Training(
            plan.optimisation,
            steps=max(1, _begin(plan.steps, chapter + 1) - _begin(plan.steps, chapter)),
            precision=plan.precision,
            rate=Falling(chapter / CHAPTERS, (chapter + 1) / CHAPTERS),
        ),
        on_step=on_step,
    )
    if loss != loss:  # NaN
        raise TrainingError(
            f"its pre-training diverged at the learning rate {plan.optimisation.lr} of the gene's recipe"
        )
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _write(folder: Path, network: Pretrained) -> None:
    write_tensors(folder / TENSORS_NAME, network.state)
    record = {"chapters": network.chapters, "seconds": network.seconds, "device": network.device}
    write_text(folder / RECORD_NAME, json.dumps(record, indent=2))


def _read(folder: Path) -> Pretrained:
    record = read_json(folder / RECORD_NAME, most=10**6)
    state = load_file(folder / TENSORS_NAME)
    return Pretrained(int(record["chapters"]), state, float(record["seconds"]), str(record["device"]))
