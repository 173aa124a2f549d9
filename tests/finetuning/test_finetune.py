"""Fine-tuning: what it leaves, what it promises, and its command."""

import json
import re
import shutil
import signal
from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
from command_line import learngene
from engine_faults import calling, wait_for
from listener import Listener
from photo_folders import CLASSES, QUICK, load, write_photos
from quick_evaluation import with_data
from safetensors.torch import load_file

from learngene_hub import Learngene, LearngeneError, networks
from learngene_hub.core.errors import InheritanceError, RunError
from learngene_hub.finetuning import Photos, Settings, finetune
from learngene_hub.finetuning import run as run_module
from learngene_hub.finetuning.fit import RATES, Epoch, fit_all, fit_network
from learngene_hub.finetuning.folder import LOCAL
from learngene_hub.finetuning.run import FineTuned

RIGHT = r"\d+\.\d %( by \w+)?"
FILES = {
    "README.md",
    "config.json",
    "confusion.png",
    "curves.png",
    "finetune.json",
    "model.safetensors",
}


def test_the_folder_holds_these_files(tuned):
    assert {file.name for file in tuned.folder.iterdir()} == FILES


def test_whoever_may_read_the_record_may_read_the_weights(tuned):
    assert len({file.stat().st_mode for file in tuned.folder.iterdir()}) == 1


@pytest.mark.filterwarnings("error")
def test_timm_loads_the_folder_and_gives_the_same_logits(tuned):
    images = torch.randn(5, 3, 28, 28)
    loaded = timm.create_model(f"local-dir:{tuned.folder}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(loaded(images), tuned.network(images))


def test_timm_learns_classes_and_preprocessing_from_the_folder(tuned):
    cfg = timm.create_model(f"local-dir:{tuned.folder}", pretrained=True).pretrained_cfg
    assert cfg["label_names"] == list(CLASSES)
    assert tuple(cfg["mean"]) == tuple(tuned.network.pretrained_cfg["mean"])
    assert (tuple(cfg["input_size"]), cfg["crop_pct"]) == ((3, 28, 28), 1.0)


def test_an_image_size_can_be_asked_for(tiny_run, photos, tmp_path):
    tuned = finetune(tiny_run, photos, out=tmp_path / "out", settings=replace(QUICK, image_size=32))
    assert timm.create_model(f"local-dir:{tuned.folder}", pretrained=True).pretrained_cfg["input_size"] == (3, 32, 32)
    assert tuned.record["settings"]["image_size"] == tuned.record["network"]["image_size"] == 32


def test_the_record_says_what_was_done(tuned, tiny_run):
    record = json.loads((tuned.folder / "finetune.json").read_text())
    assert record == json.loads(json.dumps(tuned.record))
    assert record["gene"]["name"] == "tiny"
    assert record["gene"]["sha256"] == json.loads((tiny_run / "gene/config.json").read_text())["sha256"]
    assert record["data"]["images"] == {"train": 21, "val": 12, "test": 15}
    assert record["data"]["images_per_class"]["val"] == dict.fromkeys(CLASSES, 4)
    assert 0 < record["network"]["inherited"] < 1
    for start in ("learngene", "scratch"):
        assert record[start]["rates_tried"].keys() == {str(rate) for rate in RATES}
        assert [row["epoch"] for row in record[start]["epochs"]] == [1, 2]
        assert sum(map(sum, record[start]["confusion"])) == 12
        assert sum(map(sum, record[start]["test_confusion"])) == 15


def test_the_validation_accuracy_is_that_of_the_best_epoch_and_rate(tuned):
    ours = tuned.record["learngene"]
    right = sum(ours["confusion"][label][label] for label in range(3))
    assert right / 12 == pytest.approx(ours["val_accuracy"])
    accuracies = [row["val_accuracy"] for row in ours["epochs"]]
    assert accuracies[ours["best_epoch"] - 1] == max(accuracies) == max(ours["rates_tried"].values())
    assert ours["val_accuracy"] == max(accuracies)
    assert ours["rates_tried"][str(ours["lr"])] == max(accuracies)


@pytest.fixture(scope="module")
def quick(tiny_run, tmp_path_factory):
    """A finished fine-tuning by `QUICK`, and the photos it was given; read them, do not change them."""
    folder = tmp_path_factory.mktemp("quick")
    photos = write_photos(folder / "photos", 5)
    return finetune(tiny_run, photos, out=folder / "model", settings=QUICK), photos


def test_the_network_that_is_kept_has_learnt_from_the_validation_images_too(tiny_run, quick, tmp_path, monkeypatch):
    tuned, photos = quick
    monkeypatch.setattr("learngene_hub.finetuning.run.fit_all", lambda *_, **__: False)  # it diverged
    other = finetune(tiny_run, photos, out=tmp_path / "train", settings=QUICK)
    assert [one.record["learngene"]["is_trained_on_all"] for one in (tuned, other)] == [True, False]
    assert tuned.record["learngene"]["val_accuracy"] == other.record["learngene"]["val_accuracy"]
    first, second = (one.network.state_dict()["head.fc.weight"] for one in (tuned, other))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("images", "batch"), [(12, 8), (80, 16), (400, 64), (1, 8)])
