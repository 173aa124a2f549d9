"""Transfer to other data, baselines, and networks of a user's own."""

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from command_line import learngene
from image_tables import write_parquet
from listener import Listener
from photo_folders import write_photos
from PIL import Image
from quick_evaluation import ONE, QUICK, accuracies, start, with_data
from safetensors.torch import save_file

from learngene_hub import Learngene, LearngeneError, Recipe, evaluate, evolve, extract, from_learngene
from learngene_hub.cli.evaluate import _places as places
from learngene_hub.core.errors import DataError, RunError
from learngene_hub.core.rng import generator
from learngene_hub.evaluation import pretraining
from learngene_hub.evaluation import run as run_module
from learngene_hub.evaluation import sources as sources_module
from learngene_hub.evaluation import starts as starts_module
from learngene_hub.evaluation.candidates import load_candidates
from learngene_hub.evaluation.checkpoints import load_checkpoints
from learngene_hub.evaluation.measuring import TEST
from learngene_hub.evaluation.protocols import PROTOCOLS
from learngene_hub.evaluation.run import Descendants
from learngene_hub.evaluation.sources import Target, shown, sources_of
from learngene_hub.evaluation.starts import BASELINES, at_random, batch_norm, cut, evenly, magnitude
from learngene_hub.evolution import critics
from learngene_hub.gene.config import CostRecord
from learngene_hub.genome.birth import Body
from learngene_hub.networks import build, save_timm_folder
from learngene_hub.report.sentences import limits


@pytest.fixture(scope="module")
def short_run(tiny_file, tmp_path_factory):
    """The folder of an evolution that costs a fifth of the tiny one, and so do its baselines; do not change it."""
    out = tmp_path_factory.mktemp("runs") / "short"
    short = ["evolution.generations=2", "evolution.population=2", "ancestry.steps=2", "ancestry.statistics_batches=1"]
    evolve(Recipe.from_file(tiny_file, short), out=out)
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """An image folder of four plain colours, ten noisy images each."""
    folder = tmp_path_factory.mktemp("photos")
    for place, colour in enumerate(("red", "green", "blue", "grey")):
        (folder / colour).mkdir()
        for number in range(10):
            pixels = torch.randint(0, 60, (32, 32, 3), generator=generator(place, "photo", number))
            pixels[..., min(place, 2)] += 150 if place < 3 else 0
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / colour / f"{number}.png")
    return folder


def test_a_gene_is_tried_on_an_image_folder(tiny_run, photos):
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=1, steps=3, measured_at=(3,), lr=0.05)
    results = evaluate(tiny_run, protocol=protocol, target=photos, seeds=(0,))
    assert (results.data, results.test_classes) == (photos.name, "classes of another data set")
    assert any("under other names" in one for one in limits(results))
    assert set(results.classes) == {"red", "green", "blue", "grey"}


def test_images_of_other_classes_than_the_genes_are_answered_with_a_transfer(tiny_run, photos):
    gene = with_data(Learngene.from_pretrained(tiny_run), preset=None, source="photos")
    with pytest.raises(DataError, match=r"has no image of: .*On classes of your own: --protocol transfer --target"):
        evaluate(gene, protocol=QUICK, data=str(photos))


def test_results_among_the_images_are_refused(tiny_run, photos):
    with pytest.raises(RunError, match=f"expected a folder outside {photos}, found one inside it"):
        evaluate(tiny_run, protocol="transfer", target=photos, out=photos / "results")
    with pytest.raises(RunError, match=f"expected a folder outside {photos}, found one inside it"):
        evolve(Recipe.from_file("demo", ["data.preset=null", f"data.path={photos}"]), out=photos / "run")
    assert {path.name for path in photos.iterdir()} == {"red", "green", "blue", "grey"}


