"""Ancestors of an individual, from the rows of `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""A row, or an individual in it."""


def line_of(id_: int, rows: Sequence[Record]) -> set[int]:
    """The individual `id_` and all its ancestors."""
    parents = {record["id"]: record["parents"] for row in rows for record in row["individuals"]}
    waiting, line = [id_], set[int]()
    while waiting:
        if (member := waiting.pop()) not in line:
            line.add(member)
            waiting.extend(parents[member])
    return line
