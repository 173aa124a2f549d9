"""The genetic operators: pure functions from tensors to new tensors.

A network is its state (name -> tensor) and its walk (`ConvSpec`s in forward order). A learngene is the leading
channels of every channel group: with `S_l` the gene's outputs of layer `l`, it holds `W_l[S_l][:, S_(l-1)]` and the
batch norm of `S_l` (index chaining: inferred from Feng 2024, arXiv:2401.08139, abstract). That the gene sits in the
leading channels is ours: a network's function does not depend on the order of its channels.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from learngene_hub.errors import InheritanceError, SelectionError
from learngene_hub.networks import IMAGE, NORM_EPS, NORM_TENSORS, ConvSpec

State = Mapping[str, Tensor]


def extract(state: State, specs: Sequence[ConvSpec], channels: Mapping[str, int]) -> dict[str, Tensor]:
    """The learngene: the leading `channels` of every group, as copies under the network's own names.

    Extraction: attested, Feng 2024 (arXiv:2401.08139, abstract). Leading channels: ours.

    Args:
        state: the network's tensors.
        specs: its convolutions in forward order.
        channels: group -> channels that are gene, 1 <= channels <= the group's channels.

    Returns:
        For every convolution its kernel `(out_channels, in_channels, kh, kw)` and its batch norm's weight, bias and
        running statistics, `(out_channels,)` each.
    """
    gene: dict[str, Tensor] = {}
    for spec in specs:
        kernel = state[f"{spec.conv}.weight"]
        outputs, inputs = channels[spec.out_group], channels.get(spec.in_group, kernel.shape[1])
        gene[f"{spec.conv}.weight"] = kernel[:outputs, :inputs].detach().clone(memory_format=torch.contiguous_format)
        for name in NORM_TENSORS:
            gene[f"{spec.norm}.{name}"] = state[f"{spec.norm}.{name}"][:outputs].detach().clone()
    return gene


def carried_channels(specs: Sequence[ConvSpec], gene: State) -> dict[str, int]:
    """Group -> leading channels that carry the gene's circuit in a network of these `specs`.

    Where the network has a layer that the gene lacks, an `identity` layer carries on what comes in, and the inside of
    an extra residual block carries nothing.

    Raises:
        InheritanceError: the gene lacks a layer without which the circuit would be broken.
    """
    channels: dict[str, int] = {}
    for spec in specs:
        kernel = gene.get(f"{spec.conv}.weight")
        if kernel is not None:
            channels.setdefault(spec.out_group, kernel.shape[0])
        elif spec.if_absent == "identity":
            channels[spec.out_group] = channels[spec.in_group]
        elif spec.if_absent == "random":
            channels[spec.out_group] = 0
        elif spec.if_absent == "refuse":
            raise InheritanceError(
                f"layer {spec.conv}: the network needs it from the gene, and the gene lacks it; use the gene's network "
                "family"
            )
    return channels


def inherit(state: State, specs: Sequence[ConvSpec], gene: State, *, cross: str) -> dict[str, Tensor]:
    """The state of a newborn: `gene` in the leading channels of every layer, all else as in `state`.

    Inheritance: attested, Feng 2024 (arXiv:2401.08139, abstract). `cross`, and the birth of layers that the gene
    lacks: ours.

    Args:
        state: the tensors of a freshly initialised network.
        specs: its convolutions in forward order.
        gene: as `extract` gives it, from a network of the same family, as narrow as `state` or narrower.
        cross: `zero`: weights from non-gene inputs into gene outputs are zero, so that the gene's channels compute
            what they compute alone; `random`: they stay as in `state`.

    Raises:
        InheritanceError: a layer of the gene does not fit; the layer and both shapes are named.
    """
    newborn = {name: tensor.detach().clone() for name, tensor in state.items()}
    inherit_into(newborn, specs, gene, cross=cross)
    return newborn


def inherit_into(newborn: State, specs: Sequence[ConvSpec], gene: State, *, cross: str) -> None:
    """What `inherit` does, in the tensors of a network that nobody has seen yet: no second copy of it is made.

    Args:
        newborn: the tensors of a freshly initialised network; changed in place, in part even where an error is raised.
        specs: see `inherit`.
        gene: see `inherit`; left alone.
        cross: see `inherit`.

    Raises:
        InheritanceError: a layer of the gene does not fit; the layer and both shapes are named.
    """
    channels = carried_channels(specs, gene)
    for spec in specs:
        outputs = channels[spec.out_group]
        inputs = newborn[f"{spec.conv}.weight"].shape[1] if spec.in_group == IMAGE else channels[spec.in_group]
        if f"{spec.conv}.weight" in gene:
            _implant(newborn, spec, gene, inputs)
        elif spec.if_absent == "identity":
            _born_as_identity(newborn, spec, _last_gene_layer(specs, spec, gene), gene)
        elif spec.if_absent == "zero_norm":
            newborn[f"{spec.norm}.weight"][:outputs] = 0
            newborn[f"{spec.norm}.bias"][:outputs] = 0
            continue  # its kernel may hear everything: what it says is multiplied by zero
        if cross == "zero":
            newborn[f"{spec.conv}.weight"][:outputs, inputs:] = 0


def mutate(
    state: State,
    specs: Sequence[ConvSpec],
    channels: Mapping[str, int],
    *,
    rate: float,
    head: str,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The same network with some gene channels of every group exchanged for channels that were not gene.

    The channels change places whole: kernel, batch norm and the matching inputs of whatever reads them, so the chain
    stays closed and the network computes what it did. What changes is which channels lead, hence the learngene.
    Mutation: attested, Feng 2024 (arXiv:2401.08139, abstract). This form of it: ours.

    Args:
        state: the trained network's tensors.
        specs: its convolutions in forward order.
        channels: group -> channels that are gene.
        rate: chance of each gene channel to be exchanged, in [0, 1]; at least one channel of a group stays.
        head: name of the classifier's weight `(classes, channels of the last group)`.
        generator: source of the draws, on the CPU.
    """
    sizes = {spec.out_group: state[f"{spec.conv}.weight"].shape[0] for spec in specs}
    return reorder(state, specs, exchange(sizes, channels, rate=rate, generator=generator), head=head)


