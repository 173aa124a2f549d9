"""Networks trained as usual on the base classes, as baselines for genes.

Each is trained on as many images as the evolution of the gene, by the optimiser of the gene's recipe. If the evolution
began from another gene, so does each network; the cost of that gene is counted for neither.

Each is trained once and kept in the cache under a key of everything that shapes it. The training is cut into parts
with draws of their own; after each the network is saved, so an interrupted training goes on and ends with the same
bytes (on a CPU, with the same number of threads).
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from learngene_hub.core.device import device_name
from learngene_hub.core.errors import StorageError, TrainingError
from learngene_hub.core.files import read_json, write_text
from learngene_hub.core.progress import Reporter, Task
from learngene_hub.core.rng import generator, seeded_initialisation
from learngene_hub.core.store import KeyedStore
from learngene_hub.data.batches import Images
from learngene_hub.data.cache import MOVE_CACHE
from learngene_hub.data.tasks import sample_task
from learngene_hub.evaluation.candidates import Candidate
from learngene_hub.evolution.ancestor import Ancestor
from learngene_hub.evolution.dry_run import training_flops
from learngene_hub.gene.folder import write_tensors
from learngene_hub.genome.birth import Body, gene_network, placed
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.genome.surgery import inherit
from learngene_hub.networks import LearngeneNetwork, Structure, build, plan_structure
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.recipe.sections import OptimisationSection
from learngene_hub.training.fewshot import support_batches
from learngene_hub.training.loop import Precision, Training, train
from learngene_hub.training.rates import Falling

FORMAT = 1  # raise it when the same plan gives another network
PARTS = 10
FULL, WIDER = "the whole network", "a wider network"
NARROW, NARROW_FLOPS, NARROW_EVEN = "narrow", "narrow-flops", "narrow-even"
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

    @property
    def key(self) -> dict[str, Any]:
        """All fields as a JSON-compatible dict; those of an ancestor only if there is one, as in older versions."""
        fields = asdict(self) | {"optimisation": self.optimisation.model_dump(exclude={"steps"}), "format": FORMAT}
        if self.steps < PARTS:  # older versions trained for more
            fields["steps"] = self.steps
        if self.ancestor is None:
            del fields["ancestor"]
            return fields
        return fields | {"cross": "zero"}

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
        candidate: the gene they are compared with, and its recipe.
        ancestor: gene that it began from, and so do they; None: nothing.
        base: images of its base classes, as its ancestors saw them.
        sizes: the kinds of descendants.
        precision: of their convolutions; with `auto` in the recipe, the best one here, not the gene's.
        threads: by which each network is trained, on a CPU; they change the last digits.
        folder: where trained networks are kept.
        reporter: told of progress.
    """

    candidate: Candidate
    ancestor: Ancestor | None
    base: Images
    sizes: Sequence[Body]
    precision: Precision
    threads: int
    folder: Path
    reporter: Reporter

    @property
    def body(self) -> Body:
        """Size of the gene's ancestry networks."""
        config = self.candidate.gene.config
        return Body(config.network, config.width, config.depth, config.in_chans)

    @property
    def recipe(self) -> Recipe:
        """The gene's own."""
        assert self.candidate.recipe is not None
        return self.candidate.recipe


def planned(title: str, budget: Budget, body: Body) -> Pretraining:
    """The training of the network called `title`: `FULL`, `WIDER`, `EACH_SIZE`, or one of the thin ones.

    `NARROW_FLOPS` is trained for as many FLOPs as the evolution, `EACH_SIZE` on its share of the evolution's images,
    every other network on as many images as the evolution.
    """
    candidate, recipe = budget.candidate, budget.recipe
    assert body.depth is not None
    images, channels = candidate.origin.cost.images, None
    if title in {NARROW, NARROW_FLOPS}:
        channels = candidate.gene.config.channels
    if title == NARROW_EVEN:
        channels = ShapeSpace(body, recipe.gene.fraction).even()
    if title == EACH_SIZE:
        images //= len(budget.sizes)
    if title == NARROW_FLOPS:
        thin = gene_network(body, candidate.gene.config.channels, num_classes=0)
        images = round(candidate.flops / training_flops(thin.to("meta"), recipe.data.image_size))
    return Pretraining(
        network=body.network,
        width=body.width * (TEACHER if title == WIDER else 1),
        depth=body.depth,
        in_chans=body.in_chans,
        channels=channels,
        images=images,
        optimisation=recipe.ancestry.constants(),
        data=budget.base.fingerprint(),
        flip=budget.base.flip,
        precision=budget.precision,
        seed=recipe.seed,
        ancestor=None if budget.ancestor is None else budget.ancestor.key,
    )


