"""`finetune`: a descendant of a gene, trained on a user's images, saved as a folder that timm loads."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor

from learngene_hub import __version__
from learngene_hub.core.device import on_cpu, pick_device
from learngene_hub.core.files import check_room, claim_new, expanded, is_there, refuse_occupied, refuse_unmakeable
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.data.batches import Images
from learngene_hub.data.image_set import Normalisation
from learngene_hub.data.rows import refuse_inside
from learngene_hub.finetuning.fit import Loaded, Settings, accuracy_of, fit_all, fit_best_rate, logits_of
from learngene_hub.finetuning.folder import ARGUMENTS, STARTS, write_folder
from learngene_hub.finetuning.photos import Parts, Photos, load_photos
from learngene_hub.finetuning.probe import fit_probe, layer_features
from learngene_hub.gene.learngene import Learngene
from learngene_hub.genome.birth import Body, newborn, placed
from learngene_hub.hub.address import refuse_unknown_data
from learngene_hub.inheritance.descendant import from_learngene
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.networks.layers import LayersHead
from learngene_hub.report.plots.canvas import check_can_draw

PADDED = 8  # training images are shifted by up to an 8th of their side
MORE_ROOM = 2 * 10**6  # bytes for pictures, card and record
HELP = {
    "full": "more epochs, another learning rate or more images",
    "probe": "more images, another --image-size, or --method full",
}
TRAINING = ("epochs", "batch_size", "lr", "patience", "flip")  # settings that a probe has no use for
MakeNetwork = Callable[[], LearngeneNetwork]
"""Makes the same untrained network at every call."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """The result of a fine-tuning.

    Attributes:
        folder: the folder that was written.
        network: the kept network, in eval mode, on the CPU; its outputs are the classes `record["classes"]`.
        record: the content of `finetune.json`.
    """

    folder: Path
    network: LearngeneNetwork
    record: Mapping[str, Any]

    @property
    def comparison(self) -> str | None:
        """One line that compares learngene and scratch, with their uncertainty; None if scratch was not trained."""
        shown = ", ".join(f"{start} {100 * right:.1f} %" for start, right in self._rights.items())
        return f"{shown} ({self.measured_on})" if "scratch" in self._rights else None

    @property
    def measured_on(self) -> str:
        """The images that the accuracies are of, and how uncertain that makes them, in words.

        The uncertainty is half the width of a 95 % interval (Agresti & Coull: two more right and two more wrong), since
        other images of the same kind might be easier or harder.
        """
        count, learngene = self.record["data"]["images"][self._role], self.record["learngene"]
        shares = [(right * count + 2) / (count + 4) for right in self._rights.values()]
        margin = 196 * max(math.sqrt(share * (1 - share) / (count + 4)) for share in shares)  # in points
        each = "each" if len(shares) > 1 else "it"
        chance = f"with other images of these classes {each} may differ by about {margin:.0f} points"
        if self._role == "test":
            return f"{count} test images; {chance}"
        tried = {"epoch": learngene.get("epochs", ()), "rate": learngene.get("rates_tried", ())}
        chosen = " and ".join(f"the {what}" for what, several in tried.items() if len(several) > 1)
        were = "were" if " and " in chosen else "was"
        high = f", on which {chosen} {were} chosen, so accuracies may be too high" if chosen else ""
        return f"{count} validation images{high}; {chance}"

    @property
    def _role(self) -> str:
        return "test" if "test" in self.record["data"]["images"] else "val"

    @property
    def _rights(self) -> dict[str, float]:
        return {start: self.record[start][f"{self._role}_accuracy"] for start in STARTS if start in self.record}


def finetune(
    gene: Learngene | str | Path,
    photos: Photos | str | Path,
    *,
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    device: str = "auto",
    reporter: Reporter = LoggingReporter(),  # noqa: B008
) -> FineTuned:
    """Fine-tune a descendant of `gene` on `photos` by the method in `settings`, and write the folder `out`.

    All files are written together at the end: an interruption leaves nothing behind.

    Args:
        gene: a `Learngene`, or whatever `from_learngene` accepts.
        photos: a `Photos`, or the path of the images.
        out: a new or empty folder, not among the images.
        settings: settings of network and training.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        reporter: reports progress.

    Raises:
        GeneFileError, HubError: the gene cannot be found, fetched or loaded.
        DataError, HubError: the images cannot be fetched or read, or are too few; see `load_photos`.
        NetworkError: there is no network of this depth, or a probe needs batch norms of the gene's layers.
        InheritanceError: the gene does not fit into the network, for instance because the network is narrower.
        LearngeneError: training diverged, or the device does not exist.
        RunError: `out` is not empty, lies among the images, or another process is writing to it.
        StorageError: the disk of `out` is too full (checked before training), or `out` cannot be written.
    """
    folder = expanded(out)
    check_can_draw()
    refuse_unmakeable(folder)
    refuse_occupied(folder)
    photos = photos if isinstance(photos, Photos) else Photos(photos)
    refuse_inside(folder, photos.path)
    refuse_unknown_data(str(photos.path))  # before a gene is fetched
    with claim_new(folder), on_cpu():
        return _finetune(*_named(gene), photos, folder, settings=settings, device=device, reporter=reporter)


def _finetune(
    name: str, gene: Learngene, photos: Photos, folder: Path, *, settings: Settings, device: str, reporter: Reporter
) -> FineTuned:
    began = time.monotonic()
    job = _Job(gene, settings, pick_device(device))
    job.descendant(0)  # made early, since the gene may not fit
    with reporter.task(f"reading {photos.path}", None):
        parts = load_photos(
            photos,
            image_size=settings.image_size or gene.config.image_size,
            seed=settings.seed,
            reporter=reporter,
        )
    reporter.line(_described(parts))
    batch_size, image_size = settings.batch(len(parts.train)), parts.train.image_size
    job = replace(job, settings=replace(settings, batch_size=batch_size, image_size=image_size))
    network = job.descendant(parts.train.num_classes).eval()
    weights, cfg = list(network.parameters()), network.pretrained_cfg
    check_room(folder, MORE_ROOM + sum(weight.nbytes for weight in weights), "the network and its pictures")
    outcomes = _all_outcomes(job, parts, reporter)
    network.load_state_dict(outcomes["learngene"].state)
    record = {
        "gene": {"name": name, "sha256": gene.config.sha256},
        "network": {
            "name": network.network_name,
            "width": network.width,
            "depth": network.depth,
            "parameters": sum(weight.numel() for weight in weights),
            "inherited": network.inheritance.share,
            "image_size": cfg["input_size"][-1],
            "mean": list(cfg["mean"]),
            "std": list(cfg["std"]),
        },
        "classes": list(parts.train.class_names),
        "data": parts.record(photos),
        "settings": job.record(),
        **{start: outcome.record for start, outcome in outcomes.items()},
        "device": str(job.device),
        "seconds": round(time.monotonic() - began, 1),
        "versions": {"learngene-hub": __version__, "torch": torch.__version__, "timm": timm.__version__},
    }
    with reporter.task(f"writing {folder}", None):
        write_folder(folder, network, record)
    return FineTuned(folder, network, record)


@dataclass(frozen=True, eq=False)
class _Job:
    """What all networks of one fine-tuning share."""

    gene: Learngene
    settings: Settings
    device: torch.device

    def starts(self, classes: int) -> dict[str, MakeNetwork]:
        """Name of a start -> how its network is born, on the device; weights not inherited are equal in both."""
        starts: dict[str, MakeNetwork] = {"learngene": lambda: placed(self.descendant(classes), self.device)}
        if self.settings.compare == "scratch":
            starts["scratch"] = lambda: placed(self.from_scratch(classes), self.device)
        return starts

    def descendant(self, classes: int) -> LearngeneNetwork:
        chosen = self.settings
        return from_learngene(
            self.gene,
            num_classes=classes,
            width=chosen.width,
            depth=chosen.depth,
            image_size=chosen.image_size,
            seed=chosen.seed,
            **ARGUMENTS[chosen.method],
        )

    def from_scratch(self, classes: int) -> LearngeneNetwork:
        config, chosen = self.gene.config, self.settings
        width = config.width if chosen.width is None else chosen.width
        body = Body(config.network, width, config.depth if chosen.depth is None else chosen.depth)
        arguments = ARGUMENTS[chosen.method]
        return newborn(body, num_classes=classes, gene=None, seed=chosen.seed, timm_kwargs=arguments)

    def images(self, parts: Parts) -> Loaded:
        cfg = self.descendant(0).pretrained_cfg
        normalisation = Normalisation.of(cfg["mean"], cfg["std"])
        padding = parts.train.image_size // PADDED
        return {
            role: Images.build(images, normalisation, padding=padding, flip=self.flip, device=self.device)
            for role, images in parts.sets.items()
        }

    def record(self) -> dict[str, Any]:
        """The settings that were used."""
        settings = asdict(self.settings)
        if self.settings.method == "probe":
            return {name: value for name, value in settings.items() if name not in TRAINING}
        assert self.settings.image_size is not None
        return settings | {"flip": self.flip, "crop_padding": self.settings.image_size // PADDED}

    @property
    def flip(self) -> bool:
        """As set, else as in the gene's evolution, else yes."""
        origin = self.gene.config.origin
        inherited = origin.data.flip if origin is not None else True
        return inherited if self.settings.flip is None else self.settings.flip


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What one start came to."""

    record: dict[str, Any]  # its entry in `finetune.json`
    state: Mapping[str, Tensor]  # of its best network
    words: str  # how it went


def _all_outcomes(job: _Job, parts: Parts, reporter: Reporter) -> dict[str, _Outcome]:
    """Start -> its outcome, every start trained in the same way."""
    fit = _probed if job.settings.method == "probe" else _trained
    images, settings, outcomes, count = job.images(parts), job.settings, {}, len(parts.val)
    for start, born in job.starts(parts.train.num_classes).items():
        outcome = fit(born, images, settings, start, reporter)
        record = outcome.record
        test = f"; {record['test_accuracy']:.1%} of the test images right" if "test_accuracy" in record else ""
        reporter.line(f"{start}: {record['val_accuracy']:.1%} of the validation images right, {outcome.words}{test}")
        if (chance := _by_chance(record["confusion"])) >= 1:
            fault = "too few" if sum(map(any, record["confusion"])) > 1 else "of one class only, too few"
            reporter.warn(
                f"{start}: {count} validation images are {fault} to tell it from always predicting the most frequent "
                "class; give more"
            )
        elif record["val_accuracy"] <= chance:
            reporter.warn(
                f"{start}: on {count} validation images not clearly better than always predicting the "
                f"most frequent class; {HELP[record['method']]} may help"
            )
        outcomes[start] = outcome
    return outcomes


def _trained(born: MakeNetwork, images: Loaded, settings: Settings, start: str, reporter: Reporter) -> _Outcome:
    """The best rate's best epoch, judged by the validation images; then trained again with them."""
    fit, tried = fit_best_rate(born, images, settings, start=start, reporter=reporter)
    network, again = born(), born()
    network.load_state_dict(fit.state)
    logits = logits_of(network, images["val"])
    if fit_all(again, images, settings, fit.lr, start=start, reporter=reporter):
        network = again
    else:
        reporter.warn(
            f"{start}: training again with the validation images diverged; the network trained without them is kept"
        )
    with reporter.task(f"testing {start}", None):
        record = {"method": "full"} | _measured(logits, network, images)
    rates = f" (the best of {', '.join(map(str, tried))})" if len(tried) > 1 else ""
    kept = ", then trained again on training and validation images" if network is again else ""
    words = f"epoch {fit.best.epoch} of {settings.epochs}, learning rate {fit.lr}{rates}{kept}"
    record |= {
        "best_epoch": fit.best.epoch,
        "lr": fit.lr,
        "rates_tried": {str(lr): accuracy for lr, accuracy in tried.items()},
        "epochs": [asdict(row) for row in fit.log],
        "is_trained_on_all": network is again,
    }
    return _Outcome(record, _state_of(network), words)


