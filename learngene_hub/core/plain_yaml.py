"""Load YAML from untrusted files: only scalars, lists and mappings.

Safe loading alone runs no code, but lets a small text stand for a huge tree, takes the last of two equal keys, and has
constructors that fail in ways of their own.
"""

import re
from collections.abc import Sequence
from typing import Any, NoReturn

import yaml

# What PyYAML says of a fault -> the same in plain words, and what to write; the first that fits.
_PLAIN_WORDS = {
    r"found character '\\t'": "a tab before the text; indent with spaces",
    "cannot start any token": "a value begins with a character that has a meaning in YAML; put the value in quotes",
    "escape": "an unknown escape, a backslash in double quotes; use single quotes, or no backslash",
    "quoted scalar": "a quote is not closed; add the same quote after the text",
    "flow (mapping|sequence)": "a bracket is not closed, or a comma is missing; add } or ], or the comma",
    "found '[]}]'": "a closing bracket without an opening one; remove it",
    "expected <block end>": "the indentation does not fit the lines above; align it with the lines it belongs to",
    "could not find expected ':'": "a key without a colon; add a colon after it",
    "sequence entries are not allowed": "a dash after a key; write the list as [a, b]",
}
_AT_THE_BEGINNING = ("escape", "quoted scalar", "flow (mapping|sequence)", "could not find expected ':'")  # of those
_NO_SPACE = re.compile(r"\s*[\w-]+:[^\s/\\].*")  # `name:photos`, but no `https://...`

# What YAML's constructors raise for a value that does not fit its tag, such as the date 2024-99-99.
_UNFIT = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


class _Loader(yaml.SafeLoader):
    """A safe one that refuses aliases, repeated keys, merge keys and binary data."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name), which can make a small text huge; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if name in seen:
                raise yaml.YAMLError(f"the key {name!r:.80} occurs twice, line {node.start_mark.line + 1} and below")
            seen.add(name)
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError(f"a merge key (<<), line {node.start_mark.line + 1}; write its keys out")
        return super().construct_mapping(node, deep)

    def construct_yaml_binary(self, node: yaml.ScalarNode) -> NoReturn:
        raise yaml.YAMLError(f"binary data (!!binary), line {node.start_mark.line + 1}; write text")


_Loader.add_constructor("tag:yaml.org,2002:binary", _Loader.construct_yaml_binary)


def load_yaml(text: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """The value of a plain YAML text.

    >>> load_yaml("a: [1, x]")
    {'a': [1, 'x']}

    Raises:
        ValueError: it is not YAML, nested too deeply, or has an alias, a key twice, or a value unfit for its tag.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _UNFIT as error:
        is_marked = isinstance(error, yaml.MarkedYAMLError)  # str would draw a picture of the line, of several lines
        fault = _explained(error, text.splitlines()) if is_marked else str(error)  # type: ignore[arg-type]
        raise ValueError(" ".join(fault.split()) or type(error).__name__) from None


def _explained(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> str:
    """Where a fault of these `lines` is and what to write instead; in PyYAML's words, unless people often make it."""
    words = ", ".join(filter(None, (error.context, error.problem)))
    known = next((part for part in _PLAIN_WORDS if re.search(part, words)), None)
    marks = (error.context_mark, error.problem_mark)
    mark = next(filter(None, marks if known in _AT_THE_BEGINNING else reversed(marks)), None)
    if mark is None:
        return words
    if "mapping values are not allowed" in words:
        return _second_colon(lines, mark.line)
    return _at(lines, mark.line, words if known is None else _PLAIN_WORDS[known])


def _second_colon(lines: Sequence[str], number: int) -> str:
    """Why a colon may not be in the line of this `number`, counted from 0."""
    above = next((place for place in reversed(range(number)) if lines[place].split("#")[0].strip()), number)
    for place in (above, number):
        if _NO_SPACE.fullmatch(lines[place]):
            key, _, value = lines[place].strip().partition(":")
            return _at(lines, place, f"no space after the colon; write `{key}: {value}`")
    if above != number and _indent(lines[number]) > _indent(lines[above]):
        return _at(lines, number, f"indented more than line {above + 1}; begin both lines in the same column")
    return _at(
        lines, number, "one colon too many; write one key per line, and put text that contains a colon in quotes"
    )


def _at(lines: Sequence[str], number: int, fault: str) -> str:
    """What is wrong in the line of this `number`, which is shown."""
    shown = lines[number].strip() if number < len(lines) else ""
    return f"line {number + 1}{f', `{shown:.60}`' if shown else ''}: {fault}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
