"""A recipe: every constant of one evolution, with unit and range, checked before anything runs.

A recipe is a YAML file. Unknown keys are refused, all faults are reported together, and `key=value` overrides go
through the same checks. All defaults live here and are ours, since the hyper-parameters of the paper are not known.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from learngene_hub.errors import RecipeError

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Classes = Annotated[int, Field(ge=1)] | tuple[str, ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkSection(_Section):
    """The network of ancestors, critics and descendants."""

    name: Literal["lg_vgg11", "lg_resnet12", "lg_resnet12_wide"] = "lg_vgg11"
    width: float = Field(1.0, ge=0.05, le=4, description="factor on the channels of every layer")
    depth: int | None = Field(None, ge=11, le=60, description="convolutions; the network's own default when absent")


class GeneSection(_Section):
    """How much of every layer is gene, and what a newborn's other channels may tell it."""

    fraction: float = Field(0.45, gt=0, le=1, description="fraction of the channels of every layer")
    cross: Literal["zero", "random"] = Field(
        "zero", description="weights from non-gene inputs into gene outputs at birth"
    )


class ClassesSection(_Section):
    """Which classes are base, held-out and novel: names, or counts drawn with `seed`. A preset brings its own."""

    base: Classes = 64
    held_out: Classes = 16
    novel: Classes = 20
    seed: int = 0

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        named = [role for role in (self.base, self.held_out, self.novel) if isinstance(role, tuple)]
        twice = sorted({name for role in named for name in role if sum(other.count(name) for other in named) > 1})
        if twice:
            raise ValueError(f"a class has one role only, but these have several: {', '.join(twice[:5])}")
        return self


class DataSection(_Section):
    """Where the images come from and how they are shown."""

    preset: Literal["glyphs", "cifar_fs", "mini_imagenet"] | None = None
    path: str | None = Field(
        None, description="image folder, parquet folder or Hub id; with a preset: a local copy of it"
    )
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    image_size: int = Field(32, ge=28, le=224, description="pixels")
    images_per_class: int | None = Field(None, ge=2, description="glyphs: images drawn a class; elsewhere a cap")
    classes: ClassesSection | None = None
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    crop_padding: int | None = Field(None, ge=0, le=64, description="pixels around the image before the random crop")
    flip: bool = Field(True, description="random horizontal flips")

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if self.preset is None and self.path is None:
            raise ValueError("needs `preset` (glyphs, cifar_fs, mini_imagenet) or `path`")
        if self.preset == "glyphs" and self.path is not None:
            raise ValueError("preset glyphs is drawn, not read: for your own images, leave `preset` out")
        if self.preset in {"cifar_fs", "mini_imagenet"} and self.classes is not None:
            raise ValueError(f"preset {self.preset} brings its own classes; leave `classes` out, or give `path` alone")
        return self

    @property
    def padding(self) -> int:
        """Pixels of zero padding before the random crop: `crop_padding`, or an eighth of the image."""
        return self.image_size // 8 if self.crop_padding is None else self.crop_padding


class EvolutionSection(_Section):
    """Generations, selection and variation."""

    generations: Count = 10
    population: Count = Field(8, le=4096, description="individuals a generation")
    founder_generations: int = Field(
        0, ge=0, description="first generations in which one individual takes all the steps"
    )
    selection: Literal["tournament", "none"] = Field(
        "tournament", description="none: everybody survives and counts alike, and the gene is drawn: an ablation"
    )
    tournament_size: Count = Field(2, description="individuals a group; the best of each group survives")
    mutation_rate: Fraction = Field(0.02, description="chance of a gene channel to be exchanged, where several compete")
    decay: Fraction = Field(0.2, description="factor on the scores of the gene pool, per generation")
    credit: float = Field(
        0.2, ge=0, lt=1, description="share of its fitness a survivor credits per step up its lineage"
    )
    recombination: Literal["none", "average"] = Field("none", description="what becomes of the survivors' genes")
    pool_size: Count = Field(16, le=4096, description="learngenes kept, best scores first")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.tournament_size > self.population:
            raise ValueError(f"tournament_size {self.tournament_size} is larger than the population {self.population}")
        return self


class OptimisationSection(_Section):
    """How a network is trained, common to ancestors and critics."""

    steps: Count = Field(description="optimiser steps")
    batch_size: Annotated[int, Field(ge=2)] = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.05, gt=0, le=10, description="highest learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="of kernels and the classifier's weight")
    warmup: int = Field(10, ge=0, description="steps of rising learning rate at every birth")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    clip_norm: float | None = Field(5.0, gt=0, description="largest gradient norm; null: no clipping")


class AncestrySection(OptimisationSection):
    """An ancestry network's life: one k-way task on base classes."""

    ways: int = Field(32, ge=2, description="base classes of the task of one life")
    images_per_class: Count | None = Field(None, description="null: all")
    steps: Count = Field(300, description="optimiser steps of one life; a founder takes those of all")
    schedule: Literal["two-speed", "evolution", "generation"] = Field(
        "two-speed",
        description="what the falling learning rate spans: the evolution; each generation; two-speed: the evolution "
        "for what is inherited, each generation for what is newborn",
    )
    statistics_batches: Count = Field(30, description="batches that measure the circuit's batch norms at extraction")
    circuit_loss: float = Field(1.0, ge=0, le=100, description="weight of the gene's own loss; 0: plain GTL")

    def constants(self) -> OptimisationSection:
        """What any network trained like an ancestor is trained by."""
        return OptimisationSection(**{key: getattr(self, key) for key in OptimisationSection.model_fields})


