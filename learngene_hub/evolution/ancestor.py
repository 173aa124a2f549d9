"""The gene that an evolution begins from, if its recipe names one: its checks, and what later genes take from it.

The first generation inherits it as later generations inherit the genes before them, so new networks compute what the
gene computes; images are normalised as for the gene (ours).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learngene_hub.core.errors import DataError, InheritanceError, RecipeError
from learngene_hub.core.files import public_name
from learngene_hub.core.progress import Reporter
from learngene_hub.data.splits import ClassSplit
from learngene_hub.evolution.plan import network_body, recipe_channels
from learngene_hub.gene.config import AncestorRecord, seen_of
from learngene_hub.gene.learngene import Learngene
from learngene_hub.genome.birth import Body, newborn
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import carried_channels
from learngene_hub.networks import Structure
from learngene_hub.recipe.recipe import Recipe


@dataclass(frozen=True)
class Ancestor:
    """A gene that an evolution begins from."""

    name: str  # without the path to it
    gene: Learngene
    sizes: Mapping[str, int]  # group -> channels of all genes of the line

    @property
    def key(self) -> dict[str, Any]:
        """Everything of the gene that the evolution depends on, as a JSON-compatible dict."""
        config = self.gene.config
        return {"sha256": config.sha256, "mean": list(config.mean), "std": list(config.std)}

    @property
    def record(self) -> AncestorRecord:
        """The record of this gene in the config of genes that descend from it."""
        config, located = self.gene.config, self.gene.place
        revision = None if located is None else located.revision
        return AncestorRecord(name=self.name, revision=revision, sha256=config.sha256, origin=config.origin)

    def refuse_seen(self, split: ClassSplit) -> None:
        """Check that the gene and its own ancestors have not seen classes of `split` that must be new to them.

        Raises:
            DataError: a gene was trained on held-out classes, or trained or selected on novel classes.
        """
        both = seen_of(self.gene.config.all_data, split.novel, split.held_out)
        for role, known in zip(("novel", "held-out"), both, strict=True):
            if known:
                raise DataError(
                    f"evolution.ancestor={self.name}: this gene has seen classes of the same names (in any case, with "
                    f"`_`, `-` or a space) as {len(known)} of the {role} classes, such as {min(known)!r}; use "
                    "another gene; or rename the classes if they show other objects; or, if data.preset is not set, "
                    "make them base classes with data.classes"
                )

    def tell(self, recipe: Recipe, reporter: Reporter) -> None:
        """Tell of another image size, and warn if nobody knows which classes the gene or its ancestors have seen."""
        origin, size = self.gene.config.origin, self.gene.config.image_size
        if size != recipe.data.image_size:
            reporter.line(
                f"evolution.ancestor={self.name}: this gene is for images of {size} pixels; this evolution shows "
                f"data.image_size={recipe.data.image_size}"
            )
        if origin is None or not all(gene.origin for gene in origin.ancestors):
            reporter.warn(
                f"evolution.ancestor={self.name}: this gene does not say which classes it has seen; if it has seen "
                "held-out or novel classes, accuracy on them is too high"
            )


def find_ancestor(recipe: Recipe) -> Ancestor | None:
    """The gene that `recipe` begins from, read, checked and if needed downloaded; None: no gene.

    Raises:
        GeneFileError: there is no such gene, or a check of it fails.
        HubError: it cannot be downloaded.
        RecipeError: it does not fit into the networks of the recipe.
        NetworkError: there are no such networks.
    """
    source = recipe.evolution.ancestor
    if source is None:
        return None
    gene, name = Learngene.from_pretrained(source), public_name(source)
    body = network_body(recipe)
    _check_fits(gene, name, body)
    return Ancestor(name, gene, _sizes(body.structure, gene.genome))


def line_channels(recipe: Recipe, ancestor: Ancestor | None) -> Mapping[str, int]:
    """Group -> leading channels that are gene: those of the `ancestor`, or of the recipe, see `recipe_channels`.

    Raises:
        NetworkError: as for `recipe_channels`.
        RecipeError: the recipe gives fewer channels of a group than those of the `ancestor`.
    """
    if ancestor is None:
        return recipe_channels(recipe)
    if recipe.gene.shape == "taper":
        return ancestor.sizes
    grown = recipe_channels(recipe)
    if few := [name for name, size in ancestor.sizes.items() if grown[name] < size]:
        raise RecipeError(
            f"gene.shape: expected at least {ancestor.sizes[few[0]]} channels of {few[0]}, as many as the gene "
            f"evolution.ancestor={ancestor.name} has; found {grown[few[0]]}"
        )
    return grown


def _check_fits(gene: Learngene, name: str, body: Body) -> None:
    config = gene.config
    if config.network != body.network:
        raise RecipeError(
            f"network.name: found {body.network}, but the gene evolution.ancestor={name} is for {config.network}: give "
            f"network.name={config.network} network.width={config.width:g}"
        )
    if config.in_chans != body.in_chans:
        raise RecipeError(
            f"evolution.ancestor={name}: expected a gene for images of {body.in_chans} channels, "
            f"found {config.in_chans}"
        )
    if body.depth is None and config.depth > body.structure.depth:
        raise RecipeError(
            f"network.depth: expected a depth beside evolution.ancestor={name}, which has {config.depth}, found none: "
            f"give network.depth={config.depth}, or network.depth={body.structure.depth} to leave out its last layers"
        )
    try:
        newborn(body, num_classes=0, gene=gene.genome, seed=0)
    except InheritanceError as error:
        raise RecipeError(
            f"evolution.ancestor={name}: the networks of the recipe cannot inherit this gene: {error}"
        ) from None


def _sizes(structure: Structure, gene: Genome) -> dict[str, int]:
    """As many channels of every group as carry the gene; of one that carries nothing, as many as come in (ours)."""
    carried, sizes = carried_channels(structure, gene), dict[str, int]()
    for layer in structure.layers:
        group = structure.groups[layer.writes]
        incoming = group.unit * max(1, min(group.size, sizes.get(layer.reads, 0)) // group.unit)
        sizes.setdefault(layer.writes, carried[layer.writes] or incoming)
    return sizes
