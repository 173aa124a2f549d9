"""What the rest of the package, and timm, may rely on in every network."""

import copy
from itertools import pairwise

import pytest
import timm
import torch
from timm.models import group_parameters, save_for_hf
from torch import nn

from learngene_hub.errors import NetworkError
from learngene_hub.networks import (
    DEPTHS,
    IMAGE,
    NETWORKS,
    LearngeneNetwork,
    LgResNet12,
    LgVgg,
    build,
    plan_layout,
    walkable,
)
from learngene_hub.networks.lg_resnet12 import blocks_per_stage
from learngene_hub.rng import derive_seed, seeded_initialisation

TINY = 0.0625
RESNETS = tuple(name for name in NETWORKS if "resnet" in name)

every_network = pytest.mark.parametrize("network", NETWORKS)
every_resnet = pytest.mark.parametrize("network", RESNETS)


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with seeded_initialisation(0, "test_networks"):
        yield
    torch.set_num_threads(threads)


def tiny(network, **kwargs):
    return build(network, **{"num_classes": 5, "width": TINY, **kwargs}).eval()


def images(size, channels=3):
    return torch.randn(2, channels, size, size)


def parameter_count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def deeper(network):
    return DEPTHS[network][1]


# Sizes


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
@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 42, 84, 224])
def test_every_usual_image_size_gives_one_score_per_class(network, size, in_chans):
    model = tiny(network, in_chans=in_chans)
    assert model(images(size, in_chans)).shape == (2, 5)
    assert model.in_chans == in_chans


@every_network
def test_an_image_of_28_pixels_keeps_its_last_pixel(network):
    assert min(tiny(network).forward_features(images(28)).shape[-2:]) == 1