def test_a_target_may_be_seen_in_another_size_cropped_in_proportion(tiny_run, photos):
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=1, steps=1, measured_at=(1,), lr=0.05)
    target = Target(str(photos), image_size=56)
    results = evaluate(tiny_run, protocol=protocol, target=target, seeds=(0,))
    assert results.data == f"{photos.name} at 56 pixels"
    record = Learngene.from_pretrained(tiny_run).config.origin.data
    assert (record.image_size, shown(record, target).image_size) == (28, 56)
    assert shown(record, target).crop_padding == 2 * record.crop_padding


def test_a_target_may_have_columns_of_unusual_names(tiny_run, tmp_path):
    rows = [(level, name) for level in range(9) for name in ("ant", "bee", "cat")]
    write_parquet(tmp_path / "insects" / "a.parquet", rows, columns=("scan", "species"))
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=1, steps=1, measured_at=(1,), lr=0.05)
    target = Target(str(tmp_path / "insects"), image_column="scan", label_column="species")
    results = evaluate(tiny_run, protocol=protocol, target=target, seeds=(0,))
    assert (results.data, set(results.classes)) == ("insects", {"ant", "bee", "cat"})


def test_the_command_names_columns_as_python_does():
    target = Target("insects", "scan", "species", image_size=56)
    assert places("own", "insects", "scan", "species", 56) == {"data": "own", "target": target}
    assert places("own", None, "scan", None, None) == {"data": Target("own", "scan"), "target": None}


def test_a_copy_of_the_genes_images_may_have_columns_of_unusual_names(tiny_run, tmp_path):
    record = Learngene.from_pretrained(tiny_run).config.origin.data
    kept = record.model_copy(update={"preset": None, "source": "photos", "image_column": "pic"})
    write_parquet(tmp_path / "table" / "a.parquet", [(1, "ant")], columns=("scan", "label"))
    write_photos(tmp_path / "folders", 1)
    asked = {"target": None, "protocol": replace(QUICK, lr=0.05), "reporter": Listener()}

    def columns(**place):
        source = sources_of([kept], data=Target(**place), **asked)[TEST].data
        return source.image_column, source.label_column

    assert columns(path=str(tmp_path / "table"), image_column="scan") == ("scan", None)
    assert columns(path=str(tmp_path / "table")) == ("pic", None)
    assert columns(path=str(tmp_path / "folders")) == (None, None)


def test_a_folder_with_the_name_of_a_preset_is_told(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glyphs").mkdir()
    with pytest.raises(
        LearngeneError, match="glyphs is a preset, and a file or folder here has the same name; give its absolute path"
    ):
        evaluate(tiny_run, protocol="transfer", target="glyphs")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--image-column", "scan"), "--image-column and --label-column need --data or --target"),
        (("--image-size", "56", "--data", "photos"), "--image-size needs --target"),
    ],
)
def test_columns_and_a_size_of_nothing_are_refused(given, told):
    done = learngene("evaluate", "gtl/vgg11-mini-half", *given)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


