"""The state of an evolution on disk, after every generation, and whole at any moment.

The pool's tensors go to a file named after the generation; `state.json` then takes its new place in one step and
names that file with its sha256. A kill between the two leaves the old pair in force. The state carries checksums of
itself and of the metrics so far, too; that of the generation before stays beside it, for when it is damaged.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from torch import Tensor

from learngene_hub.core import files
from learngene_hub.core.errors import NetworkError, RecipeError, RunError, first_fault
from learngene_hub.core.files import append_line, atomic_path, leads_out, parse_json, read_file, write_text
from learngene_hub.core.store import CHECKSUM, is_sealed, sealed
from learngene_hub.evolution.ancestor import Ancestor, line_channels
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.evolution.plan import ancestor_body, gene_shape, network_body, recipe_channels
from learngene_hub.gene.config import MOST_WIDTH
from learngene_hub.gene.folder import METRICS_NAME, read_tensors, write_tensors
from learngene_hub.genome.birth import body_channels
from learngene_hub.genome.genome import Genome
from learngene_hub.networks import plan_structure
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.lineage import everyone
from learngene_hub.training.loop import Precision

STATE_FOLDER = "state"
STATE_NAME = "state.json"
BEFORE_NAME = "before.json"  # the state of the generation before
MOST_STATE = 10**8  # bytes of `state.json`
MOST_GROUPS = 200  # channel groups of a network
MOST_FINALISTS = 1000  # of a search
MOST_HEADER = 10**5  # bytes that name the tensors of one gene in the pool's file
MOST_METRICS = 10**9  # bytes of `metrics.jsonl`: a million rows of a small population
MORE_ROOM = 2 * 10**6  # bytes for metrics, pictures, pages and cards
POOLS = 3  # on the disk at once: of the generation before, the last one, and the one that is being written
Number = Annotated[int, Field(ge=0, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, strict=True)


class _IndividualRecord(_Part):
    """One member of the pool; see `Individual`."""

    id: Number
    generation: Number
    parents: list[Number]
    ancestors: dict[Annotated[str, Field(pattern=r"^[0-9]{1,18}$")], Number]
    fitness: float = Field(ge=0, le=1)
    score: float = Field(ge=0)
    sizes: dict[str, Annotated[int, Field(ge=1, le=2**14)]] | None = None  # as the recipe says, in an older run


class _StateRecord(_Part):
    """`state.json`; see `EvolutionState`."""

    generation: Number
    next_id: Number
    images: Number
    seconds: float = Field(ge=0)
    precision: Precision | None = None  # one from before it was kept: it is settled when the run is resumed
    pool: list[_IndividualRecord] = Field(min_length=1)
    pool_file: str = Field(pattern=r"^pool-[0-9]{6,12}\.safetensors$")
    pool_sha256: str
    metrics_sha256: str | None = None  # a run from before it was kept
    recipe: dict[str, Any]
    classes: dict[str, list[str]]
    fingerprints: dict[str, str] = {}  # a run from before they were kept has none
    threads: int | None = None  # likewise
    ancestor: dict[str, Any] | None = None


class _BirthRow(_Part):
    """What the metrics say of an individual."""

    id: Number
    parents: list[Number]
    fitness: float | None = Field(ge=0, le=1)
    survived: bool
    loss: float | None = None


class _EngineRow(_Part):
    """What they say of the engine."""

    place: str
    retried: Number = 0


class _ShapeRow(_Part):
    """What they say of a shape."""

    id: Number
    generation: Number
    parents: list[Number] = Field(max_length=2)
    channels: list[Annotated[int, Field(ge=1, le=2**14)]] = Field(max_length=MOST_GROUPS)
    fitness: float | None = Field(ge=0, le=1)


class _SearchRow(_Part):
    """What they say of the search for the gene's shape."""

    width: float = Field(gt=0, le=MOST_WIDTH)
    groups: list[Annotated[str, Field(max_length=100)]] = Field(min_length=1, max_length=MOST_GROUPS)
    channels: list[Annotated[int, Field(ge=1, le=2**14)]]
    shapes: list[_ShapeRow] = Field(min_length=1)
    finalists: list[_ShapeRow] = Field(max_length=MOST_FINALISTS)
    even: _ShapeRow
    best: _ShapeRow
    begins_line: bool = False
    images: Number
    seconds: float = Field(ge=0)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        everyone = (*self.shapes, *self.finalists, self.even, self.best)
        if {len(shape.channels) for shape in everyone} | {len(self.channels)} != {len(self.groups)}:
            raise ValueError("expected one number for each group in every shape")
        if self.best.fitness is None or self.best not in (*self.finalists, self.even):
            raise ValueError("the best shape is none of the finalists")
        born = [shape.generation for shape in self.shapes]
        if born[0] != 0 or not all(later - earlier in {0, 1} for earlier, later in pairwise(born)):
            raise ValueError("the generations of the shapes are not 0, 1, 2...")
        if all(shape.fitness is None for shape in self.shapes if shape.generation == 0):
            raise ValueError("every shape of the first generation failed")
        known = {self.even.id}
        for shape in self.shapes:
            if not known.issuperset(shape.parents):
                raise ValueError(f"shape {shape.id} descends from none that was there before")
            known.add(shape.id)
        if self.even.parents or not known.issuperset(shape.id for shape in self.finalists):
            raise ValueError("a finalist is none of the shapes")
        return self


