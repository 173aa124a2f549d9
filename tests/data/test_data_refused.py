"""Images that cannot be read, or must not be."""

import os
import sys
from pathlib import Path

import datasets
import pytest
from image_tables import Listener, levels, local, png, write_parquet

from learngene_hub.core.errors import DataError
from learngene_hub.data.counting import available_classes
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_class_without_images_is_named_beside_those_that_have_some(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(1, "ant")])
    with pytest.raises(DataError, match="has no image of: 'bee', 'wolf'; its other classes are 'ant'"):
        load_classes(local(tmp_path), ["bee", "wolf"])


def test_a_class_asked_for_twice_is_refused(folder):
    with pytest.raises(DataError, match="more than once: 'ant'"):
        load_classes(local(folder), ["ant", "ant"])


def test_a_missing_path_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"No file or folder .*nowhere\. Expected a Parquet or Arrow file"):
        available_classes(local(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "owner/pets@v1",
            r"give owner/pets, and in a recipe data\.revision=v1 \(finetune and evaluate cannot choose a revision\)$",
        ),
        ("hf-hub:owner/pets", r"give owner/pets$"),
    ],
)
def test_a_name_as_genes_have_it_is_answered_with_that_of_the_data_set_and_how_a_revision_is_given(path, told):
    with pytest.raises(DataError, match=rf"^No file or folder {path}; for a data set of the Hub {told}"):
        available_classes(DataSource(None, path, 8))


def test_a_preset_with_a_missing_copy_does_not_go_to_the_hub(tmp_path):
    message = (
        "expected a local copy of CIFAR-FS, found no file or folder {}; leave the path out to fetch it from the Hub"
    )
    with pytest.raises(DataError, match=message.format("uoft-cs/cifar100")):
        available_classes(DataSource("cifar_fs", "uoft-cs/cifar100", 32))
    (tmp_path / "copy").mkdir()
    with pytest.raises(DataError, match=r"no file or folder \S+/cpoy; did you mean `\S+/copy`\?"):
        available_classes(DataSource("cifar_fs", str(tmp_path / "cpoy"), 32))


def test_a_folder_of_files_that_are_no_images_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/IMG_1.HEIC").write_bytes(b"?")
    with pytest.raises(DataError, match=r"found only other files, such as cat.IMG_1\.HEIC; save images as \.png"):
        available_classes(local(tmp_path))


def test_a_picture_beside_train_and_test_is_named(tmp_path):
    for split in ("train", "test"):
        photos(tmp_path / split)
    (tmp_path / "overview.png").write_bytes(png(1))
    with pytest.raises(DataError, match=r"found overview\.png; move it, or give another folder"):
        available_classes(local(tmp_path))


def test_a_file_name_that_is_no_text_is_named(tmp_path):
    root = photos(tmp_path / "photos")
    (root / os.fsdecode(b"cat/caf\xe9.png")).write_bytes(png(1))
    with pytest.raises(DataError, match=r"the name 'caf\\udce9.png' is not valid UTF-8; rename this file or folder"):
        available_classes(local(root))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"'\.zip' files are not supported"):
        available_classes(local(tmp_path / "data.zip"))


def test_a_broken_parquet_file_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"Cannot read .*Expected Parquet or Arrow files"):
        available_classes(local(tmp_path))


def test_a_parquet_file_with_a_broken_page_is_refused(folder):
    file = folder / "train-00000.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196  # the footer stays sound
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"Cannot read column '\w+' of train-00000\.parquet"):
        load_classes(local(folder), ["ant"])


def corrupt_folder(tmp_path: Path) -> Path:
    rows = [(1, "ant"), (b"broken", "ant"), (2, "bee"), (png(3)[:40], "bee"), (b"", "cat")]
    write_parquet(tmp_path / "data" / "a.parquet", rows)
    return tmp_path / "data"


def test_corrupt_images_are_refused_by_row_class_path_and_reason(tmp_path):
    message = r"2 of 4 images cannot be decoded: a\.parquet row 1 \(class 'ant', path 1\.png\): .*; a\.parquet row 3"
    with pytest.raises(DataError, match=message + r" \(class 'bee'.*\. Repair them"):
        load_classes(local(corrupt_folder(tmp_path)), ["ant", "bee"], advice="Repair them")


