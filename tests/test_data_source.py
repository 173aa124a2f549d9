import io
import json
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from learngene_hub.data import source as source_module
from learngene_hub.data.cache import cache_folder
from learngene_hub.data.counting import available_classes, count_images
from learngene_hub.data.source import DataSource, load_classes
from learngene_hub.errors import DataError
from learngene_hub.progress import SilentReporter

torch.set_num_threads(1)

CLASSES = ("ant", "bee", "cat")


class Listener(SilentReporter):
    """Remembers what it is told."""

    def __init__(self):
        self.warnings, self.bars = [], []

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def task(self, title, total, unit="it"):
        bar = {"title": title, "total": total, "unit": unit, "done": 0}
        self.bars.append(bar)

        class Bar:
            def advance(self, amount=1.0, **fields):
                bar["done"] += amount

        yield Bar()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test touches the caches of the user."""
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))


def png(level: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, rows, *, columns=("image", "label"), names=CLASSES):
    """`rows` are (grey level or bytes, label); the schema is that of the Hub."""
    image, label = columns
    cells = [{"bytes": png(x) if isinstance(x, int) else x, "path": f"{n}.png"} for n, (x, _) in enumerate(rows)]
    features = {image: datasets.Image(), label: datasets.ClassLabel(names=list(names))}
    table = {image: cells, label: [names.index(y) for _, y in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(table, features=datasets.Features(features)).to_parquet(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two splits which number the same classes differently."""
    write_parquet(tmp_path / "data" / "train-00000.parquet", [(10, "ant"), (20, "bee"), (30, "ant"), (40, "cat")])
    write_parquet(tmp_path / "data" / "test-00000.parquet", [(50, "ant"), (60, "bee")], names=("bee", "ant"))
    return tmp_path / "data"


def levels(image_set) -> list[tuple[int, str]]:
    """(grey level, class name) of each image, sorted."""
    labels = image_set.labels.tolist()
    return sorted((int(x[0, 0, 0]), image_set.class_names[y]) for x, y in zip(image_set.images, labels, strict=True))


def local(path: Path, **options) -> DataSource:
    return DataSource(None, str(path), 8, **options)


# --- reading -----------------------------------------------------------------------------------------------------


def test_all_splits_are_pooled_and_labels_go_by_name(folder):
    loaded = load_classes(local(folder), ["bee", "ant"])
    assert levels(loaded) == [(10, "ant"), (20, "bee"), (30, "ant"), (50, "ant"), (60, "bee")]
    assert loaded.class_names == ("bee", "ant")


def test_available_classes_need_no_decoding(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(b"broken", "ant"), (b"broken", "cat")])
    assert available_classes(local(tmp_path)) == CLASSES


@pytest.mark.parametrize("columns", [("img", "fine_label"), ("image", "label")])
def test_usual_columns_are_found(tmp_path, columns):
    write_parquet(tmp_path / "a.parquet", [(1, "ant"), (2, "bee")], columns=columns)
    assert levels(load_classes(local(tmp_path), ["bee"])) == [(2, "bee")]


def test_a_local_copy_of_a_preset_may_have_other_columns_than_the_hub(folder):
    assert levels(load_classes(DataSource("cifar_fs", str(folder), 8), ["cat"])) == [(40, "cat")]


def test_other_columns_can_be_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(1, "ant")], columns=("photo", "species"))
    assert levels(load_classes(local(tmp_path, image_column="photo", label_column="species"), ["ant"])) == [(1, "ant")]


def test_missing_columns_are_refused_with_those_found(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(1, "ant")], columns=("photo", "species"))
    with pytest.raises(DataError, match=r"expected 'image' or 'img'.*found: 'photo', 'species'.*data\.image_column="):
        available_classes(local(tmp_path))


def test_a_column_without_images_is_refused(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(1, "ant")])
    with pytest.raises(DataError, match=r"Column 'label' of a\.parquet must hold encoded images"):
        available_classes(local(tmp_path, image_column="label"))


def test_a_column_without_labels_is_refused(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(1, "ant")])
    with pytest.raises(DataError, match=r"Column 'image' of a\.parquet must hold class labels"):
        available_classes(local(tmp_path, label_column="image"))


@pytest.mark.parametrize(("labels", "names"), [(["x", "w", None], ("w", "x")), ([10, 9, None], ("9", "10"))])
def test_plain_texts_and_numbers_are_class_names(tmp_path, labels, names):
    rows = {"image": [png(1), png(2), png(3)], "label": labels}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "a.parquet")
    assert available_classes(local(tmp_path)) == names
    assert levels(load_classes(local(tmp_path), names)) == sorted([(1, str(labels[0])), (2, str(labels[1]))])


