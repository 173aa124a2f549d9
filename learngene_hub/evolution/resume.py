"""Resuming a run from its saved state, if recipe, classes and images are still the same."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from learngene_hub import __version__
from learngene_hub.core.device import chip_kind
from learngene_hub.core.errors import RunError
from learngene_hub.core.files import LOCK_NAME, leads_out, sweep
from learngene_hub.core.progress import Reporter
from learngene_hub.evolution.ancestor import Ancestor
from learngene_hub.evolution.checkpoint import STATE_FOLDER, RunInputs, Saved, has_state, load_state
from learngene_hub.evolution.environment import Environment
from learngene_hub.gene.folder import CONFIG_NAME, GENE_FOLDER, METRICS_NAME, RECIPE_NAME
from learngene_hub.recipe.recipe import Recipe

STARTED = {LOCK_NAME, STATE_FOLDER, RECIPE_NAME, METRICS_NAME}  # what a run killed in its first generation leaves


def find_saved(recipe: Recipe, out: Path, *, resume: bool, reporter: Reporter) -> Saved | None:
    """The saved run to resume; None for a new run in an empty folder, or after a kill in the first generation.

    Raises:
        RunError: `out` holds other files or a run of another recipe, or its state is damaged.
    """
    folder = out / STATE_FOLDER
    if os.path.lexists(folder) and leads_out(folder, out):
        raise RunError(f"{folder}: a link out of {out}; put the folder itself there, or give another --out")
    for place in (out, folder):
        sweep(place)  # what a killed process left half-written
    if not has_state(out):
        names = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
        if resume and names:
            reporter.line(f"{out}: no generation is saved yet; beginning with the first one")
        if foreign := [name for name in names if name not in STARTED]:
            raise RunError(f"{out}: expected an empty folder, found {', '.join(foreign[:3])}; give another --out")
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


def run_inputs(environment: Environment, ancestor: Ancestor | None, home: torch.device | None) -> RunInputs:
    """The inputs of a run on `home` (None: on workers elsewhere), which must be the same when it is resumed."""
    fingerprints = {"base": environment.base.fingerprint(), "held_out": environment.held_out.fingerprint()}
    classes = {role: list(names) for role, names in asdict(environment.split).items()}
    return RunInputs(
        classes,
        fingerprints,
        torch.get_num_threads(),
        version=f"learngene-hub {__version__}",
        processor="" if home is None else chip_kind(home),
        ancestor=None if ancestor is None else ancestor.key,
    )


def images_hash(inputs: RunInputs, *, flip: bool) -> str:
    """Hash of all that networks of a search learn from."""
    return hashlib.sha256(json.dumps([inputs.classes, inputs.fingerprints, flip], sort_keys=True).encode()).hexdigest()


def check_same(before: RunInputs, now: RunInputs, out: Path, reporter: Reporter) -> None:
    """Refuse another ancestor or other images than `before`; warn of other threads, versions and processors.

    Raises:
        RunError: ancestor, classes or images differ.
    """
    if before.ancestor != now.ancestor:
        was, here = (str((inputs.ancestor or {}).get("sha256"))[:12] for inputs in (before, now))
        if was == here:
            raise RunError(
                f"{out}: was begun from the same gene with another normalisation; restore the mean and std in the "
                f"{CONFIG_NAME} of evolution.ancestor, or give another --out"
            )
        raise RunError(
            f"{out}: was begun from another gene, sha256 {was}; evolution.ancestor now has sha256 {here}: restore "
            "the old gene, or give another --out"
        )
    if before.classes != now.classes:
        raise RunError(f"{out}: was run with other classes; the data set has changed since: give another --out")
    if before.fingerprints != now.fingerprints:
        raise RunError(f"{out}: was run with other images; the data set has changed since: give another --out")
    if before.threads != now.threads:
        reporter.warn(
            f"{out}: was run with {before.threads} threads, continues with {now.threads}: the gene may differ in its "
            "last digits from that of an uninterrupted run; OMP_NUM_THREADS sets the number"
        )
    for was, here in ((before.version, now.version), (before.processor, now.processor)):
        if was and here and was != here:
            reporter.warn(
                f"{out}: was run with {was}, continues with {here}: the gene may differ from that of an uninterrupted "
                "run"
            )
