"""A few random moments of three commands; `tests/campaigns/kill.py` tries hundreds, in all five."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1]


def test_killed_commands_end_with_the_same_bytes_and_block_nobody():
    command = [sys.executable, str(HERE / "campaigns/kill.py"), "5", "6", "finetune,pull,push"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| **all** |" in done.stdout
