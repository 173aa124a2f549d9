"""The probe: a linear classifier of every layer of a network that is not trained."""

import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
import timm
import torch
from command_line import learngene, words
from image_tables import png
from listener import Listener
from photo_folders import write_photos
from PIL import Image
from pyarrow import parquet
from safetensors.torch import load_file

from learngene_hub import extract, from_learngene
from learngene_hub.core.errors import NetworkError
from learngene_hub.finetuning import Photos, Predictor, Settings, Suited, finetune, rank_genes
from learngene_hub.finetuning.probe import STRENGTHS, fit_probe
from learngene_hub.networks import build, plan_structure
from learngene_hub.networks.layers import LayersHead


@pytest.fixture(scope="module")
def probed(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    for number, (role, count) in enumerate({"train": 10, "test": 6}.items()):
        write_photos(folder / "photos" / role, count, seed=number)
    listener = Listener()
    settings = Settings(method="probe", compare="scratch")
    tuned = finetune(tiny_run, folder / "photos", out=folder / "model", settings=settings, reporter=listener)
    return tuned, listener


def test_it_learns_without_a_step_of_training(probed, tiny_run):
    tuned, listener = probed
    assert tuned.record["learngene"]["test_accuracy"] > 0.6
    assert tuned.record["learngene"]["strength"] in STRENGTHS
    assert any(
        "right, then fitted again to training and validation images, regularisation strength" in line
        for line in listener.lines
    )
    born = from_learngene(tiny_run, num_classes=3).state_dict()
    kept = load_file(tuned.folder / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in born.items() if not name.startswith("head."))


def test_what_it_leaves_is_loaded_by_timm_and_by_predict(probed):
    tuned, _ = probed
    assert not (tuned.folder / "curves.png").exists()
    loaded, images = timm.create_model(f"local-dir:{tuned.folder}", pretrained=True).eval(), torch.rand(4, 3, 30, 30)
    with torch.inference_mode():
        assert torch.equal(loaded(images), tuned.network(images))
    places = sorted((tuned.folder.parent / "photos/test").rglob("*.png"))
    right = [one.classes[0][0] == one.path.parent.name for one in Predictor.load(tuned.folder).predict(places)]
    assert sum(right) / len(right) == pytest.approx(tuned.record["learngene"]["test_accuracy"])
    card = (tuned.folder / "README.md").read_text()
    assert "Its weights were not trained; only a linear classifier was fitted" in words(card)
    assert "curves.png" not in card
    settings = json.loads((tuned.folder / "finetune.json").read_text())["settings"]
    assert settings["method"] == "probe"
    assert not settings.keys() & {"epochs", "batch_size", "lr", "patience", "flip", "crop_padding"}


def test_it_can_be_exported(probed):
    network, images = probed[0].network, torch.rand(2, 3, 30, 30)
    torch.testing.assert_close(torch.export.export(network, (images,)).module()(images), network(images))


def test_the_command_takes_it(tiny_run, tmp_path):
    photos = write_photos(tmp_path / "photos", 5)
    done = learngene("finetune", tiny_run, "--data", photos, "--out", tmp_path / "my model", "--method", "probe")
    assert done.exit_code == 0, done.output
    assert f"next: learngene predict '{tmp_path}/my model' new-photo.jpg\n" in done.stderr


def test_options_of_training_are_refused(tiny_run, tmp_path):
    (tmp_path / "photo.png").touch()
    options = ("--data", tmp_path, "--out", tmp_path / "out", "--method", "probe", "--batch-size", 64, "--no-flip")
    done = learngene("finetune", tiny_run, *options)
    assert done.exit_code == 2
    assert "--batch-size, --flip: only for --method full" in words(done.output)


def test_a_probe_that_tells_nothing_is_answered_with_what_helps_a_probe(tiny_run, tmp_path):
    photos, listener = write_photos(tmp_path / "photos", 20), Listener()
    for place in photos.rglob("*.png"):
        Image.new("RGB", (4, 4)).save(place)
    finetune(tiny_run, photos, out=tmp_path / "out", settings=Settings(method="probe"), reporter=listener)
    assert any("more images, another --image-size, or --method full may help" in one for one in listener.warnings)


def test_its_probabilities_are_no_surer_than_the_images_left_out_allow():
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 20, generator=draws)  # tells nothing
    head = LayersHead(20, 3, drop_rate=0.0)
    _, right = fit_probe(head, features, labels)
    assert right.double().mean() < 0.6
    assert head(features[:, :, None, None]).softmax(dim=1).max() < 0.7


