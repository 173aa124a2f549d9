"""Ctrl-C comes out as Ctrl-C."""

import subprocess
import sys

import pytest

from learngene_hub.cli.main import INTERRUPTED


@pytest.mark.parametrize(("module", "told"), [("learngene_hub.cli.main", "interrupted"), ("torch", INTERRUPTED)])
def test_ctrl_c_while_the_command_is_imported_is_one_line(module, told):
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
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{told}\n")
