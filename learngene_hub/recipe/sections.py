"""The sections of a recipe: every constant with unit, range and a default that works.

All defaults live here and are ours, since the hyper-parameters of the paper are not known.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from learngene_hub.families import FAMILIES, NetworkName

Fraction = Annotated[float, Field(ge=0, le=1)]
MOST_LR = 10
Count = Annotated[int, Field(ge=1)]
PresetName = Literal["glyphs", "cifar_fs", "mini_imagenet"]
PRESET_NAMES: tuple[PresetName, ...] = get_args(PresetName)
GLYPHS = "glyphs"
WITH_CLASSES = tuple(name for name in PRESET_NAMES if name != GLYPHS)
"""Presets whose base, held-out and novel classes are published."""


def _number_or_names(value: object) -> object:
    if isinstance(value, list | tuple):
        if others := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"class names must be text, found {others[0]!r:.60}: put the names in quotes")
    elif type(value) is not int or value < 1:
        raise ValueError(f"expected a number of classes, 1 or more, or a list of names, found {value!r:.60}")
    return value


Classes = Annotated[int | tuple[str, ...], BeforeValidator(_number_or_names)]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: object, field: ValidationInfo) -> object:
        """Words such as `on`, which pydantic would read as 1, as text: no number."""
        annotation = cls.model_fields[str(field.field_name)].annotation
        takes_as_it_is = not {bool, str}.isdisjoint((annotation, *get_args(annotation)))
        return value if takes_as_it_is or not isinstance(value, bool) else str(value).lower()


class NetworkSection(Section):
    """The network of the evolution, of critics and of descendants."""

    name: NetworkName = Field("lg_vgg11", description=f"family of networks: {', '.join(FAMILIES)}")
    width: float = Field(1.0, ge=0.05, le=4, description="factor on the channels of every layer")
    depth: int | None = Field(
        None, ge=1, le=1000, description="layers as the family counts them, such as 11 or 12; null: its default"
    )


def _shape(value: object) -> object:
    if value in ("evolve", "taper"):
        return value
    if isinstance(value, list | tuple) and value and all(type(size) is int and size >= 1 for size in value):
        return tuple(value)
    raise ValueError(f"expected evolve, taper, or channels of each group such as [16, 32, 64], found {value!r:.60}")


class GeneSection(Section):
    """How many channels of every layer are gene."""

    fraction: float = Field(
        0.45,
        gt=0,
        le=1,
        description="size of the gene: as many parameters as a gene with this fraction of the channels of every layer",
    )
    shape: Annotated[Literal["evolve", "taper"] | tuple[int, ...], BeforeValidator(_shape)] = Field(
        "taper",
        description="how many channels of every layer are gene: `taper`: fewer towards the end; `evolve`: found by a "
        "search; or a list of numbers, one for each group of channels",
    )
    taper: float = Field(
        0.01,
        ge=0.001,
        le=1,
        description="with `shape: taper`: the last layer's fraction divided by the first's, before fractions above 1 "
        "are cut to 1; 1: an even shape",
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32",
        description="type of the kernels in the gene's file; float16 halves the file; fitness is measured before "
        "rounding",
    )


class ClassesSection(Section):
    """Which classes are base, held-out and novel: names, or numbers of classes drawn with `seed`."""

    base: Classes = Field(64, description="classes that ancestry networks learn: a number to draw, or a list of names")
    held_out: Classes = Field(16, description="classes of the critics' tasks: a number or a list of names")
    novel: Classes = Field(20, description="classes that the evolution never loads: a number or a list of names")
    seed: int = Field(0, description="random seed for drawing the classes that are given as numbers")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        named = [role for role in (self.base, self.held_out, self.novel) if isinstance(role, tuple)]
        twice = sorted({name for role in named for name in role if sum(other.count(name) for other in named) > 1})
        if twice:
            raise ValueError(f"each class may be listed once, in one role; listed more often: {', '.join(twice[:5])}")
        return self


class DataSection(Section):
    """Where the images come from and how they are prepared."""

    preset: PresetName | None = Field(None, description="name of a data set that the package knows")
    path: str | None = Field(
        None, description="image folder, parquet folder or Hub id; with a preset: a local copy of it"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a data set on the Hub")
    image_column: str | None = Field(None, description="name of the image column, if not `image` or `img`")
    label_column: str | None = Field(None, description="name of the label column, if not `label` or `fine_label`")
    image_size: int = Field(32, ge=28, le=224, description="side of the images in pixels")
    images_per_class: int | None = Field(
        None, ge=2, description="maximum number of images per class; null: all, or 200 glyphs"
    )
    classes: ClassesSection | None = Field(
        None, description=f"base, held-out and novel classes; {' and '.join(WITH_CLASSES)} have their own"
    )
    on_corrupt: Literal["refuse", "skip"] = Field("refuse", description="what to do with images that cannot be read")
    crop_padding: int | None = Field(
        None,
        ge=0,
        le=64,
        description="pixels around the image before the random crop; null: an eighth of the image size",
    )
    flip: bool = Field(True, description="random horizontal flips")

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if self.preset is None and self.path is None:
            raise ValueError(f"needs `preset` ({', '.join(PRESET_NAMES)}) or `path`")
        if self.preset == GLYPHS and self.path is not None:
            raise ValueError(
                "preset glyphs draws its images and reads no `path`: for your own images, leave `preset` out"
            )
        if self.preset in WITH_CLASSES and self.classes is not None:
            raise ValueError(f"preset {self.preset} brings its own classes; leave `classes` out, or give `path` alone")
        return self

    @property
    def padding(self) -> int:
        """Pixels of zero padding before the random crop: `crop_padding`, or an eighth of the image."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding


