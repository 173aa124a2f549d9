"""What the networks of a recipe are built as, and what their genes hold."""

from collections.abc import Mapping

import torch
from torch import Tensor

from learngene_hub.genome.birth import Body, gene_channels, gene_network
from learngene_hub.recipe.recipe import Recipe


def network_body(recipe: Recipe) -> Body:
    """What the networks of `recipe` are built as."""
    return Body(recipe.network.name, recipe.network.width, recipe.network.depth)


def recipe_channels(recipe: Recipe) -> dict[str, int]:
    """Group -> leading channels that are gene.

    Raises:
        NetworkError: the network cannot be built.
    """
    return gene_channels(network_body(recipe), recipe.gene.fraction, recipe.gene.taper)


def gene_shape(recipe: Recipe) -> Mapping[str, Tensor]:
    """Tensor name -> tensor of a learngene of `recipe`, on the meta device.

    Raises:
        NetworkError: the network cannot be built.
    """
    with torch.device("meta"):
        thin = gene_network(network_body(recipe), recipe_channels(recipe), num_classes=0)
    return {name: tensor for name, tensor in thin.state_dict().items() if "num_batches" not in name}
