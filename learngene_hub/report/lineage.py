"""Where the individuals of an evolution lie in its tree: a row a generation, the oldest on top, in pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from learngene_hub.descent import Record, everyone, line_of
from learngene_hub.report.numbers import percent

MOST = 400  # individuals drawn
_COLUMN, _ROW, _RADIUS = 54, 84, 15
_LEFT, _TOP = 44, 26


@dataclass(frozen=True)
class Person:
    """An individual in the tree: `kinds` are classes of its look, `told` what is said when it is chosen."""

    id: int
    generation: int
    parents: tuple[int, ...]
    x: float
    y: float
    fitness: str
    kinds: str
    told: str


@dataclass(frozen=True)
class Link:
    """A line from a parent to a child; `path` is SVG's."""

    parent: int
    child: int
    path: str
    is_line: bool


@dataclass(frozen=True)
class Tree:
    """The drawing: `rows` are names of generations and their height, `left_out` counts who is not drawn."""

    width: int
    height: int
    radius: int
    people: tuple[Person, ...]
    links: tuple[Link, ...]
    rows: tuple[tuple[str, float], ...]
    left_out: int


def tree(rows: Sequence[Record], chosen: int) -> Tree:
    """The tree of an evolution, the line of the individual `chosen` marked.

    Where there are more than `MOST` individuals, those that were eliminated are left out, and if that is not enough all
    but the line of the chosen one.
    """
    line = line_of(chosen, rows)
    shown = _shown(rows, line)
    drawn = [(row, [one for one in everyone(row) if one["id"] in shown]) for row in rows]
    widest = max(len(people) for _, people in drawn)
    places: dict[int, tuple[float, float]] = {}
    for depth, (_, people) in enumerate(drawn):
        for slot, one in enumerate(_ordered(people, places)):
            x = _LEFT + _COLUMN * (slot + (widest - len(people) + 1) / 2)
            places[one["id"]] = x, _TOP + _ROW * depth
    persons = [_person(one, row, places, rows, chosen, line) for row, people in drawn for one in people]
    return Tree(
        width=_LEFT + _COLUMN * widest + 8,
        height=_TOP + _ROW * (len(rows) - 1) + 48,
        radius=_RADIUS,
        people=tuple(persons),
        links=tuple(_link(parent, one, places, line) for one in persons for parent in one.parents),
        rows=tuple((str(row["generation"] + 1), _TOP + _ROW * depth) for depth, row in enumerate(rows)),
        left_out=sum(len(everyone(row)) for row in rows) - len(persons),
    )


def _shown(rows: Sequence[Record], line: set[int]) -> set[int]:
    """Ids of those that are drawn; the ancestors of a survivor all survived, so no line leads to nowhere."""
    all_ = {one["id"] for row in rows for one in everyone(row)}
    survivors = {one["id"] for row in rows for one in everyone(row) if one["survived"]} | line
    return next((kept for kept in (all_, survivors) if len(kept) <= MOST), line)


def _ordered(people: Sequence[Record], places: Mapping[int, tuple[float, float]]) -> list[Record]:
    """From left to right as their parents are, so that few lines cross; a recombinant comes last."""

    def place(one: Record) -> tuple[float, int]:
        match one["parents"]:
            case []:
                return 0.0, one["id"]
            case [parent]:
                return places[parent][0], one["id"]
            case _:
                return math.inf, one["id"]

    return sorted(people, key=place)


def _person(
    one: Record,
    row: Record,
    places: Mapping[int, tuple[float, float]],
    rows: Sequence[Record],
    chosen: int,
    line: set[int],
) -> Person:
    fitness = "failed" if one["fitness"] is None else percent(one["fitness"])
    kinds = ["survived" if one["survived"] else "failed" if one["fitness"] is None else "eliminated"]
    kinds += ["line"] * (one["id"] in line) + ["chosen"] * (one["id"] == chosen)
    x, y = places[one["id"]]
    told = _told(one, row, sum(one["id"] in other["parents"] for later in rows for other in everyone(later)))
    return Person(one["id"], row["generation"], tuple(one["parents"]), x, y, fitness, " ".join(kinds), told)


def _told(one: Record, row: Record, children: int) -> str:
    fitness = "its training failed" if one["fitness"] is None else f"fitness {percent(one['fitness'])} %"
    loss = f", training loss {one['loss']:.2f}" if one.get("loss") is not None else ""
    match one["parents"]:
        case []:
            birth = "inherited nothing"
        case [parent]:
            birth = f"child of {parent}"
        case parents:
            birth = f"the average of {', '.join(map(str, parents[:-1]))} and {parents[-1]}"
    fate = "survived" if one["survived"] else "did not survive"
    offspring = f"{children or 'no'} {'child' if children == 1 else 'children'}"
    return f"Individual {one['id']}, generation {row['generation'] + 1}: {birth}; {fitness}{loss}; {fate}; {offspring}."


def _link(parent: int, child: Person, places: Mapping[int, tuple[float, float]], line: set[int]) -> Link:
    (above, top), (below, bottom) = places[parent], (child.x, child.y)
    if top == bottom:  # a recombinant and its parents
        path = f"M{above:g} {top + _RADIUS:g}Q{(above + below) / 2:g} {top + 3 * _RADIUS:g} {below:g} {top + _RADIUS:g}"
    else:
        middle = bottom - 0.6 * _ROW
        path = f"M{above:g} {top + _RADIUS:g}C{above:g} {middle:g} {below:g} {middle:g} {below:g} {bottom - _RADIUS:g}"
    return Link(parent, child.id, path, parent in line and child.id in line)
