"""The state of an evolution on disk: one file, which is replaced in one step after every generation."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import atomic_path, homes_of, parse_json, read_inside
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.gene.folder import read_tensors
from learngene_hub.genome.genome import Genome

STATE_NAME = "state.safetensors"
RUN, CHECKSUM = "run", "sha256"  # what is no weight: bytes of JSON, which may be longer than a header, and their hash
MOST_STATE = 10**11  # bytes


@dataclass(frozen=True)
class Saved:
    """A saved state with the dumped recipe and the inputs of its run."""

    state: EvolutionState
    recipe: dict[str, Any]
    inputs: dict[str, Any]


def has_state(out: Path) -> bool:
    """Whether `out` holds the state of an evolution, even a damaged one."""
    return (out / STATE_NAME).is_file()


def save_state(out: Path, state: EvolutionState, recipe: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Save `state` with the dumped `recipe` and the inputs of its run."""
    told = {**vars(state), "pool": [_describe(one) for one in state.pool]}
    run = json.dumps({"state": told, "recipe": recipe, "inputs": inputs}).encode()
    tensors = {f"{one.id}/{name}": t.contiguous() for one in state.pool for name, t in one.genome.tensors.items()}
    tensors[RUN] = _tensor(run)
    with atomic_path(out / STATE_NAME) as path:
        path.write_bytes(save({**tensors, CHECKSUM: _checksum(tensors)}))


def load_state(out: Path) -> Saved:
    """The saved state with the recipe and the inputs of its run.

    Raises:
        RunError: the state is damaged, or of another version.
    """
    try:
        tensors = read_tensors(read_inside(out / STATE_NAME, homes_of(out), most=MOST_STATE))
        if not torch.equal(tensors.pop(CHECKSUM), _checksum(tensors)):
            raise ValueError("it was altered since it was saved")
        run = parse_json(tensors.pop(RUN).numpy().tobytes().decode())
        pool = tuple(_individual(one, tensors) for one in run["state"]["pool"])
        state = EvolutionState(**run["state"] | {"pool": pool, "rows": tuple(run["state"]["rows"])})
        return Saved(state, run["recipe"], run["inputs"])
    except (OSError, LookupError, TypeError, ValueError, SafetensorError) as error:
        why = "parts are missing or unknown" if isinstance(error, LookupError | TypeError) else error
        raise RunError(
            f"{out / STATE_NAME}: damaged, or of another version of learngene-hub ({why}); begin again in another "
            "folder"
        ) from None


def _checksum(tensors: Mapping[str, Tensor]) -> Tensor:
    return _tensor(hashlib.sha256(save(dict(tensors))).digest())


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


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
