"""Tables that the code itself fills: the fields of a recipe, and the protocols of an evaluation."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from learngene_hub.evaluation.protocols import PROTOCOLS
from learngene_hub.recipe.recipe import recipe_fields


def recipe_rows(_: str) -> Iterator[Sequence[str]]:
    """Every field of a recipe: what it is, its range, and its default."""
    yield "field", "what it is", "range", "default"
    for key, field in recipe_fields().items():
        default = "needed" if field.default is PydanticUndefined else f"`{_yaml(field.default)}`"
        yield f"`{key}`", field.description or "", _range(field), default


def protocol_rows(_: str) -> Iterable[Sequence[str]]:
    """Every protocol: its tasks, and when it measures."""
    yield (
        "protocol",
        "ways",
        "training images per class",
        "test images per class",
        "tasks per seed",
        "measured after steps",
    )
    for name, one in PROTOCOLS.items():
        measured = ", ".join(["prototype"] * one.prototype + [str(step) for step in one.measured_at])
        shots = "all others" if one.shots is None else str(one.shots)
        ways = "all" if one.ways is None else str(one.ways)
        yield f"`{name}`", ways, shots, str(one.queries), str(one.tasks), measured


def _yaml(value: object) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))


def _range(field: FieldInfo) -> str:
    """The values a field may have, in words."""
    schema = TypeAdapter(Annotated[field.annotation, field]).json_schema()
    found = {key: value for part in (schema, *schema.get("anyOf", ())) for key, value in part.items()}
    if "enum" in found:
        return ", ".join(f"`{one}`" for one in found["enum"])
    above, least, below, most = (found.get(f"{kind}imum") for kind in ("exclusiveMin", "min", "exclusiveMax", "max"))
    low = f"above {above:g}" if above is not None else f"{least:g}" if least is not None else ""
    high = f"below {below:,g}" if below is not None else f"{most:,.7g}" if most is not None else ""
    if high and (below or 0) < 2**60:
        return f"{low} to {high}"
    return low if above is not None else f"{low} or more" * bool(low)