@every_network
@pytest.mark.parametrize("size", [28, 32])
def test_a_training_step_reaches_every_parameter(network, size):
    model = tiny(network, width=0.25, depth=deeper(network), drop_rate=0.1).train()
    model(images(size)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every_network
def test_width_scales_every_group(network):
    full = build_on_meta(network).channel_counts()
    half = build_on_meta(network, width=0.5).channel_counts()
    assert half == {group: count // 2 for group, count in full.items()}


@every_network
def test_the_narrowest_width_keeps_one_channel(network):
    assert set(build_on_meta(network, width=1e-6).channel_counts().values()) == {1}


@every_network
def test_every_allowed_depth_runs_and_deepens(network):
    counts = []
    for depth in DEPTHS[network]:
        model = tiny(network, width=0.02, depth=depth)
        assert model(images(32)).isfinite().all()
        assert model.depth == depth
        counts.append(len(model.conv_specs()))
    assert counts == sorted(set(counts))


@every_network
def test_the_first_allowed_depth_is_the_default(network):
    assert build_on_meta(network).depth == DEPTHS[network][0]


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


def build_on_meta(network, **kwargs):
    with torch.device("meta"):
        return build(network, num_classes=5, **kwargs)


# The walk


@every_network
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_specs_cover_every_convolution_and_norm_once(network, step):
    model = tiny(network, depth=DEPTHS[network][step])
    specs = model.conv_specs()
    modules = dict(model.named_modules())
    convs = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
    norms = [name for name, module in modules.items() if isinstance(module, nn.BatchNorm2d)]
    assert [spec.conv for spec in specs] == convs
    assert [spec.norm for spec in specs] == norms
    walked = [f"{spec.conv}.weight" for spec in specs]
    walked += [f"{spec.norm}.{kind}" for spec in specs for kind in ("weight", "bias")]
    assert {name for name, _ in model.named_parameters()} == {*walked, "head.fc.weight", "head.fc.bias"}


@every_network
@pytest.mark.parametrize("in_chans", [1, 3])
def test_shapes_are_the_channel_counts_of_the_groups(network, in_chans):
    model = tiny(network, depth=deeper(network), in_chans=in_chans)
    sizes = {IMAGE: in_chans, **model.channel_counts()}
    for spec in model.conv_specs():
        assert model.get_parameter(f"{spec.conv}.weight").shape[:2] == (sizes[spec.out_group], sizes[spec.in_group])
        assert model.get_parameter(f"{spec.norm}.weight").shape == (sizes[spec.out_group],)
    assert model.head.fc.weight.shape == (5, sizes[model.conv_specs()[-1].out_group])


@every_network
@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_a_planned_layout_is_that_of_the_network_built(network, step, in_chans):
    depth = DEPTHS[network][step]
    model = build_on_meta(network, depth=depth, in_chans=in_chans, width=0.3)
    layout = plan_layout(network, depth=depth, width=0.3)
    built = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    expected = {n: s for n, s in built.items() if not n.startswith("head.") and "num_batches" not in n}
    assert layout.shapes(in_chans=in_chans) == expected == model.gene_shapes()
    assert list(layout.shapes(in_chans=in_chans)) == list(expected)
    assert layout == model.layout


@every_network
def test_a_planned_layout_has_the_default_depth_or_the_channels_given(network):
    model = build_on_meta(network)
    assert plan_layout(network) == model.layout
    channels = dict.fromkeys(model.channel_counts(), 3)
    assert plan_layout(network, channels=channels) == build_on_meta(network, channels=channels).layout


@every_network
def test_specs_follow_the_order_of_the_forward_pass(network):
    model = tiny(network, depth=deeper(network))
    called = []
    for spec in model.conv_specs():
        model.get_submodule(spec.conv).register_forward_hook(lambda *_, name=spec.conv: called.append(name))
    model(images(32))
    assert called == [spec.conv for spec in model.conv_specs()]


@every_network
def test_the_groups_of_the_specs_are_those_counted(network):
    model = build_on_meta(network, depth=deeper(network))
    produced = list(dict.fromkeys(spec.out_group for spec in model.conv_specs()))
    assert list(model.channel_counts()) == produced
    assert {spec.in_group for spec in model.conv_specs()} <= {IMAGE, *produced}


@every_network
def test_deeper_networks_keep_the_layers_of_shallower_ones(network):
    for shallow, deep in pairwise(DEPTHS[network]):
        specs = set(build_on_meta(network, depth=deep).conv_specs())
        convs = {(spec.conv, spec.out_group, spec.if_absent) for spec in specs}
        for spec in build_on_meta(network, depth=shallow).conv_specs():
            assert (spec.conv, spec.out_group, spec.if_absent) in convs


@every_network
def test_only_layers_beyond_the_default_depth_may_be_absent(network):
    base = {spec.conv for spec in build_on_meta(network).conv_specs()}
    for depth in DEPTHS[network]:
        for spec in build_on_meta(network, depth=depth).conv_specs():
            assert (spec.if_absent == "refuse") == (spec.conv in base)


def test_a_deeper_vgg_adds_layers_born_as_identity():
    births = [spec.if_absent for spec in build_on_meta("lg_vgg11", depth=13).conv_specs()]
    assert births == ["refuse", "identity", "refuse", "identity"] + ["refuse"] * 6


@every_resnet
def test_a_deeper_resnet12_adds_blocks_born_as_identity(network):
    extra = [spec for spec in build_on_meta(network, depth=15).conv_specs() if spec.if_absent != "refuse"]
    assert [(spec.conv, spec.if_absent) for spec in extra] == [
        ("stages.3.1.conv1", "random"),
        ("stages.3.1.conv2", "random"),
        ("stages.3.1.conv3", "zero_norm"),
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
    channels = {group: 1 + number for number, group in enumerate(build_on_meta(network).channel_counts())}
    model = tiny(network, channels=channels)
    assert model.channel_counts() == channels
    assert model(images(32)).shape == (2, 5)


@every_network
def test_changing_the_returned_counts_leaves_the_network_alone(network):
    model = build_on_meta(network)
    before = model.channel_counts()
    model.channel_counts().clear()
    assert model.channel_counts() == before


# timm's contract


def test_timm_lists_exactly_our_networks():
    assert sorted(timm.list_models("lg_*")) == sorted(NETWORKS)
    assert timm.list_pretrained("lg_*") == []


def test_no_network_of_timm_is_replaced():
    assert "vgg11.tv_in1k" in timm.list_pretrained("vgg11*")
    assert timm.is_model("lg_vgg11")
    assert not set(timm.list_models(module="vgg")) & set(NETWORKS)
    assert not set(timm.list_models(module="resnet")) & set(NETWORKS)
    assert timm.model_entrypoint("vgg11").__module__ == "timm.models.vgg"


@every_network
def test_timm_creates_a_network_with_a_thousand_classes_by_default(network):
    with torch.device("meta"):
        model = timm.create_model(network, width=TINY)
    assert isinstance(model, LearngeneNetwork)
    assert model.num_classes == model.get_classifier().out_features == 1000


@every_network
def test_without_classes_the_pooled_features_come_out(network):
    model = tiny(network, num_classes=0)
    assert model(images(32)).shape == (2, model.num_features)
    assert isinstance(model.get_classifier(), nn.Identity)


@every_network
def test_forward_is_the_head_of_the_features(network):
    model, x = tiny(network), images(32)
    features = model.forward_features(x)
    assert features.shape[1] == model.num_features == model.head_hidden_size
    assert torch.equal(model(x), model.forward_head(features))
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, features.mean((2, 3)))
    torch.testing.assert_close(model(x), model.get_classifier()(pooled))


@every_network
def test_a_reset_classifier_has_the_new_classes(network):
    model = tiny(network)
    model.reset_classifier(7)
    assert model(images(32)).shape == (2, 7)
    assert model.num_classes == model.get_classifier().out_features == 7
    model.reset_classifier(0, global_pool="")
    assert model(images(84)).ndim == 4


@every_network
def test_feature_maps_are_those_of_the_stages(network):
    whole = tiny(network)
    model = timm.create_model(network, width=TINY, features_only=True).eval()
    maps = model(images(64))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [64 // m.shape[-1] for m in maps] == model.feature_info.reduction()
    assert len(maps) == len(whole.feature_info)


@every_network
@pytest.mark.parametrize("kind", ["list", "hook", "fx"])
def test_feature_maps_can_be_chosen(network, kind):
    model = timm.create_model(network, width=TINY, features_only=True, out_indices=(1, 3), feature_cls=kind).eval()
    assert [m.shape[-1] for m in model(images(64))] == [16, 4]


@every_network
def test_the_configuration_names_real_layers_and_a_neutral_input(network):
    model = tiny(network)
    cfg = model.pretrained_cfg
    first = (cfg["first_conv"],) if isinstance(cfg["first_conv"], str) else cfg["first_conv"]
    assert set(first) == {spec.conv for spec in model.conv_specs() if spec.in_group == IMAGE}
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert cfg["architecture"] == network
    assert timm.data.resolve_data_config({}, model=model)["input_size"] == (3, 32, 32)
    assert cfg["mean"] == cfg["std"] == (0.5, 0.5, 0.5)


@every_network
@pytest.mark.parametrize("variant", ["plain", "half", "deep", "grey", "thin"])
def test_a_saved_network_comes_back_equal(network, variant, tmp_path):
    kwargs = {
        "plain": {},
        "half": {"width": TINY / 2},
        "deep": {"depth": deeper(network)},
        "grey": {"in_chans": 1},
        "thin": {"channels": dict.fromkeys(build_on_meta(network).channel_counts(), 3)},
    }[variant]
    model = tiny(network, **kwargs)
    model.reset_classifier(4)
    save_for_hf(model, tmp_path, safe_serialization=True)
    back = walkable(timm.create_model(f"local-dir:{tmp_path}", pretrained=True))
    assert_equal_weights(model, back)
    assert (back.num_classes, back.in_chans, back.depth) == (4, model.in_chans, model.depth)
    assert back.conv_specs() == model.conv_specs()
    assert back.channel_counts() == model.channel_counts()


@every_network
def test_weights_given_as_an_overlay_adapt_to_the_image_and_the_classes(network):
    model = tiny(network)
    overlay = {"state_dict": model.state_dict(), "num_classes": 5}
    grey = build(network, num_classes=9, in_chans=1, width=TINY, pretrained=True, pretrained_cfg_overlay=overlay)
    for spec in model.conv_specs():
        source = model.get_parameter(f"{spec.conv}.weight")
        expected = source.sum(1, keepdim=True) if spec.in_group == IMAGE else source
        assert torch.equal(grey.get_parameter(f"{spec.conv}.weight"), expected)


@every_network
def test_parameters_are_grouped_by_block_with_the_head_last(network):
    model = tiny(network, depth=deeper(network))
    by_block = group_parameters(model, model.group_matcher())
    by_stage = group_parameters(model, model.group_matcher(coarse=True))
    assert by_block[max(by_block)] == by_stage[max(by_stage)] == ["head.fc.weight", "head.fc.bias"]
    assert len(by_stage) == len(model.feature_info) + 1
    assert by_block[0] == [name for name, _ in model.named_parameters() if name.startswith("stages.0.0.")]


@every_network
def test_gradient_checkpointing_is_refused(network):
    model = tiny(network)
    model.set_grad_checkpointing(False)
    with pytest.raises(NetworkError, match="no gradient checkpointing"):
        model.set_grad_checkpointing()


@every_network
def test_a_copy_is_independent_and_equal(network):
    model = tiny(network)
    twin = copy.deepcopy(model)
    assert_equal_weights(model, twin)
    nn.init.zeros_(twin.get_classifier().weight)
    assert model.get_classifier().weight.abs().sum() > 0


@every_resnet
@pytest.mark.parametrize("size", [28, 32, 84])
def test_drop_block_acts_in_training_only(network, size):
    plain = tiny(network, width=0.25)
    dropped = tiny(network, width=0.25, drop_block_rate=0.5)
    dropped.load_state_dict(plain.state_dict())
    x = images(size)
    assert torch.equal(plain(x), dropped(x))
    assert dropped.train().forward_features(x).isfinite().all()
    assert not torch.equal(plain.train().forward_features(x), dropped.forward_features(x))


# Randomness


@every_network
def test_the_same_seed_gives_the_same_weights(network):
    first, again, other = (seeded(network, seed) for seed in (1, 1, 2))
    assert_equal_weights(first, again)
    conv = f"{first.conv_specs()[0].conv}.weight"
    assert not torch.equal(first.get_parameter(conv), other.get_parameter(conv))


@every_network
def test_the_weights_of_a_seed_are_those_of_torchs_own_seeding_and_the_global_stream_goes_on(network):
    before = torch.get_rng_state()
    first = seeded(network, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(derive_seed(1, "weights"))
    assert_equal_weights(first, tiny(network))


@every_network
def test_activations_keep_their_scale_through_a_fresh_network(network):
    model = tiny(network, width=0.25).train()
    features = model.forward_features(torch.randn(8, 3, 64, 64))
    assert 0.1 < features.std() < 10


def seeded(network, seed):
    with seeded_initialisation(seed, "weights"):
        return tiny(network)


def assert_equal_weights(first, second):
    assert list(first.state_dict()) == list(second.state_dict())
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


# Refusals


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(NetworkError, match=r"no network 'vgg11'; choose one of lg_vgg11, .* Did you mean lg_vgg11\?"):
        build("vgg11", num_classes=5)


@pytest.mark.parametrize("options", [{"depth": 1}, {"width": 0.0}, {"channels": {"nowhere": 1}}])
@every_network
def test_a_layout_is_refused_with_the_words_of_a_network(network, options):
    with pytest.raises(NetworkError, match=r"choose|misses groups") as of_build:
        build(network, num_classes=5, **options)
    with pytest.raises(NetworkError, match=r"choose|misses groups") as of_plan:
        plan_layout(network, **options)
    assert str(of_plan.value) == str(of_build.value)


def test_a_layout_of_an_unknown_network_is_refused():
    with pytest.raises(NetworkError, match=r"no network 'vgg11'; choose one of lg_vgg11, .* Did you mean lg_vgg11\?"):
        plan_layout("vgg11")


def test_a_name_like_no_other_gets_no_hint():
    with pytest.raises(NetworkError, match=r"no network 'swin'; choose one of .*lg_resnet12_wide\.$"):
        build("swin", num_classes=5)


def test_a_depth_no_vgg_has_is_refused():
    with pytest.raises(NetworkError, match="vgg has no depth 12; choose one of 11, 13, 16, 19"):
        build("lg_vgg11", num_classes=5, depth=12)


@every_resnet
@pytest.mark.parametrize("depth", [9, 13, 63])
def test_a_depth_no_resnet12_has_is_refused(network, depth):
    with pytest.raises(NetworkError, match=f"resnet12 has no depth {depth}; choose one of 12, 15, 18, .*, 60"):
        build(network, num_classes=5, depth=depth)


@every_network
@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_out_of_range_is_refused(network, width):
    with pytest.raises(NetworkError, match=f"has no width {width}; choose a finite number above 0"):
        build(network, num_classes=5, width=width)


@every_network
def test_missing_unknown_and_empty_groups_are_refused_by_name(network):
    channels = dict.fromkeys(build_on_meta(network).channel_counts(), 2)
    first = next(iter(channels))
    with pytest.raises(NetworkError, match=f"misses groups: {first}\\. Start from"):
        build(network, num_classes=5, channels={g: n for g, n in channels.items() if g != first})
    with pytest.raises(NetworkError, match="names unknown groups: nowhere"):
        build(network, num_classes=5, channels={**channels, "nowhere": 2})
    with pytest.raises(NetworkError, match=f"leaves less than 1 channel in: {first}"):
        build(network, num_classes=5, channels={**channels, first: 0})


def test_a_network_of_timm_cannot_be_walked():
    with torch.device("meta"):
        resnet = timm.create_model("resnet18", num_classes=5)
    message = r"known: lg_vgg11, lg_resnet12, lg_resnet12_wide\. Found timm\.models\.resnet\.ResNet"
    with pytest.raises(NetworkError, match=message):
        walkable(resnet)


def test_a_feature_extractor_cannot_be_walked():
    with pytest.raises(NetworkError, match=r"Found timm\.models\._features\.FeatureListNet"):
        build("lg_vgg11", num_classes=0, width=TINY, features_only=True)


@pytest.mark.parametrize(
    ("network", "kind", "family"), [("lg_vgg11", LgVgg, "vgg"), ("lg_resnet12", LgResNet12, "resnet12")]
)
def test_a_network_of_ours_is_returned_as_it_is(network, kind, family):
    model = tiny(network)
    assert walkable(model) is model
    assert type(model) is kind
    assert model.architecture == family