@pytest.mark.parametrize("role", ["base", "held_out"])
def test_classes_of_a_target_that_the_gene_has_seen_are_left_out(tiny_run, photos, tmp_path, caplog, role):
    seen = getattr(Learngene.from_pretrained(tiny_run).config.origin.data, role)[0]
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "red").rename(tmp_path / "photos" / seen)
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=1, steps=1, measured_at=(1,), lr=0.05)
    results = evaluate(tiny_run, protocol=protocol, target=tmp_path / "photos", seeds=(0,))
    assert set(results.classes) == {"green", "blue", "grey"}
    assert (
        f"1 of its 4 classes left out, because the gene has seen classes of the same names, such as '{seen}'"
        in caplog.text
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_every_baseline_runs_at_the_cost_of_the_gene_and_is_made_once(short_run, cache, monkeypatch):
    chosen = replace(QUICK, lr=0.05, tasks=1)
    results = evaluate(short_run, protocol=chosen, baselines=["all"], seeds=(0,))
    names = [name for name in BASELINES if name != "each-size"]  # there is one size
    assert [one.start for one in results.descendants[0].starts] == ["scratch", "learngene", *names]
    gene = start(results, "learngene")
    for name in names:
        one = start(results, name)
        share = 1.0 if name in {"pretrained", "weight-selection"} else gene.inherited
        assert one.inherited == pytest.approx(share)
        if name != "narrow-flops":
            assert one.cost.images == gene.cost.images
    assert start(results, "narrow-flops").cost.flops == pytest.approx(gene.cost.flops, rel=0.01)
    assert start(results, "narrow").cost.flops < gene.cost.flops
    monkeypatch.setattr(pretraining, "train", None)  # a second training would fail
    again = evaluate(short_run, protocol=chosen, baselines=["all"], seeds=(0,))
    assert again == results


def test_baselines_learn_the_base_classes_alone(short_run, cache, monkeypatch):
    loaded, real = [], sources_module.load_classes

    def spy(source, names, **more):
        loaded.append(tuple(names))
        return real(source, names, **more)

    monkeypatch.setattr(sources_module, "load_classes", spy)
    evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,))
    assert loaded == [Learngene.from_pretrained(short_run).config.origin.data.base]


def test_a_network_of_few_steps_takes_no_more_of_them_than_planned(short_run, cache, monkeypatch):
    steps, train, planned = [], pretraining.train, starts_module.planned

    def watched(network, batches, training, **rest):
        steps.append(training.steps)
        return train(network, batches, training, **rest)

    monkeypatch.setattr(pretraining, "train", watched)
    monkeypatch.setattr(starts_module, "planned", lambda *asked: replace(planned(*asked), images=24))
    evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,))
    assert sum(steps) == 24 // 8
    monkeypatch.setattr(starts_module, "planned", lambda *asked: replace(planned(*asked), images=7))
    heard = Listener()
    evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,), reporter=heard)
    assert "narrow is left out: its 7 images are fewer than one batch of 8" in heard.warnings


def test_a_baseline_that_makes_no_sense_is_left_out_before_a_network_is_trained_and_seconds_are_told(monkeypatch):
    monkeypatch.setattr(starts_module, "pretrain", lambda *_, **__: pytest.fail("trained"))
    told, body, cost = Listener(), Body("vit_tiny_patch4_32"), CostRecord(images=1000, seconds=20, device="CPU")
    candidate = SimpleNamespace(origin=SimpleNamespace(cost=cost))
    budget = SimpleNamespace(candidate=candidate, ancestor=None, body=body, sizes=[body], reporter=told)
    assert starts_module.make_baselines(["bn-slice", "each-size"], budget) == []
    assert told.warnings == [
        "bn-slice is left out: the network has layers without a batch norm",
        "each-size is left out: at the gene's own size alone it equals `pretrained`; give another --width or --depth",
    ]
    assert told.lines[0].startswith(
        "baselines are trained first, unless they are in the cache: bn-slice, each-size. The gene took"
    )
    assert "1,000 images and 0.333 minutes on CPU" in told.lines[0]


def test_baselines_of_another_precision_than_the_genes_are_told_of(short_run, monkeypatch):
    monkeypatch.setattr(run_module, "pick_precision", lambda *_: "bfloat16")
    monkeypatch.setattr(run_module, "make_baselines", lambda *_: [])
    heard = Listener()
    evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,), reporter=heard)
    told = "baselines are trained in bfloat16, the best here, but the gene was evolved in float32"
    assert told in heard.warnings


def test_each_size_shares_the_images_of_the_gene_and_is_inherited_whole(short_run, cache):
    sizes = Descendants(widths=(0.06, 0.12), depths=(11,))
    results = evaluate(short_run, protocol=ONE, baselines=["each-size"], descendants=sizes, seeds=(0,))
    for descendant in results.descendants:
        of_this_size = descendant.start("each-size")
        assert of_this_size.inherited == 1
        assert of_this_size.cost.images == descendant.start("learngene").cost.images // 2
    small, large = results.descendants
    assert large.start("each-size").cost.flops > 2 * small.start("each-size").cost.flops