def exchange(
    sizes: Mapping[str, int], channels: Mapping[str, int], *, rate: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The orders that `mutate` draws: group -> `(channels,)` int64, in which some gene channels are no longer gene's.

    Args:
        sizes: group -> all its channels, in the order in which the groups are first put out.
        channels: group -> channels that are gene.
        rate: see `mutate`.
        generator: see `mutate`.
    """
    return {group: _exchange(total, channels[group], rate, generator) for group, total in sizes.items()}


def reorder(state: State, specs: Sequence[ConvSpec], orders: Mapping[str, Tensor], *, head: str) -> dict[str, Tensor]:
    """The same network with the channels of every group in another order; it computes what it did.

    Args:
        state: the network's tensors.
        specs: its convolutions in forward order.
        orders: group -> `(channels,)` int64, which channel comes first, second...
        head: name of the classifier's weight `(classes, channels of the last group)`.
    """
    moved = {name: tensor.detach().clone() for name, tensor in state.items()}
    for spec in specs:
        kernel = state[f"{spec.conv}.weight"][orders[spec.out_group]]
        moved[f"{spec.conv}.weight"] = kernel[:, orders[spec.in_group]] if spec.in_group in orders else kernel
        for name in NORM_TENSORS:
            moved[f"{spec.norm}.{name}"] = state[f"{spec.norm}.{name}"][orders[spec.out_group]]
    moved[head] = state[head][:, orders[specs[-1].out_group]]
    return moved


def tournament(fitness: Tensor, *, size: int, generator: torch.Generator) -> Tensor:
    """Indices of the winners of disjoint random groups, one a group, in rising order.

    Tournament selection of learngenes: attested, Feng 2024 (arXiv:2401.08139, abstract). Group size, draw: ours.

    Args:
        fitness: `(population,)` critic accuracy in [0, 1], higher is better; NaN marks a failed run and never wins.
        size: individuals a group, 1 <= size <= population; the last group takes what is left.
        generator: source of the draws, on the CPU.

    Returns:
        `(winners,)` int64 indices into `fitness`, without repeats; a group in which all failed has no winner.

    Raises:
        SelectionError: every individual failed.
        ValueError: `size` is out of range.
    """
    if not 1 <= size <= len(fitness):
        raise ValueError(f"tournament size {size} is not in 1..{len(fitness)}")
    groups = torch.split(torch.randperm(len(fitness), generator=generator), size)
    ranked = torch.where(fitness.isnan(), -math.inf, fitness)
    winners = [int(group[ranked[group].argmax()]) for group in groups]
    alive = sorted(winner for winner in winners if not math.isnan(float(fitness[winner])))
    if not alive:
        raise SelectionError(f"all {len(fitness)} individuals of the generation failed (NaN); lower `ancestry.lr`")
    return torch.tensor(alive)


def update_scores(
    pool: Mapping[int, float],
    survivors: Mapping[int, float],
    lineage: Mapping[int, Mapping[int, int]],
    *,
    decay: float,
    credit: float,
) -> dict[int, float]:
    """Scores of the gene pool after a generation, survivors included.

    Every old score fades; every survivor enters with its fitness and credits its ancestors in the pool. Score update
    by lineage: attested for the forerunner GRL (arXiv:2306.10225); these formulas: ours.

    Args:
        pool: id -> score so far.
        survivors: id -> fitness of this generation's winners.
        lineage: survivor's id -> (ancestor's id -> steps up the lineage).
        decay: factor on old scores, in [0, 1].
        credit: share of its fitness a survivor gives an ancestor, to the power of the steps, in [0, 1).
    """
    scores = {member: score * decay for member, score in pool.items()}
    for survivor, fitness in survivors.items():
        for ancestor, steps in lineage[survivor].items():
            if ancestor in scores:
                scores[ancestor] += credit**steps * fitness
    return scores | dict(survivors)


def _implant(newborn: State, spec: ConvSpec, gene: State, inputs: int) -> None:
    kernel, part = newborn[f"{spec.conv}.weight"], gene[f"{spec.conv}.weight"]
    if spec.in_group == IMAGE:
        part = _for_image_channels(part, inputs, spec.conv)
    outputs = part.shape[0]
    chained = part.shape[1] == inputs and part.shape[2:] == kernel.shape[2:]
    if not chained or outputs > kernel.shape[0] or inputs > kernel.shape[1]:
        raise InheritanceError(
            f"layer {spec.conv}: the gene's kernel {tuple(part.shape)}, with {inputs} inputs carried to it, does not "
            f"fit into the network's {tuple(kernel.shape)}; use the gene's network family, at least as wide as the gene"
        )
    kernel[:outputs, :inputs] = part.to(kernel)
    for name in NORM_TENSORS:
        target = newborn[f"{spec.norm}.{name}"]
        target[:outputs] = gene[f"{spec.norm}.{name}"].to(target)


def _for_image_channels(kernel: Tensor, wanted: int, layer: str) -> Tensor:
    """The first kernel for images of `wanted` channels: RGB sums into gray, gray spreads over any number (ours)."""
    found = kernel.shape[1]
    if found == wanted:
        return kernel
    if wanted == 1:
        return kernel.sum(dim=1, keepdim=True)
    if found == 1:
        return kernel.repeat(1, wanted, 1, 1) / wanted
    raise InheritanceError(
        f"layer {layer}: the gene reads images of {found} channels, the network {wanted}; use in_chans={found} or 1"
    )


def _last_gene_layer(specs: Sequence[ConvSpec], spec: ConvSpec, gene: State) -> ConvSpec:
    while f"{spec.conv}.weight" not in gene:
        spec = next(other for other in specs if other.out_group == spec.in_group)
    return spec


def _born_as_identity(newborn: State, spec: ConvSpec, source: ConvSpec, gene: State) -> None:
    """Make a plain layer pass on unchanged what the gene's layer `source` computes (ours).

    The kernel is Dirac's. Its input is a rectified batch norm, so mean and variance follow from that norm's weight
    and bias; with them as statistics the layer is the identity in eval mode, and nearly so in train mode.
    """
    kernel = newborn[f"{spec.conv}.weight"]
    count = len(gene[f"{source.norm}.weight"])
    if count > min(kernel.shape[:2]):
        raise InheritanceError(
            f"layer {spec.conv}: expected at least the gene's {count} channels to carry on, found "
            f"{tuple(kernel.shape)}; make the network at least as wide as the gene"
        )
    weight, bias = gene[f"{source.norm}.weight"].to(kernel), gene[f"{source.norm}.bias"].to(kernel)
    carried = torch.arange(len(weight), device=kernel.device)
    kernel[: len(weight), : len(weight)] = 0
    kernel[carried, carried, kernel.shape[2] // 2, kernel.shape[3] // 2] = 1
    mean, variance = _rectified_moments(weight, bias)
    scale = (variance + NORM_EPS).sqrt()
    for name, value in zip(NORM_TENSORS, (scale, mean, mean, variance), strict=True):
        newborn[f"{spec.norm}.{name}"][: len(weight)] = value


def _rectified_moments(scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(0, scale * z + shift) with z standard normal, element by element."""
    deviation = scale.abs().clamp_min(1e-12)
    ratio = shift / deviation
    above = torch.special.ndtr(ratio)
    density = (-0.5 * ratio.square()).exp() / math.sqrt(2 * math.pi)
    mean = shift * above + deviation * density
    square = (shift.square() + deviation.square()) * above + shift * deviation * density
    return mean, (square - mean.square()).clamp_min(0)


def _exchange(total: int, kept: int, rate: float, generator: torch.Generator) -> Tensor:
    """An order of `total` channels in which some of the first `kept` have changed places with later ones."""
    leaving = (torch.rand(kept, generator=generator) < rate).nonzero().flatten()
    entering = kept + torch.randperm(total - kept, generator=generator)
    count = min(len(leaving), len(entering), kept - 1)
    leaving = leaving[torch.randperm(len(leaving), generator=generator)[:count]]
    order = torch.arange(total)
    order[leaving], order[entering[:count]] = entering[:count], leaving
    return order
