"""`config.json` of a gene folder as Python classes: what the tensors mean, and how they were made."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from learngene_hub.core.errors import NetworkError
from learngene_hub.core.plain_text import folded
from learngene_hub.data.image_set import Normalisation
from learngene_hub.networks import plan_structure

SCHEMA_VERSION = 1
MOST_WIDTH = 4.0  # of the network a gene comes from: a small file must not ask for a huge one
MOST_PIXELS = 1024  # side of an image
Dtype = Literal["float32", "float16"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class DataRecord(_Part):
    """The images and classes that the gene was evolved on, and the novel classes that it never saw."""

    source: str
    preset: str | None = None
    image_size: int = Field(ge=8, le=MOST_PIXELS)
    images_per_class: int | None = Field(default=None, ge=1)
    crop_padding: int = Field(ge=0, le=MOST_PIXELS)
    flip: bool
    seed: int
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    base: tuple[str, ...]
    held_out: tuple[str, ...]
    novel: tuple[str, ...]


class LineageRecord(_Part):
    """A gene that the gene descends from, or the gene itself."""

    id: int
    generation: int
    parents: tuple[int, ...]
    fitness: float


class CostRecord(_Part):
    """Cost of the evolution."""

    images: int
    seconds: float
    device: str


class SearchRecord(_Part):
    """How the shape of the gene was found if its recipe did not give one.

    Attributes:
        width: width of the networks trained in the search.
        shapes: number of shapes compared.
        parents: number of best shapes whose mean was scored again.
        mean_fitness: mean top-1 accuracy of critics with that mean shape, in [0, 1], on new tasks; None: diverged.
        even_fitness: the same for an even shape: an equal fraction of every channel group.
        is_even: whether the even shape was better and is the gene's.
        images: training images of the search; included in the evolution's cost.
        seconds: wall time of the search; included too.
    """

    width: float = Field(gt=0, le=MOST_WIDTH)
    shapes: int = Field(ge=1)
    parents: int = Field(ge=1)
    mean_fitness: float | None = Field(ge=0, le=1)
    even_fitness: float | None = Field(ge=0, le=1)
    is_even: bool
    images: int = Field(ge=1)
    seconds: float = Field(ge=0)

    @property
    def words(self) -> str:
        """The chosen shape and its score, and the other candidate's."""
        name = "the best" if self.parents == 1 else f"the mean of the best {self.parents}"
        best = f"{name} of {self.shapes} shapes"
        scores = [(best, self.mean_fitness), ("an even shape", self.even_fitness)]
        (taken, score), (other, behind) = scores[::-1] if self.is_even else scores
        failed = "failed" if behind is None else f"{behind:.1%}"
        return f"{taken} ({score:.1%} on new tasks, in networks of width {self.width:g}), ahead of {other} ({failed})"


class AncestorRecord(_Part):
    """The gene that an evolution started from.

    Attributes:
        name: its name in the recipe; for a folder, the last part of the path.
        revision: commit of the Hub; None: it was not fetched from the Hub.
        sha256: sha256 of its weights.
        origin: how it was made; its cost is not part of the evolution's cost. None: unknown.
    """

    name: str
    revision: str | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    origin: "Origin | None" = None

    @property
    def images(self) -> int | None:
        """Training images of its own evolution, without those of its ancestors."""
        return None if self.origin is None else self.origin.cost.images


class Origin(_Part):
    """How the gene was made; absent if it was cut from a network that this package did not evolve.

    Attributes:
        recipe_sha256: of `recipe.yaml` beside the gene; in genes of older versions, of all fields of the recipe.
        fitness: mean top-1 accuracy of its critics, in [0, 1], measured in float32 before the kernels were rounded
            for the file.
        search: how its shape was found; None: the recipe or the ancestor gave the shape.
        ancestor: the gene that the evolution started from; None: no gene.
        cost: cost of the evolution, without that of the ancestor.
        precision: number type of its convolutions and products; None: not recorded by an older version.
    """

    recipe: str
    recipe_sha256: str
    overrides: tuple[str, ...] = ()
    seed: int
    fitness: float
    lineage: tuple[LineageRecord, ...] = Field(min_length=1)
    search: SearchRecord | None = None
    ancestor: AncestorRecord | None = None
    cost: CostRecord
    precision: Literal["float32", "bfloat16"] | None = None
    data: DataRecord

    @property
    def ancestors(self) -> tuple[AncestorRecord, ...]:
        """The gene that the evolution started from, then that gene's own ancestors, newest first."""
        if self.ancestor is None:
            return ()
        return (self.ancestor, *(self.ancestor.origin.ancestors if self.ancestor.origin else ()))

    @property
    def all_data(self) -> tuple[DataRecord, ...]:
        """The data of the gene's evolution, then those of its ancestors if known."""
        return (self.data, *(ancestor.origin.data for ancestor in self.ancestors if ancestor.origin))


