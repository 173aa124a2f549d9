"""The state of an evolution on disk, after every generation, and whole at any moment.

The pool's tensors go to a file named after the generation; `state.json` then takes its new place in one step and
names that file with its sha256. A kill between the two leaves the old pair in force.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from learngene_hub.errors import RunError
from learngene_hub.evolution.population import JOBS, LOOP, EvolutionState, Individual
from learngene_hub.files import atomic_path, write_text
from learngene_hub.gene.folder import METRICS_NAME, file_sha256, write_tensors

STATE_FOLDER = "state"
STATE_NAME = "state.json"


def has_state(out: Path) -> bool:
    """Whether `out` holds the state of an evolution."""
    return (out / STATE_FOLDER / STATE_NAME).is_file()


def save_state(out: Path, state: EvolutionState, recipe: Mapping[str, Any], classes: Mapping[str, Any]) -> None:
    """Save `state` with the dumped `recipe` and the `classes` it belongs to; older files go afterwards."""
    folder = out / STATE_FOLDER
    pool = folder / f"pool-{state.generation:06d}.safetensors"
    with atomic_path(pool) as path:
        sha256 = write_tensors(path, {f"{one.id}/{name}": t for one in state.pool for name, t in one.gene.items()})
    record = {
        "generation": state.generation,
        "next_id": state.next_id,
        "images": state.images,
        "seconds": state.seconds,
        "backends": dict(state.backends),
        "pool": [_describe(individual) for individual in state.pool],
        "pool_file": pool.name,
        "pool_sha256": sha256,
        "recipe": recipe,
        "classes": classes,
    }
    write_text(folder / STATE_NAME, json.dumps(record, indent=1))
    for old in folder.glob("pool-*.safetensors"):
        if old != pool:
            old.unlink()


@dataclass(frozen=True)
class Saved:
    """A state with the dumped recipe and the classes, role -> names, that it belongs to."""

    state: EvolutionState
    recipe: dict[str, Any]
    classes: dict[str, list[str]]


def load_state(out: Path) -> Saved:
    """The saved state and what it belongs to.

    Raises:
        RunError: the state is damaged.
    """
    folder = out / STATE_FOLDER
    try:
        record = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
        pool = folder / Path(record["pool_file"]).name
        if file_sha256(pool) != record["pool_sha256"]:
            raise RunError(f"{pool}: altered since it was saved; start again with another --out")
        tensors = load_file(pool)
        members = tuple(_individual(one, tensors) for one in record["pool"])
        return Saved(_state(record, members), record["recipe"], record["classes"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"{folder}: the saved state is damaged ({error}); start again with another --out") from None


def sweep(out: Path) -> None:
    """Remove what a killed process left half-written."""
    for folder in (out, out / STATE_FOLDER):
        for leftover in folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)


def append_metrics(out: Path, row: Mapping[str, Any]) -> None:
    """Add the row of one generation to `metrics.jsonl`."""
    with (out / METRICS_NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`, a last line cut short by a kill left out."""
    path = out / METRICS_NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [row for row in map(_row, lines) if row is not None]


def truncate_metrics(out: Path, generation: int) -> None:
    """Keep the rows of generations before `generation`: the others will be run again.

    Raises:
        RunError: a row before `generation` is missing.
    """
    rows = [row for row in read_metrics(out) if row["generation"] < generation]
    if [row["generation"] for row in rows] != list(range(generation)):
        raise RunError(f"{out / METRICS_NAME}: expected a row for each of {generation} generations; restore the file")
    write_text(out / METRICS_NAME, "".join(json.dumps(row) + "\n" for row in rows))


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "generation" in row else None


def _describe(individual: Individual) -> dict[str, Any]:
    return {
        "id": individual.id,
        "generation": individual.generation,
        "parents": individual.parents,
        "ancestors": {str(ancestor): steps for ancestor, steps in individual.ancestors.items()},
        "fitness": individual.fitness,
        "score": individual.score,
    }


def _state(record: Mapping[str, Any], pool: tuple[Individual, ...]) -> EvolutionState:
    numbers = {key: record[key] for key in ("generation", "next_id", "images", "seconds")}
    backends = record.get("backends", dict.fromkeys(JOBS, LOOP))  # a run from before there was a choice
    return EvolutionState(**numbers, pool=pool, backends={job: backends[job] for job in JOBS})


def _individual(record: Mapping[str, Any], tensors: Mapping[str, Any]) -> Individual:
    prefix = f"{record['id']}/"
    return Individual(
        id=record["id"],
        generation=record["generation"],
        parents=tuple(record["parents"]),
        ancestors={int(ancestor): steps for ancestor, steps in record["ancestors"].items()},
        fitness=record["fitness"],
        score=record["score"],
        gene={name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)},
    )