def test_a_single_file_is_read(folder):
    assert levels(load_classes(local(folder / "test-00000.parquet"), ["bee"])) == [(60, "bee")]


def test_an_arrow_folder_of_datasets_is_read(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    table = {"image": [{"bytes": png(7), "path": None}], "label": [1]}
    datasets.Dataset.from_dict(table, features=features).save_to_disk(tmp_path / "saved")
    assert levels(load_classes(local(tmp_path / "saved"), ["bee"])) == [(7, "bee")]


def test_class_folders_are_read_whatever_their_names(tmp_path):
    root = tmp_path / "pets [new]"
    for split, level in (("train", 1), ("val", 2)):
        for name in ("cat", "test tube"):
            (root / split / name).mkdir(parents=True)
            (root / split / name / "0.png").write_bytes(png(level))
    assert available_classes(local(root)) == ("cat", "test tube")
    loaded = load_classes(local(root), ["test tube", "cat"])
    assert levels(loaded) == [(1, "cat"), (1, "test tube"), (2, "cat"), (2, "test tube")]


def test_images_without_class_folders_are_refused(tmp_path):
    (tmp_path / "0.png").write_bytes(png(0))
    with pytest.raises(
        DataError, match=r"expected 'label' or 'fine_label', or images in class folders.*found: 'image'"
    ):
        available_classes(local(tmp_path))


def test_images_come_in_the_size_asked_for(folder):
    assert load_classes(DataSource(None, str(folder), 5), ["ant"]).images.shape == (3, 3, 5, 5)


def test_at_most_so_many_images_of_each_class_are_drawn_and_again_the_same(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(level, "ant") for level in range(20)] + [(99, "bee")])

    def draw(seed, names):
        return levels(load_classes(local(tmp_path, images_per_class=4, seed=seed), names))

    first = draw(0, ["ant", "bee"])
    assert len(first) == 5
    assert [item for item in first if item[1] == "ant"] == draw(0, ["ant"])
    assert first != draw(1, ["ant", "bee"])


def test_progress_counts_the_images_of_the_chosen_classes(folder):
    listener = Listener()
    load_classes(local(folder), ["ant"], reporter=listener)
    assert listener.bars == [{"title": "decoding", "total": 3, "unit": "img", "done": 3}]


def test_reading_local_files_asks_no_server(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [])
    load_classes(local(folder), ["ant"])
    assert asked == []


def test_reading_leaves_the_progress_bars_of_datasets_as_they_were(folder):
    before = datasets.are_progress_bars_disabled()
    load_classes(local(folder), ["ant"])
    assert datasets.are_progress_bars_disabled() == before


# --- what cannot be read -----------------------------------------------------------------------------------------


def test_a_class_without_images_is_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(1, "ant")])
    with pytest.raises(DataError, match="has no image of: 'bee', 'wolf'"):
        load_classes(local(tmp_path), ["ant", "bee", "wolf"])


def test_a_class_asked_for_twice_is_refused(folder):
    with pytest.raises(DataError, match="more than once: 'ant'"):
        load_classes(local(folder), ["ant", "ant"])


def test_a_missing_path_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"No file or folder .*nowhere\. Expected a Parquet or Arrow file"):
        available_classes(local(tmp_path / "nowhere"))


def test_a_preset_with_a_missing_copy_does_not_go_to_the_hub():
    with pytest.raises(DataError, match="No file or folder some/copy"):
        available_classes(DataSource("cifar_fs", "some/copy", 32))


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no data file"):
        available_classes(local(tmp_path / "empty"))


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
    with pytest.raises(DataError, match=message + r" \(class 'bee'.*data\.on_corrupt=skip"):
        load_classes(local(corrupt_folder(tmp_path)), ["ant", "bee"])


def test_corrupt_images_are_skipped_with_a_warning(tmp_path):
    listener = Listener()
    loaded = load_classes(local(corrupt_folder(tmp_path), on_corrupt="skip"), ["ant", "bee"], reporter=listener)
    assert levels(loaded) == [(1, "ant"), (2, "bee")]
    assert len(listener.warnings) == 1
    assert listener.warnings[0].startswith("Left out: 2 of 4 images cannot be decoded")


