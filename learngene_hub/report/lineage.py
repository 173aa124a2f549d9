"""Lineage from the rows of `metrics.jsonl`, and the layout of its tree: one row per generation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learngene_hub.report.numbers import percent

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


MOST = 400  # individuals drawn
_COLUMN, _ROW, _RADIUS = 54, 92, 15
_LEFT, _TOP, _CAPTION = 44, 26, 36  # the caption ends so far below the middle of its individual


@dataclass(frozen=True)
class Node:
    """An individual in the tree: `kinds` are classes of its look, `words` what is said of it."""

    id: int
    generation: int
    parents: tuple[int, ...]
    x: float
    y: float
    fitness: str
    kinds: str
    words: str


@dataclass(frozen=True)
class Link:
    """A line from a parent to a child; `path` is SVG's."""

    parent: int
    child: int
    path: str
    is_line: bool


@dataclass(frozen=True)
class Tree:
    """The drawing: `rows` are names of generations and their height, `left_out` counts who is not drawn.

    `key` has the kinds of individuals that are drawn, each with what it means.
    """

    width: int
    height: int
    radius: int
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    rows: tuple[tuple[str, float], ...]
    key: tuple[tuple[str, str], ...]
    left_out: int


_MEANINGS = {  # the first that fits is how an individual looks
    "chosen": "result",
    "line": "its ancestors",
    "survived": "survived",
    "eliminated": "eliminated",
    "failed": "training failed",
}


def tree(rows: Sequence[Record], chosen: int) -> Tree:
    """The tree of an evolution, the line of the individual `chosen` marked.

    Where there are more than `MOST` individuals, those that were eliminated are left out. If that is not enough, so are
    all but the line of the chosen one, of which the youngest `MOST` are drawn.
    """
    line, born = line_of(chosen, rows), sum(len(row["individuals"]) for row in rows)
    children = Counter(parent for row in rows for record in row["individuals"] for parent in set(record["parents"]))
    drawn, positions = _placed(_shown(rows, line))
    nodes = [
        _node(record, row["generation"], positions[record["id"]], line, chosen, children[record["id"]])
        for row, shown in drawn
        for record in shown
    ]
    looks = {next(kind for kind in _MEANINGS if kind in node.kinds.split()) for node in nodes}
    return Tree(
        width=_LEFT + _COLUMN * max(len(shown) for _, shown in drawn) + 8,
        height=_TOP + _ROW * (len(drawn) - 1) + 48,
        radius=_RADIUS,
        nodes=tuple(nodes),
        links=tuple(
            _link(parent, node, positions, line) for node in nodes for parent in node.parents if parent in positions
        ),
        rows=tuple((str(row["generation"] + 1), _TOP + _ROW * depth) for depth, (row, _) in enumerate(drawn)),
        key=tuple((kind, words) for kind, words in _MEANINGS.items() if kind in looks),
        left_out=born - len(nodes),
    )


def _shown(rows: Sequence[Record], line: set[int]) -> list[tuple[Record, list[Record]]]:
    """The generations with those of them that are drawn, at least one each.

    The ancestors of a survivor all survived, so no line leads to nowhere.
    """
    born = [(record, row) for row in rows for record in row["individuals"]]
    if len(born) > MOST:
        born = [(record, row) for record, row in born if record["survived"] or record["id"] in line]
    if len(born) > MOST:
        born = [(record, row) for record, row in born if record["id"] in line][-MOST:]
    shown: dict[int, tuple[Record, list[Record]]] = {}
    for record, row in born:
        shown.setdefault(row["generation"], (row, []))[1].append(record)
    return list(shown.values())


def _placed(
    drawn: Sequence[tuple[Record, list[Record]]],
) -> tuple[list[tuple[Record, list[Record]]], dict[int, tuple[float, float]]]:
    """The same, each generation from left to right, and id -> position."""
    positions: dict[int, tuple[float, float]] = {}
    ordered, widest = [], max(len(individuals) for _, individuals in drawn)
    for depth, (row, individuals) in enumerate(drawn):
        ordered.append((row, _ordered(individuals, positions)))
        for slot, record in enumerate(ordered[-1][1]):
            x = _LEFT + _COLUMN * (slot + (widest - len(individuals)) // 2 + 0.5)
            positions[record["id"]] = x, _TOP + _ROW * depth
    return ordered, positions


def _ordered(individuals: Sequence[Record], positions: Mapping[int, tuple[float, float]]) -> list[Record]:
    """From left to right as their parents are, so that few lines cross."""

    def position(record: Record) -> tuple[float, int]:
        parents = record["parents"]
        return positions.get(parents[0], (0.0, 0.0))[0] if parents else 0.0, record["id"]

    return sorted(individuals, key=position)


def _node(
    record: Record, generation: int, position: tuple[float, float], line: set[int], chosen: int, children: int
) -> Node:
    fitness = "failed" if record["fitness"] is None else percent(record["fitness"])
    kinds = ["survived" if record["survived"] else "failed" if record["fitness"] is None else "eliminated"]
    kinds += ["line"] * (record["id"] in line) + ["chosen"] * (record["id"] == chosen)
    words = _words(record, generation, children)
    return Node(record["id"], generation, tuple(record["parents"]), *position, fitness, " ".join(kinds), words)


def _words(record: Record, generation: int, children: int) -> str:
    fitness = "its training failed" if record["fitness"] is None else f"fitness {percent(record['fitness'])} %"
    loss = f", training loss {record['loss']:.2f}" if record.get("loss") is not None else ""
    birth = f"child of {record['parents'][0]}" if record["parents"] else "inherited nothing"
    fate = "survived" if record["survived"] else "did not survive"
    offspring = f"{children or 'no'} {'child' if children == 1 else 'children'}"
    return f"Individual {record['id']}, generation {generation + 1}: {birth}; {fitness}{loss}; {fate}; {offspring}."


def _link(parent: int, child: Node, positions: Mapping[int, tuple[float, float]], line: set[int]) -> Link:
    """A line that begins below the parent's caption, and passes between the individuals of generations between."""
    (above, top), (below, bottom) = positions[parent], (child.x, child.y)
    top, bottom, free = top + _CAPTION, bottom - _RADIUS, _ROW - _CAPTION - _RADIUS
    if bottom - top == free:
        path = _curve(above, below, top, bottom)
    else:
        lane = below + (_COLUMN / 2 if above > below else -_COLUMN / 2)
        path = f"{_curve(above, lane, top, top + free)}V{bottom - free:g}{_curve(lane, below, bottom - free, bottom)}"
    return Link(parent, child.id, f"M{above:g} {top:g}{path}", parent in line and child.id in line)


def _curve(left: float, right: float, top: float, bottom: float) -> str:
    middle = (top + bottom) / 2
    return f"C{left:g} {middle:g} {right:g} {middle:g} {right:g} {bottom:g}"
