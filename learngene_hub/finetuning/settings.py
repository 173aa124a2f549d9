"""What a fine-tuning can be told; the defaults suit a few dozen to a few thousand images."""

from dataclasses import dataclass
from typing import Literal

from learngene_hub.core.errors import LearngeneError
from learngene_hub.recipe.sections import OptimisationSection

RATES = (0.005, 0.01, 0.03)
WARMUP = 5  # steps


@dataclass(frozen=True)
class Settings:
    """How a network is built and trained.

    Attributes:
        width: see `from_learngene`.
        depth: see `from_learngene`.
        epochs: passes over the training images, over which the learning rate falls along a cosine; at least 1.
        batch_size: images a step, at least 2, since batch norm needs more than one.
        lr: highest learning rate; None: the one of `RATES` that is best on the validation images.
        patience: epochs without a better validation accuracy after which training stops; at least 1.
        flip: whether mirrored images are as good as the originals; None: as in the gene's evolution, else yes.
        seed: of the split, the newborn weights, and the batches.
        compare: `scratch`: also train a network of the same size that inherits nothing, in the same way.

    Raises:
        LearngeneError: a number is out of range.
    """

    width: float | None = None
    depth: int | None = None
    epochs: int = 30
    batch_size: int = 64
    lr: float | None = None
    patience: int = 15
    flip: bool | None = None
    seed: int = 0
    compare: Literal["scratch"] | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("patience", 1)):
            if (found := getattr(self, name)) < least:
                raise LearngeneError(f"{name}: expected {least} or more, found {found}")
        if self.lr is not None and not 0 < self.lr <= 10:
            raise LearngeneError(f"lr: expected a learning rate above 0 and up to 10, found {self.lr}")
        if self.compare not in {None, "scratch"}:
            raise LearngeneError(f"compare: expected 'scratch', found {self.compare!r}")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return RATES if self.lr is None else (self.lr,)

    def optimisation(self, lr: float, *, steps: int) -> OptimisationSection:
        """What one network is trained by, at the learning rate `lr`, in `steps` steps."""
        return OptimisationSection(steps=steps, batch_size=self.batch_size, lr=lr, warmup=WARMUP, label_smoothing=0.1)
