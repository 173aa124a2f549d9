import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learngene_hub.core.errors import InheritanceError, SelectionError
from learngene_hub.core.rng import generator
from learngene_hub.evolution.operators import mutate, tournament, update_scores
from learngene_hub.genome.birth import Body, gene_network, newborn
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.genome.surgery import carried_channels, extract, inherit, inherited_parts

BODIES = [Body("lg_vgg11", 0.1), Body("lg_resnet12", 0.1), Body("lg_resnet12_wide", 0.08)]
DEEPER = [
    (Body("lg_vgg11", 0.1), Body("lg_vgg11", 0.15, depth=13)),
    (Body("lg_vgg11", 0.1), Body("lg_vgg11", 0.1, depth=19)),
    (Body("lg_resnet12", 0.1), Body("lg_resnet12", 0.14, depth=15)),
    (Body("lg_resnet12", 0.1), Body("lg_resnet12", 0.1, depth=27)),
]


def lived(network, *, seed=0):
    """The same network in float64, with batch norms as training leaves them rather than at their start."""
    draws = generator(seed, "lived")
    state = network.double().state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draws))
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.rand(tensor.shape, generator=draws) - 0.5)
    return network.eval()


def adult(body, *, seed=0, classes=4):
    return lived(newborn(body, num_classes=classes, gene=None, cross="zero", seed=seed), seed=seed)


def even_shape(body, fraction):
    return ShapeSpace(body, fraction).even()


def gene_of(network, channels):
    return extract(network.state_dict(), network.structure, channels)


def heir(body, gene, *, cross="zero", seed=1):
    network = newborn(body, num_classes=4, gene=None, cross=cross, seed=seed).double()
    network.load_state_dict(inherit(network.state_dict(), network.structure, gene, cross=cross))
    return network.eval()


def alone(body, gene, channels):
    """Features of the thin network that is the gene and nothing else."""
    thin = gene_network(body, channels, num_classes=4).double()
    thin.load_state_dict(thin.state_dict() | dict(gene.tensors))
    return thin.eval()


def images(size=32):
    return torch.rand(3, 3, size, size, generator=generator(0, "images"), dtype=torch.float64)


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("cross", ["zero", "random"])
def test_extract_after_inherit_gives_the_gene_back_bit_for_bit(body, cross):
    channels = even_shape(body, 0.45)
    gene = gene_of(adult(body), channels)
    again = gene_of(heir(body, gene, cross=cross), channels)
    assert again.sizes == gene.sizes
    assert again.tensors.keys() == gene.tensors.keys()
    assert all(torch.equal(again.tensors[name], gene.tensors[name]) for name in gene.tensors)


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_a_gene_holds_about_a_fifth_of_the_parameters(body):
    full = Body(body.network)
    thin = gene_network(full, even_shape(full, 0.45), num_classes=0)
    total = newborn(full, num_classes=0, gene=None, cross="zero", seed=0)
    share = sum(p.numel() for p in thin.parameters()) / sum(p.numel() for p in total.parameters())
    assert 0.195 < share < 0.21


@pytest.mark.parametrize(
    ("small", "large"),
    [(body, body) for body in BODIES] + [(b, Body(b.network, 0.3)) for b in BODIES] + DEEPER,
    ids=str,
)
def test_with_zero_cross_the_gene_computes_in_a_descendant_what_it_computes_alone(small, large):
    channels = even_shape(small, 0.45)
    gene = gene_of(adult(small), channels)
    thin = alone(small, gene, channels).forward_features(images())
    full = heir(large, gene).forward_features(images())
    assert thin.abs().max() > 0.05
    torch.testing.assert_close(full[:, : thin.shape[1]], thin, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("small", "large"), [(body, body) for body in BODIES] + DEEPER, ids=str)
def test_what_is_inherited_is_the_gene_and_no_more_in_deeper_networks_too(small, large):
    gene = gene_of(adult(small), even_shape(small, 0.45))
    network = heir(large, gene)
    parts = inherited_parts(network.state_dict(), network.structure, gene)
    assert parts.keys() == {name for name in gene.tensors if "running" not in name}
    assert all(torch.equal(part, gene.tensors[name]) for name, part in parts.items())


