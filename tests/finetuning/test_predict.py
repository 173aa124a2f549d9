"""What a fine-tuned network says of images, by Python and by the command."""

import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
from command_line import learngene
from listener import Listener
from photo_folders import CLASSES, write_photos, write_tuned
from small_networks import TINY, deeper, every_network, images

from learngene_hub import LearngeneError
from learngene_hub.cli.main import main
from learngene_hub.core.errors import DataError, NetworkError
from learngene_hub.finetuning import Prediction, Predictor
from learngene_hub.networks import build


def test_predictions_are_those_of_training(tuned):
    places = sorted((tuned.folder.parent / "photos/test").rglob("*.png"))
    predictions = list(Predictor.load(tuned.folder).predict(places))
    right = sum(one.classes[0][0] == one.path.parent.name for one in predictions)
    assert right / len(places) == pytest.approx(tuned.record["learngene"]["test_accuracy"])
    assert all(sum(value for _, value in one.classes) == pytest.approx(1) for one in predictions)


@pytest.mark.parametrize("kind", [str, Path])
def test_one_image_needs_no_list(tuned, photos, kind):
    image = next(photos.rglob("*.png"))
    assert [one.path for one in Predictor.load(tuned.folder).predict(kind(image))] == [image]


def test_images_may_be_looked_at_in_another_size(tuned, photos):
    image = next(photos.rglob("*.png"))
    usual, larger = (Predictor.load(tuned.folder, image_size=size) for size in (None, 40))
    assert (usual.image_size, larger.image_size) == (28, 40)
    assert next(iter(usual.predict([image]))) != next(iter(larger.predict([image])))
    assert learngene("predict", tuned.folder, image, "--image-size", 40).exit_code == 0
    with pytest.raises(NetworkError, match="image_size: expected 28 to 224 pixels, found 300"):
        Predictor.load(tuned.folder, image_size=300)


def test_images_of_another_type_are_refused(tuned):
    with pytest.raises(DataError, match=r"expected images of shape .*uint8; found \(2, 3, 28, 28\) torch.float32"):
        Predictor.load(tuned.folder).probabilities(torch.rand(2, 3, 28, 28))
    with pytest.raises(DataError, match=r"expected images of shape .*; found \(2, 3, 28, 40\)"):
        Predictor.load(tuned.folder).probabilities(torch.zeros(2, 3, 28, 40, dtype=torch.uint8))


def test_an_image_that_cannot_be_read_does_not_stop_the_others(tuned, photos):
    bad = photos / "bad.png"
    bad.write_bytes(b"no image")
    first, second, *rest = Predictor.load(tuned.folder).predict([photos / "absent.png", bad, photos / CLASSES[0]])
    assert first.fault == "no such file"
    assert second.fault == "damaged, or not an image"
    assert [one.fault for one in rest] == [None] * 5


def test_files_of_other_kinds_are_told_by_their_suffix_and_never_proposed(tuned, tmp_path):
    for name in ("img.HEIC", "photos.zip"):
        (tmp_path / name).write_bytes(b"?")
    places = [tmp_path / name for name in ("img.HEIC", "photo.zip", "*.jpg")]
    assert [one.fault for one in Predictor.load(tuned.folder).predict(places)] == [
        "damaged, or not an image; .HEIC files cannot be read, save it as .png or .jpg",
        "no such file",
        "found no file that matches",
    ]


def test_a_folder_without_images_is_told(tuned, tmp_path):
    (tmp_path / "empty").mkdir()
    (one,) = Predictor.load(tuned.folder).predict([tmp_path / "empty"])
    assert one.fault == "no images in this folder"


