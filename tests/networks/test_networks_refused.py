"""Networks that cannot be built or walked, and what is said of them."""

import json
import re
from functools import partial

import numpy
import pytest
import timm
import torch
from small_networks import TINY, build_on_meta, every_network, every_resnet, tiny
from timm.models import save_for_hf

from learngene_hub.core.errors import NetworkError
from learngene_hub.networks import (
    FAMILIES,
    as_supported,
    build,
    family,
    plan_structure,
)
from learngene_hub.networks.lg_resnet12 import LgResNet12
from learngene_hub.networks.lg_vgg import LgVgg

pytestmark = pytest.mark.usefixtures("_one_seed")


@pytest.mark.parametrize("make", [partial(build, num_classes=5), plan_structure])
@pytest.mark.parametrize(("name", "hint"), [("vgg11", r"; did you mean `lg_vgg11`\?"), ("swin", "")])
def test_an_unknown_name_is_answered_with_the_known_ones_and_one_that_is_like_it(make, name, hint):
    with pytest.raises(
        NetworkError,
        match=rf"network '{name}': expected one of {', '.join(FAMILIES)}{hint}$",
    ):
        make(name)


def test_a_depth_that_equals_a_whole_number_is_that_number():
    assert plan_structure("lg_resnet12", depth=15.0) == plan_structure("lg_resnet12", depth=15)


def test_a_depth_no_vgg_has_is_refused():
    with pytest.raises(NetworkError, match="lg_vgg11 has no depth 12; choose one of 11, 13, 16, 19"):
        build("lg_vgg11", num_classes=5, depth=12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": "5"}, "num_classes: expected a whole number, 0 or more, found '5'"),
        ({"num_classes": -1}, "num_classes: expected a whole number, 0 or more, found -1"),
        ({"num_classes": True}, "num_classes: expected a whole number, 0 or more, found True"),
        ({"num_classes": 2.5}, "num_classes: expected a whole number, 0 or more, found 2.5"),
        ({"num_classes": numpy.arange(3)}, "num_classes: expected a whole number, 0 or more, found array"),
        ({"num_classes": 5, "in_chans": 0}, "in_chans: expected a whole number, 1 or more, found 0"),
        ({"num_classes": 5, "width": "1"}, "lg_vgg11 has no width '1'; choose a number above 0"),
    ],
)
def test_what_is_no_such_number_is_refused(options, words):
    with pytest.raises(NetworkError, match=re.escape(words)):
        build("lg_vgg11", **options)


@pytest.mark.parametrize("network", ["lg_vgg11", "lg_resnet12"])
def test_numbers_of_numpy_and_torch_are_numbers_that_timm_can_save(network, tmp_path):
    depth = numpy.int64(family(network).depths[1])
    model = build(network, num_classes=torch.tensor(3), width=numpy.float32(0.0625), depth=depth)
    counts = {group: numpy.int64(count) for group, count in model.channel_counts().items()}
    for one in (model, build(network, num_classes=numpy.int64(3), depth=int(depth), channels=counts)):
        save_for_hf(one, tmp_path, safe_serialization=True)
        assert json.loads((tmp_path / "config.json").read_text())["num_classes"] == 3


@pytest.mark.parametrize(
    ("network", "changes", "words"),
    [
        ("resnet18", {"stem_type": "deep"}, r"conv1\.weight: expected .*, as in timm's resnet18, found none"),
        (
            "resnet18",
            {"layers": [3, 4, 6, 3]},
            "depth 18, found arguments of timm that make one of depth 34; leave them out, and give",
        ),
        ("resnet18", {"act_layer": "gelu"}, "expected a ResNet of timm's basic blocks with ReLU"),
        ("vit_tiny_patch4_32", {"qkv_bias": False}, "attn.qkv.bias: expected"),
        ("vit_tiny_patch4_32", {"mlp_ratio": 2.0}, "expected timm's own numbers of channels; use `width`"),
    ],
)
def test_arguments_that_change_a_network_of_timms_own_are_refused_at_every_width(network, changes, words):
    with pytest.raises(NetworkError, match=words):
        build(network, num_classes=2, width=0.5, **changes)


@every_resnet
@pytest.mark.parametrize("depth", [9, 13, 63])
def test_a_depth_no_resnet12_has_is_refused(network, depth):
    with pytest.raises(NetworkError, match=f"lg_resnet12 has no depth {depth}; choose one of 12, 15, 18, .*, 60"):
        build(network, num_classes=5, depth=depth)


@every_network
@pytest.mark.parametrize("width", [0.0, -1.0, 101, float("nan"), float("inf")])
def test_a_width_out_of_range_is_refused(network, width):
    with pytest.raises(NetworkError, match=f"has no width {width}; choose a number above 0"):
        build(network, num_classes=5, width=width)


@every_network
def test_missing_unknown_and_empty_groups_are_refused_by_name(network):
    channels = dict.fromkeys(build_on_meta(network).channel_counts(), 2)
    first = next(iter(channels))
    with pytest.raises(NetworkError, match=rf"{first}: expected 1 to .*, found None; start from"):
        build(network, num_classes=5, channels={g: n for g, n in channels.items() if g != first})
    with pytest.raises(NetworkError, match="no such group: nowhere; start from"):
        build(network, num_classes=5, channels={**channels, "nowhere": 2})
    with pytest.raises(NetworkError, match=rf"{first}: expected 1 to .*, found 0"):
        build(network, num_classes=5, channels={**channels, first: 0})


def test_a_network_of_timm_cannot_be_walked():
    with torch.device("meta"):
        resnet = timm.create_model("vgg11", num_classes=5)
    with pytest.raises(NetworkError, match=rf"families: {', '.join(FAMILIES)}\. Found timm\.models\.vgg\.VGG"):
        as_supported(resnet)


def test_a_name_in_place_of_a_network_is_told():
    with pytest.raises(NetworkError, match=r"Found builtins\.str"):
        as_supported("gtl/vgg11-cifar-fs-half")


def test_a_feature_extractor_cannot_be_walked():
    with pytest.raises(NetworkError, match=r"Found timm\.models\._features\.FeatureListNet"):
        build("lg_vgg11", num_classes=0, width=TINY, features_only=True)


@pytest.mark.parametrize(("network", "kind"), [("lg_vgg11", LgVgg), ("lg_resnet12", LgResNet12)])
def test_a_network_of_ours_is_returned_as_it_is(network, kind):
    model = tiny(network)
    assert as_supported(model) is model
    assert type(model) is kind
