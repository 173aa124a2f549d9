"""What timm may rely on in every network, and that a seed gives the same weights."""

import copy

import pytest
import timm
import torch
from small_networks import (
    TINY,
    deeper,
    entry,
    every_convolutional_network,
    every_network,
    every_network_of_ours,
    images,
    is_classifier,
    tiny,
    units,
)
from timm.models import group_parameters, save_for_hf
from timm.utils import freeze
from torch import nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.core.rng import derive_seed, seeded_initialisation
from learngene_hub.networks import (
    FAMILIES,
    IMAGE,
    as_supported,
    build,
)

pytestmark = pytest.mark.usefixtures("_one_seed")


def test_timm_lists_exactly_our_networks():
    assert sorted(timm.list_models("lg_*")) == sorted(map(entry, FAMILIES))
    assert timm.list_pretrained("lg_*") == []


def test_no_network_of_timm_is_replaced():
    assert "vgg11.tv_in1k" in timm.list_pretrained("vgg11*")
    assert timm.is_model("lg_vgg11")
    assert not set(timm.list_models(module="vgg")) & set(map(entry, FAMILIES))
    assert set(timm.list_models(module="resnet")) & set(map(entry, FAMILIES)) == {"lg_resnet18"}
    assert timm.model_entrypoint("resnet18").__module__ == "timm.models.resnet"
    assert timm.model_entrypoint("vgg11").__module__ == "timm.models.vgg"


@every_network
def test_timm_creates_a_network_with_a_thousand_classes_by_default(network):
    with torch.device("meta"):
        model = timm.create_model(entry(network), width=TINY)
    assert as_supported(model) is model
    assert model.num_classes == model.get_classifier().out_features == 1000


@every_network
@pytest.mark.parametrize("features_only", [False, True])
def test_timm_creates_a_network_on_a_device_and_of_a_type(network, features_only):
    model = timm.create_model(
        entry(network), width=TINY, features_only=features_only, device="meta", dtype=torch.float16
    )
    tensors = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.ndim)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {tensor.dtype for tensor in tensors} == {torch.float16}


@every_network
def test_without_classes_the_pooled_features_come_out(network):
    model = tiny(network, num_classes=0)
    assert model(images(32)).shape == (2, model.num_features)
    assert isinstance(model.get_classifier(), nn.Identity)


@every_convolutional_network
def test_forward_is_the_head_of_the_features(network):
    model, x = tiny(network), images(32)
    features = model.forward_features(x)
    assert features.shape[1] == model.num_features == model.head_hidden_size
    assert torch.equal(model(x), model.forward_head(features))
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, features.mean((2, 3)))
    torch.testing.assert_close(model(x), model.get_classifier()(pooled))


@every_convolutional_network
def test_the_head_says_how_many_features_its_pool_gives(network):
    model = tiny(network)
    model.reset_classifier(4, "catavgmax")
    assert model.head_hidden_size == 2 * model.num_features
    assert model.forward_head(model.forward_features(images(32)), pre_logits=True).shape[1] == model.head_hidden_size
    assert build(network, num_classes=4, width=TINY, global_pool="catavgmax").eval()(images(32)).shape == (2, 4)


@pytest.mark.parametrize("network", ["lg_vgg11", "lg_resnet12"])
def test_the_pool_of_all_layers_reads_converted_batch_norms(network):
    model = build(network, num_classes=4, width=TINY, global_pool="layers").eval()
    shown = images(32)
    expected = model(shown)
    assert torch.allclose(nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)).eval()(shown), expected)
    freeze(model, ["stages.0"])
    assert torch.allclose(model(shown), expected)


@every_convolutional_network
def test_a_reset_classifier_has_the_new_classes(network):
    model = tiny(network)
    model.reset_classifier(7)
    assert model(images(32)).shape == (2, 7)
    assert model.num_classes == model.get_classifier().out_features == 7
    model.reset_classifier(0, global_pool="")
    assert model(images(84)).ndim == 4


