"""The record of an evolution in the `config.json` of its gene."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from learngene_hub import __version__
from learngene_hub.core.files import public_name
from learngene_hub.data.splits import PRESETS
from learngene_hub.evolution.ancestor import Ancestor
from learngene_hub.evolution.environment import Environment
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.evolution.plan import network_body
from learngene_hub.gene.config import CostRecord, DataRecord, GeneConfig, LineageRecord, Origin, SearchRecord
from learngene_hub.networks import plan_structure
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.lineage import line_of


def gene_config(
    best: Individual,
    state: EvolutionState,
    recipe: Recipe,
    environment: Environment,
    ancestor: Ancestor | None = None,
) -> GeneConfig:
    """The config of the gene of `best`, without its hash; `ancestor` is the gene that the evolution began from."""
    body, rows = network_body(recipe), state.rows
    gene = plan_structure(body.network, depth=body.depth, channels=best.genome.sizes)
    return GeneConfig(
        package_version=__version__,
        network=body.network,
        width=body.width,
        depth=gene.depth,
        in_chans=body.in_chans,
        channels=dict(best.genome.sizes),
        fraction=sum(best.genome.sizes.values()) / sum(body.structure.channels.values()),
        parameters=gene.parameters(in_chans=body.in_chans),
        mean=environment.normalisation.mean,
        std=environment.normalisation.std,
        image_size=recipe.data.image_size,
        dtype=recipe.gene.dtype,
        origin=Origin(
            recipe=recipe.name,
            recipe_sha256=hashlib.sha256(recipe.public_text.encode()).hexdigest(),
            overrides=recipe.public_overrides,
            seed=recipe.seed,
            fitness=best.fitness,
            lineage=lineage(best.id, rows),
            search=_search_record(rows[0].get("search")),
            ancestor=None if ancestor is None else ancestor.record,
            cost=CostRecord(images=state.images, seconds=round(state.seconds, 1), device=rows[-1]["engine"]["place"]),
            precision=state.precision,
            data=_data_record(recipe, environment),
        ),
    )


def _search_record(row: Mapping[str, Any] | None) -> SearchRecord | None:
    """What `metrics.jsonl` tells of a search, in short."""
    if row is None:
        return None
    return SearchRecord(
        width=row["width"],
        shapes=len(row["shapes"]),
        parents=len(row["mean"]["parents"]),
        mean_fitness=row["mean"]["fitness"],
        is_even=row["best"] == row["even"],
        even_fitness=row["even"]["fitness"],
        images=row["images"],
        seconds=row["seconds"],
    )


def _data_record(recipe: Recipe, environment: Environment) -> DataRecord:
    preset = recipe.data.preset
    return DataRecord(
        source=public_name(str(recipe.data.path)) if preset is None else PRESETS[preset].hub_id or preset,
        preset=preset,
        image_size=recipe.data.image_size,
        images_per_class=recipe.data.images_per_class,
        crop_padding=recipe.data.padding,
        flip=recipe.data.flip,
        seed=recipe.seed,
        revision=environment.revision,
        image_column=recipe.data.image_column,
        label_column=recipe.data.label_column,
        on_corrupt=recipe.data.on_corrupt,
        base=environment.split.base,
        held_out=environment.split.held_out,
        novel=environment.split.novel,
    )


def lineage(id_: int, rows: Sequence[Mapping[str, Any]]) -> tuple[LineageRecord, ...]:
    """The individual `id_` and all its ancestors, youngest first."""
    line = line_of(id_, rows)
    members = [
        LineageRecord(generation=row["generation"], **{key: record[key] for key in ("id", "parents", "fitness")})
        for row in rows
        for record in row["individuals"]
        if record["id"] in line
    ]
    return tuple(sorted(members, key=lambda member: -member.id))
