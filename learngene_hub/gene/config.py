"""`config.json` of a gene folder, as nouns: what the tensors mean, and how they came to be."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks import plan_structure

SCHEMA_VERSION = 1
MOST_WIDTH = 4.0  # of the network a gene comes from: a small file must not ask for a huge one
MOST_PIXELS = 1024  # side of an image
Dtype = Literal["float32", "float16"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class DataRecord(_Part):
    """Which images the gene was evolved on, and which classes it must never have seen."""

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
    """One ancestor of the gene, or the gene itself."""

    id: int
    generation: int
    parents: tuple[int, ...]
    fitness: float


class CostRecord(_Part):
    """What the evolution took."""

    images: int
    seconds: float
    device: str


class SearchRecord(_Part):
    """How the shape of the gene was found, where its recipe did not give one.

    Attributes:
        generations: of shapes; 1: all were drawn at random.
        width: of the networks that were trained for it.
        shapes: that were compared.
        parents: best shapes, whose mean was scored once more.
        mean_fitness: mean top-1 accuracy of critics of that mean, in [0, 1], on fresh tasks; None: it diverged.
        even_fitness: the same, of an even shape: the same fraction of every group of channels.
        is_even: whether the even shape was the better one, so that the gene has it.
        images: training images of the search; the evolution's cost holds them too.
        seconds: wall time of the search, likewise.
    """

    generations: int = Field(ge=1)
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
        """What the shape is, and what it was ahead of."""
        how = "shapes found by tournaments" if self.generations > 1 else "random shapes"
        best = f"{'the best' if self.parents == 1 else f'the mean of the best {self.parents}'} of {self.shapes} {how}"
        scores = [(best, self.mean_fitness), ("an even shape", self.even_fitness)]
        (taken, score), (other, behind) = scores[::-1] if self.is_even else scores
        failed = "failed" if behind is None else f"{behind:.1%}"
        return f"{taken} ({score:.1%} on fresh tasks, in networks of width {self.width:g}), ahead of {other} ({failed})"


class AncestorRecord(_Part):
    """The gene that an evolution began from.

    Attributes:
        name: as the recipe called it, of a folder the last part of its path.
        revision: commit of the Hub; None: it does not come from there.
        sha256: of its weights.
        origin: how it came to be, at a cost that is not in that of the evolution; None: it does not say.
    """

    name: str
    revision: str | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    origin: "Origin | None" = None

    @property
    def images(self) -> int | None:
        """Training images of its own evolution, without those of a gene that it began from."""
        return None if self.origin is None else self.origin.cost.images


class Origin(_Part):
    """How the gene came to be; absent when it was cut from a network that this package did not evolve.

    Attributes:
        fitness: mean top-1 accuracy of its critics, in [0, 1]; of the gene in float32, before its kernels were
            rounded for the file.
        search: how its shape was found; None: the recipe, or the ancestor, gave it.
        ancestor: gene that the line began from; None: nothing.
        cost: of the evolution alone, not of the ancestor.
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
    data: DataRecord

    @property
    def ancestors(self) -> tuple[AncestorRecord, ...]:
        """The gene that the line began from, the one that that began from, and so on."""
        if self.ancestor is None:
            return ()
        return (self.ancestor, *(self.ancestor.origin.ancestors if self.ancestor.origin else ()))

    @property
    def all_data(self) -> tuple[DataRecord, ...]:
        """What the gene was evolved on, then what its ancestors were, as far as they say."""
        return (self.data, *(ancestor.origin.data for ancestor in self.ancestors if ancestor.origin))


class GeneConfig(_Part):
    """`config.json`: what the tensors mean.

    Attributes:
        version: of the gene, raised when a better one takes its name.
        channels: channel group -> leading channels that are gene.
        fraction: gene channels over all channels of the ancestry network, in (0, 1].
        parameters: numbers in the tensors, without the running statistics of batch norms.
        mean: of each image channel, of values in [0, 1]; what the network expects its input to be normalised with.
        std: likewise.
        image_size: pixels the gene was evolved at.
        dtype: of the kernels in the file; vectors are float32 in any case, and so is all that is read.
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
            raise ValueError(f"mean and std need {self.in_chans} values each, one for each image channel")
        return self

    @property
    def share_words(self) -> str:
        """How much of its ancestors' channels the gene holds: `45% of the channels of every layer`."""
        full = self._full_channels()
        if all(abs(self.channels[group] - self.fraction * count) <= 1 for group, count in full.items()):
            return f"{self.fraction:.0%} of the channels of every layer"
        shares = [self.channels[group] / count for group, count in full.items()]
        ends = f"from {min(shares):.0%} to {max(shares):.0%} of a layer's"
        if shares == sorted(shares, reverse=True):
            ends = f"from {shares[0]:.0%} of the first layer's to {shares[-1]:.0%} of the last's"
        return f"{self.fraction:.0%} of the channels, {ends}"

    def _full_channels(self) -> Mapping[str, int]:
        """Of the groups the gene names; none for a network that this version does not know."""
        try:
            full = plan_structure(self.network, width=self.width, depth=self.depth).channels
        except NetworkError:
            return {}
        return {group: count for group, count in full.items() if group in self.channels}

    @property
    def rounded_later(self) -> str:
        """The end of a sentence on the fitness: what happened to the gene after it was scored; empty: nothing."""
        return "" if self.dtype == "float32" else f", before its kernels were rounded to {self.dtype}"


def config_text(config: GeneConfig) -> str:
    """The content of `config.json`."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