@every_convolutional_network
def test_feature_maps_are_those_of_the_stages(network):
    whole = tiny(network)
    model = timm.create_model(entry(network), width=TINY, features_only=True).eval()
    maps = model(images(64))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [64 // m.shape[-1] for m in maps] == model.feature_info.reduction()
    assert len(maps) == len(whole.feature_info)


@every_network
def test_intermediate_maps_are_those_of_timms_extractor(network):
    model, x = tiny(network).eval(), images(64)
    last, maps = model.forward_intermediates(x)
    assert torch.equal(last, model.forward_features(x))
    assert [m.shape[1] for m in maps] == [one["num_chs"] for one in model.feature_info]
    assert [64 // m.shape[-1] for m in maps] == [one["reduction"] for one in model.feature_info]
    for indices, which in ((2, maps[-2:]), ([0, -2], [maps[0], maps[-2]])):
        found = model.forward_intermediates(x, indices=indices, stop_early=True, intermediates_only=True)
        assert all(map(torch.equal, found, which))


@every_network_of_ours
def test_feature_maps_in_another_order_are_refused(network):
    with pytest.raises(NetworkError, match="expected output_fmt='NCHW', found 'NLC'"):
        tiny(network).forward_intermediates(images(64), output_fmt="NLC")


@every_convolutional_network
@pytest.mark.parametrize("kind", ["list", "hook", "fx"])
def test_feature_maps_can_be_chosen(network, kind):
    model = timm.create_model(
        entry(network), width=TINY, features_only=True, out_indices=(1, 3), feature_cls=kind
    ).eval()
    assert [m.shape[-1] for m in model(images(64))] == [16, 4]


@every_network
def test_the_configuration_names_real_layers_and_a_neutral_input(network):
    model = tiny(network)
    cfg = model.pretrained_cfg
    first = (cfg["first_conv"],) if isinstance(cfg["first_conv"], str) else cfg["first_conv"]
    assert set(first) == {spec.name for spec in model.structure.layers if spec.reads == IMAGE}
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert cfg["architecture"] == entry(network)
    assert model.network_name == network
    side = timm.data.resolve_data_config({}, model=model)["input_size"][-1]
    assert side == (64 if network == "resnet18" else 32)
    assert cfg["mean"] == cfg["std"] == (0.5, 0.5, 0.5)


@every_network
@pytest.mark.parametrize("variant", ["half, deep and grey", "thin"])
def test_a_saved_network_comes_back_equal(network, variant, tmp_path):
    kwargs = {
        "half, deep and grey": {"width": TINY / 2, "depth": deeper(network), "in_chans": 1},
        "thin": {"channels": units(network, 3)},
    }[variant]
    model = tiny(network, **kwargs)
    model.reset_classifier(4)
    save_for_hf(model, tmp_path, safe_serialization=True)
    back = as_supported(timm.create_model(f"local-dir:{tmp_path}", pretrained=True))
    assert_equal_weights(model, back)
    assert (back.num_classes, back.in_chans, back.depth) == (4, model.in_chans, model.depth)
    assert back.structure.layers == model.structure.layers
    assert back.channel_counts() == model.channel_counts()


@every_network
def test_weights_given_as_an_overlay_adapt_to_the_image_and_the_classes(network):
    model = tiny(network)
    overlay = {"state_dict": model.state_dict(), "num_classes": 5}
    grey = build(network, num_classes=9, in_chans=1, width=TINY, pretrained=True, pretrained_cfg_overlay=overlay)
    for axes in model.structure.tensors:
        source = model.state_dict()[axes.name]
        expected = source.sum(1, keepdim=True) if IMAGE in axes.dims else source
        assert torch.equal(grey.state_dict()[axes.name], expected)


@every_network
def test_parameters_are_grouped_by_block_with_the_head_last(network):
    model = tiny(network, depth=deeper(network))
    by_block = group_parameters(model, model.group_matcher())
    by_stage = group_parameters(model, model.group_matcher(coarse=True))
    assert by_block[max(by_block)] == by_stage[max(by_stage)]
    assert all(is_classifier(model, name) for name in by_block[max(by_block)])
    assert len(by_stage) >= len(model.feature_info) + 1  # timm may count a stem
    first = model.structure.layers[0].tensors[0].name
    assert by_block[0][0] == first


@every_network_of_ours
def test_gradient_checkpointing_is_refused(network):
    model = tiny(network)
    model.set_grad_checkpointing(False)
    with pytest.raises(NetworkError, match="no gradient checkpointing"):
        model.set_grad_checkpointing()


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_the_last_norm_of_a_block_begins_as_it_is_told_at_every_width(width):
    for is_zero in (True, False):
        model = build("resnet18", num_classes=2, width=width, zero_init_last=is_zero)
        assert is_zero == (model.layer1[0].bn2.weight == 0).all()


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