@pytest.mark.parametrize("network", ["lg_vgg11", "lg_resnet12"])
def test_a_head_may_be_changed_to_one_that_reads_every_layer_and_back(network):
    model, images = timm.create_model(network, num_classes=4, width=0.0625).eval(), torch.rand(2, 3, 32, 32)
    features = plan_structure(network, width=0.0625).layer_features
    model.reset_classifier(3, global_pool="layers")
    assert not model.head.training
    assert model(images).shape == (2, 3)
    assert model.get_classifier().weight.shape == (3, features)
    assert model.forward_head(model.forward_features(images), pre_logits=True).shape == (2, model.num_features)
    model.reset_classifier(0)
    assert model(images).shape == (2, features)
    model.reset_classifier(5, global_pool="avg")
    assert model(images).shape == (2, 5)


def test_threads_may_share_a_network_that_reads_every_layer():
    model = timm.create_model("lg_vgg11", num_classes=3, width=0.0625, global_pool="layers").eval()
    batches = torch.rand(64, 1, 3, 32, 32)
    with torch.inference_mode(), ThreadPoolExecutor(4) as pool:
        expected = [model(batch) for batch in batches]
        for batch in batches:  # beside them, no layer may be counted for another call
            pool.submit(model.forward_intermediates, batch)
        found = list(pool.map(torch.inference_mode()(model), batches))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_genes_are_ranked_by_probes_of_the_photos(tiny_run, tmp_path):
    photos = write_photos(tmp_path / "my photos", 6)
    done = learngene("list", "--for", photos, "--search", "vgg11", "--json")
    assert done.exit_code == 0, done.output
    ranked = json.loads(done.stdout)
    names = ("vgg11-cifar-fs", "vgg11-cifar-fs-half", "vgg11-mini", "vgg11-mini-84", "vgg11-mini-half")
    assert {one["name"] for one in ranked} == {f"gtl/{name}" for name in names}
    assert ranked[0]["accuracy"] >= ranked[1]["accuracy"] >= ranked[2]["accuracy"] > 1 / 3
    shown = learngene("list", "--for", photos, "--search", "vgg11-mini-half")
    assert "gtl/vgg11-mini-half" in shown.stdout
    assert f"next: learngene finetune gtl/vgg11-mini-half --data '{photos}' --out photos-model" in words(shown.stderr)
    assert "leave out --hub" in " ".join(learngene("list", "--hub", "--for", photos).output.split())
    assert learngene("list", "--for", photos, "--search", "resnt").stderr == "no such gene\n"


def test_genes_are_ranked_by_tables_with_other_columns_and_without_images_that_cannot_be_read(tmp_path):
    images = [{"bytes": png(9 * number), "path": None} for number in range(8)] + [{"bytes": b"?", "path": None}]
    table = pa.table({"photo": images, "species": ["ant", "bee", "cat"] * 3})
    parquet.write_table(table, tmp_path / "a.parquet")
    asked = ("list", "--for", tmp_path / "a.parquet", "--search", "mini-half")
    assert "Give one of these as data.image_column= or --image-column" in learngene(*asked).stderr
    done = learngene(*asked, "--image-column", "photo", "--label-column", "species")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("1 of 9 images cannot be decoded") == 1
    assert "--out photos-model --image-column photo --label-column species\n" in done.stderr


@pytest.fixture
def gene_of_timm(tmp_path):
    network = timm.create_model("lg_resnet18", num_classes=2, width=0.0625)
    network.pretrained_cfg["input_size"] = (3, 32, 32)
    gene = extract(network)
    gene.save_pretrained(tmp_path / "of-timm")
    return tmp_path / "of-timm"


def test_a_gene_of_timms_own_network_is_ranked_too_but_its_class_cannot_be_probed_for_good(gene_of_timm, tmp_path):
    photos = write_photos(tmp_path / "photos", 4)
    (ranked,) = rank_genes([str(gene_of_timm)], Photos(photos), reporter=Listener())
    assert 0 <= ranked.accuracy <= 1
    with pytest.raises(NetworkError, match="lacks the pool 'layers', which a probe needs; use --method full"):
        finetune(gene_of_timm, photos, out=tmp_path / "out", settings=Settings(method="probe"))


