"""Measuring one network: from a start, a kind of network and a task to accuracies."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from typing import Any, Final, Literal

import torch

from learngene_hub.core.errors import DataError
from learngene_hub.core.progress import Reporter
from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.counting import available_classes
from learngene_hub.data.image_set import ImageSet, Normalisation, tell_copies
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource
from learngene_hub.data.tasks import sample_task
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.starts import Start
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.report.results import PROTOTYPE
from learngene_hub.training.fewshot import prototype_accuracy, query_accuracy, support_batches
from learngene_hub.training.loop import Precision, Training, train
from learngene_hub.workers import Step, threads

Role = Literal["held-out", "novel"]  # these words are in kept files
TEST: Final = "novel"
TUNING: Final = "held-out"
THREADS = 1  # of every network, however many workers there are, since they change the last digits


@dataclass(frozen=True)
class Source:
    """Where the images of one role come from, and the names of their classes, at least one."""

    data: DataSource
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Settings of all networks of an evaluation, as plain values that can be sent to another process.

    Attributes:
        protocol: how networks are trained and tested.
        sources: `TEST`: images of the classes that networks are measured on, novel or not; if rates are chosen,
            `TUNING`: of those for that.
        normalisation: of the images, as for the gene.
        padding: pixels around an image before the random crop.
        flip: whether images are mirrored.
    """

    protocol: Protocol
    sources: Mapping[Role, Source]
    normalisation: Normalisation
    padding: int
    flip: bool

    def constants(self) -> dict[str, Any]:
        """What affects the result of one unit, beside device, precision and versions, as a JSON-compatible dict."""
        protocol = asdict(self.protocol)
        for key in ("tasks", "lr", "rates", "tuning_tasks", "name", "version", "changed", "split"):
            del protocol[key]
        settings = {"normalisation": repr(self.normalisation), "padding": self.padding, "flip": self.flip}
        return {"protocol": protocol, "cross": "zero"} | settings  # kept: a part of the keys of older results


def _images(source: Source, protocol: Protocol, reporter: Reporter) -> ImageSet:
    """The images of `source`; where it has none of its classes, the error says how to evaluate on others."""
    try:
        return load_classes(source.data, source.classes, reporter=reporter)
    except DataError as error:
        if protocol.transfer or {*available_classes(source.data, reporter=reporter)} & {*source.classes}:
            raise
        raise DataError(f"{error}. On classes of your own: --protocol transfer --target FOLDER") from None


@dataclass(frozen=True)
class Unit:
    """One network to be trained: the task `number` of `seed` in a role, at a learning rate."""

    role: Role
    seed: int
    number: int
    lr: float


@dataclass(frozen=True)
class EvaluationData:
    """The data of an evaluation, which all workers share.

    `pairs` are all starts, each with all kinds of networks that inherit it.
    """

    plan: Plan
    images: Mapping[Source, Images]
    pairs: tuple[tuple[Start, Body], ...] = ()

    @classmethod
    def build(cls, plan: Plan, home: torch.device, reporter: Reporter) -> "EvaluationData":
        """Load the images of `plan` onto the device `home`, which may differ from that of training; no pairs yet.

        Raises:
            DataError: the images cannot be found or read.
        """
        load = partial(Images.build, padding=plan.padding, flip=plan.flip, device=home)
        loaded: dict[Source, Images] = {}
        for source in dict.fromkeys(plan.sources.values()):  # once, also where a role measures and chooses rates
            images = _images(source, plan.protocol, reporter)
            tell_copies(images, reporter)
            loaded[source] = load(images, plan.normalisation)
        return cls(plan, loaded)

    def on(self, device: torch.device) -> "EvaluationData":
        """The same data with its images on `device`."""
        return replace(self, images={source: images.on(device) for source, images in self.images.items()})

    def fingerprints(self) -> dict[str, str]:
        """Role -> hash of its images."""
        return {role: self.images[source].fingerprint() for role, source in self.plan.sources.items()}

    def smallest(self) -> tuple[int, str]:
        """How many images the smallest class of all roles has, and its name."""
        return min(
            pair
            for source, images in self.images.items()
            for pair in zip(torch.bincount(images.labels).tolist(), source.classes, strict=True)
        )

    def measure(self, start: Start, body: Body, unit: Unit, precision: Precision) -> dict[str, float]:
        """Train one network and give its accuracies by the names of the protocol's measures, in [0, 1].

        If training diverges, the accuracies after its first step are 0.
        """
        protocol, images = self.plan.protocol, self.images[self.plan.sources[unit.role]]
        classes = int(images.labels.max()) + 1
        ways = min(protocol.ways or classes, classes)
        task = sample_task(
            images.labels,
            n_way=ways,
            n_shot=protocol.shots,
            n_query=protocol.queries,
            generator=generator(unit.seed, "evaluation task", unit.number),
        )
        path = ("evaluation", unit.number)
        network = newborn(body, num_classes=ways, gene=start.genome, seed=unit.seed, path=path)
        network = placed(network, images.device)
        measured = {}
        if protocol.prototype:
            measured[PROTOTYPE] = prototype_accuracy(network, images, task, precision)
        draws = generator(unit.seed, "evaluation batches", unit.number)
        batches = support_batches(images, task, protocol.batch_size, draws)
        steps = count()

        def measure_after(images_of_step: int) -> None:
            if (step := next(steps)) in protocol.measured_at:
                measured[str(step)] = query_accuracy(network, images, task, precision)
                network.train()

        measure_after(0)
        training = Training(protocol.optimisation(unit.lr), protocol.steps, precision)
        loss = train(network, batches, training, on_step=measure_after)
        if loss != loss:  # NaN
            return measured | {str(step): 0.0 for step in protocol.measured_at if step > 0}
        return measured


@dataclass(frozen=True)
class MeasureTask:
    """One network to be measured, by one thread: a task for any engine. It does not report its steps.

    `pair` is its index in the pairs of the shared data; `precision` is used on every device.
    """

    pair: int
    unit: Unit
    precision: Precision

    @property
    def label(self) -> str:
        """Name of the task in the log."""
        purpose = "for the learning rate" if self.unit.role == TUNING else "evaluation"
        return f"task {self.unit.number + 1} of seed {self.unit.seed}, {purpose}"

    def __call__(self, shared: EvaluationData, step: Step) -> dict[str, float]:
        """The accuracies of the network."""
        with threads(THREADS):
            return shared.measure(*shared.pairs[self.pair], self.unit, self.precision)