def kept(folder):
    """Name of a pre-trained network in the cache -> its bytes."""
    return {file.parent.name: file.read_bytes() for file in folder.glob("pretrained/*/network.safetensors")}


@pytest.mark.slow
def test_a_cache_that_cannot_be_made_costs_a_warning_and_no_result(short_run, tmp_path, monkeypatch):
    whole = evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,))
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "file" / "cache"))
    listener = Listener()
    again = evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,), reporter=listener)
    assert start(again, "narrow").measures == start(whole, "narrow").measures
    (told,) = (one for one in listener.warnings if one.startswith("narrow"))
    assert re.search("narrow: cannot be saved: .*cannot be written.*Set LEARNGENE_CACHE to another folder", told)


def test_a_damaged_pretrained_network_is_told_and_trained_again(short_run, cache):
    whole = evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,))
    before = kept(cache)
    for name in ("network.safetensors", "record.json"):
        (file,) = cache.glob(f"pretrained/*/{name}")
        content = file.read_bytes()
        file.unlink()  # it may be mapped into memory
        file.write_bytes(content.replace(b"CPU", b"GPU") if name == "record.json" else content[:-8] + bytes(8))
        listener = Listener()
        again = evaluate(short_run, protocol=ONE, baselines=["narrow"], seeds=(0,), reporter=listener)
        assert start(again, "narrow").measures == start(whole, "narrow").measures
        assert f"narrow: created again, since {file.parent} is damaged or was edited" in listener.warnings
        assert kept(cache) == before


def test_all_weights_of_a_wider_network_come_with_statistics_of_their_own(short_run, cache, monkeypatch):
    seen, real = [], critics.measure_statistics
    monkeypatch.setattr(critics, "measure_statistics", lambda *args: seen.append(args[0].width) or real(*args))
    evaluate(short_run, protocol=ONE, baselines=["weight-selection"], seeds=(0,))
    assert len(seen) == 1


