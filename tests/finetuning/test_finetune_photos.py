"""The images of a fine-tuning: folders, splits, and what is refused."""

import re
import shutil

import datasets
import pytest
import torch
from image_tables import CLASSES as ALL
from image_tables import Listener, png, write_parquet
from photo_folders import CLASSES, load, write_photos
from PIL import Image

from learngene_hub.core.errors import DataError
from learngene_hub.data.counting import available_classes, tell_left_out
from learngene_hub.data.source import DataSource
from learngene_hub.finetuning import Photos
from learngene_hub.finetuning import photos as photos_module
from learngene_hub.finetuning.photos import load_for_choice, load_photos


def test_a_folder_of_classes_is_split_by_class(photos):
    parts = load(Photos(photos, val=0.4))
    assert torch.bincount(parts.train.labels).tolist() == [3, 3, 3]
    assert torch.bincount(parts.val.labels).tolist() == [2, 2, 2]
    assert parts.split == "40 % of every class, at least 1 image, drawn at random with seed 0"


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


def test_validation_images_may_lack_a_class(tmp_path):
    write_photos(tmp_path / "train", 5)
    write_photos(tmp_path / "valid", 2, seed=1, classes=CLASSES[1:])
    parts = load(Photos(tmp_path))
    assert (len(parts.train), parts.val.labels.tolist()) == (15, [1, 1, 2, 2])
    assert (parts.val.class_names, parts.split) == (CLASSES, "the folder valid/")


def test_validation_images_are_listed_no_more_often_for_more_classes(tmp_path, monkeypatch):
    write_photos(tmp_path / "train", 2)
    write_photos(tmp_path / "val", 2, seed=1)
    calls, real = [], photos_module.available_classes
    monkeypatch.setattr(photos_module, "available_classes", lambda source, **more: calls.append(source) or real(source))
    load(Photos(tmp_path))
    assert len(calls) < len(CLASSES) + 2


