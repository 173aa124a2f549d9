"""A recipe: every constant of one evolution, with unit and range, checked before anything runs.

A recipe is a YAML file. Unknown keys are refused, all faults are reported together, and `key=value` overrides go
through the same checks. The sections and their defaults stand in `learngene_hub.recipe.sections`.
"""

import copy
import difflib
import hashlib
import json
import re
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from learngene_hub.core.errors import LearngeneWarning, RecipeError, suggestion
from learngene_hub.core.files import expanded, is_there, near_paths, public_name, read_file
from learngene_hub.core.plain_yaml import load_yaml
from learngene_hub.recipe.sections import (
    AncestrySection,
    ClassesSection,
    CriticSection,
    DataSection,
    EvolutionSection,
    GeneSection,
    NetworkSection,
    SearchSection,
    Section,
)

MOST = 250_000  # bytes of a recipe: YAML takes seconds for more
MOST_FAULTS = 20  # faults listed
NO_SECTIONS = {str: "text without a key; write a space after each colon", list: "a list", type(None): "nothing"}
RETIRED: dict[str, Container[Any]] = {
    "backend": ("auto", "loop"),
    "ancestry.circuit_loss": (0,),
    "ancestry.schedule": ("two-speed",),
    "evolution.recombination": ("none",),
    "gene.cross": ("zero",),
    "search.finalists": (3,),
    "search.generations": (1,),
    "search.tournament_size": range(2, 4097),  # with more than one generation only
}
"""Key of older recipes that is dropped -> the values that change nothing."""
PLACES = (("data", "path"), ("evolution", "ancestor"))
"""Keys of what may be a path on this machine."""
PRIVATE = re.compile(r"[/\\~#]")  # in what may tell a path, or have a comment
EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "at most 64 lower-case letters, digits, dots and dashes, a letter or digit first",
    "finite_number": "a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type"), "a section of keys, each with a value"),
    "string_type": "text",
    "string_too_short": "text",
    "invalid_key": "text as a key; put it in quotes",
}
"""Type of a fault, as pydantic calls it -> what was expected; the words in braces are its context."""


