"""Class splits: which classes evolution may see. Data are split by class, not by image.

Ancestry networks train on base classes, critics on held-out classes, which gives the fitness, and only the final test
touches novel classes. The three never share a class.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from typing import Any

import torch

from learngene_hub.core.errors import DataError, did_you_mean
from learngene_hub.core.rng import generator
from learngene_hub.data.image_set import shorten


@dataclass(frozen=True)
class Preset:
    """A data set known by name.

    Attributes:
        title: its name in papers.
        hub_id: its name on the Hugging Face Hub; None if its images are drawn by this package.
    """

    title: str
    hub_id: str | None


PRESETS: dict[str, Preset] = {
    "glyphs": Preset("glyphs", hub_id=None),
    "cifar_fs": Preset("CIFAR-FS", "uoft-cs/cifar100"),
    "mini_imagenet": Preset("miniImageNet", "timm/mini-imagenet"),
}


@dataclass(frozen=True)
class ClassSplit:
    """Class names of the three parts, without overlap.

    Attributes:
        base: classes to train ancestry networks on; at least 1.
        held_out: classes to train and test critics on; may be empty.
        novel: classes for the final test only; may be empty.
    """

    base: tuple[str, ...]
    held_out: tuple[str, ...]
    novel: tuple[str, ...]


def split_classes(
    available: Sequence[str],
    *,
    base: int | Sequence[str],
    held_out: int | Sequence[str],
    novel: int | Sequence[str],
    seed: int,
) -> ClassSplit:
    """A split of the available classes: each part is given by names, or by the number of classes to draw.

    Only classes that no part names are drawn, first for base, then held-out, then novel. A drawn part keeps the
    order of `available` (ours).

    Args:
        available: all class names of the data set, each once.
        base: names, or a number of classes >= 1; no part has a name that another has.
        held_out: names, or a number of classes >= 0.
        novel: names, or a number of classes >= 0.
        seed: seed of the draw.

    Raises:
        DataError: a name is unknown, or there are fewer classes than asked for.
    """
    parts = (base, held_out, novel)
    named = {name for part in parts if not isinstance(part, int) for name in part}
    if unknown := sorted(named - set(available)):
        found = f"{shorten(unknown)}{did_you_mean(unknown[0], available)}"
        raise DataError(f"data.classes: no such class: {found}; the data set has {shorten(available)}")
    counts = [part for part in parts if isinstance(part, int)]
    free = [name for name in available if name not in named]
    if sum(counts) > len(free):
        beside = f" besides the {len(named)} that are named" if named else ""
        raise DataError(
            f"Cannot draw {' + '.join(map(str, counts))} classes: the data set has {len(free)}{beside}; "
            "change data.classes (base, held_out, novel), or add classes"
        )
    order = iter(torch.randperm(len(free), generator=generator(seed, "classes")).tolist())
    return ClassSplit(
        *(
            tuple(free[position] for position in sorted(islice(order, part))) if isinstance(part, int) else tuple(part)
            for part in parts
        )
    )


def preset_split(name: str) -> ClassSplit | None:
    """The published class split of a preset: 64 base, 16 held-out and 20 novel classes; None: none was published.

    CIFAR-FS: Bertinetto 2019 (arXiv:1805.08136); miniImageNet: the lists of Ravi & Larochelle 2017. Class lists:
    attested; their use as base, held-out and novel: ours.
    """
    if PRESETS[name].hub_id is None:
        return None
    lists = class_lists(name)
    return ClassSplit(tuple(lists["base"]), tuple(lists["held_out"]), tuple(lists["novel"]))


def title_of(source: str) -> str:
    """Title of the data set `source`: that of the preset with this Hub id, otherwise `source` itself."""
    return next((preset.title for preset in PRESETS.values() if preset.hub_id == source), source)


def class_lists(name: str) -> Any:  # noqa: ANN401 - of glyphs a list, otherwise one for each part
    """The class names of a preset, shipped with the package."""
    return json.loads(files("learngene_hub.data").joinpath("classes", f"{name}.json").read_text(encoding="utf-8"))