class CriticSection(OptimisationSection):
    """A critic's life: small tasks on held-out classes that score a learngene."""

    ways: int = Field(5, ge=2, description="held-out classes a task")
    shots: Count = Field(20, description="training images a class")
    queries: Count = Field(50, description="test images a class")
    steps: Count = Field(40, description="optimiser steps a task")
    tasks: Count = Field(2, description="tasks a learngene, the same for all")


class Recipe(_Section):
    """One evolution in full. `Recipe.from_file` reads it; `text` and `overrides` keep what was read."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    network: NetworkSection = NetworkSection()
    gene: GeneSection = GeneSection()
    data: DataSection
    evolution: EvolutionSection = EvolutionSection()
    ancestry: AncestrySection = AncestrySection()
    critic: CriticSection = CriticSection()
    seed: int = Field(0, ge=0, lt=2**63)
    backend: Literal["auto", "loop"] = Field(
        "auto", description="how a population is trained; so far one network after the other, a loop"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the device has it"
    )

    @model_validator(mode="after")
    def _ways_fit(self) -> Self:
        classes = self.data.classes or ClassesSection()
        for key, ways, role in (
            ("ancestry.ways", self.ancestry.ways, classes.base),
            ("critic.ways", self.critic.ways, classes.held_out),
        ):
            count = role if isinstance(role, int) else len(role)
            if ways > count:
                raise ValueError(f"{key}: {ways} classes a task, but the recipe has {count} of that role")
        return self

    _text: str | None = PrivateAttr(None)
    _overrides: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> "Recipe":
        """Read the YAML recipe at `path`, apply `key=value` overrides, check everything.

        Args:
            path: a YAML file, or the name of a shipped recipe such as `demo`.
            overrides: dotted keys with YAML values, such as `evolution.population=4`.

        Raises:
            RecipeError: no such file or recipe, not YAML, or any number of faults in it, all listed.
        """
        file = _locate(path)
        text = _read(file)
        content = _parse(text, file)
        for override in overrides:
            _apply(content, override)
        recipe = cls.from_mapping(content, where=file.name)
        recipe._text, recipe._overrides = text, tuple(overrides)
        return recipe

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], *, where: str = "recipe") -> "Recipe":
        """Check a nested mapping; `where` names it in the error.

        Raises:
            RecipeError: every fault, one a line, with key, expectation and finding.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            faults = [_describe(fault) for fault in error.errors()]
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise RecipeError(f"{where}: {count}\n" + "\n".join(f"  {fault}" for fault in faults)) from None

    def changed(self, *overrides: str) -> "Recipe":
        """The same recipe with further `key=value` overrides.

        Raises:
            RecipeError: every fault.
        """
        content = self.model_dump(mode="json")
        for override in overrides:
            _apply(content, override)
        recipe = self.from_mapping(content)
        recipe._text, recipe._overrides = self._text, (*self._overrides, *overrides)
        return recipe

    @property
    def text(self) -> str:
        """The YAML this recipe was read from, verbatim; written out from the fields when it was made in Python."""
        if self._text is not None:
            return self._text
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `key=value` overrides applied on top of `text`."""
        return self._overrides

    @property
    def sha256(self) -> str:
        """Hash of all fields, defaults and overrides included; equal recipes have equal hashes."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def differences(self, other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Dotted keys whose values differ from those of the dumped recipe `other`, as (here, there)."""
        here, there = dict(_flatten(self.model_dump(mode="json"))), dict(_flatten(other))
        return {
            key: (here.get(key), there.get(key)) for key in sorted({*here, *there}) if here.get(key) != there.get(key)
        }


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe that comes with the package, found by looking into its folder."""
    return {path.stem: path for path in sorted(_recipe_folder().glob("*.yaml"))}


def recipe_keys() -> tuple[str, ...]:
    """Every dotted key a recipe may have."""
    return tuple(_model_keys(Recipe))


def _recipe_folder() -> Path:
    installed = Path(__file__).parent / "recipes"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "recipes"


def _locate(path: str | Path) -> Path:
    if Path(path).is_file():
        return Path(path)
    shipped = shipped_recipes()
    if str(path) in shipped:
        return shipped[str(path)]
    near = difflib.get_close_matches(Path(path).stem, shipped, n=1)
    hint = f"did you mean `{near[0]}`?" if near else "`learngene recipes list` shows what is shipped"
    raise RecipeError(f"{path}: expected a recipe file or the name of a shipped recipe, found neither; {hint}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read as UTF-8 text: {error}") from None


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: expected YAML, found: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{file}: expected sections such as `network:` and `data:`, found {type(content).__name__}")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r}: expected key=value, such as evolution.population=4")
    *parents, leaf = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            inner = content[parent] = {}
        content = inner
    try:
        content[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"override {override!r}: the value is not YAML; quote it if it holds `:` or `[`") from None


def _describe(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("constrained", "tuple")))
    if fault["type"] == "extra_forbidden":
        near = [one for one in recipe_keys() if one.rpartition(".")[2] == key.rpartition(".")[2]]
        near = near or difflib.get_close_matches(key, recipe_keys(), n=1)
        return f"{key}: no such key" + (f"; did you mean `{near[0]}`?" if near else "")
    if fault["type"] == "missing":
        return f"{key}: missing"
    if fault["type"] == "value_error":  # ours, which say themselves what was found
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    return f"{key}: {fault['msg']}, found {fault['input']!r:.60}"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _model_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = next((kind for kind in _types(field.annotation) if issubclass(kind, BaseModel)), None)
        if inner is None:
            yield prefix + name
        else:
            yield from _model_keys(inner, f"{prefix}{name}.")


def _types(annotation: Any) -> tuple[type, ...]:  # noqa: ANN401
    parts = getattr(annotation, "__args__", (annotation,))
    return tuple(part for part in parts if isinstance(part, type))