class Recipe(Section):
    """One evolution in full. `Recipe.from_file` reads it; `text` and `overrides` keep what was read."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="name of the evolution: lower-case letters, digits, dots, dashes",
    )
    network: NetworkSection = NetworkSection()
    gene: GeneSection = GeneSection()
    data: DataSection
    search: SearchSection = SearchSection()
    evolution: EvolutionSection = EvolutionSection()
    ancestry: AncestrySection = AncestrySection()
    critic: CriticSection = CriticSection()
    seed: int = Field(0, ge=0, lt=2**63, description="random seed of everything but the choice of classes")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number type of convolutions and products; auto: bfloat16 where the device has it; on NVIDIA GPUs "
        "float32 convolutions use TF32, unless NVIDIA_TF32_OVERRIDE=0 is set",
    )

    @model_validator(mode="after")
    def _ways_fit(self) -> Self:
        classes, faults = self.data.classes or ClassesSection(), []
        for key, ways, role, named in (
            ("ancestry.ways", self.ancestry.ways, "base", classes.base),
            ("critic.ways", self.critic.ways, "held-out", classes.held_out),
        ):
            count = named if isinstance(named, int) else len(named)
            if ways > count:
                faults.append(
                    f"{key}: {ways} classes per task, but the recipe has {count} {role} classes; give at most {count}"
                    if count > 1
                    else f"data.classes: expected 2 or more {role} classes, found {count}"
                )
        if faults:
            raise ValueError("; and ".join(faults))
        return self

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if self.evolution.ancestor is not None and self.gene.shape == "evolve":
            raise ValueError(
                "gene.shape: found 'evolve', but there is no search for a shape with evolution.ancestor: leave "
                "gene.shape out to keep the shape of that gene, or list channels to make it larger"
            )
        return self

    _text: str | None = PrivateAttr(None)
    _overrides: tuple[str, ...] = PrivateAttr(())
    _lost: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> "Recipe":
        """Read the YAML recipe at `path`, apply `key=value` overrides, check everything.

        Args:
            path: a YAML file, or the name of a shipped recipe such as `demo`.
            overrides: dotted keys with YAML values, such as `evolution.population=4`.

        Raises:
            RecipeError: no such file or recipe, not YAML, or faults in the recipe, all listed.
        """
        file = _locate(path)
        try:
            return cls.from_content(read_file(file, most=MOST), overrides, file=file)
        except OSError as error:
            raise RecipeError(f"{file}: cannot be read: {error}") from None

    @classmethod
    def from_content(cls, written: bytes, overrides: Sequence[str] = (), *, file: Path) -> "Recipe":
        """The recipe with the content `written` of `file`, after overrides; everything is checked.

        Raises:
            RecipeError: the content is too long, not YAML, or has faults, all listed.
        """
        if len(written) > MOST:
            raise RecipeError(f"{file}: expected a recipe of at most {MOST:,} bytes, found {len(written):,}")
        try:
            text = written.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"{file}: cannot be read as UTF-8 text: {error}") from None
        content = _parse(text, file)
        for override in overrides:
            _apply(content, override)
        recipe = cls.from_mapping(content, where=str(file), overrides=overrides)
        recipe._text, recipe._overrides = text, tuple(overrides)
        return recipe

    @classmethod
    def from_mapping(
        cls, content: Mapping[str, Any], *, where: str = "recipe", overrides: Sequence[str] = ()
    ) -> "Recipe":
        """Check a nested mapping. Errors call it `where` and name the `overrides` that are at fault.

        Raises:
            RecipeError: every fault, one per line, with its key, what was expected and what was found.

        Warns:
            LearngeneWarning: retired fields have values that are no longer supported; they are ignored.
        """
        content, retired = _without_retired(content)
        if retired:
            told = ", ".join(f"{key}={value!r:.60}" for key, value in retired.items())
            warning = f"{where}: this version no longer supports {told}; ignored"
            warnings.warn(warning, LearngeneWarning, stacklevel=2)
        try:
            recipe = cls.model_validate(content)
        except ValidationError as error:
            faults = error.errors()
            lines = [f"\n  {_describe(fault)}{_given(fault, overrides)}" for fault in faults[:MOST_FAULTS]]
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            count += f", the first {MOST_FAULTS}" if len(faults) > MOST_FAULTS else ""
            raise RecipeError(f"{where}: {count}{''.join(lines)}") from None
        recipe._lost = retired
        return recipe

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; after an `update`, which pydantic does not check, `text` is written from the fields."""
        copied = super().model_copy(update=update, deep=deep)
        if update:
            copied._text, copied._overrides = None, ()
        return copied

    @property
    def text(self) -> str:
        """The YAML that this recipe was read from, verbatim; if made in Python, YAML written from its fields."""
        if self._text is not None:
            return self._text
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @property
    def public_text(self) -> str:
        """The given fields as YAML that may be published: paths on this machine are cut to their last part."""
        content = self.model_dump(mode="json", exclude_unset=True)
        for section, key in PLACES:
            if (content.get(section) or {}).get(key):
                content[section][key] = public_name(content[section][key])
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    @property
    def public_overrides(self) -> tuple[str, ...]:
        """`overrides` with such paths cut likewise; none up to the last one that may tell another path, or a comment.

        Nothing is lost, since `public_text` has their effect.
        """
        told = [_public(override) for override in self.overrides]
        return tuple(told[max((place for place, one in enumerate(told, start=1) if not one), default=0) :])

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `key=value` overrides applied on top of `text`."""
        return self._overrides

    @property
    def lost(self) -> Mapping[str, Any]:
        """Retired key -> its value, where the recipe that was read asked for what this version does not support."""
        return self._lost

    @property
    def sha256(self) -> str:
        """Hash of all fields, defaults and overrides included; equal recipes have equal hashes."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def differences(self, other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Dotted keys whose values differ from those of the dumped recipe `other`, as (here, there).

        A key that `other` does not know yet, as it was dumped by an older version, has its default there. One that is
        not supported any more differs, but for those of a search, which is over.
        """
        known = type(self).from_mapping(other, where="the recipe of the run")
        here, there = (dict(_flatten(recipe.model_dump(mode="json"))) for recipe in (self, known))
        there |= {key: value for key, value in known.lost.items() if not key.startswith("search.")}
        return {
            key: (here.get(key), there.get(key)) for key in sorted({*here, *there}) if here.get(key) != there.get(key)
        }


def name_of(file: Path) -> str:
    """A valid name of an evolution, made from the name of its recipe `file`; empty if no valid character is left.

    >>> name_of(Path("My photos.yaml"))
    'my-photos'
    """
    return re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._")[:64]


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe that comes with the package, found in its folder."""
    installed = Path(__file__).parents[1] / "recipes"
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_fields() -> dict[str, FieldInfo]:
    """Dotted key -> field, of every key a recipe may have."""
    return dict(_fields_of(Recipe))


