"""What an evolution lives in: the images of its base and held-out classes, and the device.

Novel classes are named here and never loaded.
"""

from dataclasses import dataclass, replace

import torch

from learngene_hub.core.files import public_name
from learngene_hub.core.progress import Reporter
from learngene_hub.data import (
    PRESETS,
    ClassSplit,
    DataSource,
    ImageSet,
    Normalisation,
    available_classes,
    load_classes,
    measure_normalisation,
    preset_split,
    split_classes,
    tell_left_out,
)
from learngene_hub.training.fewshot import Images, on_device


@dataclass(frozen=True)
class Environment:
    """The images an evolution sees.

    Attributes:
        split: names of the base, held-out and novel classes.
        base: images of the base classes.
        held_out: images of the held-out classes.
        normalisation: mean and standard deviation of the base images.
    """

    split: ClassSplit
    base: Images
    held_out: Images
    normalisation: Normalisation

    def on(self, device: torch.device) -> "Environment":
        """The same images on `device`."""
        return replace(self, base=self.base.on(device), held_out=self.held_out.on(device))

    def images_per_class(self) -> dict[str, int]:
        """Class -> images, of the base and the held-out classes."""
        parts = ((self.split.base, self.base), (self.split.held_out, self.held_out))
        return {
            name: count
            for names, images in parts
            for name, count in zip(names, torch.bincount(images.labels, minlength=len(names)).tolist(), strict=True)
        }


def load_environment(
    source: DataSource, split: ClassSplit, *, padding: int, flip: bool, device: torch.device, reporter: Reporter
) -> Environment:
    """Load base and held-out images onto `device`; `padding` in pixels and `flip` say how batches are augmented.

    Raises:
        DataError: the source cannot be read, or lacks classes of the split.
    """
    tell_left_out(source, reporter)
    base = load_classes(source, split.base, reporter=reporter)
    held_out = load_classes(source, split.held_out, reporter=reporter)
    normalisation = measure_normalisation(base.images)

    def onto_device(images: ImageSet) -> Images:
        return on_device(images, normalisation, padding=padding, flip=flip, device=device)

    return Environment(split, onto_device(base), onto_device(held_out), normalisation)


def find_split(
    source: DataSource,
    *,
    base: int | tuple[str, ...],
    held_out: int | tuple[str, ...],
    novel: int | tuple[str, ...],
    seed: int,
) -> ClassSplit:
    """The published split of a preset that has one; else names or counts, the latter drawn with `seed`.

    Raises:
        DataError: the source lacks these classes, or as many.
    """
    if source.preset is not None and PRESETS[source.preset].class_lists is not None:
        return preset_split(source.preset)
    return split_classes(available_classes(source), base=base, held_out=held_out, novel=novel, seed=seed)


def source_name(source: DataSource) -> str:
    """What a gene says of its images: preset, Hub id, or the last part of a local path, never the whole path."""
    if source.preset is not None:
        return PRESETS[source.preset].hub_id or source.preset
    assert source.path is not None
    return public_name(source.path)
