"""Tables that the code itself fills: the fields of a recipe, and the protocols of an evaluation."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args, get_origin

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
        measured = ", ".join(["without training"] * one.prototype + [str(step) for step in one.measured_at])
        shots = "all others" if one.shots is None else str(one.shots)
        ways = "all" if one.ways is None else str(one.ways)
        yield f"`{name}`", ways, shots, str(one.queries), str(one.tasks), measured


def _yaml(value: object) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))


def _range(field: FieldInfo) -> str:
    """The values a field may have, in words."""
    if choices := _choices(field.annotation):
        return ", ".join(f"`{one}`" for one in choices)
    names = ("gt", "ge", "lt", "le")
    bounds = [*field.metadata, *_bounds(field.annotation)]
    found = {name: getattr(one, name) for one in bounds for name in names if hasattr(one, name)}
    low = f"above {found['gt']:g}" if "gt" in found else f"{found['ge']:g}" if "ge" in found else ""
    high = f"below {found['lt']:,g}" if "lt" in found else f"{found['le']:,.7g}" if "le" in found else ""
    if high and found.get("lt", 0) < 2**60:
        return f"{low} to {high}"
    return low if "gt" in found else f"{low} or more" * bool(low)


def _bounds(annotation: object) -> Iterator[object]:
    """What an optional number is bounded by."""
    for one in get_args(annotation):
        for bound in getattr(one, "__metadata__", ()):
            yield from getattr(bound, "metadata", (bound,))


def _choices(annotation: object) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for one in get_args(annotation) if (found := _choices(one))), ())
