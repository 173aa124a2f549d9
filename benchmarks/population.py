"""One network's training step: the package's way against a DataLoader and a float32 network in the usual layout.

`WAYS` has one entry a way; each makes the work of some steps of all individuals out of a `Case`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Figure, Goal, interleaved, ratio, typical
from benchmarks.references import Pictures, loader_batches, train_plainly
from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.image_set import ImageSet, Normalisation
from learngene_hub.data.tasks import Task
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.recipe.sections import OptimisationSection
from learngene_hub.training.fewshot import support_batches
from learngene_hub.training.loop import Training, best_precision, train

POPULATION = 8
IMAGES = 512
CLASSES = 16
SIZE = 32
PADDING = 4
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One shape of a population."""

    name: str
    body: Body
    optimisation: OptimisationSection
    goal: Goal | None
    count: int = POPULATION
    size: int = SIZE

    @property
    def images(self) -> int:
        """All individuals see in all steps."""
        return self.count * self.optimisation.steps * self.optimisation.batch_size

    def training(self, device: torch.device) -> Training:
        """The constants."""
        return Training(self.optimisation, self.optimisation.steps, best_precision(device))

    def networks(self) -> list[LearngeneNetwork]:
        """The individuals, newborn."""
        return [
            newborn(self.body, num_classes=CLASSES, gene=None, seed=0, path=(number,)) for number in range(self.count)
        ]


CASES = (
    Case(
        "lg_vgg11 of at most 64 channels",
        Body("lg_vgg11", 0.125),
        OptimisationSection(steps=4, batch_size=64),
        None,  # thin layers are bound by calls and memory, which bfloat16 does not help
    ),
    Case("lg_vgg11", Body("lg_vgg11"), OptimisationSection(steps=2, batch_size=32), Goal("at least", 1.7)),
    Case("lg_resnet12", Body("lg_resnet12"), OptimisationSection(steps=2, batch_size=16), Goal("at least", 1.7)),
)


def figures() -> list[Figure]:
    """One figure a case."""
    return [_compare(case) for case in CASES]


def _compare(case: Case) -> Figure:
    times = interleaved({name: make(case) for name, make in WAYS.items()})
    rates = {way: f"{case.images / typical(times, way):,.0f}" for way in WAYS}
    return Figure(
        "population",
        f"{NAIVE} / {OURS}, {case.name}",
        ratio(times, NAIVE, OURS),
        f"{rates[OURS]} against {rates[NAIVE]} images a CPU second; {case.count} networks, "
        f"batches of {case.optimisation.batch_size}",
        case.goal,
    )


def pictures(size: int) -> tuple[Tensor, Tensor]:
    """Noise as images, (n, 3, size, size) uint8, with labels (n,)."""
    images = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8, generator=generator(0, "pictures"))
    return images, torch.arange(IMAGES) % CLASSES


def _naive(case: Case) -> Callable[[], None]:
    data = Pictures(*pictures(case.size), NORMALISATION, padding=PADDING)
    population = [(one, loader_batches(data, case.optimisation.batch_size)) for one in case.networks()]

    def work() -> None:
        for network, batches in population:
            train_plainly(network, batches, case.optimisation)

    return work


def _ours(case: Case) -> Callable[[], None]:
    pixels, labels = pictures(case.size)
    known = ImageSet(pixels, labels, tuple(map(str, range(CLASSES))))
    images = Images.build(known, NORMALISATION, padding=PADDING, flip=True)
    everything = torch.arange(IMAGES)
    task = Task(tuple(range(CLASSES)), everything, labels, everything[:0], labels[:0])
    population = [(placed(one, CPU), generator(0, "draws", number)) for number, one in enumerate(case.networks())]

    def work() -> None:
        for network, draws in population:
            batches = support_batches(images, task, case.optimisation.batch_size, draws)
            train(network, batches, case.training(CPU))

    return work


NAIVE, OURS = "naive", "ours"
WAYS: Mapping[str, Callable[[Case], Callable[[], object]]] = {NAIVE: _naive, OURS: _ours}
