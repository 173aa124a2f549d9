"""Networks that alternatives need, trained beside each other before they are asked for, where there are workers.

Each lands in the cache, where its alternative finds it; whatever is not done here is done there.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from learngene_hub.errors import EngineError, TrainingError
from learngene_hub.evaluation.pretraining import Pretraining, is_trained, pretrain_unless_busy
from learngene_hub.evaluation.terms import Terms
from learngene_hub.fitting import Images
from learngene_hub.workers import Engine, Step, threads


@dataclass(frozen=True)
class BaseImages:
    """What all networks are trained on: the shared data of a pool."""

    images: Images

    def on(self, device: torch.device) -> "BaseImages":
        """The same images on `device`."""
        return BaseImages(self.images.on(device))


@dataclass(frozen=True)
class PretrainingTask:
    """One training, for a worker of this machine.

    Attributes:
        title: of the network.
        plan: what shapes it.
        folder: where it is kept.
        threads: by which it is trained.
    """

    title: str
    plan: Pretraining
    folder: Path
    threads: int

    @property
    def label(self) -> str:
        """What the log calls it."""
        return f"pre-training {self.title}"

    def __call__(self, shared: BaseImages, step: Step) -> None:
        """Train it, unless another process does; one that diverges is left to whoever asks for it."""

        def tell(steps: float) -> None:
            step(round(steps) * self.plan.optimisation.batch_size, self.label)

        with threads(self.threads), suppress(TrainingError):
            pretrain_unless_busy(self.plan, shared.images, self.folder, on_steps=tell)


def train_ahead(plans: Mapping[str, Pretraining], terms: Terms, engine: Engine) -> None:
    """Train what `plans` ask for beside each other, by the workers of `engine`, unless less than two are missing.

    Args:
        plans: title -> plan, in the order in which they are begun.
        terms: with the images, the threads of each training, the folder they are kept in, and the reporter.
        engine: of several workers on this machine.

    Raises:
        EngineError: no worker can be started, or a training was lost with its worker too often.
    """
    missing = {title: plan for title, plan in plans.items() if not is_trained(plan, terms.folder)}
    if len(missing) < 2:
        return
    tasks = [PretrainingTask(title, plan, terms.folder, terms.threads) for title, plan in missing.items()]
    total = sum(plan.steps * plan.optimisation.batch_size for plan in missing.values())
    with ExitStack() as stack:
        try:
            workers = stack.enter_context(engine.pool(BaseImages(terms.base.on(engine.home).copy()), terms.reporter))
        except EngineError as error:  # no room to share the images
            terms.reporter.warn(f"alternatives are trained one after the other: {error}")
            return
        bar = stack.enter_context(terms.reporter.task(f"pre-training {', '.join(missing)}", total, "img"))
        for _ in workers.run(tasks, lambda images, doing: bar.advance(images, on=doing)):
            pass