class _AncestorRow(_Part):
    """What they say of the gene that the line began from."""

    name: str
    images: Number | None


class _Row(_Part):
    """One line of `metrics.jsonl`, as far as anything depends on it."""

    generation: Number
    best: float = Field(ge=0, le=1)
    mean: float = Field(ge=0, le=1)
    failed: Number
    images: Number
    seconds: float = Field(ge=0)
    engine: _EngineRow | None = None
    best_id: Number
    individuals: list[_BirthRow]
    search: _SearchRow | None = None
    ancestor: _AncestorRow | None = None
    recombinant: _BirthRow | None = None  # of a run of a version that averaged survivors


def has_state(out: Path) -> bool:
    """Whether `out` holds the state of an evolution, damaged perhaps."""
    return any((out / STATE_FOLDER / name).is_file() for name in (STATE_NAME, BEFORE_NAME))


@dataclass(frozen=True)
class RunInputs:
    """What a run goes on in, apart from its recipe.

    Attributes:
        classes: role -> their names.
        fingerprints: role -> hash of its images; empty: a run of an older version did not keep them.
        threads: of torch in the process of the driver; None: likewise.
        ancestor: key of the gene that the line begins from; None: it begins from nothing.
    """

    classes: Mapping[str, Sequence[str]]
    fingerprints: Mapping[str, str]
    threads: int | None
    ancestor: Mapping[str, Any] | None = None


def check_room_for(out: Path, recipe: Recipe, ancestor: Ancestor | None = None) -> None:
    """Do nothing, unless the disk of `out` has no room for a run of `recipe`, less what is there of it already.

    Raises:
        StorageError: it has not.
    """
    gene = sum(tensor.nbytes for tensor in gene_shape(recipe, line_channels(recipe, ancestor)).values())
    searched = 0  # bytes of the whole network whose slices are compared
    if recipe.gene.shape == "evolve":
        body = ancestor_body(recipe)
        structure = plan_structure(body.network, width=body.width, depth=body.depth)
        searched = 4 * structure.parameters(in_chans=body.in_chans)
    there = sum(file.lstat().st_size for file in (out / STATE_FOLDER).rglob("*"))
    needed = (POOLS * recipe.evolution.pool_size + 1) * gene + searched + MORE_ROOM
    files.check_room(out, needed - there, "the run")


def save_state(out: Path, state: EvolutionState, recipe: Mapping[str, Any], inputs: RunInputs) -> None:
    """Save `state` with the dumped `recipe` and the inputs it belongs to; those of the generation before stay."""
    folder = out / STATE_FOLDER
    pool = folder / _pool_name(state.generation)
    tensors = {f"{member.id}/{name}": t for member in state.pool for name, t in member.genome.tensors.items()}
    with atomic_path(pool) as path:
        sha256 = write_tensors(path, tensors)
    record = {
        "generation": state.generation,
        "next_id": state.next_id,
        "images": state.images,
        "seconds": state.seconds,
        "precision": state.precision,
        "pool": [_describe(individual) for individual in state.pool],
        "pool_file": pool.name,
        "pool_sha256": sha256,
        "metrics_sha256": _metrics_sha256(out, state.generation),
        "recipe": recipe,
        **asdict(inputs),
    }
    if (folder / STATE_NAME).is_file():
        write_text(folder / BEFORE_NAME, (folder / STATE_NAME).read_text(encoding="utf-8"))
    write_text(folder / STATE_NAME, json.dumps(sealed(record), indent=1))
    for old in folder.glob("pool-*.safetensors"):
        if old.name not in {_pool_name(state.generation), _pool_name(state.generation - 1)}:
            with suppress(PermissionError):  # Windows removes no open file; the next generation will
                old.unlink()


