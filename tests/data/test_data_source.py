"""Images from wherever they are, as one tensor."""

import socket
import zipfile

import datasets
import huggingface_hub
import pytest
import torch
from image_tables import CLASSES, Listener, levels, local, png, write_parquet

from learngene_hub.core.errors import DataError
from learngene_hub.data import loading as loading_module
from learngene_hub.data.counting import available_classes, count_images
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

pytestmark = pytest.mark.usefixtures("own_cache")


def test_all_splits_are_pooled_and_labels_go_by_name(folder):
    loaded = load_classes(local(folder), ["bee", "ant"])
    assert levels(loaded) == [(10, "ant"), (20, "bee"), (30, "ant"), (50, "ant"), (60, "bee")]
    assert loaded.class_names == ("bee", "ant")


def test_hidden_files_are_neither_read_nor_looked_at(folder, monkeypatch):
    before = levels(load_classes(local(folder), ["ant"]))
    write_parquet(folder / ".shards" / "hidden.parquet", [(70, "ant")])
    (folder / ".DS_Store").write_bytes(b"Finder's")
    with monkeypatch.context() as patch:
        patch.setattr(loading_module, "_decode_classes", None)  # what is kept is still what is meant
        assert levels(load_classes(local(folder), ["ant"])) == before
    write_parquet(folder / "more.parquet", [(80, "ant")])
    assert levels(load_classes(local(folder), ["ant"])) == [*before, (80, "ant")]


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


def test_texts_of_one_number_have_an_order_that_is_no_draw(tmp_path):
    names = ["2", *(f"{zeros}1" for zeros in ("000", "0", "", "00", "0000"))]
    datasets.Dataset.from_dict({"image": [png(1)] * 6, "label": names}).to_parquet(tmp_path / "a.parquet")
    assert available_classes(local(tmp_path)) == ("00001", "0001", "001", "01", "1", "2")


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


@pytest.mark.parametrize("names", [("test tube", "train station"), ("test_negative", "test_positive")])
def test_classes_may_have_names_that_begin_like_those_of_splits(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(png(1))
    assert available_classes(local(tmp_path)) == names


def test_class_folders_that_are_links_are_told(tmp_path):
    (tmp_path / "elsewhere/cat").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat").symlink_to(tmp_path / "elsewhere/cat")
    with pytest.raises(DataError, match="links to folders are not followed"):
        available_classes(local(tmp_path / "photos"))


@pytest.mark.parametrize("name", ["photos.zip", "cat/photos.zip", "metadata.csv", "metadata.json", "cat/metadata.json"])
def test_other_files_beside_images_change_nothing(tmp_path, name):
    for folder in ("cat", "dog", "__unsure__", "a::b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(png(0))
    (tmp_path / name).write_bytes(b"?")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("bird/0.png", png(1))
    classes = dict.fromkeys(("__unsure__", "a::b", "cat", "dog"), 1)
    assert count_images(local(tmp_path)) == classes
    assert len(load_classes(local(tmp_path), tuple(classes)).labels) == 4


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
    assert listener.bars[0]["title"] == "reading images"
    assert listener.bars[1:] == [{"title": "decoding", "total": 3, "unit": "images", "done": 3}]


def test_reading_local_files_asks_no_server(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address) or [])
    load_classes(local(folder), ["ant"])
    assert asked == []


def test_reading_leaves_the_progress_bars_of_datasets_as_they_were(folder):
    before = datasets.are_progress_bars_disabled()
    load_classes(local(folder), ["ant"])
    assert datasets.are_progress_bars_disabled() == before


def test_glyphs_are_drawn_200_a_class_and_cached(monkeypatch):
    source = DataSource("glyphs", None, 8)
    names = available_classes(source)[:2]
    first = load_classes(source, names)
    assert first.images.shape == (400, 3, 8, 8)
    monkeypatch.delattr(loading_module, "draw_glyphs")
    assert torch.equal(load_classes(source, names).images, first.images)


def test_glyphs_of_another_seed_differ():
    names = available_classes(DataSource("glyphs", None, 8))[:1]
    one, other = (load_classes(DataSource("glyphs", None, 8, images_per_class=3, seed=seed), names) for seed in (0, 1))
    assert not torch.equal(one.images, other.images)


def test_images_are_counted_without_decoding_and_up_to_the_cap(tmp_path):
    write_parquet(tmp_path / "a.parquet", [(b"broken", "ant"), (b"broken", "ant"), (3, "cat")])
    assert count_images(local(tmp_path)) == {"ant": 2, "cat": 1}
    assert count_images(local(tmp_path, images_per_class=1)) == {"ant": 1, "cat": 1}


def test_no_classes_give_no_images(folder):
    loaded = load_classes(local(folder), [])
    assert (len(loaded), loaded.class_names) == (0, ())


def test_a_data_set_is_read_where_the_client_of_the_hub_has_put_it(hub):
    hub.put("owner/pets", {"ant/1.png": png(10), "bee/2.png": png(20)}, kind="datasets")
    folder = huggingface_hub.snapshot_download("owner/pets", repo_type="dataset")
    assert levels(load_classes(local(folder), ["bee", "ant"])) == [(10, "ant"), (20, "bee")]


def test_a_parquet_file_without_rows_is_read(folder):
    before = count_images(local(folder))
    write_parquet(folder / "none.parquet", [])
    assert count_images(local(folder)) == before
