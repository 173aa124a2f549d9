"""Networks that alternatives need, trained beside each other before they are asked for, where there are workers.

Each lands in the cache, where its alternative finds it; whatever is not done here is done there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from learngene_hub.engine import Crew, Engine, Step, threads
from learngene_hub.errors import BusyError, EngineError, TrainingError
from learngene_hub.evaluation.pretraining import Pretraining, is_trained, pretrain
from learngene_hub.evaluation.terms import Terms
from learngene_hub.fitting import Images
from learngene_hub.progress import SilentReporter, Task


@dataclass(frozen=True)
class Ground:
    """What all networks are trained on: the scene of a crew."""

    images: Images

    def on(self, device: torch.device) -> "Ground":
        """The same images on `device`."""
        return Ground(self.images.on(device))


@dataclass(frozen=True)
class Course:
    """One training, as a task for a worker of this machine.

    Attributes:
        title: of the network.
        plan: what shapes it.
        folder: where it is kept.
        threads: it is done by; they change the last digits.
    """

    title: str
    plan: Pretraining
    folder: Path
    threads: int

    @property
    def label(self) -> str:
        """What the log calls it."""
        return f"pre-training {self.title}"

    def __call__(self, ground: Ground, step: Step) -> None:
        """Train it, unless another process does; one that diverges is left to whoever asks for it."""
        telling = _Telling(step, self.label, self.plan.optimisation.batch_size)
        with threads(self.threads), suppress(BusyError, TrainingError):
            pretrain(self.plan, ground.images, self.folder, title=self.title, reporter=telling)


def train_ahead(plans: Mapping[str, Pretraining], terms: Terms, engine: Engine) -> None:
    """Train what `plans` ask for beside each other, by the workers of `engine`, if there is more than one of both.

    Args:
        plans: title -> plan, in the order in which they are begun.
        terms: with the images, the folder they are kept in, and the reporter.
        engine: on this machine.
    """
    missing = {title: plan for title, plan in plans.items() if not is_trained(plan, terms.folder)}
    if len(missing) < 2:
        return
    try:
        with engine.crew(Ground(terms.base.on(engine.home)), terms.reporter) as crew:
            if crew.most > 1:
                _train(missing, terms, crew)
    except EngineError as error:
        terms.reporter.warn(f"alternatives are trained one after the other: {error}")


def _train(plans: Mapping[str, Pretraining], terms: Terms, crew: Crew[Ground]) -> None:
    share = max(1, torch.get_num_threads() // min(crew.most, len(plans)))
    courses = [Course(title, plan, terms.folder, share) for title, plan in plans.items()]
    total = sum(plan.images for plan in plans.values())
    with terms.reporter.task(f"pre-training {', '.join(plans)}", total, "img") as bar:
        for _ in crew.run(courses, lambda images, doing: bar.advance(images, on=doing)):
            pass


class _Telling(SilentReporter):
    """Tells a crew of the steps of a training, and does not wait for another process."""

    def __init__(self, step: Step, doing: str, batch_size: int) -> None:
        self._step, self._doing, self._batch_size = step, doing, batch_size

    @contextmanager
    def task(self, title: str, total: float | None, unit: str = "it") -> Iterator[Task]:
        """What `Reporter.task` gives: each of its steps is one of the crew's."""
        yield self

    def advance(self, amount: float = 1.0, **fields: float | str) -> None:
        """Pass on `amount` steps."""
        self._step(round(amount) * self._batch_size, self._doing)

    def line(self, text: str) -> None:
        """Another process is at it.

        Raises:
            BusyError: always.
        """
        raise BusyError(text)
