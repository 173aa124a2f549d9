"""Writes slices of a search's ancestor as gene folders, to be judged side by side: only their shapes differ.

    python -m docs.shapes runs/search slices

makes `slices/search-found`, the shape that the search of this run has found, `slices/search-even`, with the same
fraction of every group, and `slices/search-taper`, with `gene.taper` of the run's recipe, as large as each other.
"""

import sys
from dataclasses import replace
from pathlib import Path

from docs.individuals import write_gene_folder
from learngene_hub.core.files import read_file
from learngene_hub.evolution.checkpoint import STATE_FOLDER, load_state, read_metrics
from learngene_hub.evolution.founders import GENE_NAME
from learngene_hub.evolution.plan import network_body
from learngene_hub.gene.folder import GENE_FOLDER, RECIPE_NAME, read_config, read_tensors
from learngene_hub.genome.importance import cut, magnitude
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.networks import plan_structure
from learngene_hub.recipe.recipe import Recipe

MOST = 10**9  # bytes of an ancestor


def write_gene_folders(run: Path, out: Path) -> list[Path]:
    """The folders made.

    Raises:
        ValueError: there was no search, or its ancestor is not kept in the run.
    """
    row, ancestors = read_metrics(run)[0].get("search"), list((run / STATE_FOLDER).glob(f"*/{GENE_NAME}"))
    if row is None or len(ancestors) != 1:
        found = f"{len(ancestors)} ancestors in {run / STATE_FOLDER}" if row else "no search"
        raise ValueError(f"{run}: expected a run with gene.shape=evolve and the ancestor of its search, found {found}")
    recipe = Recipe.from_mapping(load_state(run).recipe)
    body = network_body(recipe)
    space = ShapeSpace(replace(body, width=row["width"]), recipe.gene.fraction)
    shapes = {
        "found": space.given(tuple(row["best"]["channels"])),
        "even": space.even(),
        "taper": space.tapering(recipe.gene.taper),
    }
    state, config = read_tensors(read_file(ancestors[0], most=MOST)), read_config(run / GENE_FOLDER)
    out.mkdir(parents=True, exist_ok=True)
    for name, shape in shapes.items():
        genome = cut(state, space.structure, shape, magnitude, seed=0)
        fraction = sum(shape.values()) / sum(space.structure.channels.values())
        thin = plan_structure(body.network, depth=body.depth, channels=shape)
        changed = {
            "width": row["width"],
            "channels": shape,
            "fraction": fraction,
            "parameters": thin.parameters(in_chans=body.in_chans),
        }
        write_gene_folder(
            out / f"{run.name}-{name}",
            genome.tensors,
            config.model_copy(update=changed),
            run / GENE_FOLDER / RECIPE_NAME,
        )
    return [out / f"{run.name}-{name}" for name in shapes]


if __name__ == "__main__":
    for made in write_gene_folders(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.stdout.write(f"{made}\n")
