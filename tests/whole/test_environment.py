"""Surroundings that are not as they should be: no space, no home, no permission, a clock that goes back."""

import os
import pwd
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest
from listener import Listener

from learngene_hub import evolve
from learngene_hub.core.errors import DataError, RunError, StorageError
from learngene_hub.core.progress import SilentReporter
from learngene_hub.data.cache import cache_folder
from learngene_hub.data.counting import available_classes
from learngene_hub.data.source import DataSource
from learngene_hub.evolution import checkpoint
from learngene_hub.finetuning import Settings, finetune
from learngene_hub.finetuning import run as finetuning

WEIGHTS = "gene/learngene.safetensors"
SMALL = ("evolution.generations=1", "evolution.population=2")


@contextmanager
def small_disk(place, options):
    """A disk in memory, where that may be mounted."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Fills(SilentReporter):
    """Leaves no room on a disk when it is first told a line that says `when`."""

    def __init__(self, disk, when):
        self.filler, self.when, self.warnings = disk / "filler", when, []

    def line(self, text):
        if self.when in text and not self.filler.exists():
            with suppress(OSError), self.filler.open("wb") as file:
                file.write(bytes(10**8))

    def warn(self, text):
        self.warnings.append(text)


def test_a_disk_that_fills_up_ends_a_run_in_a_line_and_it_goes_on_to_the_same_bytes(tiny, tiny_run, tmp_path):
    with small_disk(tmp_path / "disk", "size=6m") as disk:
        filling = Fills(disk, "generation 1/3")
        with pytest.raises(StorageError, match=r"cannot be written \(No space left on device, 0\.0 MB are left\)"):
            evolve(tiny(), out=disk / "run", reporter=filling)
        assert not list(disk.rglob(".*.tmp"))
        filling.filler.unlink()
        evolve(tiny(), out=disk / "run", resume=True)
        assert (disk / "run" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()


def test_a_cache_on_a_full_disk_costs_a_warning_and_no_result(tiny, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", "size=40k") as disk:
        monkeypatch.setenv("LEARNGENE_CACHE", str(disk))
        filling = Fills(disk, "never")
        gene = evolve(tiny(*SMALL), out=tmp_path / "run", reporter=filling)
        assert gene.config.origin.fitness > 0
        assert [one.partition(":")[0] for one in filling.warnings] == ["decoded images"] * 2


SHORT = Settings(method="full", epochs=1, lr=0.01)


def test_a_disk_without_room_for_the_network_is_refused_before_any_training(tiny_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "_all_outcomes", lambda *args: pytest.fail("trained"))
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        with pytest.raises(StorageError, match=r"expected \d\.\d MB of free space for the network .*, found 1\.0 MB"):
            finetune(tiny_run, photos, out=disk / "out", settings=SHORT)
        assert not list(disk.iterdir())


def test_a_disk_that_fills_up_in_training_ends_a_fine_tuning_in_a_line_and_leaves_nothing(tiny_run, photos, tmp_path):
    with small_disk(tmp_path / "disk", "size=6m") as disk:
        filling = Fills(disk, "validation images right")
        with pytest.raises(StorageError, match=r"out: cannot be written \(No space left on device"):
            finetune(tiny_run, photos, out=disk / "out", settings=SHORT, reporter=filling)
        assert [one.name for one in disk.iterdir()] == ["filler"]


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


def test_a_disk_that_can_only_be_read_is_refused_before_any_work(tiny, tmp_path):
    with small_disk(tmp_path / "disk", "ro") as disk, pytest.raises(RunError, match=r"Read-only file system.*--out"):
        evolve(tiny(), out=disk / "run")


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


def test_a_cache_that_cannot_be_written_and_a_clock_that_goes_back_change_no_result(
    tiny, tiny_run, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "file"))
    moments = iter(range(2_000_000_000, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    listener = Listener()
    evolve(tiny(), out=tmp_path / "run", reporter=listener)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
    assert any("decoded images: cannot be saved" in text for text in listener.warnings)


def test_nothing_is_written_into_the_folder_that_commands_are_called_from(tiny, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    evolve(tiny(*SMALL), out=tmp_path / "run")
    assert not os.listdir()