def _probed(born: MakeNetwork, images: Loaded, settings: Settings, start: str, reporter: Reporter) -> _Outcome:
    """The probe, judged by the validation images, then fitted again with them."""
    network = born()
    assert isinstance(network.head, LayersHead)
    labels = [images[role].labels for role in ("train", "val")]
    with reporter.task(f"{start}: computing features", 2) as bar:
        train = layer_features(network, images["train"])
        bar.advance()
        val = layer_features(network, images["val"])
        bar.advance()
    fit_probe(network.head, train, labels[0])
    logits = network.head(val.to(images["val"].device)).detach().cpu()
    strength, right = fit_probe(network.head, torch.cat([train, val]), torch.cat(labels))
    record = {"method": "probe"} | _measured(logits, network, images)
    record |= {"strength": strength, "left_out_accuracy": right.float().mean().item()}
    words = f"then fitted again to training and validation images, regularisation strength {strength:g}"
    return _Outcome(record, _state_of(network), words)


def _state_of(network: LearngeneNetwork) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}


def _measured(logits: Tensor, network: LearngeneNetwork, images: Loaded) -> dict[str, Any]:
    """Accuracies and confusion matrices, whose rows are true classes, of validation and, if there are any, test images.

    `logits` (n, classes) are those of the validation images; those of the test images are by `network`, in float32.
    """
    labels = images["val"].labels
    record = {"val_accuracy": accuracy_of(logits, labels), "confusion": _confusion(logits, labels)}
    if "test" in images:
        logits, labels = logits_of(network, images["test"]), images["test"].labels
        record |= {"test_accuracy": accuracy_of(logits, labels), "test_confusion": _confusion(logits, labels)}
    return record


