"""Settings of a fine-tuning, and the training of one network, epoch by epoch; the best epoch is kept."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from numbers import Integral, Real
from typing import Literal

import torch
from torch import Tensor, nn

from learngene_hub.core.errors import LearngeneError
from learngene_hub.core.progress import Reporter, Task
from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.networks import LearngeneNetwork, check_image_size
from learngene_hub.recipe.sections import MOST_LR, OptimisationSection
from learngene_hub.training.loop import Batch, Training, best_precision, epochs, mean_cross_entropy, training_steps

RATES = (0.005, 0.01, 0.03)
WARMUP = 5  # steps
STEPS = 5  # an epoch has at least, where the smallest batch leaves as many
BATCHES = (8, 64)
Loaded = Mapping[str, Images]
"""Role -> images on the device, ready to be drawn in batches: `train`, `val` and, where there are any, `test`."""


@dataclass(frozen=True)
class Settings:
    """How a network is built and trained.

    Attributes:
        width: see `from_learngene`.
        depth: see `from_learngene`.
        image_size: side in pixels to which images are scaled, from 28 to 224; None: the gene's.
        epochs: passes over the training images, at least 1; the learning rate falls along a cosine over all.
        batch_size: images per step, at least 2, since batch norm needs more than one; None: a fifth of the training
            images, from 8 to 64, so that a small data set gets as many steps as a larger one.
        lr: highest learning rate; None: the rate in `RATES` with the best validation accuracy.
        patience: training stops after this many epochs without a better validation accuracy; at least 1.
        flip: whether training images are also mirrored at random; None: as in the gene's evolution, or yes if unknown.
        seed: random seed for split, initial weights and batches.
        method: `full`: train all weights; `probe`: leave them untrained and fit a linear classifier to the outputs of
            all layers, in the end on all images; it ignores `epochs`, `batch_size`, `lr`, `patience` and `flip`.
        compare: `scratch`: also train a network of the same size that inherits nothing, in the same way.

    Raises:
        LearngeneError: a number is out of range; for an image size, a `NetworkError`.
    """

    width: float | None = None
    depth: int | None = None
    image_size: int | None = None
    epochs: int = 30
    batch_size: int | None = None
    lr: float | None = None
    patience: int = 15
    flip: bool | None = None
    seed: int = 0
    method: Literal["full", "probe"] = "full"
    compare: Literal["scratch"] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), Real) and type(value) not in {bool, int, float}:
                plain = int(value) if isinstance(value, Integral) else float(value)
                object.__setattr__(self, field.name, plain)  # a number of numpy is no JSON
        check_image_size(self.image_size)
        for name, least in (("epochs", 1), ("batch_size", 2), ("patience", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise LearngeneError(f"{name}: expected {least} or more, found {value}")
        if self.lr is not None and not 0 < self.lr <= MOST_LR:
            raise LearngeneError(f"lr: expected a learning rate above 0 and up to {MOST_LR}, found {self.lr}")
        if self.method not in {"full", "probe"}:
            raise LearngeneError(f"method: expected 'full' or 'probe', found {self.method!r}")
        if self.compare not in {None, "scratch"}:
            raise LearngeneError(f"compare: expected 'scratch', found {self.compare!r}")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return RATES if self.lr is None else (self.lr,)

    def batch(self, images: int) -> int:
        """Images per step when training on `images` images."""
        return self.batch_size or min(BATCHES[1], max(BATCHES[0], images // STEPS))


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images; losses in nats, accuracies in [0, 1].

    Training figures are measured during training, on augmented images and in its precision. Validation figures are
    computed in float32, like all figures of the kept network.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained network's best epoch.

    Attributes:
        lr: highest learning rate.
        log: all epochs.
        best: the epoch with the highest validation accuracy; among equals the last, which is the most settled.
        state: the network's tensors after the best epoch, on the CPU.
    """

    lr: float
    log: tuple[Epoch, ...]
    best: Epoch
    state: dict[str, Tensor]


def fit_best_rate(
    newborn: Callable[[], LearngeneNetwork], images: Loaded, settings: Settings, *, start: str, reporter: Reporter
) -> tuple[Fit, dict[float, float]]:
    """Train once at each of `settings.rates`; give the best training, and each rate's validation accuracy.

    `newborn` makes the same untrained network at every call, on the device; `start` names it in messages.

    Raises:
        LearngeneError: training diverged at every rate.
    """
    fits = []
    for number, lr in enumerate(settings.rates, start=1):
        title = f"training {start} at learning rate {lr} ({number} of {len(settings.rates)})"
        with reporter.task(title, settings.epochs, "epochs") as bar:
            if fit := fit_network(newborn(), images, settings, lr, bar):
                fits.append(fit)
    if not fits:
        rates = ", ".join(map(str, settings.rates))
        raise LearngeneError(
            f"training diverged in its first epoch at every learning rate tried ({rates}); give a lower --lr"
        )
    best = max(fits, key=lambda fit: (fit.best.val_accuracy, -fit.best.val_loss))
    return best, {fit.lr: fit.best.val_accuracy for fit in fits}


