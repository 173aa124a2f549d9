"""Whether the images suffice for a recipe: looked at by a dry run, and by a run once they are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from learngene_hub.core.errors import DataError
from learngene_hub.data import PRESETS, ClassSplit, DataSource, count_images, is_at_hand, source_of
from learngene_hub.evolution.environment import find_split
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.recipe.sections import ClassesSection

NAMED = 3  # classes named in a message


@dataclass(frozen=True)
class Supply:
    """The images of a recipe, counted without decoding one.

    Attributes:
        base: number of base classes.
        held_out: number of held-out classes.
        novel: number of novel classes.
        fewest: images of the smallest base or held-out class.
        most: images of the largest of them.
    """

    base: int
    held_out: int
    novel: int
    fewest: int
    most: int


def data_source(recipe: Recipe) -> DataSource:
    """Where the images of `recipe` come from."""
    return source_of(recipe.data, path=recipe.data.path, seed=recipe.seed)


def class_split(recipe: Recipe) -> ClassSplit:
    """The base, held-out and novel classes of `recipe`.

    Raises:
        DataError: the source cannot be read, or lacks these classes.
    """
    classes = recipe.data.classes or ClassesSection()
    return find_split(
        data_source(recipe), base=classes.base, held_out=classes.held_out, novel=classes.novel, seed=classes.seed
    )


def take_stock(recipe: Recipe) -> Supply | None:
    """What there is for `recipe`; None if its images are on the Hub, which is not asked.

    Raises:
        DataError: the images cannot be read, or do not suffice.
    """
    source = data_source(recipe)
    if not is_at_hand(source):
        return None
    split, images = class_split(recipe), count_images(source)
    check_supply(recipe, split, images)
    counts = [images[name] for name in (*split.base, *split.held_out)]
    return Supply(len(split.base), len(split.held_out), len(split.novel), min(counts), max(counts))


def check_supply(recipe: Recipe, split: ClassSplit, images: Mapping[str, int]) -> None:
    """Do nothing, unless a class has too few images.

    Args:
        recipe: what needs them.
        split: its classes.
        images: class -> its images; a class that is not named has none.

    Raises:
        DataError: a base or held-out class has too few images; it names the keys of the recipe.
    """
    if recipe.data.preset and not any(images.get(name) for name in (*split.base, *split.held_out)):
        title = PRESETS[recipe.data.preset].title
        raise DataError(
            f"data.path={recipe.data.path}: expected a copy of {title}, found none of its classes: give the path of "
            "one, or leave data.preset out and choose among the classes there with data.classes"
        )
    life, critic = recipe.ancestry.images_per_class, recipe.critic
    asked = f"critic.shots={critic.shots} and critic.queries={critic.queries} together take"
    cap = recipe.data.images_per_class
    _require(critic.shots + critic.queries, split.held_out, images, asked=asked, role="held-out", cap=cap)
    asked = "an ancestry network needs" if life is None else f"ancestry.images_per_class={life} takes"
    _require(life or 1, split.base, images, asked=asked, role="base", cap=cap)


def _require(
    least: int, names: Sequence[str], images: Mapping[str, int], *, asked: str, role: str, cap: int | None
) -> None:
    short = {name: images.get(name, 0) for name in names if images.get(name, 0) < least}
    if not short:
        return
    fewest = sorted(short, key=lambda name: short[name])[:NAMED]
    found = ", ".join(f"{short[name]} of {name!r}" for name in fewest)
    more = f" and fewer than {least} of {len(short) - NAMED} other classes" if len(short) > NAMED else ""
    remedy = f"raise data.images_per_class={cap}" if cap in short.values() else "add images"
    raise DataError(
        f"{asked} {least} image{'s' if least > 1 else ''} of every {role} class, found {found}{more}: "
        f"{remedy}, lower these numbers, or choose other classes with data.classes"
    )