def _locate(path: str | Path) -> Path:
    file = expanded(path)
    if is_there(file) and file.is_file():
        return file
    shipped = shipped_recipes()
    if str(path) in shipped:
        return shipped[str(path)]
    near = near_paths(file, lambda entry: entry.suffix in {".yaml", ".yml"})
    hint = suggestion([*near, *difflib.get_close_matches(Path(path).stem, shipped, n=1)])
    found = "a folder" if is_there(file) else "neither"
    raise RecipeError(
        f"{path!s:.200}: expected a recipe file or the name of a shipped recipe, found {found}"
        f"{hint or '; `learngene recipes list` shows the shipped recipes'}"
    )


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        content = load_yaml(text)
    except ValueError as error:
        raise RecipeError(f"{file}: expected YAML, found: {error}") from None
    if not isinstance(content, dict):
        found = NO_SECTIONS.get(type(content), "a single value")
        raise RecipeError(f"{file}: expected sections such as `network:` and `data:`, found {found}")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        example = f"{override}=..." if override in recipe_fields() else "evolution.population=4"
        raise RecipeError(f"override {override!r:.200}: expected key=value, such as {example}")
    *parents, leaf = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            inner = content[parent] = {}
        content = inner
    try:
        content[leaf] = load_yaml(value)
    except ValueError:
        raise RecipeError(
            f"override {override!r:.200}: the value is not YAML; quote it if it contains `:` or `[`"
        ) from None


def _without_retired(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """A copy without `RETIRED` keys, and those of them whose values are no longer supported."""
    kept, lost = copy.deepcopy(dict(content)), dict[str, Any]()
    for key, harmless in RETIRED.items():
        *parents, leaf = key.split(".")
        section: Any = kept
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if isinstance(section, dict) and leaf in section and (value := section.pop(leaf)) not in harmless:
            lost[key] = value
    return kept, lost


def _near(key: str) -> list[str]:
    """The fields and sections whose last part is most like that of `key`: those of its own section, if any."""
    section, _, leaf = key.rpartition(".")
    paths = [field.split(".") for field in recipe_fields()]
    known = [*dict.fromkeys(".".join(path[:end]) for path in paths for end in range(1, len(path) + 1))]
    like = difflib.get_close_matches(leaf, {name.rpartition(".")[2] for name in known}, n=1)
    near = [name for name in known if name.rpartition(".")[2] in like]
    return [name for name in near if section and name.rpartition(".")[0] == section] or near


def _describe(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        name, *value = re.split(r"[:\s]\s*", str(fault["loc"][-1]), maxsplit=1)
        if value:  # YAML takes {width:0.5} and {width 0.5} for keys of these names
            return f"{key}: no such key; write a colon and a space after the key, `{name}: {value[0]}`"
        near = _near(key)
        return f"{key}: no such key{suggestion(near)}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    if fault["type"] == "value_error":  # ours, which say themselves what was found
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    expected = EXPECTED.get(fault["type"])
    expectation = fault["msg"] if expected is None else f"expected {expected.format(**fault.get('ctx', {}))}"
    return f"{key}: {expectation}, found {fault['input']!r:.60}"


def _given(fault: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Names the override that gave the value at fault, if one did."""
    key = ".".join(map(str, fault["loc"])) + "."
    by = next((change for change in reversed(overrides) if key.startswith(f"{change.partition('=')[0]}.")), None)
    return "" if by is None else f" (from the override {by:.80}, not from the file)"


def _public(override: str) -> str:
    """The override as it may be published; empty if it may not."""
    key, _, value = override.partition("=")
    if tuple(key.split(".")) in PLACES and (place := load_yaml(value)):
        return f"{key}={public_name(str(place))}"
    return "" if PRIVATE.search(value) else override


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kinds = getattr(field.annotation, "__args__", (field.annotation,))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None:
            yield prefix + name, field
        else:
            yield from _fields_of(inner, f"{prefix}{name}.")