def test_a_class_of_corrupt_images_only_is_refused_even_when_skipping(tmp_path):
    with pytest.raises(DataError, match="has no image of: 'cat'"):
        load_classes(local(corrupt_folder(tmp_path), on_corrupt="skip"), ["ant", "cat"])


def test_an_image_file_that_has_gone_is_corrupt(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant"])})
    table = {"image": [{"bytes": None, "path": str(tmp_path / "gone.png")}, None], "label": [0, 0]}
    (tmp_path / "gone.png").write_bytes(png(0))  # `datasets` looks at it when writing
    datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "gone.png").unlink()
    with pytest.raises(DataError, match=r"row 0 .*No such file.*; a\.parquet row 1 \(class 'ant'\): the cell is empty"):
        load_classes(local(tmp_path), ["ant"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": None, "path": None}, r"No data: give data\.preset= \(such as glyphs\) or data\.path="),
        ({"preset": "mnist", "path": None}, "No preset 'mnist'"),
        ({"preset": "glyphs", "path": "x"}, r"is drawn, not read: leave out data\.path=x"),
        ({"preset": "glyphs", "path": None, "image_size": 0}, "must be at least 1, got 0 and None"),
        ({"preset": "glyphs", "path": None, "images_per_class": 0}, "must be at least 1, got 8 and 0"),
        ({"preset": "glyphs", "path": None, "on_corrupt": "hide"}, "must be 'refuse' or 'skip', got 'hide'"),
    ],
)
def test_an_impossible_source_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        DataSource(**{"image_size": 8, **options})


def test_without_the_library_datasets_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'need datasets, .*pip install "learngene-hub\[evolve\]"'):
        available_classes(local(folder))


# --- the Hub -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub with one data set, of the columns and splits of CIFAR-100; remembers what it was asked."""
    columns = ("img", "fine_label")
    write_parquet(tmp_path / "hub" / "train.parquet", [(1, "ant"), (2, "bee")], columns=columns)
    write_parquet(tmp_path / "hub" / "test.parquet", [(3, "ant"), (4, "cat")], columns=columns)
    files = {split: str(tmp_path / "hub" / f"{split}.parquet") for split in ("train", "test")}
    asked, load = [], datasets.load_dataset

    def load_dataset(path, revision=None):
        asked.append((path, revision))
        return load("parquet", data_files=files, cache_dir=str(tmp_path / "hub_cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_a_preset_comes_from_the_hub(hub):
    source = DataSource("cifar_fs", None, 8, revision="abc")
    assert available_classes(source) == CLASSES
    assert levels(load_classes(source, ["ant", "cat"])) == [(1, "ant"), (3, "ant"), (4, "cat")]
    assert set(hub) == {("uoft-cs/cifar100", "abc")}


def test_a_path_that_is_no_path_is_a_name_on_the_hub(hub):
    assert levels(load_classes(DataSource(None, "someone/pets", 8), ["bee"])) == [(2, "bee")]
    assert hub == [("someone/pets", None)]


def test_another_revision_is_another_cache_entry(hub):
    for revision in ("abc", "abc", "def"):
        load_classes(DataSource("cifar_fs", None, 8, revision=revision), ["ant"])
    assert [revision for _, revision in hub] == ["abc", "def"]


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionError("no route"),
        datasets.exceptions.DatasetNotFoundError("not there"),
        datasets.exceptions.DatasetGenerationError("damaged"),
        ValueError("Config name is missing"),
        RuntimeError("Dataset scripts are no longer supported"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_hub_that_fails_points_to_a_local_copy_and_to_glyphs(monkeypatch, failure):
    def load_dataset(path, revision=None):
        raise failure

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=rf"'uoft-cs/cifar100'.*{failure}.*point data\.path= .*data\.preset=glyphs"):
        available_classes(DataSource("cifar_fs", None, 32))


# --- the cache ---------------------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The sizes asked of the decoder, one for each image."""
    calls, decode = [], source_module.decode_image

    def counting(encoded, size):
        calls.append(size)
        return decode(encoded, size)

    monkeypatch.setattr(source_module, "decode_image", counting)
    return calls


def test_a_second_load_decodes_nothing_and_gives_the_same(folder, decoded):
    first = load_classes(local(folder), ["ant", "bee"])
    assert len(decoded) == 5
    again = load_classes(local(folder), ["ant", "bee"])
    assert len(decoded) == 5
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert first.class_names == again.class_names


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"image_size": 4}, ["ant"]),
        ({"images_per_class": 1}, ["ant"]),
        ({"on_corrupt": "skip"}, ["ant"]),
        ({}, ["bee"]),
    ],
    ids=["size", "number", "on_corrupt", "classes"],
)
def test_what_changes_the_pixels_is_decoded_anew(folder, decoded, options, names):
    load_classes(local(folder), ["ant"])
    before = len(decoded)
    load_classes(DataSource(**{"preset": None, "path": str(folder), "image_size": 8, **options}), names)
    assert len(decoded) > before


