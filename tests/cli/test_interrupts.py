"""Ctrl-C comes out as Ctrl-C."""

import signal
import subprocess
import sys

import pytest

from learngene_hub.cli.interrupts import interruptible


def test_an_interruption_says_what_becomes_of_the_work():
    with pytest.raises(KeyboardInterrupt, match=r"^half is kept$"), interruptible("half is kept"):
        raise KeyboardInterrupt


def test_the_words_of_the_inner_block_are_told():
    with pytest.raises(KeyboardInterrupt, match=r"^inner$"), interruptible("outer"), interruptible("inner"):
        signal.raise_signal(signal.SIGINT)


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
