"""The genes to be evaluated, and the check that no gene has seen the classes it is evaluated on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from learngene_hub.core.errors import LearngeneError, NetworkError, RecipeError
from learngene_hub.evolution.ancestor import Ancestor, find_ancestor
from learngene_hub.evolution.dry_run import evolution_flops
from learngene_hub.evolution.plan import recipe_channels
from learngene_hub.gene.config import DataRecord, GeneConfig, Origin, seen_of
from learngene_hub.gene.folder import RECIPE_NAME, read_config, signed
from learngene_hub.gene.learngene import Learngene
from learngene_hub.gene.source import Located, locate
from learngene_hub.hub.address import is_hub_id
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.results import LEARNGENE


@dataclass(frozen=True)
class Candidate:
    """One gene, and its name in tables."""

    start: str
    gene: Learngene
    origin: Origin  # of the gene
    recipe: Recipe | None  # None without a folder, beside the recipe of another gene, or one that cannot be read
    fault: str = ""  # why there is none

    @property
    def data(self) -> DataRecord:
        """The data that the gene was evolved on."""
        return self.origin.data

    @property
    def flops(self) -> float:
        """Floating-point operations of its evolution; 0 if the recipe is not known."""
        if self.recipe is None:
            return 0.0
        return evolution_flops(self.recipe)


def load_candidates(genes: Sequence[Learngene | str | Path]) -> list[Candidate]:
    """The genes, each with its recipe.

    Raises:
        GeneFileError: a gene cannot be loaded.
        LearngeneError: a gene has no origin, is not for RGB images, has another network or image size than the
            first, or has seen classes that are novel to the first; or no gene is given.
    """
    if not genes:
        raise LearngeneError("expected one or more genes, found none")
    candidates = [_load(gene, alone=len(genes) == 1, number=number) for number, gene in enumerate(genes)]
    for candidate in candidates:
        check_comparable(candidate.start, candidate.gene.config, candidates[0])
    if len({candidate.start for candidate in candidates}) < len(candidates):
        return [replace(gene, start=f"{gene.start}-{number}") for number, gene in enumerate(candidates, start=1)]
    return candidates


def _load(gene: Learngene | str | Path, *, alone: bool, number: int) -> Candidate:
    if isinstance(gene, Learngene):
        name, located = f"gene{number + 1}", gene.place
        gene = replace(gene, config=signed(gene.tensors, gene.config))  # its tensors may be others than were loaded
    else:
        name, located = Path(gene).resolve().name, locate(gene)
        gene = Learngene.load(located)
    if gene.config.in_chans != 3:
        raise LearngeneError(f"{name}: expected a gene for images of 3 channels (RGB), found {gene.config.in_chans}")
    recipe, fault = _recipe(located, gene)
    if gene.config.origin is None:
        raise LearngeneError(
            f"{name}: this gene was not evolved, so it does not say which classes are novel to it. Evaluate an evolved "
            "gene, and give the folder of this gene as a checkpoint"
        )
    return Candidate(LEARNGENE if alone else f"{LEARNGENE}:{name}", gene, gene.config.origin, recipe, fault)


def _recipe(located: Located | None, gene: Learngene) -> tuple[Recipe | None, str]:
    """The recipe beside `gene`, or None and why there is none that this version can use."""
    origin = gene.config.origin
    if origin is None or located is None or not (file := located.folder / RECIPE_NAME).is_file():
        return None, f"give the gene's folder with its {RECIPE_NAME}"
    try:
        recipe = Recipe.from_file(file, origin.overrides)
        gives_shape = recipe.gene.shape != "evolve" and recipe.evolution.ancestor is None
        is_other = gives_shape and recipe_channels(recipe) != gene.config.channels
    except (RecipeError, NetworkError) as error:
        return None, str(error)
    is_other |= (recipe.name, recipe.seed, recipe.data.image_size) != (
        origin.recipe,
        origin.seed,
        gene.config.image_size,
    )
    if is_other or recipe.lost or located.read(read_config) != gene.config:
        # of a version with other defaults, or of another gene that has taken this one's place
        return None, f"the {RECIPE_NAME} beside it gives another gene in this version of learngene-hub"
    return recipe, ""


def ancestor_of(candidate: Candidate) -> Ancestor | None:
    """The gene that a candidate's evolution began from, found by the name in its recipe; None: no gene.

    Raises:
        LearngeneError: the gene cannot be found or loaded, or another gene has its name now.
    """
    assert candidate.recipe is not None
    record = candidate.origin.ancestor
    if record is None:
        return None
    need = f"the baselines need {record.name} (sha256 {record.sha256[:12]}), the gene that this gene began from"
    try:
        ancestor = find_ancestor(candidate.recipe)
    except LearngeneError as error:
        link = "" if is_hub_id(record.name) else f"; put that run, or a link to it, here under the name {record.name}"
        raise LearngeneError(f"{need}: {error}{link}") from None
    if ancestor is None or ancestor.gene.config.sha256 != record.sha256:
        other = "none" if ancestor is None else f"another of this name (sha256 {ancestor.gene.config.sha256[:12]})"
        raise LearngeneError(f"{need}; found {other}: put the right gene into a folder {record.name} here")
    return ancestor


def check_comparable(name: str, config: GeneConfig, first: Candidate) -> None:
    """Refuse a gene called `name` that cannot be measured beside the `first` gene.

    Means and deviations may differ in their last digits, since processors differ.

    Raises:
        LearngeneError: its network, image size or normalisation is another; or it, or an ancestor, has seen classes
            that are novel to the first, or trained on classes that are held out from the first.
    """
    for what in ("network", "image_size", "in_chans", "mean", "std"):
        mine, others = getattr(config, what), getattr(first.gene.config, what)
        if not _alike(mine, others):
            raise LearngeneError(
                f"{name}: expected the {what} of {first.start}, {others}, found {mine}; evaluate these genes separately"
            )

    both = seen_of(config.all_data, first.data.novel, first.data.held_out)
    for role, seen in zip(("novel", "held out"), both, strict=True):
        if seen:
            raise LearngeneError(
                f"{name}: has seen {len(seen)} of the classes that are {role} to {first.start}, such as "
                f"{min(seen)!r}; genes of different splits cannot be compared"
            )


def _alike(mine: object, others: object) -> bool:
    if isinstance(mine, tuple) and isinstance(others, tuple):
        return all(math.isclose(value, other, abs_tol=1e-6) for value, other in zip(mine, others, strict=True))
    return mine == others
