"""What was made once and is kept under a key: nothing is read or written behind a link that leads elsewhere."""

import os

import pytest
from listener import Listener

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import write_text
from learngene_hub.core.store import KeyedLines, KeyedStore

KEY = {"format": 1}


def lines(folder):
    return KeyedLines(folder / "tasks", "scratch", KEY, Listener())


def value_store(folder):
    return KeyedStore(
        folder,
        "a value",
        lambda place, value: write_text(place / "value", value),
        lambda place: (place / "value").read_text(),
        Listener(),
    )


@pytest.fixture
def path(tmp_path):
    """The file of lines in the folder `run`, with one line."""
    lines(tmp_path / "run").append({"fitness": 0.5})
    return next((tmp_path / "run/tasks").iterdir())


@pytest.mark.parametrize("call", [KeyedLines.read, lambda kept: kept.append({"fitness": 0.9})], ids=["read", "append"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_of_lines_that_is_a_link_elsewhere_is_neither_read_nor_written(tmp_path, path, call, is_there):
    outside = tmp_path / "outside"
    os.replace(path, outside)
    path.symlink_to(outside)
    content = outside.read_bytes()
    if not is_there:
        outside.unlink()
    with pytest.raises(
        RunError,
        match=r"scratch-\w+\.jsonl: a link to a place outside .*run; remove it, or replace it with the file itself",
    ):
        call(lines(tmp_path / "run"))
    assert outside.read_bytes() == content if is_there else not outside.exists()


def test_nothing_is_written_into_a_folder_of_lines_that_is_a_link_elsewhere(tmp_path, path):
    path.unlink()
    path.parent.rmdir()
    (tmp_path / "outside").mkdir()
    path.parent.symlink_to(tmp_path / "outside")
    with pytest.raises(RunError, match="a link to a place outside"):
        lines(tmp_path / "run").append({"fitness": 0.9})
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("call", [KeyedLines.read, lambda kept: kept.append({"fitness": 0.9})], ids=["read", "append"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_the_place_of_lines_is_refused(tmp_path, path, call, make):
    path.unlink()
    make(path)
    with pytest.raises(RunError, match="expected a file, found a folder, pipe or device; remove it"):
        call(lines(tmp_path / "run"))


def test_lines_larger_than_any_evaluation_leaves_are_refused(tmp_path, path):
    os.truncate(path, 10**10)
    with pytest.raises(RunError, match=r"cannot be read \(.*larger than 1000 MB.*\); remove it, or restore it"):
        lines(tmp_path / "run").read()


@pytest.mark.parametrize("name", ["", "value", "entry.json"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_kept_value_behind_a_link_elsewhere_is_made_again(tmp_path, name, is_there):
    outside, store = tmp_path / "outside", value_store(tmp_path / "store")
    store.put(KEY, "first")
    place = store.path(KEY) / name
    os.replace(place, outside)
    place.symlink_to(outside if is_there else tmp_path / "nothing")
    assert store.peek(KEY) is None
    assert store.get(KEY, lambda: "second") == "second"
    assert "created again" in store.reporter.warnings[0]
    assert len(store.reporter.warnings) == 1
    assert store.peek(KEY) == "second"
    assert not store.path(KEY).is_symlink()
    assert outside.exists()
    if not name:
        assert (outside / "value").read_text() == "first"


def test_a_file_in_the_place_of_a_kept_value_is_replaced(tmp_path):
    store = value_store(tmp_path / "store")
    write_text(store.path(KEY), "no folder")
    assert store.get(KEY, lambda: "value") == "value"
    assert store.peek(KEY) == "value"
