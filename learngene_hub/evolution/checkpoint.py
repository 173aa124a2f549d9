"""The state of an evolution on disk: saved after every generation, and never half-written.

The pool's tensors go to a file named after the generation; `state.json` is then replaced in one step and names that
file with its sha256. After a kill between the two, the old pair is still valid. The state also has checksums of itself
and of the metrics so far. The state of the generation before is kept too, in case the last one is damaged.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import atomic_path, homes_of, read_inside, write_text
from learngene_hub.core.store import CHECKSUM, is_sealed, sealed
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.evolution.metrics import metrics_sha256
from learngene_hub.gene.folder import METRICS_NAME, read_tensors, write_tensors
from learngene_hub.genome.genome import Genome

STATE_FOLDER = "state"
STATE_NAME = "state.json"
BEFORE_NAME = "before.json"  # the state of the generation before
MOST_STATE = 10**8  # bytes of `state.json`
MOST_POOL = 10**11  # bytes of the file of the pool


def has_state(out: Path) -> bool:
    """Whether `out` holds the state of an evolution, even a damaged one."""
    return any((out / STATE_FOLDER / name).is_file() for name in (STATE_NAME, BEFORE_NAME))


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run, apart from its recipe.

    Attributes:
        classes: role -> their names.
        fingerprints: role -> hash of its images.
        threads: of torch in the main process.
        version: of this package.
        processor: kind of the device of a local engine; empty on Ray, whose workers may be of many kinds.
        ancestor: key of the gene that the evolution begins from; None: no gene.
    """

    classes: Mapping[str, Sequence[str]]
    fingerprints: Mapping[str, str]
    threads: int
    version: str
    processor: str
    ancestor: Mapping[str, Any] | None = None


def save_state(out: Path, state: EvolutionState, recipe: Mapping[str, Any], inputs: RunInputs) -> None:
    """Save `state` with the dumped `recipe` and the inputs; the state of the generation before is kept."""
    folder = out / STATE_FOLDER
    pool = folder / _pool_name(state.generation)
    tensors = {f"{member.id}/{name}": t for member in state.pool for name, t in member.genome.tensors.items()}
    with atomic_path(pool) as path:
        sha256 = write_tensors(path, tensors)
    record = {
        **vars(state),
        "pool": [_describe(individual) for individual in state.pool],
        "pool_file": pool.name,
        "pool_sha256": sha256,
        "metrics_sha256": metrics_sha256(out, state.generation),
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
    """A saved state with its dumped recipe and inputs."""

    state: EvolutionState
    recipe: dict[str, Any]
    inputs: RunInputs


def load_state(out: Path) -> Saved:
    """The saved state with its recipe and inputs.

    Raises:
        RunError: the state is damaged, or of another version.
    """
    folder = out / STATE_FOLDER
    with _damage_told(folder):
        record = _checked_record(out)
        content = read_inside(folder / record["pool_file"], homes_of(out), most=MOST_POOL)
        if hashlib.sha256(content).hexdigest() != record["pool_sha256"]:
            raise ValueError(f"{record['pool_file']} was altered since it was saved")
        tensors = read_tensors(content)
        pool = tuple(_individual(member, tensors) for member in record["pool"])
        state = EvolutionState(**_values(EvolutionState, record) | {"pool": pool})
        return Saved(state, record["recipe"], RunInputs(**_values(RunInputs, record)))


def load_recipe(out: Path) -> dict[str, Any]:
    """The dumped recipe of a run that may be going on, and may replace its pool at any moment.

    Raises:
        RunError: `state.json` or the metrics are damaged, or of another version.
    """
    with _damage_told(out / STATE_FOLDER):
        recipe: dict[str, Any] = _checked_record(out)["recipe"]
        return recipe


def _checked_record(out: Path) -> dict[str, Any]:
    """What `state.json` says, if neither it nor the metrics were altered since it was saved."""
    folder = out / STATE_FOLDER
    record = json.loads(read_inside(folder / STATE_NAME, homes_of(out), most=MOST_STATE))
    if "pool" in record and not {CHECKSUM, "version"} <= record.keys():
        raise RunError(
            f"{folder}: saved by another version of learngene-hub; continue with that version, or give another --out"
        )
    if not isinstance(record, dict) or not is_sealed(record):
        raise ValueError(f"{STATE_NAME} was edited, or damaged, since it was saved")
    if record["metrics_sha256"] != metrics_sha256(out, record["generation"]):
        raise RunError(
            f"{out / METRICS_NAME}: altered since the state was saved; restore the file, or start again with another "
            "--out"
        )
    return record


def _values(kind: type, record: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields of the dataclass `kind`."""
    return {field.name: record[field.name] for field in fields(kind)}


@contextmanager
def _damage_told(folder: Path) -> Iterator[None]:
    """Raise a `RunError` where a damaged state cannot be read."""
    try:
        yield
    except LookupError as error:
        raise RunError(f"{folder}: the saved state is damaged (found no {error}); {_go_on(folder)}") from None
    except (OSError, ValueError, TypeError, RecursionError, SafetensorError) as error:
        raise RunError(f"{folder}: the saved state is damaged ({error}); {_go_on(folder)}") from None


def _go_on(folder: Path) -> str:
    """What to do about a damaged state."""
    anew, before = "start again with another --out", folder / BEFORE_NAME
    if not before.exists():
        return anew
    move = shlex.join(["mv", str(before), str(folder / STATE_NAME)])
    return f"continue from the generation before: {move}; or {anew}"


def _pool_name(generation: int) -> str:
    return f"pool-{generation:06d}.safetensors"


def _describe(individual: Individual) -> dict[str, Any]:
    values = {name: value for name, value in vars(individual).items() if name != "genome"}
    ancestors = {str(ancestor): steps for ancestor, steps in individual.ancestors.items()}
    return values | {"ancestors": ancestors, "sizes": dict(individual.genome.sizes)}


def _individual(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Individual:
    prefix = f"{record['id']}/"
    gene = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    values = {name: value for name, value in record.items() if name != "sizes"}
    values["parents"] = tuple(record["parents"])
    values["ancestors"] = {int(ancestor): steps for ancestor, steps in record["ancestors"].items()}
    return Individual(**values, genome=Genome(gene, record["sizes"]))