class GeneConfig(_Part):
    """`config.json`: what the tensors mean.

    Attributes:
        version: version of the gene; higher when a better gene takes over the name.
        channels: channel group -> number of leading channels in the gene.
        fraction: channels of the gene divided by all channels of the ancestry network, in (0, 1].
        parameters: number of weights, without the running statistics of batch norms.
        mean: mean of each image channel, for values in [0, 1]; the network expects inputs normalised with it.
        std: standard deviation of each image channel, likewise.
        image_size: side in pixels of the images that the gene was evolved on.
        dtype: type of the kernels in the file; vectors are always float32, and all tensors are read as float32.
    """

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    version: int = Field(default=1, ge=1)
    package_version: str
    network: str
    width: float = Field(gt=0, le=MOST_WIDTH)
    depth: int
    in_chans: int = Field(ge=1, le=64)
    channels: dict[str, Annotated[int, Field(ge=1, le=2**14)]]
    fraction: float = Field(gt=0, le=1)
    parameters: int = Field(ge=1)
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...]
    std: tuple[Annotated[float, Field(ge=1e-6, le=1000)], ...]
    image_size: int = Field(ge=8, le=MOST_PIXELS)
    dtype: Dtype = "float32"
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    origin: Origin | None = None

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        if not len(self.mean) == len(self.std) == self.in_chans:
            raise ValueError(
                f"mean and std: expected {self.in_chans} values each, one per image channel, "
                f"found {len(self.mean)} and {len(self.std)}"
            )
        return self

    @property
    def all_data(self) -> tuple[DataRecord, ...]:
        """The data of its evolution and of its ancestors', as far as they are known."""
        return self.origin.all_data if self.origin else ()

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation of its images."""
        return Normalisation.of(self.mean, self.std)

    @property
    def share_words(self) -> str:
        """How much of its ancestors' channels the gene holds: `45% of the channels of every layer`."""
        full: dict[str, int] = {}
        with suppress(NetworkError):  # of a network that this version does not know
            whole = plan_structure(self.network, width=self.width, depth=self.depth).channels
            full = {group: count for group, count in whole.items() if group in self.channels}
        if all(abs(self.channels[group] - self.fraction * count) <= 1 for group, count in full.items()):
            return f"{self.fraction:.0%} of the channels of every layer"
        shares = [self.channels[group] / count for group, count in full.items()]
        ends = f"from {min(shares):.0%} to {max(shares):.0%} of a layer's"
        if shares == sorted(shares, reverse=True):
            ends = f"from {shares[0]:.0%} of the first layer's to {shares[-1]:.0%} of the last's"
        return f"{self.fraction:.0%} of the channels, {ends}"

    @property
    def rounded_later(self) -> str:
        """The end of a sentence on the fitness: what happened to the gene after it was scored; empty: nothing."""
        return "" if self.dtype == "float32" else f", before its kernels were rounded to {self.dtype}"


def seen_of(records: Sequence[DataRecord], novel: Sequence[str], held_out: Sequence[str]) -> tuple[set[str], set[str]]:
    """The classes that a gene must not have seen, but has, by its `records`.

    Names that differ only in case, or in `_`, `-` and spaces, are equal, unless the record itself tells them apart.

    Returns:
        Of `novel`, those that it was trained or selected on; of `held_out`, those that it was trained on.
    """
    trained, seen = set[str](), set[str]()
    for record in records:
        seen |= _among(novel, (*record.base, *record.held_out), record)
        trained |= _among(held_out, record.base, record)
    return seen, trained


def _among(names: Sequence[str], classes: Sequence[str], record: DataRecord) -> set[str]:
    """Those of the `names` that are among the `classes` of the record."""
    listed, known = {*record.base, *record.held_out, *record.novel}, {folded(name) for name in classes}
    return {name for name in names if (name in classes if name in listed else folded(name) in known)}


def config_text(config: GeneConfig) -> str:
    """The content of `config.json`."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
