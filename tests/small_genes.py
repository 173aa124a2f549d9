"""Genes of networks so small that a test may make many, cut out by hand: no evolution."""

import torch
from torch import nn

from learngene_hub.core.rng import generator
from learngene_hub.genome.birth import gene_network, newborn
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.genome.surgery import extract, inherit


def exact(network):
    """The same network in eval mode; layer norms lose their epsilon, which weighs more where they see more channels."""
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 0.0
    return network.eval()


def gene_channels(features, count):
    """The leading channels of feature maps, or of tokens."""
    return features[:, :count] if features.ndim == 4 else features[..., :count]


def same(found, expected, structure):
    """Tensors by name are equal; but for rounding where the norms of a gene's part are weighed anew."""
    if not any(axes.layer_norm for axes in structure.tensors):
        return all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    return all(torch.allclose(found[name], tensor, rtol=1e-12, atol=1e-12) for name, tensor in expected.items())


def lived(network, *, seed=0):
    """The same network in float64, with batch norms as training leaves them rather than at their start."""
    draws = generator(seed, "lived")
    state = network.double().state_dict()
    for name, tensor in state.items():
        if tensor.ndim == 1 and name.endswith(("running_var", "weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draws))
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.rand(tensor.shape, generator=draws) - 0.5)
    return exact(network)


def adult(body, *, seed=0, classes=4):
    return lived(newborn(body, num_classes=classes, gene=None, seed=seed), seed=seed)


def even_shape(body, fraction):
    return ShapeSpace(body, fraction).even()


def gene_of(network, channels):
    return extract(network.state_dict(), network.structure, channels)


def heir(body, gene, *, seed=1):
    network = newborn(body, num_classes=4, gene=None, seed=seed).double()
    inherit(network.state_dict(), network.structure, gene)
    return exact(network)


def inherited(state, structure, gene):
    """A copy of `state` that has inherited `gene`."""
    born = {name: tensor.clone() for name, tensor in state.items()}
    inherit(born, structure, gene)
    return born


def alone(body, gene, channels):
    """Features of the thin network that is the gene and nothing else."""
    thin = gene_network(body, channels, num_classes=4).double()
    thin.load_state_dict(thin.state_dict() | dict(gene.tensors))
    return exact(thin)


def float64_images(size=32):
    return torch.rand(3, 3, size, size, generator=generator(0, "images"), dtype=torch.float64)