def test_baselines_need_the_recipe_of_the_gene(tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    with pytest.raises(
        LearngeneError, match=r"baselines need the gene's recipe: give the gene's folder with its recipe\.yaml"
    ):
        evaluate(Learngene(gene.tensors, gene.config), protocol=QUICK, baselines=["narrow"])


@pytest.mark.slow
def test_an_interrupted_pretraining_ends_with_the_same_network(short_run, cache, monkeypatch):
    gene, calls, real = str(short_run), [], pretraining.train
    chosen = replace(QUICK, lr=0.05, tasks=1)
    whole = evaluate(gene, protocol=chosen, baselines=["narrow"], seeds=(0,))
    monkeypatch.setenv("LEARNGENE_CACHE", str(cache / "other"))

    def fragile(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt("stopped by the test")
        return real(*args, **kwargs)

    monkeypatch.setattr(pretraining, "train", fragile)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evaluate(gene, protocol=chosen, baselines=["narrow"], seeds=(0,))
    resumed = evaluate(gene, protocol=chosen, baselines=["narrow"], seeds=(0,))
    assert len(calls) == 4 + pretraining.PARTS - 3
    assert accuracies(resumed, "narrow") == accuracies(whole, "narrow")
    first, second = (next(one.rglob("network.safetensors")) for one in (cache / "pretrained", cache / "other"))
    assert first.read_bytes() == second.read_bytes()


def test_a_users_own_checkpoint_is_a_start(tiny_run, tmp_path):
    own = build("lg_vgg11", num_classes=3, width=0.06)
    save_file(own.state_dict(), tmp_path / "model.safetensors")
    results = evaluate(tiny_run, protocol=ONE, seeds=(0,), checkpoints=[tmp_path])
    assert start(results, "checkpoint").inherited == pytest.approx(1.0)
    save_file({"a": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    with pytest.raises(LearngeneError, match="expected tensors of a network lg_vgg11, found others: a"):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[tmp_path / "wrong.safetensors"])
    with pytest.raises(
        LearngeneError, match=r"no such file or folder; expected a safetensors file, or a folder with model"
    ):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[tmp_path / "absent"])


def test_a_gene_of_ones_own_is_a_start_beside_an_evolved_one(tiny_run, tmp_path):
    channels = Learngene.from_pretrained(tiny_run).config.channels
    mine = extract(from_learngene(tiny_run, num_classes=2), channels).save_pretrained(tmp_path / "mine")
    results = evaluate(tiny_run, protocol=ONE, seeds=(0,), checkpoints=[mine, mine, tiny_run])
    for name in ("mine", "mine-2", "tiny"):
        assert accuracies(results, f"checkpoint:{name}") == accuracies(results, "learngene")
    assert start(results, "checkpoint:mine").description == "the checkpoint mine; its cost is not known"


def test_the_folder_in_which_one_is_has_a_name_as_a_checkpoint(tiny_run, monkeypatch):
    (first,) = load_candidates([tiny_run])
    monkeypatch.chdir(tiny_run)
    (one,) = load_checkpoints([Path()], Body("lg_vgg11", 0.06), first)
    assert one.description == "the checkpoint tiny"
    assert one.cost.images == first.origin.cost.images


def test_a_gene_that_normalises_otherwise_is_no_checkpoint_beside_this_one(tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    other = replace(gene, config=gene.config.model_copy(update={"mean": (0.1, 0.1, 0.1)}))
    with pytest.raises(LearngeneError, match=r"mine: expected the mean of learngene, .*, found \(0\.1, 0\.1, 0\.1\)"):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[other.save_pretrained(tmp_path / "mine")])


def test_a_gene_that_was_trained_on_novel_classes_is_no_checkpoint(tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    mine = with_data(gene, base=gene.config.origin.data.novel[:1]).save_pretrained(tmp_path / "mine")
    with pytest.raises(LearngeneError, match="mine: has seen 1 of the classes that are novel to learngene"):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[mine])


def fine_tuned(folder, *names):
    """A folder as `finetune` writes it, of a network that tells apart the classes called `names`."""
    folder.mkdir()
    network = timm.create_model("lg_vgg11", num_classes=len(names), width=0.06)
    save_timm_folder(network, folder, class_names=names)
    return folder


def test_a_network_that_was_fine_tuned_on_novel_classes_is_no_checkpoint(tiny_run, tmp_path):
    novel = Learngene.from_pretrained(tiny_run).config.origin.data.novel
    with pytest.raises(LearngeneError, match="mine: was trained on 2 of the classes that are novel"):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[fine_tuned(tmp_path / "mine", *novel[:2])])


@pytest.mark.slow
def test_a_transfer_leaves_out_what_a_fine_tuned_network_has_seen(tiny_run, photos, tmp_path):
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=1, steps=1, measured_at=(1,), lr=0.05)
    mine = fine_tuned(tmp_path / "mine", "Red", "other")
    results = evaluate(tiny_run, protocol=protocol, target=photos, seeds=(0,), checkpoints=[mine])
    assert set(results.classes) == {"green", "blue", "grey"}


def test_a_transfer_leaves_out_what_a_checkpoint_has_seen(tiny_run, photos, tmp_path):
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=1, steps=1, measured_at=(1,), lr=0.05)
    mine = with_data(Learngene.from_pretrained(tiny_run), base=("red",)).save_pretrained(tmp_path / "mine")
    results = evaluate(tiny_run, protocol=protocol, target=photos, seeds=(0,), checkpoints=[mine])
    assert set(results.classes) == {"green", "blue", "grey"}


