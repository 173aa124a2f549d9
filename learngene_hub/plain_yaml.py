"""YAML from anyone: scalars, lists and mappings, and nothing that surprises.

Safe loading alone runs no code, but lets a small text stand for a huge tree, takes the last of two equal keys, and has
constructors that fail in ways of their own.
"""

from typing import Any

import yaml

# What YAML's constructors raise for a value that does not fit its tag, such as the date 2024-99-99.
_UNFIT = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name), by which a small text becomes a huge one; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if name in seen:
                raise yaml.YAMLError(f"the key {name!r:.80} twice, line {node.start_mark.line + 1} and below")
            seen.add(name)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """What plain YAML says.

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
        fault = " ".join(str(error).split()) or type(error).__name__
        hint = "; write a backslash in single quotes, or none" if "unknown escape" in fault else ""
        raise ValueError(f"{fault}{hint}") from None