@dataclass(frozen=True)
class Saved:
    """A state with the dumped recipe and the inputs that it belongs to."""

    state: EvolutionState
    recipe: dict[str, Any]
    inputs: RunInputs
    is_checked: bool  # whether it carries its checksum, as those of older versions do not


def load_state(out: Path) -> Saved:
    """The saved state and what it belongs to.

    Raises:
        RunError: the state is damaged.
    """
    folder = out / STATE_FOLDER
    try:
        content = _own_file(folder / STATE_NAME, out, most=MOST_STATE)
        is_checked = _is_checked(content)
        record = _StateRecord.model_validate_json(content)
        shapes = _shapes(record)
        members = _members(record, shapes, read_tensors(_pool_content(record, shapes, folder, out)))
        if record.metrics_sha256 not in {None, _metrics_sha256(out, record.generation)}:
            raise RunError(
                f"{out / METRICS_NAME}: altered since the state was saved; restore the file, or start again with "
                "another --out"
            )
    except (OSError, ValueError, SafetensorError, RecipeError, NetworkError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else error
        raise RunError(f"{folder}: the saved state is damaged ({fault}); {_go_on(folder)}") from None
    inputs = RunInputs(record.classes, record.fingerprints, record.threads, record.ancestor)
    numbers = {key: getattr(record, key) for key in ("generation", "next_id", "images", "seconds", "precision")}
    return Saved(EvolutionState(**numbers, pool=members), record.recipe, inputs, is_checked)


def _is_checked(content: bytes) -> bool:
    """Whether `state.json` carries a checksum.

    Raises:
        ValueError: it does, and it is that of something else.
    """
    state = parse_json(content.decode())
    if not isinstance(state, dict) or CHECKSUM not in state:
        return False
    if not is_sealed(state):
        raise ValueError(f"{STATE_NAME} was edited, or damaged, since it was saved")
    return True


def _pool_content(
    record: _StateRecord, shapes: Sequence[Mapping[str, tuple[int, ...]]], folder: Path, out: Path
) -> bytes:
    most = sum(MOST_HEADER + 4 * sum(map(math.prod, gene.values())) for gene in shapes)
    content = _own_file(folder / record.pool_file, out, most=most)
    if hashlib.sha256(content).hexdigest() != record.pool_sha256:
        raise ValueError(f"{record.pool_file} was altered since it was saved")
    return content


def _go_on(folder: Path) -> str:
    """What to do about a damaged state."""
    anew, before = "start again with another --out", folder / BEFORE_NAME
    if not before.exists():
        return anew
    return f"go on from the generation before: mv {before} {folder / STATE_NAME}; or {anew}"


def _pool_name(generation: int) -> str:
    return f"pool-{generation:06d}.safetensors"


def _metrics_sha256(out: Path, generation: int) -> str:
    """Hash of the rows before `generation`."""
    path = out / METRICS_NAME
    lines = _own_file(path, out, most=MOST_METRICS).splitlines()[:generation] if path.exists() else []
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def sweep(out: Path) -> None:
    """Remove what a killed process left half-written."""
    for folder in (out, out / STATE_FOLDER):
        files.sweep(folder)


def append_metrics(out: Path, row: Mapping[str, Any]) -> None:
    """Add the row of one generation to `metrics.jsonl`."""
    append_line(out / METRICS_NAME, json.dumps(row))


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`, a last line cut short by a kill left out.

    Raises:
        RunError: the file cannot be read, or a line is no row, or one of another version.
    """
    path = out / METRICS_NAME
    if not path.exists():
        return []
    try:
        content = _own_file(path, out, most=MOST_METRICS)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore the file") from None
    return metrics_rows(content, path)


def metrics_rows(content: bytes, path: Path) -> list[dict[str, Any]]:
    """The rows of the `metrics.jsonl` at `path` with this `content`, a last line that was cut short left out.

    Raises:
        RunError: a line is no row, or one of another version.
    """
    lines = content.splitlines(keepends=True)
    rows = [_row(line) for line in lines]
    if lines and rows[-1] is None and not lines[-1].endswith(b"\n"):
        rows.pop()
    if None in rows:
        raise RunError(
            f"{path}, line {rows.index(None) + 1}: expected the row of a generation, found one of another version of "
            "learngene-hub, or damage; use that version, or restore the file"
        )
    return [row for row in rows if row is not None]


def truncate_metrics(out: Path, generation: int, *, members: Sequence[int] = ()) -> None:
    """Keep the rows of generations before `generation`: the others will be run again.

    Raises:
        RunError: a row before `generation` is missing, or in them an ancestor, or one of `members` of the pool.
    """
    rows = [row for row in read_metrics(out) if row["generation"] < generation]
    if [row["generation"] for row in rows] != list(range(generation)):
        raise RunError(f"{out / METRICS_NAME}: expected a row for each of {generation} generations; restore the file")
    check_lineages(rows, out / METRICS_NAME, members)
    write_text(out / METRICS_NAME, "".join(json.dumps(row) + "\n" for row in rows))


def check_lineages(rows: Sequence[Mapping[str, Any]], path: Path, members: Sequence[int] = ()) -> None:
    """Do nothing, unless `rows` of the file `path` lack somebody: every parent is born before its children.

    Raises:
        RunError: a parent, the best of a generation, or one of `members`, is in none of the rows.
    """
    known: set[int] = set()
    for row in rows:
        born = everyone(row)
        parents = {parent for record in row["individuals"] for parent in record["parents"]}
        recombined = set(row["recombinant"]["parents"]) if row.get("recombinant") else set()
        missing = parents - known
        known |= {record["id"] for record in born if record["fitness"] is not None}
        if missing := missing | (({row["best_id"]} | recombined) - known):
            raise RunError(f"{path}: expected a row that tells of individual {min(missing)}; restore the file")
    if missing := set(members) - known:
        raise RunError(f"{path}: expected a row that tells of individual {min(missing)}; restore the file")


def _own_file(path: Path, out: Path, *, most: int) -> bytes:
    """Content of a file of the run."""
    if leads_out(path, out):
        raise ValueError(f"{path.name} is a link out of {out}, or is not there")
    if not path.is_file():
        raise ValueError(f"{path.name}: expected a file, found a folder, pipe or device")
    return read_file(path, most=most)


def _shapes(record: _StateRecord) -> list[dict[str, tuple[int, ...]]]:
    """For each member of the pool, tensor name -> shape."""
    recipe = Recipe.from_mapping(record.recipe)
    body, given = network_body(recipe), recipe_channels(recipe)
    most, pool = body_channels(body), [member.sizes or given for member in record.pool]
    for sizes in pool:
        for group, size in sizes.items():
            if size > most.get(group, 0):
                raise ValueError(f"group {group}: {size} channels of a gene, {most.get(group, 0)} of its network")
    return [
        plan_structure(body.network, depth=body.depth, channels=sizes).shapes(in_chans=body.in_chans) for sizes in pool
    ]


def _row(line: bytes) -> dict[str, Any] | None:
    """What a line says, all keys kept; None if it is damaged."""
    try:
        _Row.model_validate_json(line)
        row: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row


def _describe(individual: Individual) -> dict[str, Any]:
    return {
        "id": individual.id,
        "generation": individual.generation,
        "parents": individual.parents,
        "ancestors": {str(ancestor): steps for ancestor, steps in individual.ancestors.items()},
        "fitness": individual.fitness,
        "score": individual.score,
        "sizes": dict(individual.genome.sizes),
    }


def _members(
    record: _StateRecord, shapes: Sequence[Mapping[str, tuple[int, ...]]], tensors: Mapping[str, Tensor]
) -> tuple[Individual, ...]:
    """The pool, its genes of these `shapes`.

    Raises:
        ValueError: a gene has other tensors, or values that are not finite; or two members are one.
    """
    if len({member.id for member in record.pool}) < len(record.pool):
        raise ValueError("two members of the pool have the same id")
    for tensor in tensors.values():
        if tensor.dtype != torch.float32 or not math.isfinite(tensor.sum()):
            raise ValueError("a gene of the pool has values that are not finite numbers")
    sizes = recipe_channels(Recipe.from_mapping(record.recipe))
    return tuple(_individual(member, gene, tensors, sizes) for member, gene in zip(record.pool, shapes, strict=True))


def _individual(
    record: _IndividualRecord,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    sizes: Mapping[str, int],
) -> Individual:
    prefix = f"{record.id}/"
    gene = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if {name: tuple(tensor.shape) for name, tensor in gene.items()} != shapes:
        raise ValueError(f"the gene of individual {record.id} has not the tensors of its network")
    return Individual(
        id=record.id,
        generation=record.generation,
        parents=tuple(record.parents),
        ancestors={int(ancestor): steps for ancestor, steps in record.ancestors.items()},
        fitness=record.fitness,
        score=record.score,
        genome=Genome(gene, record.sizes or sizes),
    )