def test_a_gene_of_the_package_is_a_checkpoint_by_its_name(tiny_run):
    refused = learngene("evaluate", tiny_run, "--checkpoint", "gtl/vgg11-mini-half")  # of other images
    assert "error: gtl/vgg11-mini-half: expected the image_size of learngene, 28, found 42" in refused.stderr


def test_the_last_digit_of_a_mean_that_another_processor_computed_does_not_matter(tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    mean = tuple(math.nextafter(value, 1) for value in gene.config.mean)
    other = replace(gene, config=gene.config.model_copy(update={"mean": mean}))
    mine = other.save_pretrained(tmp_path / "mine")
    results = evaluate(tiny_run, protocol=ONE, seeds=(0,), checkpoints=[mine])
    assert accuracies(results, "checkpoint") == accuracies(results, "learngene")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("", r"mine: expected a folder with model\.safetensors or learngene\.safetensors, found neither"),
        ("stages.0.0.norm.running_mean", r"found stages\.0\.0\.conv without stages\.0\.0\.norm\.running_mean"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(tiny_run, tmp_path, lost, message):
    mine = tmp_path / "mine"
    mine.mkdir()
    if lost:
        tensors = build("lg_vgg11", num_classes=3, width=0.06).state_dict()
        save_file({name: tensor for name, tensor in tensors.items() if name != lost}, mine / "model.safetensors")
    with pytest.raises(LearngeneError, match=message):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[mine])


def test_a_checkpoint_that_no_descendant_can_inherit_is_refused_and_else_left_out_with_a_logged_warning(
    tiny_run, tmp_path, caplog
):
    own = build("lg_vgg11", num_classes=3, width=0.12)
    save_file(own.state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(LearngeneError, match=r"the checkpoint wide\.safetensors fits none of the networks: "):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[tmp_path / "wide.safetensors"])
    wider = Descendants(widths=(0.06, 0.12))
    results = evaluate(
        tiny_run, protocol=ONE, seeds=(0,), descendants=wider, checkpoints=[tmp_path / "wide.safetensors"]
    )
    assert [[one.start for one in body.starts] for body in results.descendants] == [
        ["scratch", "learngene"],
        ["scratch", "learngene", "checkpoint"],
    ]
    (warning,) = [one for one in caplog.records if one.name == "learngene_hub"]
    assert warning.getMessage().startswith("checkpoint is left out at width 0.06, depth 11: ")


@pytest.fixture(scope="module", params=["lg_vgg11", "lg_resnet12"])
def network(request):
    torch.manual_seed(0)
    network = build(request.param, num_classes=4, width=0.1).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.mark.parametrize("ranking", [magnitude, batch_norm, at_random, evenly])
def test_a_slice_of_all_channels_is_the_network_in_another_order(network, ranking):
    state, structure = network.state_dict(), network.structure
    genome = cut(state, structure, network.channel_counts(), ranking, seed=0)
    for layer in structure.layers:
        ours, theirs = (one[layer.kernel.name].flatten().sort().values for one in (genome.tensors, state))
        assert torch.equal(ours, theirs)


def test_slices_take_the_channels_they_are_named_after(network):
    state, structure = network.state_dict(), network.structure
    half = {group: max(1, count // 2) for group, count in network.channel_counts().items()}
    group = structure.layers[-1].writes
    norms = [layer.tensors[1].name for layer in structure.writers(group)]
    worth = sum(state[norm].abs() for norm in norms)
    tensors = cut(state, structure, half, batch_norm, seed=0).tensors
    kept = sum(tensors[norm].abs() for norm in norms)
    assert torch.allclose(kept.sort().values, worth.sort().values[-half[group] :])
    tensors = cut(state, structure, half, evenly, seed=0).tensors
    total, wanted = len(worth), half[group]
    places = torch.arange(wanted) * total // wanted
    assert torch.equal(tensors[norms[-1]], state[norms[-1]][places])