def test_a_seed_without_a_draw_changes_nothing(folder, decoded):
    load_classes(local(folder), ["ant"])
    load_classes(local(folder, seed=7), ["ant"])
    assert len(decoded) == 3


def test_changed_files_are_decoded_anew(folder):
    load_classes(local(folder), ["bee"])
    write_parquet(folder / "train-00000.parquet", [(77, "bee")])
    os.utime(folder / "train-00000.parquet", ns=(1, 1))
    assert levels(load_classes(local(folder), ["bee"])) == [(60, "bee"), (77, "bee")]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "half"])
def test_a_damaged_cache_file_is_made_anew(folder, tmp_path, suffix, content):
    first = load_classes(local(folder), ["ant"])
    (file,) = (tmp_path / "cache").glob(f"*{suffix}")
    whole = file.read_bytes()
    file.unlink()  # the first load may still map it
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert levels(load_classes(local(folder), ["ant"])) == levels(first)
    assert file.read_bytes() == whole


def test_an_entry_says_what_it_was_made_from_and_nothing_unfinished_stays(folder, tmp_path):
    load_classes(local(folder), ["bee", "ant"])
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir()) == [".json", ".safetensors"]
    (sidecar,) = (tmp_path / "cache").glob("*.json")
    described = json.loads(sidecar.read_text())
    assert described["class_names"] == ["bee", "ant"]
    assert described["images"] == 5
    assert described["origin"]["from"]["path"] == str(folder)


def test_a_cache_that_cannot_be_written_is_a_warning(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    listener = Listener()
    loaded = load_classes(local(folder), ["bee"], cache_dir=tmp_path / "file" / "cache", reporter=listener)
    assert len(loaded) == 2
    assert len(listener.warnings) == 1
    assert "Set LEARNGENE_CACHE" in listener.warnings[0]


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("LEARNGENE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("LEARNGENE_CACHE")
    assert cache_folder() == Path("/b/learngene")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/c/.cache/learngene")


def test_reading_local_files_writes_only_the_cache(folder, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    load_classes(local(folder), ["ant"])
    assert list(home.iterdir()) == []
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


# --- glyphs ------------------------------------------------------------------------------------------------------


def test_glyphs_are_drawn_200_a_class_and_cached(monkeypatch):
    source = DataSource("glyphs", None, 8)
    names = available_classes(source)[:2]
    first = load_classes(source, names)
    assert first.images.shape == (400, 3, 8, 8)
    monkeypatch.delattr(source_module, "draw_glyphs")
    assert torch.equal(load_classes(source, names).images, first.images)


def test_glyphs_of_another_seed_differ():
    names = available_classes(DataSource("glyphs", None, 8))[:1]
    one, other = (load_classes(DataSource("glyphs", None, 8, images_per_class=3, seed=seed), names) for seed in (0, 1))
    assert not torch.equal(one.images, other.images)


def test_a_table_cannot_name_files_outside_its_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(7))
    cells = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": png(1), "path": None}]
    features = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    features["label"] = datasets.ClassLabel(names=["ant"])
    (tmp_path / "data").mkdir()
    table = datasets.Dataset.from_dict({"image": cells, "label": [0, 0]}, features=features)
    table.to_parquet(tmp_path / "data/a.parquet")
    with pytest.raises(DataError, match="the file lies outside the data set"):
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
    with pytest.raises(DataError, match=r"1 of 3 images cannot be decoded.*the file lies outside the data set"):
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
    with pytest.raises(DataError, match=r"a\.parquet is a link out of the folder"):
        available_classes(local(tmp_path / "data"))


def test_images_are_counted_without_decoding_and_up_to_the_cap(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(b"broken", "ant"), (b"broken", "ant"), (3, "cat")])
    assert count_images(local(tmp_path)) == {"ant": 2, "cat": 1}
    assert count_images(local(tmp_path, images_per_class=1)) == {"ant": 1, "cat": 1}