@pytest.mark.parametrize("folders", [[], ["cat", "dog"], ["train", "val"], ["train/cat", "train/dog"]])
def test_folders_without_any_image_are_told_alike(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected images in one folder per class, such as .*cat.1\.jpg"):
        load(Photos(tmp_path))


def test_a_folder_that_holds_images_instead_of_classes_is_told(photos):
    told = rf"expected images in class folders, .* found \d.png; move it, or give {re.escape(str(photos))} if '"
    with pytest.raises(DataError, match=told):
        load(Photos(photos / CLASSES[0]))


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
    with pytest.raises(DataError, match="expected only val/ and test/ beside train/"):
        load(Photos(tmp_path))


def test_two_folders_of_validation_images_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        write_photos(tmp_path / name, 2)
    with pytest.raises(DataError, match="expected one folder val/, found 'val', 'valid'; keep one"):
        load(Photos(tmp_path))


def heard(photos):
    listener = Listener()
    return load_photos(photos, image_size=8, seed=0, reporter=listener), listener.warnings


def test_tables_in_folders_of_splits_are_kept_apart(tmp_path):
    rows = [(level, name) for level in range(0, 60, 10) for name in ("ant", "bee")]
    for shift, role in enumerate(("train", "val", "test")):
        write_parquet(
            tmp_path / role / "0.parquet",
            [(level + shift + 5 * (name == "bee"), name) for level, name in rows[: 12 - 4 * shift]],
            names=("ant", "bee"),
        )
    parts, warnings = heard(Photos(tmp_path))
    assert [len(one) for one in (parts.train, parts.val, parts.test)] == [12, 8, 4]
    assert warnings == []


def test_tables_named_after_splits_are_kept_apart_unless_others_lie_beside_them(tmp_path):
    for shift, role in enumerate(("train", "test")):
        rows = [(20 * level + 10 * (name == "bee") + shift, name) for level in range(3) for name in ("ant", "bee")]
        write_parquet(tmp_path / f"{role}-00000-of-00001.parquet", rows, names=("ant", "bee"))
    parts, warnings = heard(Photos(tmp_path))
    assert [len(one) for one in (parts.train, parts.val, parts.test)] == [4, 2, 6]
    assert warnings == []
    write_parquet(tmp_path / "more.parquet", [(100, "ant")], names=("ant", "bee"))
    parts, (warning,) = heard(Photos(tmp_path))
    assert len(parts.train) + len(parts.val) == 13
    assert "all splits are read as one set" in warning
    assert "give other names than 'more.parquet', or save them into folders" in warning


def test_splits_of_other_classes_are_read_as_one_set(tmp_path):
    write_parquet(tmp_path / "train.parquet", [(level, "ant" if level % 2 else "bee") for level in range(6)])
    write_parquet(tmp_path / "test.parquet", [(level, "cat") for level in range(50, 53)])
    parts, (warning,) = heard(Photos(tmp_path))
    assert len(parts.train) + len(parts.val) == 9
    assert "give training images of 'cat', or save them into folders" in warning


def test_what_is_not_asked_for_is_not_read(tmp_path):
    for shift, role in enumerate(("train", "val", "test")):
        rows = [(20 * level + 5 * (name == "bee") + shift, name) for level in range(4) for name in ("ant", "bee")]
        write_parquet(tmp_path / f"{role}.parquet", rows, names=("ant", "bee"))
    assert len(load_for_choice(Photos(tmp_path), image_size=8, reporter=Listener())) == 16
    parts, (warning,) = heard(Photos(tmp_path, val=0.5))
    assert [len(one) for one in (parts.train, parts.val, parts.test)] == [4, 4, 8]
    assert "its validation images are not read, since --val is given" in warning


def test_tables_beside_class_folders_are_kept_apart(tmp_path):
    write_photos(tmp_path / "train", 3)
    write_parquet(tmp_path / "test" / "0.parquet", [(50, CLASSES[0])], names=CLASSES)
    parts, _ = heard(Photos(tmp_path))
    assert (len(parts.train) + len(parts.val), len(parts.test)) == (9, 1)


def test_classes_that_a_table_names_but_has_no_image_of_are_left_out(tmp_path):
    names = ("ant", "bee", "cat", "dog")
    write_parquet(tmp_path / "train.parquet", [(level, names[level % 2]) for level in range(6)], names=names)
    write_parquet(tmp_path / "test.parquet", [(50, "ant")], names=names)
    parts, (warning,) = heard(Photos(tmp_path))
    assert parts.train.class_names == ("ant", "bee")
    assert (len(parts.train) + len(parts.val), len(parts.test)) == (6, 1)
    assert "no images of 'cat', 'dog'; these classes are left out" in warning


def test_a_split_without_labels_is_not_read(tmp_path):
    write_parquet(tmp_path / "train.parquet", [(level, name) for level, name in enumerate(ALL * 2)])
    write_parquet(tmp_path / "test.parquet", [(50, None), (60, None)])
    parts, (warning,) = heard(Photos(tmp_path))
    assert parts.test is None
    assert warning.endswith("images for test have no labels, so they are not read")


def test_what_datasets_left_beside_a_saved_data_set_is_not_read_twice(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    cells = [{"bytes": png(10 * level), "path": None} for level in range(10)]
    table = datasets.Dataset.from_dict({"image": cells, "label": [0, 1] * 5}, features=features)
    table.save_to_disk(tmp_path)
    shutil.copy(next(tmp_path.glob("data-*.arrow")), tmp_path / "cache-0123456789abcdef.arrow")
    parts, _ = heard(Photos(tmp_path))
    assert len(parts.train) + len(parts.val) == 10


def test_pictures_that_are_trained_and_measured_on_are_told(tmp_path):
    write_photos(tmp_path / "photos" / "train", 4)
    write_photos(tmp_path / "photos" / "val", 3, seed=1)
    assert heard(Photos(tmp_path / "photos"))[1] == []
    trained = next((tmp_path / "photos" / "train" / CLASSES[0]).iterdir())
    shutil.copy(trained, tmp_path / "photos" / "val" / CLASSES[1] / "again.png")
    warning, _ = heard(Photos(tmp_path / "photos"))[1]  # it is in two classes, too
    assert warning.startswith("1 of 10 validation images are copies of training images")


def test_pictures_that_are_validated_and_tested_on_are_told(tmp_path):
    for seed, role in enumerate(("train", "val", "test")):
        write_photos(tmp_path / "photos" / role, 3, seed=seed)
    shutil.copytree(tmp_path / "photos/val", tmp_path / "photos/test", dirs_exist_ok=True)
    (warning,) = heard(Photos(tmp_path / "photos"))[1]
    assert "test images are copies of training or validation images" in warning


def test_validation_images_that_are_not_read_are_told(tmp_path):
    for seed, role in enumerate(("train", "val")):
        write_photos(tmp_path / "photos" / role, 4, seed=seed)
    (warning,) = heard(Photos(tmp_path / "photos", val=0.5))[1]
    assert "its validation images are not read, since --val is given" in warning


def test_a_class_without_a_sound_validation_image_is_skipped_and_a_folder_without_one_refused(tmp_path):
    write_photos(tmp_path / "photos" / "train", 4)
    write_photos(tmp_path / "photos" / "val", 2, seed=1)
    for file in (tmp_path / "photos" / "val" / CLASSES[0]).iterdir():
        file.write_bytes(b"?")
    parts = load(Photos(tmp_path / "photos", on_corrupt="skip"))
    assert torch.bincount(parts.val.labels, minlength=3).tolist() == [0, 2, 2]
    for file in (tmp_path / "photos" / "val").rglob("*.png"):
        file.write_bytes(b"?")
    with pytest.raises(
        DataError, match="expected images for val with labels that can be read, found none; add images, or"
    ):
        load(Photos(tmp_path / "photos", on_corrupt="skip"))


def test_a_validation_folder_may_have_one_class_only(tmp_path):
    write_photos(tmp_path / "photos" / "train", 4)
    write_photos(tmp_path / "photos" / "val", 3, seed=1, classes=CLASSES[1:2])
    assert torch.bincount(load(Photos(tmp_path / "photos")).val.labels, minlength=3).tolist() == [0, 3, 0]


def test_folders_below_those_of_the_classes_are_told(tmp_path):
    write_photos(tmp_path / "photos", 2)
    inner = tmp_path / "photos" / CLASSES[0] / "2023"
    inner.mkdir()
    shutil.copy(tmp_path / "photos" / CLASSES[0] / "0.png", inner)
    told = rf"found {CLASSES[0]}/2023/0.png; move it, or give .*/{CLASSES[0]} if '2023' is a class"
    with pytest.raises(DataError, match=told.replace("+", r"\+")):
        load(Photos(tmp_path / "photos"))


def test_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected 2 or more classes, each a folder of images, found 1"):
        load(Photos(write_photos(tmp_path / "photos", 3, classes=CLASSES[:1])))


def test_an_empty_class_folder_is_named(photos):
    (photos / "nothing").mkdir()
    (photos / "51").mkdir()
    (photos / ".cache").mkdir()
    (photos / ".cache/rows.parquet").touch()  # is not read, so the folders are
    with pytest.raises(DataError, match="no images in '51', 'nothing'; add images, or remove these folders"):
        load(Photos(photos))
    listener = Listener()
    tell_left_out(DataSource(None, str(photos), 8), listener)
    assert listener.warnings == [f"{photos}: no images in '51', 'nothing'; these folders are left out"]


def test_an_evolution_says_that_it_reads_the_images_for_tests_too(tmp_path):
    for role in ("train", "test"):
        write_photos(tmp_path / role, 1)
    listener = Listener()
    tell_left_out(DataSource(None, str(tmp_path), 8), listener)
    assert listener.warnings == [
        f"{tmp_path}: the folders test, train are read as one set; to read only one, give its path"
    ]


@pytest.mark.parametrize("place", ["", "train"])
def test_what_a_zip_of_a_mac_leaves_is_no_class(tmp_path, place):
    write_photos(tmp_path / "photos" / place, 5)
    (tmp_path / "photos" / "__MACOSX" / CLASSES[0]).mkdir(parents=True)
    (tmp_path / "photos" / "__MACOSX" / CLASSES[0] / "0.png").write_bytes(b"no image")
    assert len(load(Photos(tmp_path / "photos")).train) == 12


def test_an_image_that_is_too_large_is_told_by_its_file(photos, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # refused from twice as many on
    with pytest.raises(DataError) as caught:
        load(Photos(photos))
    message = str(caught.value)
    assert (
        f"{photos}: 15 of 15 images cannot be decoded: {CLASSES[0]}/0.png: too large: expected at most 89 mil"
        in message
    )
    assert "found 900 pixels; scale it" in message
    assert "row" not in message
    assert ".." not in message.replace("...", "")


def test_a_class_of_one_image_is_named(photos):
    for file in sorted((photos / CLASSES[1]).iterdir())[1:]:
        file.unlink()
    with pytest.raises(
        DataError,
        match=rf"expected 2 or more images per class, .* found 1 in '{re.escape(CLASSES[1])}'; add images, re",
    ):
        load(Photos(photos))


def test_a_picture_in_two_classes_is_told(photos):
    shutil.copy(photos / CLASSES[0] / "0.png", photos / CLASSES[1] / "twin.png")
    listener = Listener()
    load_photos(Photos(photos), image_size=28, seed=0, reporter=listener)
    told = (
        f"1 picture is in more than one class, equal in every pixel, such as in {CLASSES[0]!r} and {CLASSES[1]!r}; keep"
    )
    assert any(told in warning for warning in listener.warnings)


@pytest.mark.parametrize("classes", [[], CLASSES])
def test_test_images_without_a_folder_to_train_on_are_told(photos, tmp_path, classes):
    shutil.copytree(photos, tmp_path / "all/test")
    for name in classes:
        shutil.copytree(photos / name, tmp_path / "all" / name)
    with pytest.raises(DataError, match=r"expected train/ beside test/, found none; put the class folders"):
        load(Photos(tmp_path / "all"))


def test_a_class_of_images_that_cannot_be_read_is_not_called_empty(photos):
    (photos / "rose").mkdir()
    (photos / "rose/IMG_0.HEIC").write_bytes(b"?")
    with pytest.raises(
        DataError, match=r"no images in 'rose', only other files such as rose/IMG_0\.HEIC; save them as"
    ):
        load(Photos(photos))


def test_classes_that_differ_only_in_capitals_are_told(tmp_path):
    write_photos(tmp_path / "train", 2)
    (tmp_path / "train" / CLASSES[0]).rename(tmp_path / "train/Rose")
    (tmp_path / "train" / CLASSES[1]).rename(tmp_path / "train/rose")
    (warning,) = heard(Photos(tmp_path))[1]
    assert warning.startswith("'Rose', 'rose' differ only in capitals; if they are one class, put the images into one")
    shutil.copytree(tmp_path / "train/rose", tmp_path / "test/ROSE")
    with pytest.raises(DataError, match=r"class 'ROSE' is not among .*; did you mean `Rose` or `rose`"):
        load(Photos(tmp_path))


def test_an_image_outside_the_class_folders_is_named(photos):
    shutil.copy(next(photos.rglob("*.png")), photos / "stray.png")
    with pytest.raises(DataError, match=r"found stray\.png; move it, or give another folder"):
        load(Photos(photos))


def test_a_paper_beside_the_class_folders_is_no_image(photos):
    (photos / "guide.pdf").write_bytes(b"%PDF")
    assert len(load(Photos(photos)).train) == 12


def test_files_that_are_no_images_by_their_names_are_told(photos):
    for name in ("0.heic", "1.heic", "no_suffix", ".hidden.heic", "Thumbs.db", "desktop.ini"):
        (photos / CLASSES[0] / name).write_bytes(b"?")
    (photos / "README.md").write_text("not in a class folder")
    listener = Listener()
    load_photos(Photos(photos), image_size=28, seed=0, reporter=listener)
    (warning,) = listener.warnings
    assert "left out 3 files that are no images of a kind that can be read, such as " in warning
    assert f"{CLASSES[0]}/" in warning


def test_validation_images_of_another_kind_are_named(photos):
    photos.rename(photos.with_name("train"))
    (photos.parent / "val").mkdir()
    (photos.parent / "val/notes.txt").touch()
    with pytest.raises(DataError, match=r"val: expected images, found only other files, such as notes\.txt; save"):
        load(Photos(photos.parent))


def test_the_record_holds_the_last_part_of_a_path_only(photos, monkeypatch):
    parts = load(Photos(photos))
    monkeypatch.setenv("HOME", str(photos.parent))
    assert parts.record(Photos("~/photos"))["source"] == "photos"
    monkeypatch.chdir(photos)
    assert parts.record(Photos("."))["source"] == "photos"
    assert parts.record(Photos("owner/flowers"))["source"] == "owner/flowers"


def test_an_unreadable_image_is_named_and_can_be_left_out(photos):
    (photos / CLASSES[0] / "bad.png").touch()
    told = f"{photos}: 1 of 16 images cannot be decoded: {CLASSES[0]}/bad.png: empty file. Repair or remove them"
    with pytest.raises(DataError, match=rf"^{re.escape(told)}, or skip them with --on-corrupt skip$"):
        load(Photos(photos))
    with pytest.raises(DataError, match=rf"^{re.escape(told)}$"):
        load_for_choice(Photos(photos), image_size=8, reporter=Listener())
    parts = load(Photos(photos, on_corrupt="skip"))
    assert len(parts.train) + len(parts.val) == 15


@pytest.mark.parametrize("share", [0, 1, float("nan")])
def test_a_share_of_validation_images_lies_between_0_and_1(photos, share):
    with pytest.raises(DataError, match="between 0 and 1"):
        load(Photos(photos, val=share))


def test_a_table_to_validate_on_may_lack_a_class_that_it_declares(tmp_path):
    write_parquet(tmp_path / "train" / "0.parquet", [(level, name) for level, name in enumerate(ALL * 2)])
    write_parquet(tmp_path / "val" / "0.parquet", [(50, "ant"), (60, "bee")])
    parts, _ = heard(Photos(tmp_path))
    assert torch.bincount(parts.val.labels, minlength=3).tolist() == [1, 1, 0]
    assert parts.split == "the folder val/"
    write_parquet(tmp_path / "default" / "test" / "0.parquet", [(70, "ant")])
    parts, warnings = heard(Photos(tmp_path))
    assert [len(one) for one in (parts.train, parts.val, parts.test)] == [6, 2, 1]
    assert warnings == []


@pytest.mark.parametrize("above", ["seg_train/seg_train {} seg_test/seg_test", "train/animals {} test/animals"])
def test_folders_above_those_of_the_classes_are_named(tmp_path, above):
    for count, place in zip((3, 2), above.split(" {} "), strict=True):
        write_photos(tmp_path / "photos" / place, count)
    with pytest.raises(DataError, match=rf"or give {tmp_path}/photos/{above.split()[0]} if .* is a class"):
        load(Photos(tmp_path / "photos"))


def test_folders_without_images_below_the_classes_are_no_classes(tmp_path):
    write_photos(tmp_path / "photos", 3)
    for name in CLASSES:
        (tmp_path / "photos" / name / "annotations").mkdir()
        (tmp_path / "photos" / name / "annotations" / "1.xml").write_text("<a/>")
    assert set(available_classes(DataSource(None, str(tmp_path / "photos"), 8))) == set(CLASSES)


@pytest.mark.parametrize("val", [0, 1.5, "0.2", "val"])
def test_a_share_that_is_none_is_refused(val):
    with pytest.raises(DataError, match=r"val: expected a share between 0 and 1, such as 0\.2, found .*`val/` beside"):
        Photos("photos", val=val)
