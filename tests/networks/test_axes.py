"""Tensors cut, put together and reordered by the groups of their dimensions."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_genes import inherited

from learngene_hub.core.errors import InheritanceError, NetworkError, TrainingError
from learngene_hub.core.rng import generator
from learngene_hub.evolution.operators import mutate
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.importance import at_random, batch_norm, cut, evenly, magnitude
from learngene_hub.genome.surgery import extract, reorder
from learngene_hub.networks import IMAGE, Axes, Group, Layer, Structure, part
from learngene_hub.networks.axes import CLASSES
from learngene_hub.networks.structure import normed_convolution, resolve_groups

HEAD = 4  # channels of one head of attention
QKV = Axes("qkv.weight", ("heads", "stream"), blocks=3)
STRUCTURE = Structure(
    depth=1,
    width=1.0,
    layers=(
        Layer(
            "embed", (Axes("embed.weight", ("stream", IMAGE, 2, 2)), Axes("embed.bias", ("stream",))), IMAGE, "stream"
        ),
        Layer("qkv", (QKV, Axes("qkv.bias", ("heads",), blocks=3)), "stream", "heads"),
    ),
    groups={"stream": Group(6), "heads": Group(3 * HEAD, unit=HEAD)},
    classifier=Axes("head.weight", (CLASSES, "heads")),
)
SIZES = {"stream": 2, "heads": HEAD}


def state(seed=0):
    shapes = STRUCTURE.shapes(in_chans=3) | {"head.weight": (5, 3 * HEAD), "other": (2,)}
    return {name: torch.rand(shape, generator=generator(seed, name)) for name, shape in shapes.items()}


def test_a_fused_projection_is_cut_in_every_block():
    weight = state()["qkv.weight"]
    expected = torch.cat([block[:HEAD, :2] for block in weight.chunk(3)])
    gene = extract(state(), STRUCTURE, SIZES)
    assert torch.equal(gene.tensors["qkv.weight"], expected)
    assert gene.tensors["qkv.bias"].shape == (3 * HEAD,)
    assert gene.tensors.keys() == STRUCTURE.shapes(in_chans=3).keys()


def test_a_view_of_a_part_writes_into_the_tensor():
    weight = state()["qkv.weight"]
    part(weight, QKV, SIZES).zero_()
    blocks = weight.unflatten(0, (3, -1))
    assert not blocks[:, :HEAD, :2].any()
    assert blocks[:, HEAD:].all()
    assert blocks[:, :, 2:].all()


def test_a_gene_put_into_another_network_is_there_whole_and_reads_nothing_else():
    gene, other = extract(state(), STRUCTURE, SIZES), state(seed=1)
    born = inherited(other, STRUCTURE, gene)
    again = extract(born, STRUCTURE, SIZES)
    assert all(torch.equal(again.tensors[name], gene.tensors[name]) for name in gene.tensors)
    assert not born["qkv.weight"].unflatten(0, (3, -1))[:, :HEAD, 2:].any()
    assert torch.equal(born["other"], other["other"])


def test_a_network_in_another_order_computes_what_it_did():
    before, draws = state(), generator(0, "orders")
    orders = {"stream": torch.randperm(6, generator=draws), "heads": torch.randperm(3 * HEAD, generator=draws)}
    after = reorder(before, STRUCTURE, orders)

    def forward(tensors):
        x = torch.ones(3)
        x = tensors["embed.weight"].sum((2, 3)) @ x + tensors["embed.bias"]
        q, k, v = (tensors["qkv.weight"] @ x + tensors["qkv.bias"]).chunk(3)
        return tensors["head.weight"] @ (q * k * v)

    torch.testing.assert_close(forward(after), forward(before))
    assert after.keys() == before.keys()


def test_a_layer_that_reads_and_writes_one_group_is_cut_off_from_other_channels_too():
    square = Layer("square", (Axes("square.weight", ("h", "h")),), "h", "h")
    structure = Structure(1, 1.0, (square,), {"h": Group(4)}, Axes("head.weight", (CLASSES, "h")))
    gene = Genome({"square.weight": torch.ones(2, 2)}, {"h": 2})
    born = inherited({"square.weight": torch.full((4, 4), 7.0)}, structure, gene)
    assert born["square.weight"].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [7, 7, 7, 7], [7, 7, 7, 7]]


def test_a_depthwise_layer_has_nothing_to_cut_off():
    kernel = Axes("deep.weight", ("h", 1, 3, 3))
    layers = (Layer("first", (Axes("first.weight", ("h", IMAGE)),), IMAGE, "h"), Layer("deep", (kernel,), "h", "h"))
    structure = Structure(1, 1.0, layers, {"h": Group(4)}, Axes("head.weight", (CLASSES, "h")))
    gene = Genome({"first.weight": torch.ones(2, 3), "deep.weight": torch.ones(2, 1, 3, 3)}, {"h": 2})
    whole = {"first.weight": torch.full((4, 3), 7.0), "deep.weight": torch.full((4, 1, 3, 3), 7.0)}
    assert inherited(whole, structure, gene)["deep.weight"].amax(dim=(1, 2, 3)).tolist() == [1, 1, 7, 7]


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (2, 3, 2, 2, 1)])
def test_a_tensor_of_another_number_of_dimensions_is_refused(shape):
    gene = extract(state(), STRUCTURE, SIZES)
    odd = Genome({**gene.tensors, "embed.weight": torch.ones(shape)}, gene.sizes)
    with pytest.raises(InheritanceError, match=r"layer embed: the gene's embed\.weight .* does not fit into"):
        inherited(state(1), STRUCTURE, odd)
    if shape:
        assert STRUCTURE.sizes_in(odd.tensors)["stream"] == 2


@given(rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_mutation_keeps_units_together(rate, seed):
    numbered = state() | {"head.weight": torch.arange(3.0 * HEAD).expand(5, -1)}  # of the channels of "heads"
    mutant = mutate(numbered, STRUCTURE, SIZES, rate=rate, generator=generator(seed))
    units = mutant["head.weight"][0].reshape(-1, HEAD)
    assert torch.equal(units % HEAD, torch.arange(HEAD).expand_as(units))
    assert units.flatten().sort().values.tolist() == list(range(3 * HEAD))
    assert torch.equal(mutant["qkv.bias"].sort().values, state()["qkv.bias"].sort().values)


def test_a_layer_of_two_batch_norms_gives_twice_as_many_means_and_maxima():
    one = normed_convolution("conv", "norm1", reads=IMAGE, writes="h", kernel=3)
    more = [replace(axes, name=axes.name.replace("norm1", "norm2")) for axes in one.tensors[1:]]
    two = replace(one, tensors=(*one.tensors, *more))
    counts = [replace(STRUCTURE, layers=(each,), groups={"h": Group(5)}).layer_features for each in (one, two)]
    assert counts == [2 * 5, 4 * 5]


def test_a_genome_of_tensors_alone_knows_its_sizes():
    gene = extract(state(), STRUCTURE, SIZES)
    assert STRUCTURE.sizes_in(gene.tensors) == SIZES


NORM = tuple(
    Axes(f"norm.{name}", ("stream",), layer_norm="weight" if name == "weight" else None) for name in ("weight", "bias")
)
TOKENS = Axes("tokens", (1, 5, "stream"), layer_norm="summand")
NORMED = Structure(
    depth=1,
    width=1.0,
    layers=(
        Layer("tokens", (TOKENS, Axes("first.weight", ("stream", IMAGE), layer_norm="summand")), IMAGE, "stream"),
        Layer("qkv", (*NORM, QKV), "stream", "heads"),
    ),
    groups={"stream": Group(6), "heads": Group(3 * HEAD, unit=HEAD)},
    classifier=Axes("head.weight", (CLASSES, "heads")),
)


def normed(seed, structure_sizes):
    shapes = {axes.name: axes.shape({IMAGE: 3, **structure_sizes}) for axes in NORMED.tensors}
    return {
        name: torch.rand(shape, generator=generator(seed, name), dtype=torch.float64) for name, shape in shapes.items()
    }


def queries(tensors):
    stream = tensors["tokens"][0] + tensors["first.weight"].sum(dim=1)
    x = torch.nn.functional.layer_norm(stream, stream.shape[1:], tensors["norm.weight"], tensors["norm.bias"], eps=0.0)
    return (x @ tensors["qkv.weight"].T).unflatten(1, (3, -1))  # (tokens, 3, heads)


def test_a_layer_norm_over_more_channels_gives_the_genes_what_it_gives_them_alone():
    gene = extract(normed(0, NORMED.channels), NORMED, SIZES)
    born = inherited(normed(1, NORMED.channels), NORMED, gene)
    torch.testing.assert_close(queries(born)[:, :, :HEAD], queries(gene.tensors))
    again = extract(born, NORMED, SIZES)
    assert all(torch.allclose(again.tensors[name], gene.tensors[name]) for name in gene.tensors)
    assert not born["tokens"][:, :, 2:].any()
    assert not born["first.weight"][2:].any()


def test_what_layer_norms_take_away_is_no_part_of_a_gene():
    whole = normed(0, NORMED.channels)
    gene = extract(whole, NORMED, NORMED.channels)
    torch.testing.assert_close(queries(gene.tensors), queries(whole))
    torch.testing.assert_close(gene.tensors["tokens"].mean(dim=2), torch.zeros(1, 5, dtype=torch.float64))


@pytest.mark.parametrize("ranking", [magnitude, at_random, evenly])
def test_slices_are_cut_by_units(ranking):
    units = torch.arange(3 * HEAD, dtype=torch.float64) // HEAD + 1
    whole = state() | {"qkv.weight": units.repeat(3)[:, None].expand(-1, 6).clone()}
    kept = cut(whole, STRUCTURE, {"stream": 6, "heads": 2 * HEAD}, ranking, seed=0).tensors["qkv.weight"]
    found = kept.unflatten(0, (3, 2, HEAD))
    assert all(len(unit.unique()) == 1 for block in found for unit in block)
    if ranking is magnitude:
        assert found[0, :, 0, 0].tolist() == [3, 2]
    if ranking is evenly:
        assert sorted(found[0, :, 0, 0].tolist()) == [1, 2]


def test_a_network_without_batch_norms_has_no_slice_of_its_best_norms():
    with pytest.raises(TrainingError, match="layers without a batch norm"):
        cut(state(), STRUCTURE, SIZES, batch_norm, seed=0)


def test_a_width_gives_whole_units_and_channels_must_be_whole_ones():
    options = {"name": "toy", "units": {"heads": 64}}
    groups = resolve_groups({"stream": 192, "heads": 192}, width=0.5, channels=None, **options)
    assert groups == {"stream": Group(96), "heads": Group(128, unit=64)}
    with pytest.raises(NetworkError, match=r"heads: expected 1 to .* channels in units of 64, found"):
        resolve_groups({"stream": 192, "heads": 192}, width=1, channels={"stream": 3, "heads": 96}, **options)
