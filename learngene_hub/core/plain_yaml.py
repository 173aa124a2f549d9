"""YAML from anyone: scalars, lists and mappings, and nothing that surprises.

Safe loading alone runs no code, but lets a small text stand for a huge tree, takes the last of two equal keys, and has
constructors that fail in ways of their own.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import yaml
from yaml.composer import Composer

# What YAML's constructors raise for a value that does not fit its tag, such as the date 2024-99-99.
_UNFIT = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


class _Plain:
    """What our loaders refuse beyond a safe one; they inherit from this and from that."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # type: ignore[attr-defined]
            raise yaml.YAMLError("an alias (*name), by which a small text becomes a huge one; write the value out")
        return super().compose_node(parent, index)  # type: ignore[misc,no-any-return]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if name in seen:
                raise yaml.YAMLError(f"the key {name!r:.80} twice, line {node.start_mark.line + 1} and below")
            seen.add(name)
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError(f"<<, a mapping within another, line {node.start_mark.line + 1}; write its keys out")
        return super().construct_mapping(node, deep)  # type: ignore[misc,no-any-return]


class _Loader(_Plain, yaml.SafeLoader):
    """In Python."""


class _Fast(_Plain, Composer, getattr(yaml, "CSafeLoader", object)):  # type: ignore[misc]
    """With the scanner and the parser in C, where PyYAML has them; its messages say less."""

    def __init__(self, text: str) -> None:
        super().__init__()
        yaml.CSafeLoader.__init__(self, text)


def _refuse_bytes(_: Any, node: yaml.Node) -> NoReturn:  # noqa: ANN401
    raise yaml.YAMLError(f"!!binary, line {node.start_mark.line + 1}; write text")


_Loader.add_constructor("tag:yaml.org,2002:binary", _refuse_bytes)
if yaml.__with_libyaml__:
    _Fast.add_constructor("tag:yaml.org,2002:binary", _refuse_bytes)


def load_yaml(text: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """What plain YAML says.

    >>> load_yaml("a: [1, x]")
    {'a': [1, 'x']}

    Raises:
        ValueError: it is not YAML, nested too deeply, or has an alias, a key twice, or a value unfit for its tag.
    """
    try:
        if yaml.__with_libyaml__:
            with suppress(RecursionError, *_UNFIT):  # which the other one describes
                return yaml.load(text, _Fast)
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _UNFIT as error:
        fault = str(error)
        if isinstance(error, yaml.MarkedYAMLError):  # without its picture of the line, which takes several to draw
            mark = error.problem_mark or error.context_mark
            position = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
            fault = position + ", ".join(filter(None, (error.context, error.problem)))
        fault = " ".join(fault.split()) or type(error).__name__
        hint = "; write a backslash in single quotes, or none" if "unknown escape" in fault else ""
        raise ValueError(f"{fault}{hint}") from None


def with_changed_text(text: str, keys: Sequence[str], change: Callable[[str], str]) -> str:
    """Plain YAML with the text at `keys` changed, everything else as it was written; as it is where no text stands.

    >>> with_changed_text("{a: {b: old}}  # a remark", ["a", "b"], str.upper)
    '{a: {b: OLD}}  # a remark'

    Raises:
        ValueError: as `load_yaml` does.
    """
    load_yaml(text)
    node = yaml.compose(text, _Loader)
    for key in keys:
        entries = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for name, value in entries if name.value == key), None)
    if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":str") or node.value == change(node.value):
        return text
    old = text[node.start_mark.index : node.end_mark.index]  # of a block, with the white space behind it
    end = node.start_mark.index + len(old.rstrip())
    return text[: node.start_mark.index] + _written(change(node.value)) + text[end:]


def _written(value: str) -> str:
    """A text as YAML that means it anywhere, unquoted where that is plain."""
    if value.replace("_", "").isalnum() and load_yaml(value) == value:
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf).strip()