class EvolutionSection(Section):
    """Generations, selection and variation."""

    ancestor: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="gene that the first generation inherits: name of a gene of the package, folder or Hub id; null: "
        "none; all genes of the evolution have its shape, unless `gene.shape` lists channels",
    )
    generations: Count = Field(10, le=10_000, description="number of generations")
    population: Count = Field(8, le=4096, description="individuals per generation")
    founder_generations: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        None,
        description="number of first generations that train one individual, for the steps of a whole population; null: "
        "all but the last two",
    )
    selection: Literal["tournament", "none"] = Field(
        "tournament",
        description="how survivors are chosen; none (an ablation): all survive with equal scores, and the gene is "
        "drawn at random",
    )
    tournament_size: Count = Field(2, description="individuals per tournament; the fittest of each survives")
    mutation_rate: Fraction = Field(
        0.02, description="probability that a gene channel is exchanged, in generations with several individuals"
    )
    decay: Fraction = Field(0.2, description="factor on the scores of the gene pool, per generation")
    credit: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="a survivor adds its fitness times this number, once per step up the lineage, to the score of each "
        "gene that it descends from",
    )
    pool_size: Count = Field(
        16, le=4096, description="maximum number of learngenes in the gene pool, which keeps the best scores"
    )

    @property
    def founders(self) -> int:
        """Number of first generations with one founder: `founder_generations`, or all but the last two."""
        return max(0, self.generations - 2) if self.founder_generations is None else self.founder_generations


class SearchSection(Section):
    """The search for the gene's shape, where `gene.shape` is `evolve`."""

    width: float = Field(
        0.25,
        ge=0.05,
        le=4,
        description="factor on the channels of the networks that the search trains, or `network.width` if that is "
        "lower; the found shape is scaled to `network.width`",
    )
    ancestor_steps: Count = Field(1500, description="optimiser steps of the network whose slices are compared")
    life_steps: Count = Field(
        100,
        description="optimiser steps of each slice before its critics; other constants are those of `ancestry`",
    )
    population: int = Field(16, ge=2, le=4096, description="random shapes that are compared")
    tasks: Count = Field(4, description="critic tasks that give a shape its fitness, the same for all shapes")
    steps: Count = Field(20, description="optimiser steps of each critic task; other constants are those of `critic`")
    parents: int = Field(
        4,
        ge=1,
        le=4096,
        description="number of best shapes, at most all, whose mean is compared with an even shape; 1: the best "
        "shape alone",
    )
    final_tasks: Count = Field(
        12,
        description="number of new tasks for the fitness of the mean of the best shapes and of an even shape; the "
        "better of the two is taken",
    )


class OptimisationSection(Section):
    """How a network is trained, common to ancestry networks and critics."""

    steps: Count = Field(description="optimiser steps")
    batch_size: int = Field(64, ge=2, description="images per step")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimiser")
    lr: float = Field(0.05, gt=0, le=MOST_LR, description="highest learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="weight decay of kernels and of the classifier's weight")
    warmup: int = Field(
        10, ge=0, description="number of steps at the start of every training in which the learning rate rises"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all classes")
    clip_norm: float | None = Field(5.0, gt=0, description="largest gradient norm; null: no clipping")

    def constants(self) -> "OptimisationSection":
        """Only these constants, without those of a subclass."""
        return OptimisationSection(**{key: getattr(self, key) for key in OptimisationSection.model_fields})


class AncestrySection(OptimisationSection):
    """Training of an ancestry network: one k-way task on base classes."""

    ways: int = Field(32, ge=2, description="base classes that one network learns in a generation")
    images_per_class: Count | None = Field(None, description="images of each of these classes; null: all")
    steps: Count = Field(
        300, description="optimiser steps of one network in a generation; a founder takes those of the whole population"
    )
    statistics_batches: Count = Field(
        30, description="number of batches that measure the statistics of the gene's batch norms at extraction"
    )


class CriticSection(OptimisationSection):
    """Training of critics: small tasks on held-out classes that give the fitness of a learngene."""

    ways: int = Field(5, ge=2, description="held-out classes per task")
    shots: Count = Field(20, description="training images per class")
    queries: Count = Field(50, description="test images per class")
    steps: Count = Field(40, description="optimiser steps per task")
    tasks: Count = Field(2, description="tasks per learngene, the same for all learngenes")
