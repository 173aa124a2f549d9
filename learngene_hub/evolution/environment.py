"""The images of an evolution: those of base and held-out classes, and whether they are enough for its recipe.

Novel classes are named here and never loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from learngene_hub.core.errors import DataError
from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.data.batches import Images
from learngene_hub.data.counting import available_classes, count_images, is_at_hand, tell_left_out
from learngene_hub.data.image_set import Normalisation, measure_normalisation
from learngene_hub.data.loading import REPAIR, load_classes
from learngene_hub.data.source import DataSource, pinned, source_of
from learngene_hub.data.splits import PRESETS, ClassSplit, preset_split, split_classes
from learngene_hub.evolution.ancestor import Ancestor
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.recipe.sections import WITH_CLASSES, ClassesSection, DataSection

NAMED = 3  # classes named in a message


@dataclass(frozen=True)
class Environment:
    """The images an evolution sees.

    Attributes:
        split: names of the base, held-out and novel classes.
        base: images of the base classes.
        held_out: images of the held-out classes.
        normalisation: mean and standard deviation of the base images, or those of the ancestor.
        revision: commit of a data set of the Hub; else as in the recipe.
    """

    split: ClassSplit
    base: Images
    held_out: Images
    normalisation: Normalisation
    revision: str | None = None

    def on(self, device: torch.device) -> "Environment":
        """The same images on `device`."""
        return replace(self, base=self.base.on(device), held_out=self.held_out.on(device))

    def images_per_class(self) -> dict[str, int]:
        """Class -> number of images, for the base and the held-out classes."""
        parts = ((self.split.base, self.base), (self.split.held_out, self.held_out))
        return {
            name: count
            for names, images in parts
            for name, count in zip(names, torch.bincount(images.labels, minlength=len(names)).tolist(), strict=True)
        }


@dataclass(frozen=True)
class Supply:
    """Number of classes of each role, and the fewest and most images of a base or held-out class; none is decoded."""

    base: int
    held_out: int
    novel: int
    fewest: int
    most: int


def load_environment(
    recipe: Recipe, *, device: torch.device, reporter: Reporter, ancestor: Ancestor | None = None
) -> Environment:
    """The images of an evolution of `recipe` on `device`, normalised as for the `ancestor` that it begins from, if any.

    Raises:
        DataError: the images cannot be read or are too few; or the `ancestor` has seen classes that must be new to it.
    """
    source, split = pinned(data_source(recipe), reporter), class_split(recipe, reporter)
    if ancestor is not None:
        ancestor.refuse_seen(split)
        ancestor.tell(recipe, reporter)
    tell_left_out(source, reporter)
    advice = f"{REPAIR}, or skip them with data.on_corrupt=skip"
    base = load_classes(source, split.base, reporter=reporter, advice=advice)
    held_out = load_classes(source, split.held_out, reporter=reporter, advice=advice)
    normalisation = measure_normalisation(base.images) if ancestor is None else ancestor.gene.config.normalisation

    placed = partial(
        Images.build,
        normalisation=normalisation,
        padding=recipe.data.padding,
        flip=recipe.data.flip,
        device=device,
    )
    environment = Environment(split, placed(base), placed(held_out), normalisation, source.revision)
    check_supply(recipe, split, environment.images_per_class())
    return environment


def data_source(recipe: Recipe) -> DataSource:
    """Where the images of `recipe` come from."""
    return source_of(recipe.data, path=recipe.data.path, seed=recipe.seed)


def class_split(recipe: Recipe, reporter: Reporter) -> ClassSplit:
    """The base, held-out and novel classes of `recipe`: those published for its preset, else those of the recipe.

    Raises:
        DataError: the source cannot be read, or has not these classes, or too few.
    """
    source, classes = data_source(recipe), recipe.data.classes or ClassesSection()
    if source.preset is not None and (published := preset_split(source.preset)):
        return published
    return split_classes(
        available_classes(source, reporter=reporter),
        base=classes.base,
        held_out=classes.held_out,
        novel=classes.novel,
        seed=classes.seed,
    )


def take_stock(recipe: Recipe, ancestor: Ancestor | None = None) -> Supply | None:
    """The classes and images available for `recipe`; None if they are on the Hub, which is not asked.

    Raises:
        DataError: the images cannot be read or are too few; or the `ancestor` has seen classes that must be new to it.
    """
    source = data_source(recipe)
    if not is_at_hand(source):
        return None
    split, images = class_split(recipe, SilentReporter()), count_images(source)
    if ancestor is not None:
        ancestor.refuse_seen(split)
    check_supply(recipe, split, images)
    counts = [images[name] for name in (*split.base, *split.held_out)]
    return Supply(len(split.base), len(split.held_out), len(split.novel), min(counts), max(counts))


def check_supply(recipe: Recipe, split: ClassSplit, images: Mapping[str, int]) -> None:
    """Check that every class of `split` has enough `images` for `recipe`; a class that `images` lacks has none.

    Raises:
        DataError: a base or held-out class has too few images; the message names the fields of the recipe.
    """
    if recipe.data.preset and not any(images.get(name) for name in (*split.base, *split.held_out)):
        title = PRESETS[recipe.data.preset].title
        raise DataError(
            f"data.path={recipe.data.path}: expected a copy of {title}, found none of its classes: give the path of "
            "a copy, or leave data.preset out and choose from the classes at this path with data.classes"
        )
    life, critic = recipe.ancestry.images_per_class, recipe.critic
    asked = f"critic.shots={critic.shots} and critic.queries={critic.queries} together need"
    _require(critic.shots + critic.queries, split.held_out, images, asked=asked, role="held-out", data=recipe.data)
    asked = "an ancestry network needs" if life is None else f"ancestry.images_per_class={life} needs"
    _require(life or 1, split.base, images, asked=asked, role="base", data=recipe.data)


def _require(
    least: int, names: Sequence[str], images: Mapping[str, int], *, asked: str, role: str, data: DataSection
) -> None:
    short = {name: images.get(name, 0) for name in names if images.get(name, 0) < least}
    if not short:
        return
    fewest = sorted(short, key=lambda name: short[name])[:NAMED]
    few = ", ".join(f"{short[name]} of {name!r}" for name in fewest)
    more = f" and fewer than {least} of {len(short) - NAMED} other classes" if len(short) > NAMED else ""
    cap = data.images_per_class
    remedy = f"raise data.images_per_class={cap}" if cap in short.values() else "add images"
    others = "" if data.preset in WITH_CLASSES else ", or choose other classes with data.classes"
    raise DataError(
        f"{asked} {least} image{'s' if least > 1 else ''} of every {role} class, found {few}{more}: "
        f"{remedy}, or lower these numbers{others}"
    )