@dataclass(frozen=True)
class Pretrained:
    """A trained network, or one whose training goes on.

    Attributes:
        parts: how many of the `PARTS` of its training are done.
        state: its tensors, classifier included, on the CPU.
        seconds: of its training.
        device: it was trained on.
    """

    parts: int
    state: Mapping[str, Tensor]
    seconds: float
    device: str


def pretrain(plan: Pretraining, budget: Budget, *, title: str) -> Pretrained:
    """The network of `plan`, from the cache of `budget`, or trained on all base classes and kept after every part.

    `title` names it in messages.

    Raises:
        TrainingError: the training diverged, or there are no images for a step.
    """
    if not plan.steps:
        raise TrainingError(f"its {plan.images:,} images are fewer than one batch of {plan.optimisation.batch_size}")
    store = KeyedStore(budget.folder, title, _write, _read, budget.reporter, MOVE_CACHE)
    with store.held(plan.key):
        saved = store.find(plan.key) or Pretrained(0, {}, 0.0, "")
        if saved.parts >= PARTS:
            return saved
        with budget.reporter.task(f"pre-training {title}", plan.steps, "steps") as bar:
            bar.advance(_begin(plan.steps, saved.parts))
            for part in range(saved.parts, PARTS):
                began = time.monotonic()
                state = _part(plan, budget, saved.state, part, bar)
                seconds = round(saved.seconds + time.monotonic() - began, 1)
                saved = Pretrained(part + 1, state, seconds, device_name(budget.base.device))
                if saved.parts < PARTS:
                    with suppress(StorageError):  # that of the last one is told
                        store.put(plan.key, saved)
        store.keep(plan.key, saved)
        return saved


def _begin(total: int, part: int) -> int:
    return total * part // PARTS


def _part(plan: Pretraining, budget: Budget, before: Mapping[str, Tensor], part: int, bar: Task) -> dict[str, Tensor]:
    """The network after one more tenth of its training; momentum and a short warm-up begin anew."""
    images = budget.base
    classes = int(images.labels.max()) + 1
    network = plan.build(classes)
    if before:
        network.load_state_dict(before)
    elif budget.ancestor is not None:
        inherit(network.state_dict(), network.structure, budget.ancestor.gene.genome)
    network = placed(network, images.device)
    task = sample_task(images.labels, n_way=classes, n_shot=None, n_query=0, generator=generator(plan.seed, "classes"))
    batches = support_batches(
        images, task, plan.optimisation.batch_size, generator(plan.seed, "pre-training batches", part)
    )
    training = Training(
        plan.optimisation,
        steps=_begin(plan.steps, part + 1) - _begin(plan.steps, part),
        precision=plan.precision,
        rate=Falling(part / PARTS, (part + 1) / PARTS),
    )
    loss = train(network, batches, training, on_step=lambda _: bar.advance(1))
    if training.steps and loss != loss:  # NaN
        raise TrainingError(
            f"its pre-training diverged at the learning rate {plan.optimisation.lr} of the gene's recipe"
        )
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _write(folder: Path, network: Pretrained) -> None:
    write_tensors(folder / TENSORS_NAME, network.state)
    record = {"chapters": network.parts, "seconds": network.seconds, "device": network.device}
    write_text(folder / RECORD_NAME, json.dumps(record, indent=2))


def _read(folder: Path) -> Pretrained:
    record = read_json(folder / RECORD_NAME, most=10**6)
    state = load_file(folder / TENSORS_NAME)
    return Pretrained(int(record["chapters"]), state, float(record["seconds"]), str(record["device"]))