def test_with_random_cross_the_rest_interferes():
    body = BODIES[0]
    channels = even_shape(body, 0.45)
    gene = gene_of(adult(body), channels)
    thin = alone(body, gene, channels).forward_features(images())
    full = heir(body, gene, cross="random").forward_features(images())
    assert not torch.allclose(full[:, : thin.shape[1]], thin, atol=1e-3)


def test_layers_born_as_identity_keep_the_signal_in_train_mode_too():
    small, deep = Body("lg_vgg11", 0.2), Body("lg_vgg11", 0.2, depth=19)
    channels = even_shape(small, 0.45)
    gene = gene_of(adult(small), channels)
    thin = alone(small, gene, channels)
    x = torch.rand(64, 3, 32, 32, generator=generator(0, "many"), dtype=torch.float64)
    with torch.no_grad():
        expected = thin.train().stages[0](x)
        found = heir(deep, gene).train().stages[0](x)[:, : expected.shape[1]]
    flat = torch.stack([expected.flatten(), found.flatten()])
    assert torch.corrcoef(flat)[0, 1] > 0.95


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_what_is_not_inherited_is_random_and_differs_with_the_seed(body):
    gene = gene_of(adult(body), even_shape(body, 0.45))
    first, second = heir(body, gene, seed=1), heir(body, gene, seed=2)
    kernels = [name for name, tensor in first.state_dict().items() if tensor.ndim == 4]
    assert all(not torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in kernels)


def test_inherit_leaves_its_input_alone():
    body = BODIES[0]
    network, gene = adult(body), gene_of(adult(body, seed=3), even_shape(body, 0.45))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inherit(network.state_dict(), network.structure, gene, cross="zero")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("small", "large"), [(body, body) for body in BODIES] + DEEPER, ids=str)
@pytest.mark.parametrize("cross", ["zero", "random"])
def test_a_newborn_is_byte_for_byte_the_network_from_scratch_that_inherits(small, large, cross):
    gene = gene_of(adult(small).float(), even_shape(small, 0.45))
    before = {name: tensor.clone() for name, tensor in gene.tensors.items()}
    scratch = newborn(large, num_classes=4, gene=None, cross=cross, seed=1)
    expected = inherit(scratch.state_dict(), scratch.structure, gene, cross=cross)
    found = newborn(large, num_classes=4, gene=gene, cross=cross, seed=1)
    assert found.training
    assert list(found.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())
    for weight in found.parameters():
        weight.data.fill_(9)
    assert all(torch.equal(gene.tensors[name], before[name]) for name in before)


def test_a_network_narrower_than_the_gene_is_refused_with_the_layer():
    gene = gene_of(adult(Body("lg_vgg11", 0.2)), even_shape(Body("lg_vgg11", 0.2), 0.9))
    with pytest.raises(
        InheritanceError, match=r"layer stages\.0\.0\.conv: the gene's kernel \(12, 3, 3, 3\).*\(6, 3, 3, 3\)"
    ):
        heir(Body("lg_vgg11", 0.1), gene)


def test_a_gene_of_another_family_is_refused_with_the_layer():
    gene = gene_of(adult(Body("lg_vgg11", 0.1)), even_shape(Body("lg_vgg11", 0.1), 0.45))
    with pytest.raises(InheritanceError, match=r"stages\.0\.0\.conv1: the network needs it"):
        heir(Body("lg_resnet12", 0.1), gene)


def test_a_shallower_network_takes_what_it_has_a_place_for():
    deep, shallow = Body("lg_vgg11", 0.1, depth=13), Body("lg_vgg11", 0.1)
    gene = gene_of(adult(deep), even_shape(deep, 0.45))
    network = heir(shallow, gene)
    found = gene_of(network, even_shape(shallow, 0.45))
    assert torch.equal(found.tensors["stages.1.0.conv.weight"], gene.tensors["stages.1.0.conv.weight"])


@pytest.mark.parametrize(("chans", "expected"), [(1, lambda k: k.sum(1, keepdim=True)), (3, lambda k: k)])
def test_the_first_kernel_reads_gray_images_by_the_sum_of_its_colours(chans, expected):
    body = Body("lg_resnet12", 0.1)
    gene = gene_of(adult(body), even_shape(body, 0.45))
    network = heir(Body("lg_resnet12", 0.1, in_chans=chans), gene)
    kernel = gene.tensors["stages.0.0.conv1.weight"]
    assert torch.equal(network.state_dict()["stages.0.0.conv1.weight"][: len(kernel)], expected(kernel))


