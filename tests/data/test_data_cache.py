"""Decoded images are kept, and made anew when anything has changed."""

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import torch
from filelock import FileLock, Timeout
from image_tables import Listener, levels, local, png, write_parquet
from safetensors import SafetensorError

from learngene_hub.core.store import ENTRY_NAME, KeyedStore
from learngene_hub.data import cache as cache_module
from learngene_hub.data import loading as loading_module
from learngene_hub.data.cache import NAMES_NAME, PIXELS_NAME, cache_folder
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The sizes asked of the decoder, one for each image."""
    calls, decode = [], loading_module.decode_image

    def counting(encoded, size):
        calls.append(size)
        return decode(encoded, size)

    monkeypatch.setattr(loading_module, "decode_image", counting)
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


def test_another_column_and_another_role_are_decoded_anew(tmp_path):
    write_parquet(tmp_path / "train.parquet", [(10, "ant")])
    table = datasets.load_dataset("parquet", data_files=str(tmp_path / "train.parquet"), split="train")
    other = table.add_column("scan", [{"bytes": png(50), "path": None}]).cast_column("scan", datasets.Image())
    other.to_parquet(tmp_path / "test.parquet")
    source = DataSource(None, str(tmp_path / "test.parquet"), 8)
    assert levels(load_classes(source, ["ant"])) == [(10, "ant")]
    assert levels(load_classes(replace(source, image_column="scan"), ["ant"])) == [(50, "ant")]
    both = replace(source, path=str(tmp_path))
    assert len(load_classes(both, ["ant"])) == 2
    assert len(load_classes(replace(both, role="test"), ["ant"])) == 1


def test_a_seed_without_a_draw_changes_nothing(folder, decoded):
    load_classes(local(folder), ["ant"])
    load_classes(local(folder, seed=7), ["ant"])
    assert len(decoded) == 3


def test_changed_files_are_decoded_anew(folder):
    load_classes(local(folder), ["bee"])
    write_parquet(folder / "train-00000.parquet", [(77, "bee")])
    os.utime(folder / "train-00000.parquet", ns=(1, 1))
    assert levels(load_classes(local(folder), ["bee"])) == [(60, "bee"), (77, "bee")]


def entry(cache):
    (place,) = (path for path in (cache / "images").iterdir() if path.is_dir())
    return place


def half(content):
    return content[: len(content) // 2]


def flipped(content):
    """Still sound safetensors, or JSON: the last letters are pixels, or of a name."""
    return content.replace(b"ant", b"bee") if b"ant" in content else content[:-9] + bytes(9)


@pytest.mark.parametrize("name", [PIXELS_NAME, NAMES_NAME, ENTRY_NAME])
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"garbage", half, flipped])
def test_a_damaged_entry_is_told_and_made_anew(folder, tmp_path, name, damage):
    first = load_classes(local(folder), ["ant"])
    file = entry(tmp_path / "cache") / name
    whole = file.read_bytes()
    file.unlink()  # the first load may still map it
    file.write_bytes(damage(whole))
    listener = Listener()
    assert levels(load_classes(local(folder), ["ant"], reporter=listener)) == levels(first)
    assert listener.warnings == [f"decoded images: created again, since {file.parent} is damaged or was edited"]
    assert file.read_bytes() == whole


@pytest.mark.parametrize("change", [lambda place: (place / "more").touch(), lambda place: os.mkfifo(place / "pipe")])
def test_an_entry_with_a_file_too_many_is_made_anew(folder, tmp_path, decoded, change):
    load_classes(local(folder), ["ant"])
    change(entry(tmp_path / "cache"))
    load_classes(local(folder), ["ant"])
    assert len(decoded) == 6


def test_an_entry_says_what_it_was_made_from_and_nothing_unfinished_stays(folder, tmp_path):
    load_classes(local(folder), ["bee", "ant"])
    place = entry(tmp_path / "cache")
    assert {file.name for file in place.iterdir()} == {PIXELS_NAME, NAMES_NAME, ENTRY_NAME}
    assert not list((tmp_path / "cache").rglob(".*"))
    key = json.loads((place / ENTRY_NAME).read_text())["key"]
    assert (key["classes"], key["from"]["path"]) == (["bee", "ant"], str(folder))


def test_whoever_may_read_what_an_entry_says_may_read_its_images(folder, tmp_path):
    load_classes(local(folder), ["ant"])
    assert len({file.stat().st_mode for file in entry(tmp_path / "cache").iterdir()}) == 1


def test_what_a_kill_left_of_an_entry_goes_with_the_next(folder, tmp_path):
    load_classes(local(folder), ["ant"])
    place = entry(tmp_path / "cache")
    shutil.rmtree(place)
    (place.parent / f".{place.name}.abcd1234.tmp").mkdir()
    load_classes(local(folder), ["ant"])
    assert {path.name for path in place.parent.iterdir()} == {place.name, f"{place.name}.lock"}


def test_images_that_another_process_is_decoding_are_waited_for(folder, tmp_path, monkeypatch):
    made = loading_module._made

    def tried(*args):
        (lock,) = (tmp_path / "cache/images").glob("*.lock")
        with pytest.raises(Timeout), FileLock(lock, timeout=0):
            pass
        return made(*args)

    monkeypatch.setattr(loading_module, "_made", tried)
    assert len(load_classes(local(folder), ["ant"])) == 3


def test_a_cache_that_cannot_be_written_is_a_warning(folder, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    listener = Listener()
    loaded = load_classes(local(folder), ["bee"], reporter=listener)
    assert len(loaded) == 2
    assert len(listener.warnings) == 1
    assert "Set LEARNGENE_CACHE" in listener.warnings[0]


def test_a_disk_that_fills_up_while_images_are_kept_costs_a_warning(folder, tmp_path, monkeypatch):
    def full(tensors, path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(cache_module, "save_file", full)
    listener = Listener()
    assert len(load_classes(local(folder), ["bee"], reporter=listener)) == 2
    (warning,) = listener.warnings
    assert re.search(
        r"decoded images: cannot be saved: .*cannot be written \(No space left on device, \d+\.\d MB are", warning
    )
    assert not list((tmp_path / "cache").rglob("*.tmp"))


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


def test_a_value_that_cannot_be_replaced_stays_after_a_kill_too(tmp_path, monkeypatch):
    def write(folder, text):
        (folder / "value").write_text(text)

    def failing(source, target, replace=os.replace):
        if Path(target) == store.path({}) and Path(source).suffix != ".older":
            raise OSError(errno.EBUSY, "in use")
        replace(source, target)

    store = KeyedStore(tmp_path, "texts", write, lambda folder: (folder / "value").read_text(), Listener())
    store.put({}, "first")
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="in use"):
        store.put({}, "second")
    assert store.peek({}) == "first"
    store.path({}).rename(store.path({}).with_suffix(".older"))
    with store.held({}):
        assert store.peek({}) == "first"
    monkeypatch.undo()
    store.put({}, "second")
    assert store.peek({}) == "second"
    assert {path.name for path in tmp_path.iterdir()} == {store.path({}).name, f"{store.path({}).name}.lock"}
