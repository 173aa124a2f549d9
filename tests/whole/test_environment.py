"""A machine that is not as it should be: no space, no home, a path of another system."""

import os
import pwd
import shutil
from types import SimpleNamespace

import pytest

from learngene_hub import evolve
from learngene_hub.core.errors import DataError, StorageError
from learngene_hub.data.cache import cache_folder
from learngene_hub.data.counting import available_classes
from learngene_hub.data.source import DataSource
from learngene_hub.evolution import checkpoint
from learngene_hub.finetuning import Settings, finetune
from learngene_hub.finetuning import run as finetuning

WEIGHTS = "gene/learngene.safetensors"
SMALL = ("evolution.generations=1", "evolution.population=2")


def test_a_disk_without_room_for_the_network_is_refused_before_any_training(tiny_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "_all_outcomes", lambda *args: pytest.fail("trained"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(StorageError, match=r"expected \d\.\d MB of free space for the network .*, found 1\.0 MB"):
        finetune(tiny_run, photos, out=tmp_path / "out", settings=Settings(method="full", epochs=1))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.slow
def test_a_run_whose_disk_was_full_for_a_while_goes_on_to_the_same_bytes(tiny, tiny_run, tmp_path, monkeypatch):
    save, calls = checkpoint.save, []

    def full_the_second_time(tensors):
        calls.append(tensors)
        if len(calls) == 4:  # a checksum and a file each
            raise OSError(28, "No space left on device")
        return save(tensors)

    monkeypatch.setattr(checkpoint, "save", full_the_second_time)
    with pytest.raises(StorageError, match=r"state\.safetensors: cannot be written"):
        evolve(tiny(), out=tmp_path)
    evolve(tiny(), out=tmp_path, resume=True)
    assert (tmp_path / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()


def test_without_a_home_the_message_says_what_to_set(monkeypatch):
    for name in ("HOME", "LEARNGENE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    with pytest.raises(DataError, match="No home folder for the image cache: set LEARNGENE_CACHE"):
        cache_folder()


def test_the_home_of_nobody_is_a_folder_that_is_not_there():
    with pytest.raises(DataError, match="No file or folder ~nobody-has-this-name/photos"):
        available_classes(DataSource(None, "~nobody-has-this-name/photos", 28))


@pytest.mark.parametrize("path", [r"C:\data\photos", "C:/data/photos", r"photos\cats", r"\\server\photos"])
def test_a_path_of_windows_is_looked_for_as_it_was_written(path):
    with pytest.raises(DataError, match="No file or folder") as caught:
        available_classes(DataSource(None, path, 28))
    assert path in str(caught.value)


def test_nothing_is_written_into_the_folder_that_commands_are_called_from(tiny, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    evolve(tiny(*SMALL), out=tmp_path / "run")
    assert not os.listdir()
