"""What every family of networks promises: one gene, cut out, kept, put into other networks, frozen, exported."""

import copy
import json
import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_genes import adult, alone, even_shape, float64_images, gene_channels, gene_of, heir, inherited, same
from small_networks import TINY, deeper, entry, every_network, every_network_of_timm, images, tiny

from learngene_hub import Learngene, extract, from_learngene, inherit, unfreeze
from learngene_hub.core.errors import GeneFileError, InheritanceError, NetworkError
from learngene_hub.core.files import file_sha256
from learngene_hub.core.rng import generator
from learngene_hub.families import FAMILIES
from learngene_hub.genome.birth import Body, newborn
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.genome.surgery import carried_channels, inherited_parts
from learngene_hub.networks import (
    IMAGE,
    as_supported,
    family,
    joined,
    plan_structure,
    refitted,
)

BODIES = [Body(network, 0.1) for network in FAMILIES]
SAME = [(body, body) for body in BODIES]
WIDER = [(body, Body(body.network, 0.3)) for body in BODIES]
DEEPER = [(Body(name, 0.1), Body(name, 0.14, sorted(family(name).depths)[:6][-1])) for name in FAMILIES]


@pytest.fixture
def gene(network):
    """Of a small network of the family, cut out by the public function."""
    return extract(tiny(network), 0.5)


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_extract_after_inherit_gives_the_gene_back_bit_for_bit(body):
    channels = even_shape(body, 0.45)
    gene = gene_of(adult(body), channels)
    network = heir(body, gene)
    again = gene_of(network, channels)
    assert again.sizes == gene.sizes
    assert again.tensors.keys() == gene.tensors.keys()
    assert same(again.tensors, gene.tensors, network.structure)


@every_network
def test_a_gene_holds_about_a_fifth_of_the_parameters(network):
    thin = plan_structure(network, channels=even_shape(Body(network), 0.45))
    share = thin.parameters(in_chans=3) / plan_structure(network).parameters(in_chans=3)
    assert 0.185 < share < 0.22


@pytest.mark.parametrize(("small", "large"), WIDER + DEEPER, ids=str)
def test_the_gene_computes_in_a_descendant_what_it_computes_alone(small, large):
    channels = even_shape(small, 0.45)
    gene = gene_of(adult(small), channels)
    thin = alone(small, gene, channels).forward_features(float64_images())
    full = heir(large, gene).forward_features(float64_images())
    assert thin.abs().max() > 0.05
    count = channels[plan_structure(small.network).classifier.dims[1]]
    torch.testing.assert_close(gene_channels(full, count), thin, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("small", "large"), SAME + DEEPER, ids=str)
def test_what_is_inherited_is_the_gene_and_no_more_in_deeper_networks_too(small, large):
    gene = gene_of(adult(small), even_shape(small, 0.45))
    network = heir(large, gene)
    parts = inherited_parts(network.state_dict(), network.structure, gene)
    assert parts.keys() == {name for name in gene.tensors if "running" not in name}
    whole = network.state_dict()
    for axes in network.structure.tensors:
        if axes.name in parts:
            there = gene.tensors[axes.name]
            expected = refitted(there, axes, before=there.shape, after=whole[axes.name].shape)
            assert torch.equal(joined(parts[axes.name], axes), expected)


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
    first, second = (heir(Body(body.network, 0.5), gene, seed=seed) for seed in (1, 2))
    kernels = [layer.kernel.name for layer in first.structure.layers if not layer.kernel.layer_norm]
    assert all(not torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in kernels)


def test_inherit_leaves_its_input_alone():
    body = Body("lg_vgg11", 0.1)
    network, gene = adult(body), gene_of(adult(body, seed=3), even_shape(body, 0.45))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inherited(network.state_dict(), network.structure, gene)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("small", "large"), SAME + DEEPER, ids=str)
def test_a_newborn_is_byte_for_byte_the_network_from_scratch_that_inherits(small, large):
    gene = gene_of(adult(small).float(), even_shape(small, 0.45))
    before = {name: tensor.clone() for name, tensor in gene.tensors.items()}
    scratch = newborn(large, num_classes=4, gene=None, seed=1)
    expected = inherited(scratch.state_dict(), scratch.structure, gene)
    found = newborn(large, num_classes=4, gene=gene, seed=1)
    assert found.training
    assert list(found.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())
    for weight in found.parameters():
        weight.data.fill_(9)
    assert all(torch.equal(gene.tensors[name], before[name]) for name in before)


@every_network
def test_a_network_narrower_than_the_gene_is_refused_with_the_layer(network):
    wide, narrow = Body(network, 0.2), Body(network, 0.1)
    gene = gene_of(adult(wide), even_shape(wide, 0.9))
    first = plan_structure(network).layers[0]
    axes = first.tensors[0]
    shape, room = (axes.shape({IMAGE: 3, **sizes}) for sizes in (gene.sizes, narrow.structure.channels))
    message = f"layer {first.name}: the gene's {axes.name} {shape} does not fit into the network's"
    with pytest.raises(InheritanceError, match=re.escape(f"{message} {room}")):
        heir(narrow, gene)


def test_a_plain_network_without_layers_that_change_the_channels_of_the_gene_is_refused():
    deep = Body("lg_vgg11", 0.1, 16)
    gene = gene_of(adult(deep), ShapeSpace(deep, 0.45).tapering(0.01))
    message = r"reads \d+ channels of the gene, but in this network \d+ come in.* use the gene's depth or a greater one"
    with pytest.raises(InheritanceError, match=message):
        heir(Body("lg_vgg11", 0.1, 13), gene)


