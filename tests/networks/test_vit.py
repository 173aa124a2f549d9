"""What only a vision transformer has: heads, tokens, layer norms over a stream of more channels than the gene's."""

import pytest
import timm
import torch
from small_genes import adult, even_shape, gene_of
from small_networks import images, tiny, units
from torch import nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.genome.birth import Body, gene_network, newborn
from learngene_hub.networks import as_supported

VIT = "vit_tiny_patch4_32"
PLAIN = {"img_size": 32, "patch_size": 4, "depth": 6, "num_classes": 5}

pytestmark = pytest.mark.usefixtures("_one_seed")


@pytest.fixture(scope="module")
def gene():
    body = Body(VIT, 0.2)
    return gene_of(adult(body).float(), even_shape(body, 0.5))


def child(gene, **options):
    return newborn(Body(VIT, 0.4, **options), num_classes=5, gene=gene, seed=1)


@pytest.mark.parametrize(("name", "channels"), [("tiny", 192), ("small", 384), ("base", 768)])
def test_timms_own_sizes_are_its_widths(name, channels):
    with torch.device("meta"):
        model = as_supported(timm.create_model(f"vit_{name}_patch16_224", **PLAIN))
        ours = tiny(VIT, width=channels / 192)
    assert model.channel_counts() == ours.channel_counts()
    assert model.channel_counts()["stream"] == channels
    assert model.width == channels / 192
    assert [block.attn.num_heads for block in model.blocks] == [block.attn.num_heads for block in ours.blocks]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 8}, r"pos_embed: expected \(1, 65, 192\), .* found \(1, 17, 192\)"),
        ({"num_heads": 6}, "heads of 64 channels and a layer norm behind the last block, found .* heads of 32"),
        ({"depth": 5}, r"6, 4, 9, 12 of timm's plain blocks, .* found 5 blocks \(Block\), heads of 64"),
        ({"global_pool": "avg"}, r"found 6 blocks that are not plain \(Block\), heads of 64"),
        ({"act_layer": "quick_gelu"}, r"found 6 blocks that are not plain \(Block\), heads of 64"),
        ({"init_values": 1e-5}, r"blocks.0.ls1.gamma: expected no such tensor, .* found \(192,\)"),
    ],
)
def test_a_vision_transformer_that_is_built_otherwise_is_refused(changes, message):
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", **{**PLAIN, **changes})
    with pytest.raises(NetworkError, match=message):
        as_supported(model)


def test_a_vision_transformer_of_parallel_blocks_is_refused():
    with torch.device("meta"):
        model = timm.create_model("vit_small_patch16_18x2_224")
    with pytest.raises(NetworkError, match=r"found 18 blocks that are not plain \(ParallelThingsBlock\)"):
        as_supported(model)


def test_a_thin_network_has_the_heads_that_were_kept():
    channels = units(VIT) | {"stream": 7, "blocks.1.attn": 128}
    model = tiny(VIT, channels=channels)
    assert [block.attn.num_heads for block in model.blocks] == [1, 2, 1, 1, 1, 1]
    assert model(images(32)).shape == (2, 5)


def test_images_of_other_sizes_are_more_tokens():
    model, x = tiny(VIT), images(64)
    tokens = model.forward_features(x)
    assert tokens.shape == (2, 1 + 16 * 16, model.num_features)
    assert torch.equal(model.forward_head(tokens, pre_logits=True), tokens[:, 0])
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)


def test_an_argument_that_the_family_settles_is_refused():
    with pytest.raises(NetworkError, match="vit_tiny_patch4_32: patch_size is always 4, found 8; leave it out"):
        tiny(VIT, patch_size=8)


def test_maps_of_the_last_blocks_are_given_as_by_timms_own():
    maps = timm.create_model(f"lg_{VIT}", width=0.1, features_only=True)(images(32))
    assert [one.shape for one in maps] == [(2, 19, 8, 8)] * 3


def test_with_the_epsilon_of_its_norms_the_gene_computes_nearly_what_it_computes_alone(gene):
    alone = gene_network(Body(VIT), gene.sizes, num_classes=0)
    alone.load_state_dict(dict(gene.tensors))
    x = images(32)
    found, expected = (model.eval().forward_features(x) for model in (child(gene), alone))
    torch.testing.assert_close(found[..., : gene.sizes["stream"]], expected, rtol=1e-4, atol=1e-4)


def test_a_further_block_adds_nothing_at_birth(gene):
    model = child(gene, depth=9)
    x = torch.rand(2, 65, model.embed_dim)
    assert torch.equal(model.blocks[6](x), x)
    assert not torch.equal(model.blocks[5](x), x)


def test_all_weights_of_a_newborn_learn_from_the_third_step_on(gene):
    """Other channels of the stream are zero at birth; the classifier and the heads that read them teach them."""
    model, x = child(gene, depth=9), images(32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.tensor([0, 1])).backward()
        optimizer.step()
    gene_part = gene.sizes["stream"]
    for name in ("patch_embed.proj.weight", "blocks.5.attn.proj.weight", "blocks.8.mlp.fc2.weight"):
        assert model.get_parameter(name).grad[gene_part:].abs().sum() > 0
        assert model.get_parameter(name)[gene_part:].abs().sum() > 0
    assert [name for name, weight in model.named_parameters() if not weight.grad.any()] == []
