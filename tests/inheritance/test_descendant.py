import copy
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from torch.nn.utils import prune

from learngene_hub import Learngene, extract, from_learngene, inherit, unfreeze
from learngene_hub.core.errors import GeneFileError, InheritanceError, LearngeneError, NetworkError, StorageError
from learngene_hub.core.rng import generator
from learngene_hub.networks.lg_vgg import LgVgg


def leading(tensor, shape):
    return tensor[tuple(slice(size) for size in shape)]


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


def test_its_images_may_have_another_size(tiny_run):
    model = from_learngene(tiny_run, num_classes=5, image_size=np.int64(64))
    assert json.dumps(model.pretrained_cfg["input_size"]) == "[3, 64, 64]"
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(NetworkError, match="image_size: expected 28 to 224 pixels, found 10"):
        from_learngene(tiny_run, num_classes=5, image_size=10)


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


def test_equal_seeds_give_equal_models_and_others_do_not(tiny_run):
    first, again, other = (from_learngene(tiny_run, num_classes=5, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_model_the_user_already_has_inherits_in_place_and_keeps_the_rest(gene):
    model = timm.create_model("lg_vgg11", num_classes=7, width=0.2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = inherit(model, gene)
    assert model.inheritance is report
    assert model.pretrained_cfg == from_learngene(gene, num_classes=7, width=0.2).pretrained_cfg
    for name, tensor in model.state_dict().items():
        changed = torch.zeros_like(tensor, dtype=torch.bool)
        if name in gene.tensors:
            changed[: len(gene.tensors[name])] = True  # with the weights from other channels, which are zero
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


@pytest.mark.parametrize(
    "argument",
    ["network", "features_only", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "freeze"],
)
def test_what_the_gene_settles_is_no_argument(tiny_run, argument):
    with pytest.raises(InheritanceError, match=f"{argument}: not allowed here"):
        from_learngene(tiny_run, num_classes=2, **{argument: {}})


def test_a_model_that_cannot_take_the_gene_is_left_as_it_was(gene):
    model = timm.create_model("lg_vgg11", num_classes=7, width=0.02)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InheritanceError, match="does not fit"):
        inherit(model, gene)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_network_of_timms_own_is_refused(gene):
    with pytest.raises(NetworkError, match="ResNet"):
        inherit(timm.create_model("resnet10t", num_classes=2), gene)
    with pytest.raises(InheritanceError, match=r"network family.* of lg_vgg11, width .*; the model is lg_resnet12"):
        inherit(timm.create_model("lg_resnet12", num_classes=2, width=0.05), gene)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("wrap", "name"),
    [(torch.nn.DataParallel, "module"), (torch.compile, "_orig_mod"), (timm.utils.ModelEmaV3, "module")],
)
def test_a_network_inside_another_is_found_there(tiny_run, wrap, name):
    with pytest.raises(NetworkError, match=rf"expected the network itself, found it inside \S+; give its `\.{name}`"):
        unfreeze(wrap(from_learngene(tiny_run, num_classes=2)))


@pytest.mark.parametrize("source", [None, 3, {"a": 1}])
def test_what_cannot_be_a_gene_is_refused_by_its_type(source):
    with pytest.raises(GeneFileError, match=f"expected the name of a gene.*, found a {type(source).__name__}"):
        from_learngene(source, num_classes=2)


def test_wrong_numbers_are_refused_before_anything_else(tiny_run):
    with pytest.raises(NetworkError, match="in_chans: expected a whole number, 1 or more, found '3'"):
        from_learngene(tiny_run, num_classes=2, in_chans="3")
    with pytest.raises(LearngeneError, match=r"seed: expected whole numbers, found \('a', 'birth'\)"):
        from_learngene(tiny_run, num_classes=2, seed="a")


def test_extract_takes_a_fraction_or_counts_and_refuses_more_than_there_is(tiny_run, gene):
    model = from_learngene(tiny_run, num_classes=5)
    cut = extract(model, gene.config.channels)
    assert all(torch.equal(cut.tensors[name], gene.tensors[name]) for name in gene.tensors)
    assert extract(model, 0.45).config.channels == gene.config.channels
    with pytest.raises(NetworkError, match=r"channels: stages\.0\.0: expected 1 to 4 channels, found 9"):
        extract(model, gene.config.channels | {"stages.0.0": 9})
    with pytest.raises(NetworkError, match="channels: no such group: nowhere; start from"):
        extract(model, gene.config.channels | {"nowhere": 1})


def test_a_gene_in_memory_has_no_hash_to_show(tiny_run):
    cut = extract(from_learngene(tiny_run, num_classes=5))
    assert str(from_learngene(cut, num_classes=3).inheritance).startswith("learngene memory\n")


def test_a_gene_is_not_saved_where_a_file_is(gene, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot be written"):
            gene.save_pretrained(place)
    assert (tmp_path / "file").read_text() == "mine"


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


def shaken(model):
    """The state after every parameter was moved and an image went through."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
        model.eval()(torch.zeros(1, 3, 28, 28))
    return model.state_dict()


def test_an_unfrozen_gene_learns_again_in_copies_too(tiny_run, gene):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    name, kernel = next((name, tensor) for name, tensor in gene.tensors.items() if tensor.ndim == 4)
    for one in (copy.deepcopy(model), model):
        assert torch.equal(shaken(one)[name][: len(kernel)], kernel)
        unfreeze(one)
        assert torch.equal(shaken(one)[name][: len(kernel)], kernel + 1)
    unfreeze(from_learngene(tiny_run, num_classes=5))


@pytest.mark.parametrize("nested", [True, False])
def test_a_state_that_is_loaded_is_what_is_held_from_then_on(tiny_run, nested):
    trained = {name: tensor + 1 for name, tensor in from_learngene(tiny_run, num_classes=5).state_dict().items()}
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    shaken(model)
    if nested:
        torch.nn.ModuleDict({"inner": model}).load_state_dict({f"inner.{name}": t for name, t in trained.items()})
    else:
        model.load_state_dict(trained)
    state = shaken(copy.deepcopy(model))
    for name, value in model.hold.values.items():
        assert torch.equal(leading(state[name], value.shape), leading(trained[name], value.shape))
    unfreeze(model)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())


def test_a_part_of_a_state_leaves_the_rest_held_as_it_was(tiny_run, gene):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    head = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head")}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.load_state_dict(head, strict=False)
    name, kernel = next((name, tensor) for name, tensor in gene.tensors.items() if tensor.ndim == 4)
    assert torch.equal(shaken(model)[name][: len(kernel)], kernel)


def test_weights_that_are_buffers_are_held(tiny_run):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    timm.utils.freeze(model, ["stages.0"])  # batch norms of timm's
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(1)
        model.eval()(torch.zeros(1, 3, 28, 28))
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, value in model.hold.values.items():
        assert torch.equal(leading(state[name], value.shape), value)


def test_a_replica_whose_weights_are_no_parameters_is_held(tiny_run):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True).eval()
    before = model(torch.ones(1, 3, 28, 28))
    moved = copy.deepcopy(model)
    for module in moved.modules():  # as DataParallel leaves a replica of what an optimiser moved
        vars(module)["_former_parameters"] = former = dict(module._parameters)
        module._parameters = {}
        shift = 0 if isinstance(module, torch.nn.Linear) else 1
        for name, weight in former.items():
            object.__setattr__(module, name, None if weight is None else weight.detach() + shift)
    after = moved(torch.ones(1, 3, 28, 28))
    assert torch.isfinite(after).all()
    for name, value in model.hold.values.items():
        owner, _, leaf = name.rpartition(".")
        assert torch.equal(leading(getattr(moved.get_submodule(owner), leaf), value.shape), value)
    assert not torch.equal(before, after)


def test_values_that_are_made_from_others_cannot_be_held(tiny_run):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    prune.l1_unstructured(model.stages[0][0].conv, "weight", 0.1)
    with pytest.raises(NetworkError, match=r"stages\.0\.0\.conv\.weight: expected a frozen parameter of this name"):
        model(torch.zeros(1, 3, 28, 28))
    unfreeze(model)  # lets go of what is gone, too
    model(torch.zeros(2, 3, 28, 28))


def test_a_network_with_replaced_layers_gives_no_gene_and_takes_none(tiny_run):
    model = from_learngene(tiny_run, num_classes=5)
    prune.l1_unstructured(model.stages[0][0].conv, "weight", 0.1)
    with pytest.raises(NetworkError, match=r"weight: expected shape \(.*\), as when .* found no such tensor"):
        extract(model)
    model.stages[0][0].conv = torch.nn.Conv2d(1, 4, 3)
    with pytest.raises(NetworkError, match=r"weight: expected shape \(.*\), as when .* found \(4, 1, 3, 3\)"):
        inherit(model, tiny_run)


def test_a_gene_is_shown_without_its_numbers_and_saved_at_home(gene, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(repr(gene)) < 3000
    assert gene.save_pretrained("~/mine") == tmp_path / "mine"


def test_a_model_born_on_the_meta_device_holds_what_is_loaded(tiny_run):
    trained = {name: tensor + 1 for name, tensor in from_learngene(tiny_run, num_classes=5).state_dict().items()}
    model = from_learngene(tiny_run, num_classes=5, device="meta", freeze_gene=True).to_empty(device="cpu")
    model.load_state_dict(trained)
    for name, value in model.hold.values.items():
        assert torch.equal(leading(shaken(model)[name], value.shape), leading(trained[name], value.shape))


def test_a_frozen_gene_takes_several_forward_passes_and_a_look_at_the_state_before_a_backward_pass(tiny_run):
    gradients = []
    for freeze_gene in (True, False):
        model = from_learngene(tiny_run, num_classes=5, freeze_gene=freeze_gene)
        x = torch.rand(4, 3, 28, 28, generator=generator(0, "x"))
        loss = model(x).square().sum() + model(x.flip(3)).square().sum()
        model.state_dict()
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(held, free) for held, free in zip(*gradients, strict=True))


def test_a_frozen_gene_survives_a_stay_on_the_meta_device(tiny_run, gene):
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.to("meta").state_dict()
    model.to_empty(device="cpu").load_state_dict(state)
    name = next(name for name, tensor in gene.tensors.items() if tensor.ndim == 4)
    assert torch.equal(shaken(model)[name][: len(gene.tensors[name])], gene.tensors[name])


@pytest.mark.parametrize("again", [True, False])
def test_a_second_gene_releases_the_first(tiny_run, gene, again):
    second = Learngene({name: tensor + 1 for name, tensor in gene.tensors.items()}, gene.config)
    model = from_learngene(tiny_run, num_classes=5, freeze_gene=True)
    inherit(model, second, freeze_gene=again)
    state = shaken(model)
    for name, tensor in second.tensors.items():
        if "running" not in name and tensor.ndim == 1:
            assert torch.equal(state[name][: len(tensor)], tensor if again else tensor + 1)


def test_threads_draw_what_one_alone_draws(tiny_run):
    alone = from_learngene(tiny_run, num_classes=5).state_dict()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: from_learngene(tiny_run, num_classes=5), range(8)))
    for model in models:
        assert all(torch.equal(tensor, alone[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("depth", [11, 13])
def test_torchs_defaults_change_nothing(tiny_run, depth):
    plain = from_learngene(tiny_run, num_classes=5, depth=depth).state_dict()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            model = from_learngene(tiny_run, num_classes=5, depth=depth)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == plain[name].dtype
        assert torch.equal(tensor, plain[name])


@pytest.mark.parametrize(("of", "channels"), [(3, 3), (3, 1), (1, 6)])
def test_the_share_counts_all_channels_of_an_image(of, channels):
    gene = extract(timm.create_model("lg_vgg11", num_classes=5, width=0.05, in_chans=of), 1.0)
    assert from_learngene(gene, num_classes=5, in_chans=channels).inheritance.share == 1


def test_what_belongs_to_the_hub_is_no_argument_for_a_gene_in_memory(gene):
    with pytest.raises(InheritanceError, match="revision: not allowed with a Learngene"):
        from_learngene(gene, num_classes=5, revision="v1")


def test_a_network_beyond_what_a_gene_may_say_gives_none():
    with pytest.raises(InheritanceError, match="a gene cannot describe this network: in_chans: "):
        extract(timm.create_model("lg_vgg11", num_classes=5, width=0.05, in_chans=65))


def test_genes_are_told_apart_by_identity(gene):
    twin = Learngene(gene.tensors, gene.config)
    assert gene != twin
    assert len({gene, twin, gene}) == 2


@pytest.mark.parametrize("channels", ["half", 0, 1.5, None, np.float32(2)])
def test_a_fraction_that_is_none_is_refused(tiny_run, channels):
    with pytest.raises(InheritanceError, match="expected a fraction above 0 and up to 1, or a number for each group"):
        extract(from_learngene(tiny_run, num_classes=5), channels)


def test_extract_gives_float32_and_takes_numbers_of_numpy(tiny_run):
    gene = extract(from_learngene(tiny_run, num_classes=5).bfloat16(), np.float32(0.5))
    assert {tensor.dtype for tensor in gene.tensors.values()} == {torch.float32}
    counts = {group: np.int64(count) for group, count in gene.config.channels.items()}
    assert extract(from_learngene(tiny_run, num_classes=5), counts).config.channels == gene.config.channels
    with pytest.raises(NetworkError, match=r"expected 1 to \d+ channels, found 2.0"):
        extract(from_learngene(tiny_run, num_classes=5), dict.fromkeys(counts, 2.0))


def test_a_bare_network_is_refused():
    with pytest.raises(NetworkError, match=r"expected a network created by timm\.create_model, found a LgVgg"):
        extract(LgVgg(num_classes=3, width=0.05))


def test_a_gene_with_values_that_are_not_finite_is_not_saved(tiny_run, gene, tmp_path):
    name, tensor = next(iter(gene.tensors.items()))
    broken = Learngene(dict(gene.tensors) | {name: tensor * float("nan")}, gene.config)
    with pytest.raises(GeneFileError, match="expected finite values, found NaN"):
        broken.save_pretrained(tmp_path / "broken")


@pytest.mark.parametrize("network", ["lg_vgg11", "lg_resnet12"])
def test_a_frozen_gene_may_read_gray_images(network):
    gene = extract(timm.create_model(network, num_classes=5, width=0.05))
    model = from_learngene(gene, num_classes=5, in_chans=1, freeze_gene=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    for spec in (spec for spec in model.structure.layers if spec.reads == "image"):
        name, outputs = f"{spec.name}.weight", len(gene.tensors[f"{spec.name}.weight"])
        kernel = model.state_dict()[name]
        assert torch.equal(kernel[:outputs], before[name][:outputs])
        assert not torch.equal(kernel[outputs:], before[name][outputs:])