def test_image_channels_that_cannot_be_matched_are_refused():
    gene = gene_of(adult(Body("lg_vgg11", 0.1)), even_shape(Body("lg_vgg11", 0.1), 0.45))
    with pytest.raises(InheritanceError, match="images of 3 channels, the network 4; use in_chans=3 or 1"):
        heir(Body("lg_vgg11", 0.1, in_chans=4), gene)


@pytest.mark.parametrize(
    "body", [*BODIES, Body("lg_resnet12", 0.1, depth=18), Body("lg_vgg11", 0.1, depth=16)], ids=str
)
def test_mutation_leaves_the_function_and_changes_the_gene(body):
    network, channels = adult(body), even_shape(body, 0.45)
    state, specs = network.state_dict(), network.structure
    before, logits = extract(state, specs, channels).tensors, network(images())
    mutant = mutate(state, specs, channels, rate=0.5, generator=generator(0, "m"))
    network.load_state_dict(mutant)
    torch.testing.assert_close(network(images()), logits, rtol=1e-9, atol=1e-9)
    after = extract(mutant, specs, channels).tensors
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_mutation_is_replayable_and_keeps_one_channel_of_every_group():
    body = Body("lg_vgg11", 0.1)
    network, channels = adult(body), even_shape(body, 0.45)
    args = (network.state_dict(), network.structure, channels)
    first, second = (mutate(*args, rate=1.0, generator=generator(0, "m")) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    kernel, old = first["stages.0.0.conv.weight"], network.state_dict()["stages.0.0.conv.weight"]
    count = channels["stages.0.0"]
    stayed = [i for i in range(count) if torch.equal(kernel[i], old[i])]
    assert len(stayed) == max(1, count - (len(old) - count))


def test_mutation_without_rate_or_without_other_channels_changes_nothing():
    network = adult(Body("lg_vgg11", 0.1))
    for channels, rate in ((even_shape(Body("lg_vgg11", 0.1), 0.45), 0.0), (network.channel_counts(), 1.0)):
        after = mutate(
            network.state_dict(),
            network.structure,
            channels,
            rate=rate,
            generator=generator(0),
        )
        assert all(torch.equal(after[name], tensor) for name, tensor in network.state_dict().items())


@given(
    fitness=st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), min_size=1, max_size=20),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_winners_are_the_best_of_disjoint_groups_and_never_failed(fitness, data):
    size = data.draw(st.integers(1, len(fitness)))
    scores = torch.tensor(fitness)
    if scores.isnan().all():
        with pytest.raises(SelectionError, match=r"all \d+ individuals of the generation failed"):
            tournament(scores, size=size, generator=generator(0, "t"))
        return
    winners = tournament(scores, size=size, generator=generator(0, "t"))
    assert winners.unique().tolist() == winners.tolist()
    assert not scores[winners].isnan().any()
    assert len(winners) <= math.ceil(len(fitness) / size)
    best = scores.nan_to_num(nan=-1).max()
    assert best in scores[winners]


@pytest.mark.parametrize("size", [0, 4])
def test_a_tournament_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match=r"not in 1\.\.3"):
        tournament(torch.rand(3), size=size, generator=generator(0))


def test_scores_fade_and_survivors_credit_their_lineage():
    scores = update_scores({1: 1.0, 2: 0.5}, {7: 0.8}, {7: {2: 1, 1: 2, 99: 3}}, decay=0.5, credit=0.1)
    assert scores == pytest.approx({1: 0.5 + 0.01 * 0.8, 2: 0.25 + 0.1 * 0.8, 7: 0.8})


def test_what_an_extra_residual_block_carries_is_nothing_inside_and_all_outside():
    body, deep = Body("lg_resnet12", 0.1), Body("lg_resnet12", 0.1, depth=15)
    channels = even_shape(body, 0.45)
    specs = newborn(deep, num_classes=2, gene=None, cross="zero", seed=0).structure
    carried = carried_channels(specs, gene_of(adult(body), channels))
    assert carried["stages.3"] == channels["stages.3"]
    assert carried["stages.3.1.conv1"] == 0
