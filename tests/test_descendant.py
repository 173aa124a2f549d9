import copy
import json
import re
import shutil

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from learngene_hub import Learngene, extract, from_learngene, inherit
from learngene_hub.errors import GeneFileError, InheritanceError, NetworkError
from learngene_hub.networks import DEPTHS, NETWORKS
from learngene_hub.rng import generator
from learngene_hub.training import leading


@pytest.fixture(scope="module")
def gene(tiny_run):
    return Learngene.from_pretrained(tiny_run)


def test_a_descendant_is_a_timm_model_in_train_mode_on_the_cpu_in_float32(tiny_run):
    model = from_learngene(tiny_run, num_classes=5)
    assert model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
    assert model.get_classifier().weight.shape[0] == 5
    assert model(torch.rand(2, 3, 28, 28)).shape == (2, 5)


def test_it_carries_what_its_images_should_be_normalised_with(tiny_run, gene):
    cfg = from_learngene(tiny_run, num_classes=5).pretrained_cfg
    assert (tuple(cfg["mean"]), tuple(cfg["std"])) == (gene.config.mean, gene.config.std)
    assert cfg["input_size"] == (3, 28, 28)
    gray = from_learngene(tiny_run, num_classes=5, in_chans=1).pretrained_cfg
    assert gray["mean"] == pytest.approx((sum(gene.config.mean) / 3,))


def test_the_report_counts_what_was_inherited(tiny_run, gene):
    report = from_learngene(tiny_run, num_classes=5).inheritance
    assert report.inherited == gene.config.parameters
    assert report.share == pytest.approx(report.inherited / report.total)
    assert report.sha256 == gene.config.sha256
    assert report.layers[1].outputs == (4, 8)
    assert f"inherited {report.inherited:,} of {report.total:,}" in str(report)
    assert "stages.4.1.conv" in str(report)


@pytest.mark.parametrize("depth", [11, 13])
def test_a_network_narrower_than_the_gene_is_refused_with_the_least_width_that_works(tiny_run, depth):
    with pytest.raises(
        InheritanceError, match=r"width=0\.02: lg_vgg11 of depth .* at least as wide as the gene"
    ) as told:
        from_learngene(tiny_run, num_classes=5, width=0.02, depth=depth)
    least = float(re.search(r"give width=(\S+) or more", str(told.value))[1])
    assert from_learngene(tiny_run, num_classes=5, width=least, depth=depth).width == least
    with pytest.raises(InheritanceError, match="or more"):
        from_learngene(tiny_run, num_classes=5, width=least - 0.01, depth=depth)


def test_a_depth_that_does_not_exist_is_answered_with_those_that_do(tiny_run):
    with pytest.raises(NetworkError, match="no depth 12; choose one of 11, 13, 16, 19"):
        from_learngene(tiny_run, num_classes=5, depth=12)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_depths_in_the_docstring_are_those_of_the_networks(network):
    first, second, third, *_, last = DEPTHS[network]
    separator = " or " if len(DEPTHS[network]) == 4 else ", ... "
    assert f"{first}, {second}, {third}{separator}{last} for" in " ".join(from_learngene.__doc__.split())


def test_wider_and_deeper_descendants_say_how_their_layers_were_born(tiny_run):
    model = from_learngene(tiny_run, num_classes=5, width=0.1, depth=13)
    kinds = {layer.layer: layer.kind for layer in model.inheritance.layers}
    assert kinds["stages.0.0.conv"] == "gene"
    assert kinds["stages.0.1.conv"] == "identity"
    assert model.depth == 13


def test_a_shallower_descendant_names_what_it_left_out(tiny_run):
    deep = extract(from_learngene(tiny_run, num_classes=5, depth=16))
    report = from_learngene(deep, num_classes=5, depth=11).inheritance
    assert report.left_out == (
        "stages.0.1.conv",
        "stages.1.1.conv",
        "stages.2.2.conv",
        "stages.3.2.conv",
        "stages.4.2.conv",
    )
    assert "left out, since this network is shallower: stages.0.1.conv" in str(report)


