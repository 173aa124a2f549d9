"""`metrics.jsonl`: a row for every generation; the first row also tells what came before it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import homes_of, read_inside, write_text
from learngene_hub.gene.config import MOST_WIDTH
from learngene_hub.gene.folder import METRICS_NAME

MOST_GROUPS = 200  # channel groups of a network
MOST_PARENTS = 4096  # of the mean of a search
MOST_METRICS = 10**9  # bytes of `metrics.jsonl`: a million rows of a small population
Number = Annotated[int, Field(ge=0, lt=2**63)]


class Part(BaseModel):
    """Part of a file of a run, in JSON: checked strictly; keys that are not known are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, strict=True)


class _BirthRow(Part):
    """What a row says of an individual."""

    id: Number
    parents: list[Number]
    fitness: float | None = Field(ge=0, le=1)
    survived: bool
    loss: float | None = None


class _EngineRow(Part):
    """What a row says of the workers."""

    place: str
    retried: Number


class _ShapeRow(Part):
    """What a row says of a shape."""

    id: Number
    parents: list[Number] = Field(max_length=MOST_PARENTS)
    channels: list[Annotated[int, Field(ge=1, le=2**14)]] = Field(max_length=MOST_GROUPS)
    fitness: float | None = Field(ge=0, le=1)


class _SearchRow(Part):
    """What the first row says of the search for the gene's shape."""

    width: float = Field(gt=0, le=MOST_WIDTH)
    groups: list[Annotated[str, Field(max_length=100)]] = Field(min_length=1, max_length=MOST_GROUPS)
    channels: list[Annotated[int, Field(ge=1, le=2**14)]]
    shapes: list[_ShapeRow] = Field(min_length=1)
    mean: _ShapeRow
    even: _ShapeRow
    best: _ShapeRow
    images: Number
    seconds: float = Field(ge=0)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        everyone = (*self.shapes, self.mean, self.even, self.best)
        if {len(shape.channels) for shape in everyone} | {len(self.channels)} != {len(self.groups)}:
            raise ValueError("expected one number for each group in every shape")
        if self.best.fitness is None or self.best not in (self.mean, self.even):
            raise ValueError("the best shape is neither the mean nor the even shape")
        if all(shape.fitness is None for shape in self.shapes):
            raise ValueError("every shape failed")
        known = set[int]()
        for shape in (*self.shapes, self.mean, self.even):
            if shape.id in known or not known.issuperset(shape.parents):
                raise ValueError(f"shape {shape.id} occurs twice, or before one of its parents")
            known.add(shape.id)
        if self.even.parents or not self.mean.parents:
            raise ValueError("expected a mean with parents, and an even shape without parents")
        return self


class _AncestorRow(Part):
    """What the first row says of the gene that the line began from."""

    name: str
    images: Number | None


class _Row(Part):
    """One line of `metrics.jsonl`, as far as anything depends on it."""

    generation: Number
    best: float = Field(ge=0, le=1)
    mean: float = Field(ge=0, le=1)
    failed: Number
    images: Number
    seconds: float = Field(ge=0)
    engine: _EngineRow
    best_id: Number
    individuals: list[_BirthRow]
    search: _SearchRow | None = None
    ancestor: _AncestorRow | None = None


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`, without a last line that a kill cut short.

    Raises:
        RunError: the file cannot be read, or a line is not a row, or a row of another version.
    """
    path = out / METRICS_NAME
    if not path.exists():
        return []
    try:
        content = read_inside(path, homes_of(out), most=MOST_METRICS)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error}); restore the file") from None
    return metrics_rows(content, path)


def metrics_rows(content: bytes, path: Path) -> list[dict[str, Any]]:
    """The rows of the `metrics.jsonl` at `path` with this `content`, without a last line that was cut short.

    Raises:
        RunError: a line is not a row, or a row of another version.
    """
    lines = content.splitlines(keepends=True)
    rows = [_row(line) for line in lines]
    if lines and rows[-1] is None and not lines[-1].endswith(b"\n"):
        rows.pop()
    if None in rows:
        raise RunError(
            f"{path}, line {rows.index(None) + 1}: expected the row of a generation, found a damaged row, or a row of "
            "another version of learngene-hub; restore the file, or use that version"
        )
    return [row for row in rows if row is not None]


def truncate_metrics(out: Path, generation: int) -> None:
    """Keep the rows of generations before `generation`: the others will be run again.

    Raises:
        RunError: a row before `generation` is missing, or the rows lack an ancestor.
    """
    rows = [row for row in read_metrics(out) if row["generation"] < generation]
    if [row["generation"] for row in rows] != list(range(generation)):
        raise RunError(f"{out / METRICS_NAME}: expected a row for each of {generation} generations; restore the file")
    check_lineages(rows, out / METRICS_NAME)
    write_text(out / METRICS_NAME, "".join(json.dumps(row) + "\n" for row in rows))


def check_lineages(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Check that no individual is missing in `rows` of the file `path`: parents come before their children.

    Raises:
        RunError: a parent, or the best of a generation, is in none of the rows before.
    """
    known: set[int] = set()
    for row in rows:
        missing = {parent for record in row["individuals"] for parent in record["parents"]} - known
        known |= {record["id"] for record in row["individuals"] if record["fitness"] is not None}
        if missing := missing | ({row["best_id"]} - known):
            raise RunError(f"{path}: expected a row with individual {min(missing)}, found none; restore the file")


def metrics_sha256(out: Path, generation: int) -> str:
    """Hash of the rows before `generation`."""
    path = out / METRICS_NAME
    lines = read_inside(path, homes_of(out), most=MOST_METRICS).splitlines()[:generation] if path.exists() else []
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _row(line: bytes) -> dict[str, Any] | None:
    """What a line says, all keys kept; None if it is damaged."""
    try:
        _Row.model_validate_json(line)
        row: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row