def fit_network(
    network: LearngeneNetwork, images: Loaded, settings: Settings, lr: float, bar: Task | None = None
) -> Fit | None:
    """Train `network`, in place, until its validation accuracy has not risen for `settings.patience` epochs.

    Returns:
        Its best epoch; None if training diverged before the first epoch ended.
    """
    log: list[Epoch] = []
    best, state = None, {}
    for row in _train(network, images, settings, lr):
        log.append(row)
        if bar is not None:
            bar.advance(1, loss=f"{row.train_loss:.2f}", validation=f"{row.val_accuracy:.1%}")
        if best is None or row.val_accuracy >= best.val_accuracy:
            best, state = row, {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
        if row.epoch - max(log, key=lambda epoch: (epoch.val_accuracy, -epoch.epoch)).epoch >= settings.patience:
            break
    return None if best is None else Fit(lr, tuple(log), best, state)


def fit_all(
    network: LearngeneNetwork, images: Loaded, settings: Settings, lr: float, *, start: str, reporter: Reporter
) -> bool:
    """Train `network` in place on training and validation images for all epochs; False if it diverged."""
    done, train, val = 0, images["train"], images["val"]
    padded, labels = torch.cat([train.padded, val.padded]), torch.cat([train.labels, val.labels])
    both = replace(train, padded=padded, labels=labels)
    with reporter.task(f"training {start} on all images at learning rate {lr}", settings.epochs, "epochs") as bar:
        for loss, _ in _passes(network, both, settings, lr):
            done += 1
            bar.advance(1, loss=f"{loss:.2f}")
    is_finite = all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    return done == settings.epochs and is_finite


@torch.no_grad()
def logits_of(network: nn.Module, images: Images) -> Tensor:
    """Float32 logits `(n, classes)`, on the CPU, of all `images` as they are, by `network` in eval mode.

    A GPU may compute its convolutions in TF32, so it may classify borderline images differently from a CPU.
    """
    network.eval()
    chunks = images.parts(torch.arange(len(images.labels)))
    return torch.cat([network(images.plain(chunk)).cpu() for chunk in chunks])


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in [0, 1] of `logits` `(n, classes)`."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def _train(network: LearngeneNetwork, images: Loaded, settings: Settings, lr: float) -> Iterator[Epoch]:
    """Epoch after epoch, until the last or until a loss is not finite."""
    val = images["val"]
    for number, (loss, accuracy) in enumerate(_passes(network, images["train"], settings, lr), start=1):
        logits = logits_of(network, val)
        val_loss = float(nn.functional.cross_entropy(logits, val.labels))
        if not math.isfinite(val_loss):
            return
        yield Epoch(number, loss, accuracy, val_loss, accuracy_of(logits, val.labels))


def _passes(network: LearngeneNetwork, images: Images, settings: Settings, lr: float) -> Iterator[tuple[float, float]]:
    """Loss and accuracy of one pass over `images` after another, until the last or until the loss is not finite."""
    count, device = len(images.labels), images.device
    batch_size = settings.batch(count)
    steps = max(1, round(count / batch_size))
    optimisation = OptimisationSection(
        steps=steps * settings.epochs, batch_size=batch_size, lr=lr, warmup=WARMUP, label_smoothing=0.1
    )
    training = Training(optimisation, optimisation.steps, best_precision(device))
    pace = training_steps(network, _batches(images, batch_size, settings.seed), training)
    for _ in range(settings.epochs):
        network.train()
        loss, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for _, scores, labels in islice(pace, steps):
            loss += mean_cross_entropy(scores, labels, 0.0)
            right += (scores.argmax(dim=1) == labels).float().mean()
        if not math.isfinite(loss):
            return
        yield float(loss) / steps, float(right) / steps


def _batches(images: Images, batch_size: int, seed: int) -> Iterator[Batch]:
    """Full batches without end, so that batch norm never meets a last batch of one image."""
    draws = generator(seed, "fine-tuning batches")
    for chosen in epochs(len(images.labels), batch_size, draws):
        yield images.train(chosen, draws), images.labels[chosen].to(images.device, non_blocking=True)
