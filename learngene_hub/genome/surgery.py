"""Extract learngenes from networks and put them into others: loops over the tensors that a family lists.

Pure functions of tensors and sizes; `structure` says which channel group each dimension of a tensor belongs to.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from learngene_hub.core.errors import InheritanceError
from learngene_hub.genome.genome import Genome
from learngene_hub.networks import IMAGE, Axes, Layer, Structure, in_blocks, joined, part, refitted, reordered
from learngene_hub.networks.structure import REFUSE, Newborn

State = Mapping[str, Tensor]


def extract(state: State, structure: Structure, sizes: Mapping[str, int]) -> Genome:
    """The learngene: the leading channels of every group, as copies under the network's own names.

    Extraction: attested, Feng 2024 (arXiv:2401.08139, abstract). Leading channels: ours.

    Args:
        state: the network's tensors.
        structure: of the network.
        sizes: group -> channels that are gene, 1 <= size <= the group's channels.
    """
    tensors = {}
    for axes in structure.tensors:
        tensor = state[axes.name]
        leading = joined(part(tensor, axes, sizes), axes).detach().clone(memory_format=torch.contiguous_format)
        tensors[axes.name] = refitted(leading, axes, before=tensor.shape, after=leading.shape)
    return Genome(tensors, dict(sizes))


def carried_channels(structure: Structure, gene: Genome) -> dict[str, int]:
    """Group -> leading channels that carry the gene's circuit in a network of this `structure`.

    Where the network has a layer that the gene lacks, one that passes on what it reads carries as much as comes in, and
    the others, such as the inside of an extra residual block, carry nothing.

    Raises:
        InheritanceError: the gene lacks a layer without which the circuit would be broken.
    """
    carried: dict[str, int] = {}
    for layer in structure.layers:
        if layer.kernel.name in gene.tensors:
            carried.setdefault(layer.writes, gene.sizes[layer.writes])
        elif layer.if_absent == REFUSE:
            raise InheritanceError(
                f"layer {layer.name}: the network needs this layer of the gene, but the gene lacks it; use the gene's "
                "network family"
            )
        elif layer.if_absent.passes_on:
            carried[layer.writes] = carried[layer.reads]
        else:
            carried.setdefault(layer.writes, 0)
    return carried


def inherit(newborn: State, structure: Structure, gene: Genome) -> None:
    """Put `gene` into the leading channels of every layer of a newborn network, in place; partly even on an error.

    Weights from other channels into the gene's are zero, so that these compute what they compute alone.

    Inheritance: attested, Feng 2024 (arXiv:2401.08139, abstract). The zeros, and the birth of layers that the gene
    lacks: ours.

    Args:
        newborn: the tensors of a freshly initialised network.
        structure: of the network.
        gene: from a network of the same family, as narrow as `newborn` or narrower.

    Raises:
        InheritanceError: a layer of the gene does not fit; the layer and both shapes are named.
    """
    carried = carried_channels(structure, gene)
    for layer in structure.layers:
        if layer.kernel.name in gene.tensors:
            _implant(newborn, layer, gene, carried)
        elif (make := layer.if_absent.make) is not None:
            make(Newborn(newborn, structure, gene.tensors, carried), layer)


def reorder(state: State, structure: Structure, orders: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same network with its channels in another order; its outputs stay the same.

    `orders` are, for each group, `(channels,)` int64: which channel comes first, second...
    """
    tensors = (*structure.tensors, structure.classifier)
    moved = {axes.name: reordered(state[axes.name], axes, orders) for axes in tensors if axes.name in state}
    return {name: moved[name] if name in moved else tensor.detach().clone() for name, tensor in state.items()}


def inherited_parts(state: State, structure: Structure, gene: Genome) -> dict[str, Tensor]:
    """Parameter -> the view of what a network has of it from `gene`; a kernel on the image has all of its inputs."""
    carried = carried_channels(structure, gene)
    return {
        axes.name: part(state[axes.name], axes, carried)
        for axes in structure.tensors
        if axes.name in gene.tensors and not axes.is_statistic
    }


def _implant(newborn: State, layer: Layer, gene: Genome, carried: Mapping[str, int]) -> None:
    for axes in layer.tensors:
        target, source = newborn[axes.name], gene.tensors[axes.name]
        if IMAGE in axes.dims and source.ndim == len(axes.dims):
            dim = axes.dims.index(IMAGE)
            source = _for_image_channels(source, dim, target.shape[dim], layer.name)
        _check_fits(target, source, axes, carried, layer)
        view = part(target, axes, carried)
        view.copy_(in_blocks(refitted(source, axes, before=source.shape, after=target.shape), axes))
    _cut_off(newborn, layer, carried)


def _cut_off(newborn: State, layer: Layer, carried: Mapping[str, int]) -> None:
    """Set weights from other channels into the gene's to zero, in a kernel or in what a layer norm reads."""
    for axes in layer.tensors:
        tensor, written = in_blocks(newborn[axes.name], axes), carried[layer.writes]
        shift = tensor.ndim - len(axes.dims)
        if axes.dims[:2] == (layer.writes, layer.reads) and layer.reads != IMAGE:
            _rest(tensor.narrow(shift, 0, written), shift + 1, carried[layer.reads]).zero_()
        if axes.layer_norm == "summand":
            _rest(tensor, axes.place, written).zero_()


def _rest(tensor: Tensor, dim: int, count: int) -> Tensor:
    """The view of `tensor` behind the first `count` of a dimension."""
    return tensor.narrow(dim, count, tensor.shape[dim] - count)


def _check_fits(target: Tensor, source: Tensor, axes: Axes, carried: Mapping[str, int], layer: Layer) -> None:
    """Refuse a tensor whose dimensions are not those that are carried, or that has no room."""
    sizes = {**carried, IMAGE: target.shape[axes.dims.index(IMAGE)] if IMAGE in axes.dims else 0}
    if tuple(source.shape) == (needed := axes.shape(sizes)) and all(
        ours <= theirs for ours, theirs in zip(needed, target.shape, strict=True)
    ):
        return
    what = f"layer {layer.name}: the gene's {axes.name} {tuple(source.shape)}"
    dim = axes.dims.index(layer.reads, 1) if layer.reads in axes.dims[1:] else 0
    if dim and source.ndim == len(needed) and source.shape[dim] != needed[dim]:
        raise InheritanceError(
            f"{what} reads {source.shape[dim]} channels of the gene, but in this network {needed[dim]} come in, since "
            "layers of the gene before it are missing; use the gene's depth or a greater one"
        )
    raise InheritanceError(
        f"{what} does not fit into the network's {tuple(target.shape)}; use the gene's network family, at least as "
        "wide as the gene"
    )


def _for_image_channels(kernel: Tensor, dim: int, wanted: int, layer: str) -> Tensor:
    """The first kernel for images of `wanted` channels: RGB sums into gray, gray spreads over any number (ours)."""
    known = kernel.shape[dim]
    if known == wanted:
        return kernel
    if wanted == 1:
        return kernel.sum(dim=dim, keepdim=True)
    if known == 1:
        return kernel.repeat_interleave(wanted, dim=dim) / wanted
    raise InheritanceError(
        f"layer {layer}: the gene reads images of {known} channels, the network {wanted}; use in_chans={known} or 1"
    )
