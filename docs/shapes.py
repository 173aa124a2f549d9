"""Writes slices of a search's ancestor as gene folders, to be judged side by side: only their shapes differ.

    python -m docs.shapes runs/search slices [runs/large]

makes `slices/search-found`, the shape that the search of this run has found, `slices/search-even`, with the same
fraction of every group, and `slices/search-taper`, with `gene.taper` of the run's recipe, as large as each other.
With a second run they are slices of its ancestor instead, `slices/large-found` and so on: of a wider network, or of
other images.
"""

import sys
from pathlib import Path

import torch

from docs.individuals import write_gene_folder
from learngene_hub.core.progress import LoggingReporter
from learngene_hub.evolution.ancestry import AncestryTask
from learngene_hub.evolution.checkpoint import load_state
from learngene_hub.evolution.environment import load_environment
from learngene_hub.evolution.metrics import read_metrics
from learngene_hub.evolution.plan import plan_search
from learngene_hub.gene.folder import GENE_FOLDER, RECIPE_NAME, read_config
from learngene_hub.genome.birth import Body
from learngene_hub.genome.importance import cut, magnitude
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.genome.surgery import State
from learngene_hub.networks import plan_structure
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.lineage import Record
from learngene_hub.workers import no_step


def write_gene_folders(run: Path, out: Path, large: Path) -> list[Path]:
    """The folders made: the shapes of `run` as slices of the ancestor of `large`.

    Raises:
        ValueError: there was no search, its ancestor fails, or the networks have other groups.
    """
    found, recipe, body, state = _search_of(run), *_ancestor_of(large)
    space, structure = ShapeSpace(body, recipe.gene.fraction), ShapeSpace(body, recipe.gene.fraction).structure
    if list(structure.groups) != found["groups"]:
        raise ValueError(f"{large}: expected the groups {found['groups']}, found {list(structure.groups)}")
    fractions = [mine / whole for mine, whole in zip(found["best"]["channels"], found["channels"], strict=True)]
    shapes = {
        "found": space.fitted(dict(zip(structure.groups, fractions, strict=True))),
        "even": space.even(),
        "taper": space.tapering(recipe.gene.taper),
    }
    config = read_config(large / GENE_FOLDER)
    out.mkdir(parents=True, exist_ok=True)
    for name, shape in shapes.items():
        genome = cut(state, structure, shape, magnitude, seed=0)
        thin = plan_structure(body.network, depth=body.depth, channels=shape)
        changed = {
            "width": body.width,
            "channels": shape,
            "fraction": sum(shape.values()) / sum(structure.channels.values()),
            "parameters": thin.parameters(in_chans=body.in_chans),
        }
        write_gene_folder(
            out / f"{large.name}-{name}",
            genome.tensors,
            config.model_copy(update=changed),
            large / GENE_FOLDER / RECIPE_NAME,
        )
    return [out / f"{large.name}-{name}" for name in shapes]


def _search_of(run: Path) -> Record:
    row: Record | None = read_metrics(run)[0].get("search")
    if row is None:
        raise ValueError(f"{run}: expected a run with gene.shape=evolve, found no search")
    return row


def _ancestor_of(run: Path) -> tuple[Recipe, Body, State]:
    """The recipe of `run`, and the network of its search, which is trained once more."""
    saved = load_state(run)
    recipe, precision = Recipe.from_mapping(saved.recipe), saved.state.precision or "float32"
    environment = load_environment(recipe, device=torch.device("cpu"), reporter=LoggingReporter())
    search = plan_search(recipe, classes=len(environment.split.base), precision=precision)
    if search is None:
        raise ValueError(f"{run}: expected a run with gene.shape=evolve, found no search")
    body = search.ancestor.body
    genome = AncestryTask(search.ancestor, 0, None, body.structure.channels)(environment, no_step).genome
    if genome is None:
        raise ValueError(f"{run}: the training of its ancestor failed")
    return recipe, body, genome.tensors


if __name__ == "__main__":
    for made in write_gene_folders(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[-1 if sys.argv[3:] else 1])):
        sys.stdout.write(f"{made}\n")
