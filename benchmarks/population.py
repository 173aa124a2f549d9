"""One step of a population: the package's way against a DataLoader, a float32 network and a loop for each individual.

`WAYS` has one entry a way; each makes the work of some steps of all individuals out of a `Case`.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.measure import Figure, Goal, interleaved, ratio, typical
from benchmarks.references import Pictures, loader_batches, train_plainly
from learngene_hub.backends import Backend, Trainee, Training, choose, train_each
from learngene_hub.backends.choice import CANDIDATES
from learngene_hub.birth import Body, newborn, placed
from learngene_hub.data import ImageBatches, Normalisation, Task
from learngene_hub.fitting import Images, support_batches
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.rng import generator
from learngene_hub.sections import OptimisationSection
from learngene_hub.training import best_precision

POPULATION = 8
IMAGES = 512
CLASSES = 16
SIZE = 32
CACHE = "LEARNGENE_CACHE"
PADDING = 4
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """One shape of a population."""

    name: str
    body: Body
    optimisation: OptimisationSection
    goal: Goal
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
            newborn(self.body, num_classes=CLASSES, gene=None, cross="zero", seed=0, path=(number,))
            for number in range(self.count)
        ]


CASES = (
    Case(
        "lg_vgg11 of at most 64 channels",
        Body("lg_vgg11", 0.125),
        OptimisationSection(steps=4, batch_size=64),
        Goal("at least", 3.0),
    ),
    Case("lg_vgg11", Body("lg_vgg11"), OptimisationSection(steps=2, batch_size=32), Goal("at least", 1.7)),
    Case("lg_resnet12", Body("lg_resnet12"), OptimisationSection(steps=2, batch_size=16), Goal("at least", 1.7)),
)


def figures() -> list[Figure]:
    """One figure a case and a way, and one a case for the choice of `auto`."""
    return [figure for case in CASES for figure in _compare(case)]


def _compare(case: Case) -> list[Figure]:
    times = interleaved({name: make(case) for name, make in WAYS.items()})
    best, chosen = min(CANDIDATES, key=lambda one: typical(times, one)), _chosen(case)

    def rate(way: str) -> str:
        return f"{case.images / typical(times, way):,.0f}"

    return [
        Figure(
            "population",
            f"naive / {way}, {case.name}",
            ratio(times, NAIVE, way),
            f"{rate(way)} against {rate(NAIVE)} images a CPU second; {case.count} networks, "
            f"batches of {case.optimisation.batch_size}",
            case.goal if way == best else None,
        )
        for way in WAYS
        if way != NAIVE
    ] + [
        Figure(
            "population",
            f"best / auto, {case.name}",
            ratio(times, best, chosen),
            f"auto takes {chosen}, the best is {best}",
            Goal("at least", 0.9),
        )
    ]


def _chosen(case: Case) -> Backend:
    """The back end that `auto` takes, timed now."""
    network = placed(case.networks()[0], CPU)
    example, kept = Trainee(network, lambda: iter(())), os.environ.get(CACHE)
    with TemporaryDirectory() as folder:
        os.environ[CACHE] = folder
        threads_of = dict.fromkeys(CANDIDATES, torch.get_num_threads())
        training = case.training(CPU)
        choice = choose(example, case.count, training, image_size=case.size, threads_of=threads_of, warn=print)
    os.environ.pop(CACHE) if kept is None else os.environ.update({CACHE: kept})
    return choice.backend


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


def ours(case: Case, backend: Backend, device: torch.device = CPU) -> Callable[[], None]:
    """The package's way on `device`: what trains all individuals for the steps of `case`."""
    pixels, labels = pictures(case.size)
    images = Images(ImageBatches.build(pixels, NORMALISATION, padding=PADDING, flip=True, device=device), labels)
    everything = torch.arange(IMAGES)
    task = Task(tuple(range(CLASSES)), everything, labels, everything[:0], labels[:0])
    population = [
        Trainee(
            placed(one, device),
            partial(support_batches, images, task, case.optimisation.batch_size, generator(0, "draws", number)),
        )
        for number, one in enumerate(case.networks())
    ]
    return lambda: deque(train_each(population, case.training(device), backend=backend), maxlen=0)


NAIVE = "naive"
WAYS: Mapping[str, Callable[[Case], Callable[[], object]]] = {
    NAIVE: _naive,
    **{backend: partial(ours, backend=backend) for backend in CANDIDATES},
}
"""Way -> what makes its work: the naive one, and the package's back ends for CPUs."""