def test_a_gene_of_another_family_is_refused_with_the_layer():
    gene = gene_of(adult(Body("lg_vgg11", 0.1)), even_shape(Body("lg_vgg11", 0.1), 0.45))
    with pytest.raises(InheritanceError, match=r"stages\.0\.0\.conv1: the network needs this layer"):
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


def test_what_an_extra_residual_block_carries_is_nothing_inside_and_all_outside():
    body, deep = Body("lg_resnet12", 0.1), Body("lg_resnet12", 0.1, depth=15)
    channels = even_shape(body, 0.45)
    specs = newborn(deep, num_classes=2, gene=None, seed=0).structure
    carried = carried_channels(specs, gene_of(adult(body), channels))
    assert carried["stages.3"] == channels["stages.3"]
    assert carried["stages.3.1.conv1"] == 0


@every_network
def test_a_gene_is_kept_and_loaded_strictly(network, gene, tmp_path):
    gene.save_pretrained(tmp_path / "gene")
    again = Learngene.from_pretrained(tmp_path / "gene")
    assert again.config.network == network
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in gene.tensors.items())
    weights, config = tmp_path / "gene/learngene.safetensors", tmp_path / "gene/config.json"
    name = next(iter(gene.tensors))
    others = {key: tensor for key, tensor in gene.tensors.items() if key != name}
    for tensors, fault in (
        (others, f"1 missing tensors: {name}"),
        ({**gene.tensors, "more": torch.zeros(1)}, "1 unexpected tensors: more"),
        ({**others, name: gene.tensors[name][:-1].contiguous()}, "expected shape"),
    ):
        save_file(tensors, weights, metadata={"format": "pt"})
        config.write_text(json.dumps(json.loads(config.read_text()) | {"sha256": file_sha256(weights)}))
        with pytest.raises(GeneFileError, match=re.escape(fault)):
            Learngene.from_pretrained(tmp_path / "gene")


@every_network
def test_what_is_frozen_stays_in_every_way_through_the_network_until_it_is_let_go(network, gene):
    model = from_learngene(gene, num_classes=5, depth=deeper(network), freeze_gene=True).eval()
    structure, x = model.structure, images(32)
    parts = inherited_parts(dict(model.named_parameters()), structure, gene.genome)
    held = {name: part.detach().clone() for name, part in parts.items()}
    for way in (model, model.forward_features, model.forward_intermediates):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(1)
            way(x)
        assert all(torch.equal(parts[name], value) for name, value in held.items())
    unfreeze(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
        model(x)
    assert all(torch.equal(parts[name], value + 1) for name, value in held.items())


@every_network
def test_a_descendant_gives_features_and_scores_and_is_exported(network, gene):
    model, x = from_learngene(gene, num_classes=5, freeze_gene=True).eval(), images(32)
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    torch.testing.assert_close(model.get_classifier()(pooled), model(x))
    with pytest.raises(NetworkError, match="expected an unfrozen network to export; call `unfreeze`"):
        torch.export.export(model, (x,))
    unfreeze(model)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


@every_network_of_timm
def test_an_untouched_model_of_timms_own_inherits_and_is_kept_by_timm_alone(network, gene, tmp_path):
    name, arguments = family(network).timm.published[deeper(network)]
    model = timm.create_model(name, num_classes=5, **arguments)
    kind = type(model)
    report = inherit(model, gene)
    assert type(model) is kind is family(network).timm.kind
    assert model.inheritance is report
    assert {layer.kind for layer in report.layers} >= {"gene"}
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == name
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert "structure" not in vars(again)
    assert as_supported(again).structure == model.structure
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in model.state_dict().items())


@every_network_of_timm
def test_at_width_1_a_network_is_timms_own_bit_for_bit(network):
    name, arguments = family(network).timm.published[family(network).depths[0]]
    torch.manual_seed(0)
    expected = timm.create_model(name, num_classes=5, **arguments).state_dict()
    torch.manual_seed(0)
    found = tiny(network, width=1.0).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@every_network_of_timm
def test_in_any_size_weights_are_drawn_as_timm_draws_them(network):
    expected = tiny(network, width=1.0).state_dict()
    found = timm.create_model(entry(network), num_classes=5).state_dict()
    assert list(found) == list(expected)
    for key, tensor in expected.items():
        assert found[key].shape == tensor.shape
        spread = [weight.double().std(correction=0) for weight in (found[key], tensor)]
        torch.testing.assert_close(*spread, rtol=max(0.2, 4 / tensor.numel() ** 0.5), atol=1e-3)  # of few, by chance


@every_network_of_timm
def test_a_copy_of_a_frozen_model_of_timms_own_is_held_on_its_own(network, gene):
    model = timm.create_model(entry(network), num_classes=5, width=TINY).eval()
    inherit(model, gene, freeze_gene=True)
    twin = copy.deepcopy(model)
    unfreeze(model)
    for weight in twin.parameters():
        weight.data.add_(1)
    twin(images(32))
    for name, value in twin.hold.values.items():
        held = inherited_parts(dict(twin.named_parameters()), twin.structure, gene.genome)[name]
        assert torch.equal(held, value)
    assert model.channel_counts() == plan_structure(network, width=TINY).channels
