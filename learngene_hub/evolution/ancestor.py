"""The gene that an evolution begins from, where its recipe names one: what it must be, and what it gives the line.

The first generation inherits it as later ones inherit the genes before them, so what it computes is there at birth;
images are normalised as it knows them (ours).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from learngene_hub.core.errors import DataError, InheritanceError, RecipeError
from learngene_hub.core.files import expanded, is_there, public_name
from learngene_hub.data import ClassSplit, Normalisation
from learngene_hub.evolution.plan import network_body, recipe_channels
from learngene_hub.gene.config import AncestorRecord
from learngene_hub.gene.learngene import Learngene
from learngene_hub.genome.birth import Body, newborn
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import carried_channels
from learngene_hub.networks import Structure, plan_structure
from learngene_hub.recipe.recipe import Recipe


@dataclass(frozen=True)
class Ancestor:
    """A gene that an evolution begins from."""

    name: str  # without the path to it
    gene: Learngene
    sizes: Mapping[str, int]  # group -> channels of all genes of the line

    @property
    def normalisation(self) -> Normalisation:
        """Of its images, and of all that its line sees."""
        return Normalisation.of(self.gene.config.mean, self.gene.config.std)

    @property
    def key(self) -> dict[str, Any]:
        """All of it that a line depends on, in JSON types."""
        config = self.gene.config
        return {"sha256": config.sha256, "mean": list(config.mean), "std": list(config.std)}

    @property
    def record(self) -> AncestorRecord:
        """What a gene of its line says of it."""
        config, located = self.gene.config, self.gene.place
        revision = None if located is None else located.revision
        return AncestorRecord(name=self.name, revision=revision, sha256=config.sha256, origin=config.origin)

    def refuse_seen(self, split: ClassSplit) -> None:
        """Do nothing, unless it, or a gene before it, knows classes of `split` that are to be new to the line.

        Raises:
            DataError: it was trained on held-out ones, or trained or selected on novel ones.
        """
        records = self.gene.config.origin.all_data if self.gene.config.origin else ()
        trained = {name for record in records for name in record.base}
        seen = trained | {name for record in records for name in record.held_out}
        for role, known in (("novel", seen & set(split.novel)), ("held-out", trained & set(split.held_out))):
            if known:
                raise DataError(
                    f"evolution.ancestor={self.name}: this gene has seen {len(known)} of the {role} classes, such as "
                    f"{min(known)!r}; make them base ones with data.classes, or begin from another gene"
                )


def find_ancestor(recipe: Recipe) -> Ancestor | None:
    """The gene that `recipe` begins from, read and checked, fetched if need be; None: it begins from nothing.

    Raises:
        GeneFileError: there is no such gene, or a check of it fails.
        HubError: it cannot be fetched.
        RecipeError: it does not fit into the networks of the recipe.
        NetworkError: there are no such networks.
    """
    source = recipe.evolution.ancestor
    if source is None:
        return None
    folder = expanded(source)
    gene, name = Learngene.from_pretrained(str(folder) if is_there(folder) else source), public_name(source)
    body = network_body(recipe)
    _check_fits(gene, name, body)
    structure = plan_structure(body.network, width=body.width, depth=body.depth)
    return Ancestor(name, gene, _sizes(structure, gene.genome))


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
            f"gene.shape: expected at least {ancestor.sizes[few[0]]} channels of {few[0]}, since the gene "
            f"evolution.ancestor={ancestor.name} grows; found {grown[few[0]]}"
        )
    return grown


def _check_fits(gene: Learngene, name: str, body: Body) -> None:
    config = gene.config
    if config.network != body.network:
        raise RecipeError(
            f"network.name: found {body.network}, but the gene evolution.ancestor={name} is of {config.network}: give "
            f"network.name={config.network} network.width={config.width:g}"
        )
    if config.in_chans != body.in_chans:
        raise RecipeError(
            f"evolution.ancestor={name}: expected a gene of images of {body.in_chans} channels, found {config.in_chans}"
        )
    try:
        newborn(body, num_classes=0, gene=gene.genome, cross="zero", seed=0)
    except InheritanceError as error:
        raise RecipeError(f"evolution.ancestor={name}: the networks of the recipe cannot inherit it: {error}") from None


def _sizes(structure: Structure, gene: Genome) -> dict[str, int]:
    """As many channels of every group as carry the gene; of one that carries nothing, as many as come in (ours)."""
    carried, sizes = carried_channels(structure, gene), dict[str, int]()
    for layer in structure.layers:
        group = structure.groups[layer.writes]
        incoming = group.unit * max(1, min(group.size, sizes.get(layer.reads, 0)) // group.unit)
        sizes.setdefault(layer.writes, carried[layer.writes] or incoming)
    return sizes