def test_corrupt_images_are_skipped_with_a_warning(tmp_path):
    listener = Listener()
    loaded = load_classes(local(corrupt_folder(tmp_path), on_corrupt="skip"), ["ant", "bee"], reporter=listener)
    assert levels(loaded) == [(1, "ant"), (2, "bee")]
    assert len(listener.warnings) == 1
    assert listener.warnings[0].startswith(f"Left out of {tmp_path}/data: 2 of 4 images cannot be decoded")


def test_what_was_skipped_is_told_again_where_the_cache_has_the_rest(tmp_path):
    first, second, source = Listener(), Listener(), local(corrupt_folder(tmp_path), on_corrupt="skip")
    for listener in (first, second):
        load_classes(source, ["ant", "bee"], reporter=listener)
    assert [bar["title"] for bar in first.bars] == ["reading images", "decoding"]
    assert [bar["title"] for bar in second.bars] == ["reading images"]
    assert second.warnings == first.warnings


def test_a_class_of_corrupt_images_only_is_refused_even_when_skipping(tmp_path):
    with pytest.raises(DataError, match=r"has no image of: 'cat', since 2 of 3 images cannot be decoded: a\.parq"):
        load_classes(local(corrupt_folder(tmp_path), on_corrupt="skip"), ["ant", "cat"])


def test_an_image_file_that_has_gone_is_corrupt(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant"])})
    table = {"image": [{"bytes": None, "path": str(tmp_path / "gone.png")}, None], "label": [0, 0]}
    (tmp_path / "gone.png").write_bytes(png(0))  # `datasets` looks at it when writing
    datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "gone.png").unlink()
    with pytest.raises(
        DataError, match=r"gone\.png: .*No such file.*; a\.parquet row 1 \(class 'ant'\): the cell is empty"
    ):
        load_classes(local(tmp_path), ["ant"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "mnist", "path": None}, r"No preset 'mnist'\. Presets: glyphs, cifar_fs, mini_imagenet"),
        ({"preset": "glyphs", "path": "x"}, r"is drawn, not read: leave out data\.path=x"),
        ({"preset": "glyphs", "path": None, "on_corrupt": "hide"}, "must be 'refuse' or 'skip', got 'hide'"),
    ],
)
def test_an_impossible_source_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        DataSource(**{"image_size": 8, **options})


def test_without_the_library_datasets_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'datasets is not installed: pip install "learngene-hub\[evolve\]"'):
        available_classes(local(folder))


def test_a_table_cannot_name_files_outside_its_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(7))
    cells = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": png(1), "path": None}]
    features = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    features["label"] = datasets.ClassLabel(names=["ant"])
    (tmp_path / "data").mkdir()
    table = datasets.Dataset.from_dict({"image": cells, "label": [0, 0]}, features=features)
    table.to_parquet(tmp_path / "data/a.parquet")
    with pytest.raises(DataError, match="lies outside its folder"):
        load_classes(local(tmp_path / "data"), ["ant"])


def photos(root: Path) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        (root / name / "0.png").write_bytes(png(1))
    return root


def test_a_link_to_a_picture_elsewhere_is_refused_or_left_out(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(7))
    root = photos(tmp_path / "photos")
    (root / "cat/1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"1 of 3 images cannot be decoded.*lies outside its folder"):
        load_classes(local(root), ["cat", "dog"])
    assert len(load_classes(local(root, on_corrupt="skip"), ["cat", "dog"])) == 2


def test_a_link_inside_the_folder_and_one_to_the_whole_folder_are_followed(tmp_path):
    root = photos(tmp_path / "photos")
    (root / "cat/1.png").symlink_to(root / "cat/0.png")
    (tmp_path / "link").symlink_to(root)
    assert len(load_classes(local(tmp_path / "link"), ["cat", "dog"])) == 3


def test_a_link_to_a_table_elsewhere_is_refused(tmp_path):
    write_parquet(tmp_path / "elsewhere.parquet", [(1, "ant")])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.parquet").symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is a link to a place outside the folder"):
        available_classes(local(tmp_path / "data"))
