"""Networks trained as usual on the base classes: what genes are compared with.

Each is trained once and kept in the cache under a key of everything that shapes it. The training is cut into chapters
with draws of their own; after each the network is saved, so an interrupted training goes on and ends with the same
bytes (on a CPU, with the same number of threads).
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from learngene_hub.birth import placed
from learngene_hub.data import sample_task
from learngene_hub.errors import BusyError, TrainingError
from learngene_hub.files import alone, atomic_path, read_json, sweep, written
from learngene_hub.fitting import Images, support_batches
from learngene_hub.gene.folder import write_tensors
from learngene_hub.networks import LearngeneNetwork, build
from learngene_hub.progress import Reporter
from learngene_hub.rates import falling
from learngene_hub.rng import generator, seeded_initialisation
from learngene_hub.sections import OptimisationSection
from learngene_hub.training import Precision, train
from learngene_hub.workers import device_name

FORMAT = 1  # raise it when the same plan gives another network
CHAPTERS = 10
TENSORS_NAME, RECORD_NAME = "network.safetensors", "record.json"


@dataclass(frozen=True)
class Pretraining:
    """Everything that shapes one pre-trained network.

    Attributes:
        network: one of `learngene_hub.networks.NETWORKS`.
        width: factor on the channels of every layer.
        depth: as the network counts it.
        in_chans: channels of an image.
        channels: channels of every group instead of `width`: a thin network of the gene's size.
        images: training images, repeats counted.
        optimisation: how it is trained; its `steps` do not count.
        data: fingerprint of the base images, padding included.
        flip: whether they are mirrored.
        precision: of convolutions.
        seed: of weights and draws.
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

    @property
    def key(self) -> str:
        """Hash of all of it."""
        plan = asdict(self) | {"optimisation": self.optimisation.model_dump(exclude={"steps"}), "format": FORMAT}
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def steps(self) -> int:
        """Of its training."""
        return self.images // self.optimisation.batch_size

    def build(self, num_classes: int) -> LearngeneNetwork:
        """The network, newborn."""
        size = {"channels": dict(self.channels)} if self.channels else {"width": self.width}
        with seeded_initialisation(self.seed, "pre-training"):
            return build(self.network, num_classes=num_classes, in_chans=self.in_chans, depth=self.depth, **size)


@dataclass(frozen=True)
class Pretrained:
    """A trained network.

    Attributes:
        state: its tensors, classifier included, on the CPU.
        seconds: of its training.
        device: it was trained on.
    """

    state: Mapping[str, Tensor]
    seconds: float
    device: str


def pretrain(plan: Pretraining, images: Images, folder: Path, *, title: str, reporter: Reporter) -> Pretrained:
    """The network of `plan`, from the cache in `folder`, or trained now on all classes of `images`.

    Raises:
        TrainingError: the training diverged.
    """
    with _held(plan, folder, title, reporter.line) as place:
        done, saved = _load(place)
        if saved is not None and done >= CHAPTERS:
            return saved
        with reporter.task(f"pre-training {title}", plan.steps, "step") as bar:
            return _finish(place, plan, images, bar.advance)


def pretrain_unless_busy(plan: Pretraining, images: Images, folder: Path, *, on_steps: Callable[[float], None]) -> None:
    """Put the network of `plan` into the cache in `folder`, as `pretrain` does, unless another process is at it.

    Args:
        plan: of the network.
        images: whose classes it learns.
        folder: of the cache.
        on_steps: told how many steps were done: at first those of before, then one by one.

    Raises:
        TrainingError: the training diverged.
    """
    with suppress(BusyError), _held(plan, folder, "the same network", _refuse) as place:
        _finish(place, plan, images, on_steps)


@contextmanager
def _held(plan: Pretraining, folder: Path, title: str, tell: Callable[[str], None]) -> Iterator[Path]:
    """The place of the network in the cache, held against other processes."""
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / f"{plan.key}.lock", title, tell):
        sweep(folder, plan.key)
        yield folder / plan.key


def _refuse(why: str) -> None:
    raise BusyError(why)


def _finish(place: Path, plan: Pretraining, images: Images, on_steps: Callable[[float], None]) -> Pretrained:
    """Train what is left of the network at `place`."""
    done, saved = _load(place)
    on_steps(_begin(plan.steps, done))
    for chapter in range(done, CHAPTERS):
        began = time.monotonic()
        state = _chapter(plan, saved, images, chapter, lambda _: on_steps(1))
        seconds = (saved.seconds if saved else 0.0) + time.monotonic() - began
        saved = Pretrained(state, round(seconds, 1), device_name(images.device))
        _save(place, plan, chapter + 1, saved)
    assert saved is not None
    return saved


def is_trained(plan: Pretraining, folder: Path) -> bool:
    """Whether the network of `plan` is in the cache in `folder`, whole."""
    return _load(folder / plan.key)[0] >= CHAPTERS


def _begin(total: int, chapter: int) -> int:
    return total * chapter // CHAPTERS


def _chapter(
    plan: Pretraining, before: Pretrained | None, images: Images, chapter: int, on_step: Callable[[int], None]
) -> dict[str, Tensor]:
    """The network after one more tenth of its training; momentum and a short warm-up begin anew."""
    classes = int(images.labels.max()) + 1
    network = plan.build(classes)
    if before is not None:
        network.load_state_dict(before.state)
    network = placed(network, images.device)
    task = sample_task(images.labels, n_way=classes, n_shot=None, n_query=0, generator=generator(plan.seed, "classes"))
    batches = support_batches(
        images, task, plan.optimisation.batch_size, generator(plan.seed, "pre-training batches", chapter)
    )
    loss = train(
        network,
        batches,
        plan.optimisation,
        steps=max(1, _begin(plan.steps, chapter + 1) - _begin(plan.steps, chapter)),
        precision=plan.precision,
        rate=falling(chapter / CHAPTERS, (chapter + 1) / CHAPTERS),
        on_step=on_step,
    )
    if loss != loss:  # NaN
        raise TrainingError(
            f"its pre-training diverged at the learning rate {plan.optimisation.lr} of the gene's recipe"
        )
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _save(place: Path, plan: Pretraining, chapters: int, saved: Pretrained) -> None:
    with atomic_path(place) as folder:
        folder.mkdir()
        write_tensors(folder / TENSORS_NAME, saved.state)
        record = {
            "chapters": chapters,
            "seconds": saved.seconds,
            "device": saved.device,
            "images": plan.images,
            "key": plan.key,
        }
        (folder / RECORD_NAME).write_text(json.dumps(record, indent=2), encoding="utf-8")


def _load(place: Path) -> tuple[int, Pretrained | None]:
    """Chapters done, and what they gave."""
    if not (place / RECORD_NAME).is_file():
        return 0, None
    try:
        record = read_json(place / RECORD_NAME, most=10**6)
        saved = Pretrained(load_file(place / TENSORS_NAME), float(record["seconds"]), str(record["device"]))
        return int(record["chapters"]), saved
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return 0, None  # damaged: trained again