def test_a_gene_of_a_network_without_batch_norm_cannot_be_ranked(tmp_path):
    extract(build("vit_tiny_patch4_32", num_classes=2, width=0.0625)).save_pretrained(tmp_path / "gene")
    photos = Photos(write_photos(tmp_path / "photos", 4))
    with pytest.raises(NetworkError, match="vit_tiny_patch4_32: expected batch norms, whose outputs a probe"):
        rank_genes([str(tmp_path / "gene")], photos, reporter=Listener())


def test_a_network_of_timms_own_is_fine_tuned_and_kept_under_timms_own_name(gene_of_timm, tmp_path):
    photos = write_photos(tmp_path / "photos", 4)
    settings = Settings(width=1, depth=10, epochs=1, batch_size=4, lr=0.01, image_size=32)
    tuned = finetune(gene_of_timm, photos, out=tmp_path / "out", settings=settings)
    config = json.loads((tuned.folder / "config.json").read_text())
    assert (config["architecture"], config["model_args"]["layers"]) == ("resnet18", [1, 1, 1, 1])
    assert tuned.record["network"]["name"] == "resnet18"
    assert Predictor.load(tuned.folder).network.depth == 10


def test_to_rank_genes_no_image_is_left_out_and_those_for_tests_are_not_read(tmp_path):
    for number, role in enumerate(("train", "val", "test")):
        write_photos(tmp_path / role, 1, seed=number)
    broken = next((tmp_path / "test").rglob("*.png"))
    broken.write_bytes(b"no image")
    hidden = next((tmp_path / "train").rglob("*.png"))
    hidden.with_suffix(".xyz").write_bytes(b"")
    listener = Listener()
    names = ["gtl/vgg11-mini-half", "gtl/vgg11-cifar-fs-half"]
    ranked = rank_genes(names, Photos(tmp_path), reporter=listener)
    assert {gene.name for gene in ranked} == set(names)
    best, other = ranked
    assert (best.behind, best.behind_ci95) == (0, 0)
    assert other.behind == pytest.approx(best.accuracy - other.accuracy)
    assert 0 <= other.behind_ci95 < 1
    assert len(listener.warnings) == 1


def test_genes_are_not_ranked_for_photos_that_finetune_would_refuse(tmp_path):
    shown = learngene("list", "--for", write_photos(tmp_path / "photos", 1), "--search", "vgg11-mini-half")
    assert shown.exit_code == 1
    assert "expected 2 or more images per class, one to train on and one to validate on, found 1 in" in shown.stderr
    assert "next:" not in shown.stderr


def test_of_equal_genes_the_cheapest_is_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("learngene_hub.finetuning.choice._right", lambda *_: torch.ones(6, dtype=torch.bool))
    photos = Photos(write_photos(tmp_path / "photos", 2))
    first, second = rank_genes(["gtl/vgg11-mini", "gtl/vgg11-mini-half"], photos, reporter=Listener())
    assert first.name == "gtl/vgg11-mini-half"
    assert first.flops < second.flops


def test_a_gene_that_is_level_with_the_first_at_half_its_cost_is_proposed(tmp_path, monkeypatch):
    ranked = [
        Suited("a", 0.9, 0.0, 0.0, 8e9),
        Suited("b", 0.89, 0.01, 0.02, 2e9),
        Suited("c", 0.8, 0.1, 0.02, 1e9),
    ]
    monkeypatch.setattr("learngene_hub.finetuning.rank_genes", lambda *_, **__: ranked)
    shown = learngene("list", "--for", write_photos(tmp_path / "photos", 1))
    told = "b is 1.0 ± 2.0 points behind the first, which may be chance, at 25% of its cost; next: learngene finetune b"
    assert told in " ".join(shown.stderr.split())
    assert "all genes are level" not in shown.stderr
    ranked.pop()
    assert "all genes are level on these images" in learngene("list", "--for", tmp_path / "photos").stderr
    assert [line.split()[-1] for line in shown.stdout.splitlines() if line.split()[:1] in (["a"], ["b"], ["c"])] == [
        "8.0",
        "2.0",
        "1.0",
    ]
