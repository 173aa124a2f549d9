"""Predictions of a fine-tuned network for new images."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from learngene_hub.core.errors import DataError, suggestion
from learngene_hub.core.files import expanded, is_hidden, near_paths, read_file, refuse_missing
from learngene_hub.core.progress import LoggingReporter, Reporter
from learngene_hub.data.batches import Images
from learngene_hub.data.counting import warn_of_others
from learngene_hub.data.decode import MOST_ENCODED, decode_image, image_suffixes
from learngene_hub.data.image_set import ImageSet, Normalisation
from learngene_hub.finetuning.folder import is_finetuned, load_network
from learngene_hub.networks import LearngeneNetwork, check_image_size

BATCH = 64
_LOGGING = LoggingReporter()


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        path: of the image.
        classes: (name, probability in [0, 1]) of every class, the likeliest first; empty if reading failed.
        fault: why the image could not be read; None if it could.
    """

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    fault: str | None = None


@dataclass(frozen=True, eq=False)
class Predictor:
    """A fine-tuned network, its class names, and the side in pixels to which images are scaled; see `load`."""

    network: LearngeneNetwork
    class_names: tuple[str, ...]
    image_size: int

    @classmethod
    def load(cls, folder: str | Path, *, image_size: int | None = None) -> Self:
        """Load the predictor from a `folder` that `finetune` wrote.

        Args:
            folder: the folder that `finetune` wrote.
            image_size: side to scale images to, from 28 to 224 pixels; None: that used in training, which suits best.

        Raises:
            LearngeneError: there is no such folder.
            NetworkError: the network in it cannot be loaded, or the image size is out of range.
        """
        check_image_size(image_size)
        refuse_missing(folder, "a folder made by `learngene finetune`", is_finetuned)
        network = load_network(expanded(folder))
        cfg = network.pretrained_cfg
        return cls(network, tuple(cfg["label_names"]), image_size or cfg["input_size"][-1])

    def predict(
        self, paths: str | Path | Iterable[str | Path], *, reporter: Reporter = _LOGGING
    ) -> Iterator[Prediction]:
        """One prediction per image, in order; a folder stands for all images in it and in its subfolders.

        `paths` are images and folders, or one of them. In a folder, 2.jpg comes before 10.jpg. An image that cannot be
        read gets a `fault`; the others are still predicted. `reporter` reports progress, and the files in folders that
        do not have the name of an image; its progress bar stays open until the last prediction is taken or the iterator
        is closed.
        """
        files = list(_image_files([paths] if isinstance(paths, str | Path) else paths, reporter))
        with reporter.task("predicting", len(files), "images") as bar:
            for start in range(0, len(files), BATCH):
                group = self._predict_group(files[start : start + BATCH])
                bar.advance(len(group))
                yield from group

    def _predict_group(self, files: Sequence[Path]) -> list[Prediction]:
        decoded = [self._decode(file) for file in files]
        pixels = [image for image in decoded if isinstance(image, Tensor)]
        rows = iter(self.probabilities(torch.stack(pixels)) if pixels else ())
        return [
            Prediction(file, self._ranked(next(rows))) if isinstance(image, Tensor) else Prediction(file, fault=image)
            for file, image in zip(files, decoded, strict=True)
        ]

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """(n, classes) probabilities for `images` of shape (n, 3, size, size), uint8.

        Raises:
            DataError: the images have another shape or type.
        """
        is_square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if not is_square or images.dtype != torch.uint8:
            found = f"{tuple(images.shape)} {images.dtype}"
            raise DataError(f"expected images of shape (n, 3, size, size), torch.uint8; found {found}")
        cfg = self.network.pretrained_cfg
        normalisation = Normalisation.of(cfg["mean"], cfg["std"])
        device = next(self.network.parameters()).device
        unlabelled = ImageSet(images, torch.zeros(len(images), dtype=torch.int64), self.class_names)
        ready = Images.build(unlabelled, normalisation, padding=0, flip=False, device=device)
        logits = torch.cat([self.network(ready.plain(part)) for part in ready.parts(torch.arange(len(images)))])
        return logits.softmax(dim=1)

    def _decode(self, file: Path) -> Tensor | str:
        """The pixels, or why there are none."""
        if file.is_dir():
            return "no images in this folder"
        try:
            return decode_image(read_file(file, most=MOST_ENCODED), self.image_size)
        except FileNotFoundError:
            if "*" in str(file):
                return "found no file that matches"
            near = near_paths(file, lambda entry: entry.is_dir() or _has_suffix(entry))
            return f"no such file{suggestion(near)}"
        except DataError as error:
            is_other = file.suffix and not _has_suffix(file)
            return f"{error}; {file.suffix} files cannot be read, save it as .png or .jpg" if is_other else str(error)
        except OSError as error:
            return str(error)

    def _ranked(self, probabilities: Tensor) -> tuple[tuple[str, float], ...]:
        order = probabilities.argsort(descending=True, stable=True).tolist()
        return tuple((self.class_names[label], float(probabilities[label])) for label in order)


def _image_files(paths: Iterable[str | Path], reporter: Reporter) -> Iterator[Path]:
    for path in map(expanded, paths):
        if path.is_dir():
            shown = [file for file in path.rglob("*") if not is_hidden(file, path) and file.is_file()]
            inside = [file for file in shown if _has_suffix(file)]
            warn_of_others(path, set(shown) - set(inside), reporter)
            yield from sorted(inside, key=_in_order) or [path]
        else:
            yield path


def _has_suffix(file: Path) -> bool:
    return file.suffix.lower() in image_suffixes()


def _in_order(path: Path) -> tuple[list[list[str | int]], Path]:
    """Sorts 2.jpg before 10.jpg: in every part of the path, text and numbers by turns; 02.jpg before 2.jpg."""
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    return [[int(text) if text.isdecimal() else text for text in part] for part in parts], path
