"""Resuming a run from its saved state, if recipe, classes and images are still the same."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from learngene_hub import __version__
from learngene_hub.core.device import chip_kind
from learngene_hub.core.errors import RunError
from learngene_hub.core.files import sweep
from learngene_hub.core.progress import Reporter
from learngene_hub.evolution.ancestor import Ancestor
from learngene_hub.evolution.checkpoint import STATE_NAME, Saved, has_state, load_state
from learngene_hub.evolution.environment import Environment
from learngene_hub.gene.folder import GENE_FOLDER
from learngene_hub.recipe.recipe import Recipe

SEARCH_FOLDER = "search"  # with the shapes scored so far: all that a run leaves before its first state
REFUSED = {  # input of a run that must be the same when it is resumed -> what it is
    "ancestor": "another gene, or another normalisation of it, as evolution.ancestor",
    "classes": "other classes: the data set has changed since",
    "images": "other images: the data set has changed since",
}
TOLD = {  # input of a run whose change only moves last digits -> what to say of it
    "threads": "; OMP_NUM_THREADS sets the number",
    "version": "",
    "processor": "",
}


def find_saved(recipe: Recipe, out: Path, *, resume: bool, reporter: Reporter) -> Saved | None:
    """The saved run to resume; None for a new run in an empty folder, or after a kill in the first generation.

    Raises:
        RunError: `out` holds other files or a run of another recipe, or its state is damaged.
    """
    for place in (out, out / SEARCH_FOLDER):
        sweep(place)  # what a killed process left half-written
    if not has_state(out):
        if foreign := sorted(path.name for path in out.iterdir() if path.name[0] != "." and path.name != SEARCH_FOLDER):
            wanted = f"a run with its {STATE_NAME}" if resume else "an empty folder"
            raise RunError(f"{out}: expected {wanted}, found {', '.join(foreign[:3])}; give another --out")
        if resume:
            reporter.line(f"{out}: no generation is saved yet; beginning with the first one")
        return None
    if not resume:
        is_done = (out / GENE_FOLDER).is_dir()
        held = "a finished evolution;" if is_done else "an evolution already; add --resume to continue it, or"
        raise RunError(f"{out}: holds {held} give another --out")
    saved = load_state(out)
    _check_recipe(recipe, saved, out)
    return saved


def _check_recipe(recipe: Recipe, saved: Saved, out: Path) -> None:
    changed = recipe.differences(saved.recipe)
    changed.pop("data.path", None)  # the images themselves are compared
    if changed:
        faults = [f"  {key}: {was} in the run, {here} now" for key, (here, was) in changed.items()]
        is_done = (out / GENE_FOLDER).is_dir()
        further = f" (to go on from its gene, begin a new run with evolution.ancestor={out})" if is_done else ""
        raise RunError(
            f"{out}: was run with another recipe; give another --out, or undo these changes{further}:\n"
            + "\n".join(faults)
        )


def run_inputs(environment: Environment, ancestor: Ancestor | None, home: torch.device | None) -> dict[str, Any]:
    """The inputs of a run, beside its recipe, as a JSON-compatible dict.

    `home` is the device of a local engine; None: workers elsewhere, which may be of many kinds.
    """
    return {
        "ancestor": None if ancestor is None else ancestor.key,
        "classes": {role: list(names) for role, names in asdict(environment.split).items()},
        "images": {"base": environment.base.fingerprint(), "held_out": environment.held_out.fingerprint()},
        "threads": torch.get_num_threads(),
        "version": f"learngene-hub {__version__}",
        "processor": "" if home is None else chip_kind(home),
    }


def images_hash(inputs: Mapping[str, Any], *, flip: bool) -> str:
    """Hash of all that networks of a search learn from."""
    return hashlib.sha256(json.dumps([inputs["classes"], inputs["images"], flip], sort_keys=True).encode()).hexdigest()


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], out: Path, reporter: Reporter) -> None:
    """Refuse another ancestor or other images than `before`; warn of other threads, versions and processors.

    Raises:
        RunError: ancestor, classes or images differ.
    """
    for key, what in REFUSED.items():
        if before.get(key) != now[key]:
            raise RunError(f"{out}: was begun with {what}; restore it, or give another --out")
    for key, advice in TOLD.items():
        if before.get(key) and now[key] and before[key] != now[key]:
            reporter.warn(
                f"{out}: was run with {key} {before[key]}, continues with {now[key]}: the gene may differ from that of "
                f"an uninterrupted run{advice}"
            )
