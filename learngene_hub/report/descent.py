"""Who descends from whom in an evolution, as the rows of `metrics.jsonl` tell it."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""A row, or an individual in it."""


def everyone(row: Record) -> list[Record]:
    """The individuals of a generation; last, in a run of an older version, the average of its survivors."""
    return [*row["individuals"], *([row["recombinant"]] if row.get("recombinant") else [])]


def line_of(id_: int, rows: Sequence[Record]) -> set[int]:
    """The individual `id_` and all its ancestors."""
    parents = {one["id"]: one["parents"] for row in rows for one in everyone(row)}
    waiting, found = [id_], set[int]()
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting.extend(parents[one])
    return found
