import json
import re
import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from learngene_hub import LearngeneError
from learngene_hub.cli.main import app
from learngene_hub.data import draw_glyphs, glyph_classes
from learngene_hub.data.extras import optional_module
from learngene_hub.errors import DataError, InheritanceError, NetworkError, RunError
from learngene_hub.finetuning import Photos, Predictor, Settings, finetune
from learngene_hub.finetuning.fit import Epoch, fit_network
from learngene_hub.finetuning.photos import load_photos
from learngene_hub.finetuning.settings import RATES
from learngene_hub.finetuning.sharing import LOCAL, PREDICT
from learngene_hub.progress import SilentReporter
from learngene_hub.training import epochs

PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
QUICK = Settings(epochs=2, batch_size=8, lr=0.05)
CLASSES = glyph_classes()[:3]
FILES = {
    "README.md",
    "classes.json",
    "config.json",
    "confusion.png",
    "curves.png",
    "finetune.json",
    "model.safetensors",
}


def learngene(*arguments):
    return CliRunner(env=PLAIN).invoke(app, [str(argument) for argument in arguments])


def write_photos(folder, count, *, seed=0, classes=CLASSES):
    """Class folders of PNG files of 30 pixels."""
    drawn = draw_glyphs(classes, image_size=30, images_per_class=count, seed=seed)
    for number, (pixels, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
        file = folder / drawn.class_names[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        optional_module("PIL.Image").fromarray(pixels.permute(1, 2, 0).numpy()).save(file)
    return folder


def load(photos, *, seed=0):
    return load_photos(photos, image_size=28, seed=seed, reporter=SilentReporter())


@pytest.fixture
def photos(tmp_path):
    """Three class folders of five images each, for tests that change them."""
    return write_photos(tmp_path / "photos", 5)


@pytest.fixture(scope="session")
def tuned(tiny_run, tmp_path_factory):
    """A finished fine-tuning with a comparison and test images; read its folder, do not change it."""
    folder = tmp_path_factory.mktemp("tuned")
    for number, (role, count) in enumerate({"train": 7, "val": 4, "test": 5}.items()):
        write_photos(folder / "photos" / role, count, seed=number)
    settings = Settings(epochs=2, batch_size=8, compare="scratch")
    return finetune(tiny_run, folder / "photos", out=folder / "model", settings=settings)


def test_the_folder_holds_these_files(tuned):
    assert {file.name for file in tuned.folder.iterdir()} == FILES


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


def test_the_best_epoch_is_the_network_that_is_kept(tuned):
    ours = tuned.record["learngene"]
    right = sum(ours["confusion"][label][label] for label in range(3))
    assert right / 12 == pytest.approx(ours["val_accuracy"])
    accuracies = [row["val_accuracy"] for row in ours["epochs"]]
    assert accuracies[ours["best_epoch"] - 1] == max(accuracies) == max(ours["rates_tried"].values())
    assert ours["rates_tried"][str(ours["lr"])] == max(accuracies)


def test_the_comparison_is_one_line_on_images_that_chose_nothing(tuned):
    assert re.fullmatch(r"learngene \d+\.\d %, scratch \d+\.\d % \(15 test images\)", tuned.comparison)


def test_the_card_tells_how_to_use_the_network(tuned):
    card = (tuned.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert card.index("import learngene_hub") < card.index("import timm")
    assert LOCAL in card  # what a push replaces
    assert PREDICT in card
    assert "Nothing was chosen by the test images" in card
    assert f"{tuned.record['scratch']['test_accuracy']:.1%}" in card


def test_the_code_of_the_card_runs(tuned, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(tuned.folder, tmp_path / "model")
    shutil.copy(next((tuned.folder.parent / "photos/test").rglob("*.png")), folder / "photo.jpg")
    monkeypatch.chdir(folder)
    exec(re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL).group(1), {})
    assert capsys.readouterr().out.strip() in CLASSES


def test_equal_seeds_give_equal_weights(tiny_run, photos, tmp_path):
    for name in ("one", "two"):
        finetune(tiny_run, photos, out=tmp_path / name, settings=QUICK)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_wider_and_deeper_network_is_loaded_by_timm_too(tiny_run, photos, tmp_path):
    settings = Settings(epochs=1, batch_size=8, lr=0.05, width=0.08, depth=13)
    tuned = finetune(tiny_run, photos, out=tmp_path / "out", settings=settings)
    loaded = timm.create_model(f"local-dir:{tuned.folder}", pretrained=True)
    assert (loaded.width, loaded.depth) == (0.08, 13)


def test_a_network_narrower_than_the_gene_is_refused_before_any_image_is_read(tiny_run, tmp_path):
    with pytest.raises(InheritanceError, match="at least as wide as the gene"):
        finetune(tiny_run, tmp_path / "absent", out=tmp_path / "out", settings=Settings(width=0.01))


@pytest.mark.parametrize("count", [13, 17])
def test_every_batch_is_full_even_when_one_image_is_left_over(count):
    batches = epochs(count, 4, torch.Generator().manual_seed(0))
    assert {len(next(batches)) for _ in range(9)} == {4}


def test_a_folder_that_is_not_empty_is_left_alone(tiny_run, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(RunError, match=r"new or empty folder.*--out"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)


def test_an_interruption_leaves_nothing_behind(tiny_run, photos, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt("stopped by the test")

    monkeypatch.setattr("learngene_hub.finetuning.folder.draw_confusion", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"patience": 0}, {"lr": 0.0}, {"compare": "x"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(LearngeneError, match=f"{next(iter(wrong))}: expected"):
        Settings(**wrong)


def test_training_stops_when_patience_is_out(monkeypatch):
    accuracies = [0.5, 0.6, 0.6, 0.4, 0.9]
    rows = [Epoch(number + 1, 1.0, 0.5, 1.0, accuracy) for number, accuracy in enumerate(accuracies)]
    monkeypatch.setattr("learngene_hub.finetuning.fit._train", lambda *_: iter(rows))
    fit = fit_network(torch.nn.Linear(1, 1), None, Settings(patience=2), 0.1)
    assert [row.epoch for row in fit.log] == [1, 2, 3, 4]
    assert fit.best.epoch == 3  # the last of the best


def test_training_that_diverges_is_an_error(tiny_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("learngene_hub.finetuning.fit._train", lambda *_: iter(()))
    with pytest.raises(LearngeneError, match=r"diverged.*0\.05; give a lower --lr"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=QUICK)


def test_a_folder_of_classes_is_split_by_class(photos):
    parts = load(Photos(photos, val=0.4))
    assert torch.bincount(parts.train.labels).tolist() == [3, 3, 3]
    assert torch.bincount(parts.val.labels).tolist() == [2, 2, 2]
    assert parts.split == "40 % of every class, drawn at random with seed 0"


def test_a_split_follows_its_seed_and_leaves_no_class_without_images(tmp_path):
    photos = Photos(write_photos(tmp_path / "photos", 2), val=0.9)
    first, again, other = load(photos, seed=1), load(photos, seed=1), load(photos, seed=2)
    assert torch.equal(first.val.images, again.val.images)
    assert not torch.equal(first.val.images, other.val.images)
    assert torch.bincount(first.train.labels).tolist() == [1, 1, 1]


def test_training_and_test_folders_without_validation_split_the_training_images(tmp_path):
    write_photos(tmp_path / "Train", 5)
    write_photos(tmp_path / "test", 2, seed=1)
    parts = load(Photos(tmp_path))
    assert (len(parts.train), len(parts.val), len(parts.test)) == (12, 3, 6)


def test_validation_images_may_lie_elsewhere_and_lack_a_class(photos, tmp_path):
    write_photos(tmp_path / "other", 2, seed=1, classes=CLASSES[1:])
    parts = load(Photos(photos, val=tmp_path / "other"))
    assert (len(parts.train), parts.val.labels.tolist()) == (15, [1, 1, 2, 2])
    assert parts.val.class_names == CLASSES


def test_a_class_that_training_lacks_is_refused(tmp_path):
    write_photos(tmp_path / "train", 2, classes=CLASSES[:2])
    write_photos(tmp_path / "val", 2)
    with pytest.raises(DataError, match=rf"class '{re.escape(CLASSES[2])}' is not among the 2 training classes"):
        load(Photos(tmp_path))


def test_a_class_called_train_is_a_class(tmp_path, photos):
    (photos / CLASSES[0]).rename(photos / "train")
    assert "train" in load(Photos(photos)).train.class_names


def test_a_class_folder_beside_train_is_refused(tmp_path):
    write_photos(tmp_path / "train", 2)
    write_photos(tmp_path, 2, classes=CLASSES[:1])
    with pytest.raises(DataError, match="expected beside train/"):
        load(Photos(tmp_path))


def test_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="2 or more classes, in a folder each, found 1"):
        load(Photos(write_photos(tmp_path / "photos", 3, classes=CLASSES[:1])))


def test_an_empty_class_folder_is_named(photos):
    (photos / "nothing").mkdir()
    with pytest.raises(DataError, match="no image in the class folder 'nothing'"):
        load(Photos(photos))


def test_a_class_of_one_image_is_named(photos):
    for file in sorted((photos / CLASSES[1]).iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match=rf"Class '{re.escape(CLASSES[1])}' has 1 image; expected 2 or more"):
        load(Photos(photos))


def test_an_image_outside_the_class_folders_is_named(photos):
    shutil.copy(next(photos.rglob("*.png")), photos / "stray.png")
    with pytest.raises(DataError, match=r"one folder of images a class, found images outside: 'stray\.png'"):
        load(Photos(photos))


def test_an_unreadable_image_is_named_and_can_be_left_out(photos):
    (photos / CLASSES[0] / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png.*--on-corrupt skip"):
        load(Photos(photos))
    parts = load(Photos(photos, on_corrupt="skip"))
    assert len(parts.train) + len(parts.val) == 15


@pytest.mark.parametrize("share", ["0", "1.5"])
def test_a_share_of_validation_images_lies_between_0_and_1(photos, share):
    with pytest.raises(DataError, match="between 0 and 1"):
        load(Photos(photos, val=share))


def test_predictions_are_those_of_training(tuned):
    places = sorted((tuned.folder.parent / "photos/val").rglob("*.png"))
    predictions = list(Predictor.load(tuned.folder).predict(places))
    right = sum(one.classes[0][0] == one.path.parent.name for one in predictions)
    assert right / len(places) == pytest.approx(tuned.accuracy)
    assert all(sum(value for _, value in one.classes) == pytest.approx(1) for one in predictions)


def test_an_image_that_cannot_be_read_does_not_stop_the_others(tuned, photos):
    bad = photos / "bad.png"
    bad.write_bytes(b"no image")
    first, second, *rest = Predictor.load(tuned.folder).predict([photos / "absent.png", bad, photos / CLASSES[0]])
    assert first.fault == "no such file"
    assert "cannot identify image file" in second.fault
    assert "0x" not in second.fault
    assert [one.fault for one in rest] == [None] * 5


def test_a_folder_that_was_not_fine_tuned_is_refused(tiny_run, tmp_path):
    with pytest.raises(LearngeneError, match=r"made by `learngene finetune`.*found neither"):
        Predictor.load(tiny_run)
    with pytest.raises(LearngeneError, match="no such folder"):
        Predictor.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.json", '["one"]', "tells 3 classes apart, classes.json names 1"),
        ("classes.json", '{"a": 1}', "expected a JSON list of class names"),
        ("config.json", "{}", "names an `architecture`"),
        ("config.json", '{"architecture": "resnet18"}', "found 'resnet18'"),
        ("model.safetensors", "cut", "cannot be loaded"),
        ("model.safetensors", None, "found no model.safetensors"),
    ],
)
def test_a_damaged_folder_is_refused(tuned, tmp_path, name, content, message):
    folder = shutil.copytree(tuned.folder, tmp_path / "model")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises((LearngeneError, NetworkError), match=message):
        Predictor.load(folder)


def test_the_commands_fine_tune_and_predict(tiny_run, photos, tmp_path):
    options = ("--epochs", 1, "--batch-size", 8, "--lr", 0.05, "--seed", 3)
    done = learngene("finetune", tiny_run, "--data", photos, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"learngene \d+\.\d % \(3 validation images\)\n", done.stdout)
    assert "3 classes, 12 training images, 3 validation images (20 % of every class, drawn at random" in done.stderr
    image = next(photos.rglob("*.png"))
    shown = learngene("predict", tmp_path / "out", image, "--top", 2)
    assert shown.exit_code == 0, shown.output
    assert image.name in shown.stdout
    assert shown.stdout.count("%") == 2


def test_predict_shows_a_row_a_picture_in_the_order_in_which_people_count(tuned, tmp_path):
    folder = write_photos(tmp_path / "photos", 11, classes=CLASSES[:1])
    shown = learngene("predict", tuned.folder, folder, "--top", 2).stdout
    rows = [line.split() for line in shown.splitlines() if "%" in line]
    assert [row[0] for row in rows] == [f"{number}.png" for number in range(11)]
    assert {sum("%" in one for one in row) for row in rows} == {2}
    told = json.loads(learngene("predict", tuned.folder, folder, "--json").stdout)
    assert {len(one["predictions"]) for one in told} == {len(CLASSES)}


def test_predict_names_files_by_what_they_do_not_have_in_common(tuned, photos):
    first, second = (next((photos / name).iterdir()) for name in CLASSES[:2])
    shown = learngene("predict", tuned.folder, first, second, "--top", 1).stdout
    rows = [line.split()[0] for line in shown.splitlines() if "%" in line]
    assert rows == [str(one.relative_to(photos)) for one in (first, second)]


def test_predict_exits_with_1_after_predicting_what_can_be_read(tuned, photos):
    image = next(photos.rglob("*.png"))
    result = learngene("predict", tuned.folder, image, "absent.jpg", "--json")
    assert result.exit_code == 1
    first, second = json.loads(result.stdout)
    assert [len(first["predictions"]), second] == [3, {"file": "absent.jpg", "error": "no such file"}]
    assert "error: absent.jpg: no such file" in result.stderr


def test_the_record_can_be_printed(tiny_run, photos, tmp_path):
    options = ("--epochs", 1, "--batch-size", 8, "--lr", 0.05, "--json")
    done = learngene("finetune", tiny_run, "--data", photos, "--out", tmp_path / "out", *options)
    assert json.loads(done.stdout)["settings"]["lr"] == 0.05


def test_a_fault_of_the_data_is_one_line(tiny_run, tmp_path):
    done = learngene("finetune", tiny_run, "--data", tmp_path / "absent", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: No file or folder")