def test_few_images_make_small_batches(images, batch):
    assert Settings().batch(images) == batch
    assert Settings(batch_size=5).batch(images) == 5


def test_the_comparison_is_one_line_on_images_that_chose_nothing(tuned):
    chance = r"with other images of these classes each may differ by about (?P<points>\d+) points"
    told = re.fullmatch(rf"learngene {RIGHT}, scratch {RIGHT} \(15 test images; {chance}\)", tuned.comparison)
    assert told is not None
    assert 10 < int(told["points"]) < 25  # also where all 15 are right


def test_the_card_tells_how_to_use_the_network(tuned):
    card = (tuned.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert card.index("import learngene_hub") < card.index("import timm")
    assert LOCAL in card  # what a push replaces
    assert "\nlearngene predict . photo.jpg\n" in card
    assert "Nothing was chosen on the test images" in card
    assert "The kept network was then trained again, with these images too." in card
    assert f"{tuned.record['scratch']['test_accuracy']:.1%}" in card


def test_the_code_of_the_card_runs(tuned, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(tuned.folder, tmp_path / "model")
    shutil.copy(next((tuned.folder.parent / "photos/test").rglob("*.png")), folder / "photo.jpg")
    monkeypatch.chdir(folder)
    exec(re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL).group(1), {})
    assert capsys.readouterr().out.strip() in CLASSES


def test_equal_seeds_give_equal_weights_whatever_torchs_default_device(tiny_run, quick, tmp_path):
    tuned, photos = quick
    with torch.device("meta"):
        again = finetune(tiny_run, photos, out=tmp_path / "again", settings=QUICK)
    first, second = (load_file(one.folder / "model.safetensors") for one in (tuned, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_narrower_than_the_gene_is_refused_before_any_image_is_read(tiny_run, tmp_path):
    with pytest.raises(InheritanceError, match="at least as wide as the gene"):
        finetune(tiny_run, "owner/photos", out=tmp_path / "out", settings=Settings(width=0.01))


@pytest.mark.slow
def test_too_few_validation_images_to_tell_anything_are_told(tiny_run, tmp_path):
    photos, listener = write_photos(tmp_path / "photos", 4, classes=CLASSES[:2]), Listener()
    finetune(tiny_run, photos, out=tmp_path / "out", settings=replace(QUICK, lr=0.05), reporter=listener)
    told = "2 validation images are too few to tell it from always predicting the most frequent"
    assert any(told in one for one in listener.warnings)


def test_many_validation_images_of_one_class_are_told_too(tiny_run, tmp_path):
    write_photos(tmp_path / "photos/train", 4)
    write_photos(tmp_path / "photos/val", 30, seed=1, classes=CLASSES[:1])
    listener = Listener()
    finetune(tiny_run, tmp_path / "photos", out=tmp_path / "out", settings=Settings(method="probe"), reporter=listener)
    assert any("30 validation images are of one class only, too few to tell" in one for one in listener.warnings)


@pytest.mark.parametrize(("settings", "learns"), [(replace(QUICK, lr=1e-6), False), (Settings(method="probe"), True)])
def test_a_network_that_has_learned_nothing_is_told_of(tiny_run, tmp_path, settings, learns):
    photos, listener = write_photos(tmp_path / "photos", 20), Listener()
    tuned = finetune(tiny_run, photos, out=tmp_path / "out", settings=settings, reporter=listener)
    warned = sum("on 12 validation images not clearly better than" in one for one in listener.warnings)
    assert warned == (tuned.record["learngene"]["val_accuracy"] < 0.6)  # 12 images: 1/3 and two of 0.136
    assert warned or learns


def test_a_folder_that_is_not_empty_is_left_alone(tiny_run, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(RunError, match=r"new or empty folder.*--out"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)


@pytest.mark.parametrize(
    ("epochs", "rates", "told"),
    [
        (1, 1, "9 validation images; "),
        (2, 1, "9 validation images, on which the epoch was chosen, so accuracies may be too high; "),
        (1, 3, "9 validation images, on which the rate was chosen, so accuracies may be too high; "),
        (2, 3, "9 validation images, on which the epoch and the rate were chosen, so accuracies may be too high; "),
    ],
)
def test_what_was_chosen_on_the_validation_images_is_told(tmp_path, epochs, rates, told):
    ours = {"val_accuracy": 0.5, "epochs": [{}] * epochs, "rates_tried": dict.fromkeys(range(rates))}
    tuned = FineTuned(tmp_path, None, {"data": {"images": {"val": 9}}, "learngene": ours})
    assert tuned.measured_on.startswith(told)


def test_a_folder_among_the_images_is_refused(tiny_run, photos):
    with pytest.raises(RunError, match=f"expected a folder outside {photos}, found one inside it: the next run would"):
        finetune(tiny_run, photos, out=photos / "model", settings=QUICK)


def test_an_interruption_leaves_nothing_behind(tiny_run, photos, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt("stopped by the test")

    monkeypatch.setattr("learngene_hub.finetuning.folder.draw_confusion", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.slow
def test_a_killed_fine_tuning_leaves_nothing_and_the_same_call_gives_the_bytes_of_another(tiny_run, quick, tmp_path):
    tuned, photos = quick
    moments = [
        lambda: (tmp_path / ".out.lock").exists(),
        lambda: any(tmp_path.glob(".out.*.tmp/out/model.safetensors")),  # written, the pictures not
    ]
    for moment in moments:
        process = calling(finetune, tiny_run, photos, out=tmp_path / "out", settings=QUICK)
        wait_for(moment, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "out").exists()
    again = finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)
    assert not list(tmp_path.glob(".out.*.tmp"))
    for name in ("model.safetensors", "config.json"):
        assert (again.folder / name).read_bytes() == (tuned.folder / name).read_bytes()


def test_a_bar_says_which_network_trains_and_at_which_rate(tiny_run, photos, tmp_path):
    settings, listener = Settings(method="full", epochs=1, batch_size=8, compare="scratch"), Listener()
    finetune(tiny_run, photos, out=tmp_path / "out", settings=settings, reporter=listener)
    bars = [bar for bar in listener.bars if bar["unit"] == "epochs"]
    titles = [bar["title"] for bar in bars]
    assert titles[:3] == [
        f"training learngene at learning rate {rate} ({number} of 3)" for number, rate in enumerate(RATES, start=1)
    ]
    assert re.fullmatch(r"training learngene on all images at learning rate 0\.\d+", titles[3])
    assert [title.replace("scratch", "learngene") for title in titles[4:7]] == titles[:3]
    assert all(bar["total"] == bar["done"] == 1 for bar in bars)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"patience": 0}, {"lr": 0.0}, {"compare": "x"}, {"image_size": 27}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(LearngeneError, match=f"{next(iter(wrong))}: expected"):
        Settings(**wrong)


def test_numbers_of_numpy_are_kept_as_those_of_python():
    settings = Settings(seed=np.int64(1), depth=np.int64(13), lr=np.float32(0.5))
    assert json.loads(json.dumps(asdict(settings))) == asdict(Settings(seed=1, depth=13, lr=0.5))


def test_the_last_training_has_no_validation_images_to_look_at(quick, tiny_run, monkeypatch):
    tuned, photos = quick
    monkeypatch.setattr("learngene_hub.finetuning.fit.logits_of", lambda *_: pytest.fail("validated"))
    job = run_module._Job(Learngene.from_pretrained(tiny_run), replace(QUICK, image_size=28), torch.device("cpu"))
    network = job.starts(3)["learngene"]()
    assert fit_all(network, job.images(load(Photos(photos))), QUICK, 0.05, start="", reporter=Listener())
    assert all(torch.equal(one, tuned.network.state_dict()[name]) for name, one in network.state_dict().items())


def test_test_images_are_never_trained_on(tiny_run, tmp_path):
    for seed, role in enumerate(("train", "val", "test")):
        write_photos(tmp_path / role, 3, seed=seed)
    job = run_module._Job(Learngene.from_pretrained(tiny_run), replace(QUICK, image_size=28), torch.device("cpu"))
    images, states = job.images(load(Photos(tmp_path))), []
    for known in (images, {role: images[role] for role in ("train", "val")}):
        network = job.starts(3)["learngene"]()
        assert fit_all(network, known, QUICK, 0.05, start="", reporter=Listener())
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_scratch_inherits_nothing_and_has_the_other_weights_of_the_descendant(tiny_run):
    gene, chosen = Learngene.from_pretrained(tiny_run), replace(QUICK, compare="scratch", image_size=28)
    made = run_module._Job(gene, chosen, torch.device("cpu")).starts(3)
    descendant, scratch = (made[start]().state_dict() for start in ("learngene", "scratch"))
    kernel = "stages.0.0.conv.weight"
    inherited = len(gene.tensors[kernel])
    assert torch.equal(descendant[kernel][:inherited], gene.tensors[kernel])
    assert not torch.equal(scratch[kernel][:inherited], gene.tensors[kernel])
    assert torch.equal(scratch[kernel][inherited:], descendant[kernel][inherited:])
    other = run_module._Job(gene, replace(chosen, seed=1), torch.device("cpu")).starts(3)["learngene"]().state_dict()
    assert not torch.equal(other[kernel][inherited:], descendant[kernel][inherited:])


def test_a_last_training_whose_weights_are_not_finite_has_failed(tiny_run, photos, monkeypatch):
    def passes(network, *_):
        next(network.parameters()).data.fill_(float("nan"))
        yield from [(0.5, 0.5)] * QUICK.epochs

    monkeypatch.setattr("learngene_hub.finetuning.fit._passes", passes)
    job = run_module._Job(Learngene.from_pretrained(tiny_run), replace(QUICK, image_size=28), torch.device("cpu"))
    network = job.starts(3)["learngene"]()
    assert not fit_all(network, job.images(load(Photos(photos))), QUICK, 0.05, start="", reporter=Listener())


def test_training_stops_when_patience_is_out(monkeypatch):
    accuracies = [0.5, 0.6, 0.6, 0.4, 0.9]
    rows = [Epoch(number + 1, 1.0, 0.5, 1.0, accuracy) for number, accuracy in enumerate(accuracies)]
    monkeypatch.setattr("learngene_hub.finetuning.fit._train", lambda *_: iter(rows))
    fit = fit_network(torch.nn.Linear(1, 1), None, Settings(patience=2), 0.1)
    assert [row.epoch for row in fit.log] == [1, 2, 3, 4]
    assert fit.best.epoch == 3  # the last of the best


def test_training_that_diverges_is_an_error(tiny_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("learngene_hub.finetuning.fit._train", lambda *_: iter(()))
    with pytest.raises(LearngeneError, match=r"diverged.*0\.05\); give a lower --lr"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)


def test_the_commands_fine_tune_and_predict(tiny_run, photos, tmp_path):
    options = ("--method", "full", "--epochs", 1, "--batch-size", 8, "--lr", 0.05, "--seed", 3)
    done = learngene("finetune", tiny_run, "--data", photos, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert re.fullmatch(
        r"learngene \d+\.\d % \(3 validation images; with .* it may differ by about \d+ points\)\n", done.stdout
    )
    assert "3 classes, 12 training images, 3 validation images (20 % of every class, at least 1 image," in done.stderr
    image = next(photos.rglob("*.png"))
    shown = learngene("predict", tmp_path / "out", image, "--top", 2)
    assert shown.exit_code == 0, shown.output
    assert image.name in shown.stdout
    assert shown.stdout.count("%") == 2


def test_test_images_are_told_of_where_there_are_any(tiny_run, tmp_path):
    write_photos(tmp_path / "photos/train", 5)
    write_photos(tmp_path / "photos/test", 4, seed=1)
    options = ("--method", "full", "--epochs", 1, "--batch-size", 8, "--lr", 0.05)
    done = learngene("finetune", tiny_run, "--data", tmp_path / "photos", "--out", tmp_path / "out", *options)
    assert re.fullmatch(r"learngene \d+\.\d % \(12 test images; with other .* about \d+ points\)\n", done.stdout)
    assert re.search(r"% of the validation images right, .* and validation images; \d+\.\d% of the test", done.stderr)
    assert done.stderr.endswith(f"next: learngene predict {tmp_path}/out new-photo.jpg\n")
    again = learngene("finetune", tiny_run, "--data", tmp_path / "photos", "--out", tmp_path / "out", *options)
    assert "out: expected a new or empty folder, found existing content; give another --out" in again.stderr


def test_the_command_gives_its_choices_to_the_fine_tuning(tiny_run, photos, tmp_path):
    choices = ("--width", 0.08, "--depth", 13, "--val", 0.4, "--compare", "scratch")
    quick = ("--epochs", 1, "--batch-size", 8, "--lr", 0.05)
    done = learngene("finetune", tiny_run, "--data", photos, "--out", tmp_path / "out", *choices, *quick)
    record = json.loads((tmp_path / "out/finetune.json").read_text())
    assert (record["network"]["width"], record["network"]["depth"]) == (0.08, 13)
    assert record["data"]["images"] == {"train": 9, "val": 6}
    assert "scratch" in record
    assert f"network (learngene), pictures and numbers: {tmp_path}/out" in done.stderr


@pytest.mark.parametrize(
    ("asked", "gene", "seen"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_images_are_mirrored_as_asked_or_as_for_the_gene(tiny_run, photos, tmp_path, monkeypatch, asked, gene, seen):
    trained = []
    monkeypatch.setattr("learngene_hub.finetuning.fit._batches", lambda images, *_: trained.append(images.flip))
    monkeypatch.setattr("learngene_hub.finetuning.fit.training_steps", lambda *_: iter([]))
    mirrored = with_data(Learngene.from_pretrained(tiny_run), flip=gene)
    finetune(mirrored, photos, out=tmp_path / "out", settings=replace(QUICK, flip=asked))
    assert set(trained) == {seen}


def test_a_fault_of_the_data_is_one_line(tiny_run, tmp_path):
    done = learngene("finetune", tiny_run, "--data", tmp_path / "absent", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: No file or folder")


def test_the_card_names_the_gene_as_it_was_asked_for(photos, tmp_path):
    settings = Settings(method="probe", image_size=28)
    tuned = finetune("gtl/vgg11-mini-half", photos, out=tmp_path / "out", settings=settings)
    assert "learngene gtl/vgg11-mini-half (sha256" in (tuned.folder / "README.md").read_text()


@pytest.mark.parametrize("command", ["finetune", "predict", "evaluate"])
def test_an_image_size_has_the_range_that_networks_have(command):
    least, most = networks.IMAGE_SIZES
    assert f"[{least}<=x<={most}]" in learngene(command, "--help").stdout
    refused = learngene(command, "gtl/vgg11-mini", "images", "--image-size", least - 1)
    assert refused.exit_code == 2
    assert "--image-size" in refused.stderr
