"""Ctrl-C comes out as Ctrl-C."""

import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from learngene_hub.cli.interrupts import interruptible
from learngene_hub.cli.main import app
from learngene_hub.core.errors import EngineError


def as_a_library_in_c(*_, **__):
    """Press Ctrl-C, and make a `ValueError` of it, as matplotlib's callbacks do."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("error in a callback") from None


def test_an_interruption_says_what_becomes_of_the_work():
    with pytest.raises(KeyboardInterrupt, match=r"^half is kept$"), interruptible("half is kept"):
        raise KeyboardInterrupt


def test_the_words_of_the_inner_block_are_told():
    with pytest.raises(KeyboardInterrupt, match=r"^inner$"), interruptible("outer"), interruptible("inner"):
        signal.raise_signal(signal.SIGINT)


def test_an_error_that_a_library_made_of_ctrl_c_is_an_interruption():
    with pytest.raises(KeyboardInterrupt, match=r"^stopped$") as caught, interruptible("stopped"):
        as_a_library_in_c()
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("later", [EngineError("given up after 3 attempts"), typer.Exit(1)])
def test_a_later_failure_is_told_as_it_is_where_a_library_swallowed_ctrl_c(later):
    def work():
        with interruptible("stopped"):
            with suppress(ValueError):
                as_a_library_in_c()
            raise later

    with pytest.raises(type(later)) as caught:
        work()
    assert caught.value is later


def test_an_error_without_ctrl_c_stays_what_it_is():
    with pytest.raises(ValueError, match="a fault of ours"), interruptible("stopped"):
        raise ValueError("a fault of ours")


def test_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with interruptible("stopped"):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible("stopped"):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_can_use_it():
    told = []

    def work():
        try:
            with interruptible("stopped"):
                raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            told.append(str(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == ["stopped"]


def test_finetune_interrupted_inside_a_library_says_that_nothing_was_written(tiny_run, tmp_path, monkeypatch):
    for number in range(10):
        photo = tmp_path / "photos" / ("red", "blue")[number % 2] / f"{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28), photo.parent.name).save(photo)
    monkeypatch.setattr("learngene_hub.finetuning.folder.draw_confusion", as_a_library_in_c)
    out = tmp_path / "network"
    command = ["finetune", str(tiny_run), "--data", str(tmp_path / "photos"), "--out", str(out), "--epochs", "1"]
    command += ["--method", "full", "--lr", "0.05"]
    found = CliRunner().invoke(app, command)
    assert (found.exit_code, out.exists()) == (130, False)
    assert "interrupted; nothing was written" in found.stderr


@pytest.mark.parametrize("module", ["learngene_hub.cli.main", "torch"])
def test_ctrl_c_while_the_command_is_imported_is_one_word(module):
    code = f"""
import runpy, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
sys.argv = ["learngene", "verify", "gtl/vgg11-mini-half"]
runpy.run_module("learngene_hub", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
