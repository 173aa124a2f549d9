"""Writes the individuals of a run's last generation, and their average, as gene folders to be judged.

    python -m docs.individuals runs/many individuals

makes `individuals/many-5`, `individuals/many-6`... and `individuals/many-average`. The gene pool must still hold all
of them, as it does with `evolution.tournament_size=1` and a pool that is large enough.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from learngene_hub.core.files import atomic_path
from learngene_hub.evolution.checkpoint import load_state
from learngene_hub.evolution.metrics import read_metrics
from learngene_hub.evolution.origin import lineage
from learngene_hub.gene.config import GeneConfig
from learngene_hub.gene.folder import GENE_FOLDER, RECIPE_NAME, read_config, write_gene


def write_individuals(run: Path, out: Path) -> list[Path]:
    """The folders made, that of the average last, whose config is that of the run's gene.

    Raises:
        ValueError: the gene pool has lost an individual of the last generation.
    """
    rows, pool = read_metrics(run), {one.id: one for one in load_state(run).state.pool}
    born = [one["id"] for one in rows[-1]["individuals"]]
    if lost := set(born) - pool.keys():
        raise ValueError(f"{run}: expected the whole last generation in the gene pool, found no individual {min(lost)}")
    config, genes = read_config(run / GENE_FOLDER), [pool[id_].genome.tensors for id_ in born]
    assert config.origin is not None
    told = [{"fitness": pool[id_].fitness, "lineage": lineage(id_, rows)} for id_ in born]
    each = [config.model_copy(update={"origin": config.origin.model_copy(update=one)}) for one in told]
    out.mkdir(parents=True, exist_ok=True)
    average = {name: torch.stack([gene[name] for gene in genes]).mean(dim=0) for name in genes[0]}
    places = [out / f"{run.name}-{name}" for name in (*born, "average")]
    for place, gene, one in zip(places, [*genes, average], [*each, config], strict=True):
        write_gene_folder(place, gene, one, run / GENE_FOLDER / RECIPE_NAME)
    return places


def write_gene_folder(place: Path, gene: Mapping[str, Tensor], config: GeneConfig, recipe: Path) -> None:
    """Write the folder of a gene, with its recipe."""
    with atomic_path(place) as folder:
        folder.mkdir()
        write_gene(folder, gene, config)
        shutil.copy(recipe, folder)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    for made in write_individuals(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.stdout.write(f"{made}\n")