def _confusion(logits: Tensor, labels: Tensor) -> list[list[int]]:
    classes = logits.shape[1]
    cells = torch.bincount(labels * classes + logits.argmax(dim=1), minlength=classes**2)
    return cast("list[list[int]]", cells.view(classes, classes).tolist())


def _by_chance(confusion: Sequence[Sequence[int]]) -> float:
    """Accuracy of always predicting the most frequent class, plus two standard errors."""
    counts = [sum(row) for row in confusion]
    share = max(counts) / sum(counts)
    return share + 2 * math.sqrt(share * (1 - share) / sum(counts))


def _described(parts: Parts) -> str:
    test = f", {len(parts.test)} test images" if parts.test is not None else ""
    val = f"{len(parts.val)} validation images ({parts.split})"
    return f"{parts.train.num_classes} classes, {len(parts.train)} training images, {val}{test}"


def _named(gene: Learngene | str | Path) -> tuple[str, Learngene]:
    """A gene and its name: that in the package or on the Hub, else that of its recipe or folder."""
    loaded = gene if isinstance(gene, Learngene) else Learngene.from_pretrained(gene)
    if isinstance(gene, str) and not is_there(expanded(gene)):
        return gene, loaded
    if loaded.config.origin is not None:
        return loaded.config.origin.recipe, loaded
    return "memory" if isinstance(gene, Learngene) else Path(gene).resolve().name, loaded