def test_the_name_of_a_file_that_is_no_text_can_be_printed(tuned, tmp_path, monkeypatch):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no image")
    written = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
    for name, stream in written.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "argv", ["learngene", "predict", str(tuned.folder), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    for stream in written.values():
        stream.flush()
    assert rb"caf\udce9.png" in b"".join(stream.buffer.getvalue() for stream in written.values())


def test_what_is_hidden_or_no_image_in_a_folder_is_passed_over(tuned, photos):
    count = len(list(photos.rglob("*.png")))
    for name in ("._0.png", ".trash/1.png", "invoice.pdf"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"no image")
    listener = Listener()
    predictions = list(Predictor.load(tuned.folder).predict([photos], reporter=listener))
    assert [one.fault for one in predictions] == [None] * count
    assert listener.warnings == [
        f"{photos}: left out invoice.pdf, which is no image of a kind that can be read; save images as .png or .jpg"
    ]
    assert [(bar["total"], bar["done"]) for bar in listener.bars] == [(count, count)]


def test_a_fine_tuned_network_is_not_taken_for_a_broken_gene(tuned):
    done = learngene("verify", tuned.folder)
    assert done.exit_code == 1
    assert "a whole network, as `learngene finetune` makes it for `learngene predict`" in " ".join(done.output.split())


def test_a_folder_that_was_not_fine_tuned_is_refused(tiny_run, tmp_path):
    with pytest.raises(LearngeneError, match="expected the files of `learngene finetune`, found no config"):
        Predictor.load(tiny_run)
    with pytest.raises(LearngeneError, match="no such file or folder; expected a folder made by"):
        Predictor.load(tmp_path / "absent")


def test_a_name_of_a_folder_or_image_that_is_nearly_right_is_answered_with_the_right_one(tuned, photos):
    name = next((photos / CLASSES[0]).iterdir()).name
    (wrong,) = Predictor.load(tuned.folder).predict([photos / CLASSES[0] / f"{name}g"])
    assert wrong.fault == f"no such file; did you mean `{photos / CLASSES[0] / name}`?"
    told = " ".join(learngene("predict", f"{tuned.folder}l", photos).stderr.split())
    assert f"no such file or folder; did you mean `{tuned.folder}`?" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("finetune.json", "{}", "finetune.json: expected the record .*, found a fault: network: Field required"),
        ("finetune.json", "cut", "finetune.json: expected JSON, found something else"),
        ("model.safetensors", "cut", "cannot be loaded"),
        ("model.safetensors", None, "found no model.safetensors"),
        ("config.json", None, "found no config.json"),
    ],
)
def test_a_damaged_folder_is_refused(tuned, tmp_path, name, content, message):
    folder = shutil.copytree(tuned.folder, tmp_path / "model")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises((LearngeneError, NetworkError), match=message):
        Predictor.load(folder)


@pytest.mark.parametrize("width", [TINY, pytest.param(1.0, marks=pytest.mark.slow)])
@every_network
def test_a_network_of_any_family_is_loaded_as_timm_loads_it(network, width, tmp_path):
    folder = write_tuned(tmp_path / "model", build(network, num_classes=3, width=width, depth=deeper(network)))
    loaded, seen = Predictor.load(folder).network, images(32)
    expected = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert (loaded.network_name, loaded.width, loaded.depth) == (network, width, deeper(network))
    with torch.inference_mode():
        assert torch.equal(loaded(seen), expected(seen))


def test_predict_prints_a_line_a_picture_in_the_order_in_which_people_count(tuned, tmp_path):
    folder = write_photos(tmp_path / "photos", 11, classes=CLASSES[:1])
    lines = learngene("predict", tuned.folder, folder, "--top", 2).stdout.splitlines()
    for number, line in enumerate(lines):
        assert re.fullmatch(rf"{re.escape(str(folder / CLASSES[0]))}/{number}.png: [\d.]+% \S+, [\d.]+% \S+", line)
    told = learngene("predict", tuned.folder, folder, "--json").stdout.splitlines()
    assert [len(json.loads(line)["predictions"]) for line in told] == 11 * [len(CLASSES)]


def test_predict_has_printed_each_picture_when_a_later_one_ends_it(tuned, photos, monkeypatch):
    def predict(*_, **__):
        yield Prediction(Path("a\nb.png"), (("cat\t", 1.0),))
        raise LearngeneError("the end")

    monkeypatch.setattr(Predictor, "predict", predict)
    done = learngene("predict", tuned.folder, photos)
    assert (done.exit_code, done.stdout) == (1, "a\\nb.png: 100.0% cat\\t\n")


def test_predict_takes_files_by_absolute_and_by_relative_paths(tuned, photos, monkeypatch):
    first, second = (next((photos / name).iterdir()) for name in CLASSES[:2])
    monkeypatch.chdir(photos)
    near = first.relative_to(photos)
    shown = learngene("predict", tuned.folder, near, second, "--top", 1, "--json")
    assert shown.exit_code == 0
    assert [json.loads(line)["file"] for line in shown.stdout.splitlines()] == [str(near), str(second)]


def test_pictures_of_one_number_stand_in_one_order(tuned, tmp_path):
    folder = write_photos(tmp_path / "photos", 1, classes=CLASSES[:1])
    only = next(folder.rglob("*.png"))
    for name in ("2.png", "02.png", "10.png"):
        shutil.copy(only, only.with_name(name))
    found = [one.path.name for one in Predictor.load(tuned.folder).predict([folder])]
    assert found == [only.name, "02.png", "2.png", "10.png"]


def test_predict_exits_with_1_after_predicting_what_can_be_read(tuned, photos):
    image = next(photos.rglob("*.png"))
    result = learngene("predict", tuned.folder, image, "absent.jpg", "--json")
    assert result.exit_code == 1
    first, second = map(json.loads, result.stdout.splitlines())
    assert [len(first["predictions"]), second] == [3, {"file": "absent.jpg", "error": "no such file"}]
    assert "error: absent.jpg: no such file" in result.stderr