@pytest.mark.parametrize("cross", ["zero", "random"])
def test_equal_seeds_give_equal_models_and_others_do_not(tiny_run, cross):
    first, again, other = (from_learngene(tiny_run, num_classes=5, cross=cross, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_misspelt_cross_is_refused(tiny_run):
    with pytest.raises(InheritanceError, match="expected 'zero' or 'random', found 'none'"):
        from_learngene(tiny_run, num_classes=5, cross="none")


def test_a_model_the_user_already_has_inherits_in_place_and_keeps_the_rest(gene):
    model = timm.create_model("lg_vgg11", num_classes=7, width=0.2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = inherit(model, gene, cross="random")
    assert model.inheritance is report
    for name, tensor in model.state_dict().items():
        changed = torch.zeros_like(tensor, dtype=torch.bool)
        if name in gene.tensors:
            changed[tuple(slice(size) for size in gene.tensors[name].shape)] = True
        assert torch.equal(tensor[~changed], before[name][~changed])


def test_a_model_inherits_a_gene_by_its_name_as_well(tiny_run, gene):
    models = [timm.create_model("lg_vgg11", num_classes=7, width=0.2) for _ in range(2)]
    reports = [inherit(models[0], gene), inherit(models[1], tiny_run)]
    assert reports[0].inherited == reports[1].inherited
    assert all(
        torch.equal(leading(models[1].state_dict()[name], gene.tensors[name].shape), gene.tensors[name])
        for name in gene.tensors
    )


def test_the_whole_picture_is_shown_to_a_descendant(tiny_run):
    assert resolve_model_data_config(from_learngene(tiny_run, num_classes=2))["crop_pct"] == 1.0


@pytest.mark.parametrize("argument", [{"network": "lg_resnet12"}, {"features_only": True}, {"pretrained": True}])
def test_what_the_gene_settles_is_no_argument(tiny_run, argument):
    with pytest.raises(InheritanceError, match=f"{next(iter(argument))}: not an argument here"):
        from_learngene(tiny_run, num_classes=2, **argument)


def test_a_model_that_cannot_take_the_gene_is_left_as_it_was(gene):
    model = timm.create_model("lg_vgg11", num_classes=7, width=0.02)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InheritanceError, match="does not fit"):
        inherit(model, gene)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_network_of_timms_own_is_refused(gene):
    with pytest.raises(NetworkError, match="ResNet"):
        inherit(timm.create_model("resnet10t", num_classes=2), gene)


def test_extract_takes_a_fraction_or_counts_and_refuses_more_than_there_is(tiny_run, gene):
    model = from_learngene(tiny_run, num_classes=5)
    cut = extract(model, gene.config.channels)
    assert all(torch.equal(cut.tensors[name], gene.tensors[name]) for name in gene.tensors)
    assert extract(model, 0.45).config.channels == gene.config.channels
    with pytest.raises(InheritanceError, match=r"group stages\.0\.0: expected 1 to 4 channels of the gene, found 9"):
        extract(model, gene.config.channels | {"stages.0.0": 9})
    with pytest.raises(InheritanceError, match="wrong or missing: nowhere"):
        extract(model, gene.config.channels | {"nowhere": 1})


def test_an_extracted_gene_can_be_saved_and_inherited(tiny_run, tmp_path):
    extract(from_learngene(tiny_run, num_classes=5)).save_pretrained(tmp_path / "cut")
    model = from_learngene(tmp_path / "cut", num_classes=3)
    assert model.inheritance.share > 0.15


def test_a_frozen_gene_stays_while_the_rest_learns(tiny_run, gene):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    twin = copy.deepcopy(model)
    for one in (model, twin):
        before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
        optimizer = torch.optim.SGD(one.parameters(), lr=0.5, weight_decay=0.1)
        x = torch.rand(8, 3, 28, 28, generator=generator(0, "x"))
        torch.nn.functional.cross_entropy(one(x), torch.arange(8) % 5).backward()
        optimizer.step()
        after = one.state_dict()
        for name, tensor in gene.tensors.items():
            inherited = tuple(slice(size) for size in tensor.shape)
            if "running" not in name:
                assert torch.equal(after[name][inherited], tensor)
                if len(tensor) < len(after[name]):
                    assert not torch.equal(after[name][len(tensor) :], before[name][len(tensor) :])


@pytest.mark.parametrize("network", ["lg_vgg11", "lg_resnet12"])
def test_a_frozen_gene_may_read_gray_images(network):
    gene = extract(timm.create_model(network, num_classes=5, width=0.05))
    model = from_learngene(gene, num_classes=5, in_chans=1, freeze_gene=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    for spec in (spec for spec in model.conv_specs() if spec.in_group == "image"):
        name, outputs = f"{spec.conv}.weight", len(gene.tensors[f"{spec.conv}.weight"])
        kernel = model.state_dict()[name]
        assert torch.equal(kernel[:outputs], before[name][:outputs])
        assert not torch.equal(kernel[outputs:], before[name][outputs:])


def test_a_descendant_survives_timms_own_folder(tiny_run, tmp_path):
    model = from_learngene(tiny_run, num_classes=5, depth=13).eval()
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.rand(2, 3, 28, 28)
    assert torch.equal(again(x), model(x))


def test_a_gene_folder_that_fails_a_check_makes_no_model(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run / "gene", tmp_path / "gene")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sha256": "0" * 64}))
    with pytest.raises(GeneFileError, match="altered or cut"):
        from_learngene(folder, num_classes=5)
