"""Decoded images are kept, and made anew when anything has changed."""

import json
import os
from pathlib import Path

import pytest
import torch
from image_tables import Listener, levels, local, write_parquet

from learngene_hub.data import loading as loading_module
from learngene_hub.data.cache import cache_folder
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


def test_whoever_may_read_what_an_entry_says_may_read_its_images(folder, tmp_path):
    load_classes(local(folder), ["ant"])
    assert len({file.stat().st_mode for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"}) == 1


def test_what_a_kill_left_of_an_entry_goes_with_the_next(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    load_classes(local(folder), ["ant"], cache_dir=cache)
    (entry,) = cache.glob("*.safetensors")
    entry.unlink()
    (cache / f".{entry.name}.abcd1234.tmp").mkdir()
    load_classes(local(folder), ["ant"], cache_dir=cache)
    assert {path.name for path in cache.iterdir()} == {entry.name, f"{entry.stem}.json"}


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
