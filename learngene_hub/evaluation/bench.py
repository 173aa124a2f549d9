"""The bench: one network, one start, one task, in; what is measured on it, out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch

from learngene_hub.core.progress import Reporter
from learngene_hub.core.rng import generator
from learngene_hub.data import DataSource, Normalisation, load_classes, sample_task
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.starts import Start
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.report.results import PROTOTYPE
from learngene_hub.training.fewshot import Images, on_device, prototype_accuracy, query_accuracy, support_batches
from learngene_hub.training.loop import Precision, Training, train

Role = Literal["held-out", "novel"]
CROSS = "zero"  # a start's channels compute at birth what they compute alone: better for all starts in our trials


@dataclass(frozen=True)
class Source:
    """The images of one role.

    Attributes:
        data: where they come from.
        classes: their names, at least one.
    """

    data: DataSource
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What every network of an evaluation has in common; plain values, so that it may go to another process.

    Attributes:
        protocol: what networks are put through.
        sources: images of the classes that judge (called novel here, also where the protocol says others) and, where
            rates are chosen, of the held-out classes.
        normalisation: of the images, the gene's.
        padding: pixels around an image before the random crop.
        flip: whether images are mirrored.
        device: name of where networks are trained.
        precision: of convolutions.
    """

    protocol: Protocol
    sources: Mapping[Role, Source]
    normalisation: Normalisation
    padding: int
    flip: bool
    device: str
    precision: Precision

    def constants(self) -> dict[str, Any]:
        """All that shapes the outcome of one unit, in JSON types; not how many units there are."""
        protocol = asdict(self.protocol)
        for key in ("tasks", "lr", "rates", "tuning_tasks", "name", "version", "changed", "split"):
            del protocol[key]
        return {"protocol": protocol, "cross": CROSS} | {
            key: value if isinstance(value, str | int | bool) else repr(value)
            for key, value in vars(self).items()
            if key not in {"protocol", "sources"}
        }


@dataclass(frozen=True)
class Unit:
    """One network to be trained: the task `number` of `seed` in a role, at a learning rate."""

    role: Role
    seed: int
    number: int
    lr: float


@dataclass(frozen=True)
class Bench:
    """A plan with its images loaded."""

    plan: Plan
    images: Mapping[Role, Images]

    @classmethod
    def build(cls, plan: Plan, home: torch.device, reporter: Reporter) -> "Bench":
        """Load the images of `plan` onto `home`, which need not be where networks are trained.

        Raises:
            DataError: they cannot be had.
        """
        place = partial(on_device, padding=plan.padding, flip=plan.flip, device=home)
        found = {
            source: place(load_classes(source.data, source.classes, reporter=reporter), plan.normalisation)
            for source in dict.fromkeys(plan.sources.values())  # once, also where a role judges and chooses rates
        }
        return cls(plan, {role: found[source] for role, source in plan.sources.items()})

    def fingerprints(self) -> dict[str, str]:
        """Role -> hash of its images."""
        return {role: images.fingerprint() for role, images in self.images.items()}

    def room(self) -> int:
        """Images of the smallest class of all roles."""
        return min(int(torch.bincount(images.labels).min()) for images in self.images.values())

    def measure(
        self, start: Start, body: Body, unit: Unit, on_step: Callable[[int], None] = lambda images: None
    ) -> dict[str, float]:
        """Train one network and give its accuracies by the names of the protocol's measures, in [0, 1].

        A training that diverges has learned nothing: its accuracies after a step or more are 0. `on_step` is called
        with the number of images of every step.
        """
        protocol, images = self.plan.protocol, self.images[unit.role]
        classes = int(images.labels.max()) + 1
        ways = min(protocol.ways or classes, classes) if unit.role == "held-out" else protocol.ways or classes
        task = sample_task(
            images.labels,
            n_way=ways,
            n_shot=protocol.shots,
            n_query=protocol.queries,
            generator=generator(unit.seed, "evaluation task", unit.number),
        )
        path = ("evaluation", unit.number)
        network = newborn(body, num_classes=ways, gene=start.genome, cross=CROSS, seed=unit.seed, path=path)
        network, precision = placed(network, images.device), self.plan.precision
        found = {}
        if protocol.prototype:
            found[PROTOTYPE] = prototype_accuracy(network, images, task, precision)
        batches = support_batches(
            images, task, protocol.batch_size, generator(unit.seed, "evaluation batches", unit.number)
        )
        watch = _Watch(network, lambda: query_accuracy(network, images, task, precision), protocol.measured_at, on_step)
        watch.look()
        training = Training(protocol.optimisation(unit.lr), protocol.steps, precision)
        loss = train(network, batches, training, on_step=watch.step)
        if loss != loss:  # NaN
            return found | {str(step): watch.found["0"] if step == 0 else 0.0 for step in protocol.measured_at}
        return found | watch.found


class _Watch:
    """Counts the steps of a training and measures at some of them."""

    def __init__(
        self,
        network: LearngeneNetwork,
        accuracy: Callable[[], float],
        at: Sequence[int],
        on_step: Callable[[int], None],
    ) -> None:
        self.found: dict[str, float] = {}
        self._on_step = on_step
        self._network, self._accuracy, self._at, self._steps = network, accuracy, at, 0

    def look(self) -> None:
        if self._steps in self._at:
            self.found[str(self._steps)] = self._accuracy()
            self._network.train()

    def step(self, images: int) -> None:
        self._steps += 1
        self._on_step(images)
        self.look()
