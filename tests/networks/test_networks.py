"""What the rest of the package may rely on in every network: sizes, the walk over its layers, refusals."""

from itertools import pairwise

import pytest
import torch
from small_networks import (
    build_on_meta,
    deeper,
    depth_at,
    depths,
    every_convolutional_network,
    every_network,
    every_resnet,
    images,
    is_classifier,
    parameter_count,
    tiny,
    units,
)
from torch import nn

from learngene_hub.networks import (
    IMAGE,
    build,
    family,
    plan_structure,
)
from learngene_hub.networks.lg_resnet12 import blocks_per_stage

pytestmark = pytest.mark.usefixtures("_one_seed")


@pytest.mark.parametrize(
    ("network", "features", "classifier"),
    [
        ("lg_vgg11", 9_223_232, 2_565),
        ("lg_resnet12", 7_996_800, 2_565),
        ("lg_resnet12_wide", 12_424_320, 3_205),
    ],
)
def test_parameter_counts_at_full_width_are_the_published_ones(network, features, classifier):
    with torch.device("meta"):
        model = build(network, num_classes=5)
    assert parameter_count(model.stages) == features
    assert parameter_count(model) == features + classifier


@every_network
@pytest.mark.parametrize(("size", "in_chans"), [(28, 1), (32, 3), (42, 1), (84, 3), (224, 3)])
def test_every_usual_image_size_gives_one_score_per_class(network, size, in_chans):
    model = tiny(network, in_chans=in_chans)
    assert model(images(size, in_chans)).shape == (2, 5)
    assert model.in_chans == in_chans


@every_convolutional_network
def test_an_image_of_28_pixels_keeps_its_last_pixel(network):
    assert min(tiny(network).forward_features(images(28)).shape[-2:]) == 1


@every_network
def test_a_training_step_reaches_every_parameter(network):
    model = tiny(network, width=0.1, depth=deeper(network), drop_rate=0.1).train()
    model(images(28)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every_network
def test_width_scales_every_group(network):
    full = build_on_meta(network).structure.groups
    half = build_on_meta(network, width=0.5).channel_counts()
    assert half == {name: group.unit * round(group.size / group.unit / 2) for name, group in full.items()}


@every_network
def test_the_narrowest_width_keeps_one_unit(network):
    assert build_on_meta(network, width=1e-6).channel_counts() == units(network)


@every_network
def test_every_allowed_depth_deepens_and_the_first_and_last_run(network):
    counts = [len(plan_structure(network, depth=depth).layers) for depth in depths(network)]
    assert counts == sorted(set(counts))
    for depth in (depths(network)[0], depths(network)[-1]):
        model = tiny(network, width=0.02, depth=depth)
        assert model(images(32)).isfinite().all()
        assert model.depth == depth


@every_network
def test_the_first_allowed_depth_is_the_default(network):
    assert build_on_meta(network).depth == family(network).depths[0]


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (12, (1, 1, 1, 1)),
        (15, (1, 1, 1, 2)),
        (18, (1, 1, 2, 2)),
        (24, (2, 2, 2, 2)),
        (27, (2, 2, 2, 3)),
        (60, (5, 5, 5, 5)),
    ],
)
def test_extra_blocks_go_to_the_last_stage_first(depth, blocks):
    assert blocks_per_stage(depth) == blocks


@every_network
@pytest.mark.parametrize(("step", "in_chans"), [(0, 1), (1, 3), (2, 3), (-1, 3)])
def test_a_planned_layout_is_that_of_the_network_built(network, step, in_chans):
    depth = depth_at(network, step)
    model = build_on_meta(network, depth=depth, in_chans=in_chans, width=0.3)
    layout = plan_structure(network, depth=depth, width=0.3)
    built = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    expected = {n: s for n, s in built.items() if not is_classifier(model, n) and "num_batches" not in n}
    assert layout.shapes(in_chans=in_chans) == expected
    assert list(layout.shapes(in_chans=in_chans)) == list(expected)
    assert layout == model.structure


@every_network
def test_a_planned_layout_has_the_default_depth_or_the_channels_given(network):
    model = build_on_meta(network)
    assert plan_structure(network) == model.structure
    channels = units(network, 3)
    assert plan_structure(network, channels=channels) == build_on_meta(network, channels=channels).structure


@every_network
def test_specs_follow_the_order_of_the_forward_pass(network):
    model = tiny(network, depth=deeper(network))
    called = []
    for spec in model.structure.layers:
        model.get_submodule(spec.name).register_forward_hook(lambda *_, name=spec.name: called.append(name))
    model(images(32))
    assert called == [spec.name for spec in model.structure.layers]


@every_network
def test_the_groups_of_the_specs_are_those_counted(network):
    model = build_on_meta(network, depth=deeper(network))
    produced = list(dict.fromkeys(spec.writes for spec in model.structure.layers))
    assert list(model.channel_counts()) == produced
    assert {spec.reads for spec in model.structure.layers} <= {IMAGE, *produced}


@every_network
def test_deeper_networks_keep_the_layers_of_shallower_ones(network):
    for shallow, deep in pairwise(depths(network)):
        layers = plan_structure(network, depth=deep).layers
        kept = {(layer.name, layer.writes, layer.if_absent.name) for layer in layers}
        for layer in plan_structure(network, depth=shallow).layers:
            assert (layer.name, layer.writes, layer.if_absent.name) in kept


@every_network
def test_only_layers_beyond_the_least_depth_may_be_absent(network):
    base = {layer.name for layer in plan_structure(network, depth=depths(network)[0]).layers}
    for depth in depths(network):
        for layer in plan_structure(network, depth=depth).layers:
            assert (layer.if_absent.name == "refuse") == (layer.name in base)


def test_a_deeper_vgg_adds_layers_born_as_identity():
    births = [layer.if_absent.name for layer in plan_structure("lg_vgg11", depth=13).layers]
    assert births == ["refuse", "identity", "refuse", "identity"] + ["refuse"] * 6


@every_resnet
def test_a_deeper_resnet12_adds_blocks_born_as_identity(network):
    extra = [layer for layer in plan_structure(network, depth=15).layers if layer.if_absent.name != "refuse"]
    assert [(layer.name, layer.if_absent.name) for layer in extra] == [
        ("stages.3.1.conv1", "random"),
        ("stages.3.1.conv2", "random"),
        ("stages.3.1.conv3", "zero norm"),
    ]


@every_resnet
@pytest.mark.parametrize("training", [True, False])
def test_an_extra_block_with_a_zeroed_last_norm_is_exactly_the_identity(network, training):
    block = tiny(network, depth=15).get_submodule("stages.3.1").train(training)
    nn.init.zeros_(block.get_parameter("norm3.weight"))
    x = torch.randn(2, block.get_submodule("conv1").in_channels, 4, 4)
    assert torch.equal(block(x), x)


@every_network
def test_given_channels_make_a_thin_network(network):
    channels = {group: (1 + number) * unit for number, (group, unit) in enumerate(units(network).items())}
    model = tiny(network, channels=channels)
    assert model.channel_counts() == channels
    assert model(images(32)).shape == (2, 5)
