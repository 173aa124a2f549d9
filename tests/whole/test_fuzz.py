"""Eighty cases of the campaign of attacks; `tests/campaigns/fuzz.py` runs 100,000."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1]


def test_hostile_and_damaged_files_are_refused_in_our_own_words():
    command = [sys.executable, str(HERE / "campaigns/fuzz.py"), "80", "7"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    total = done.stdout.splitlines()[-1].split("|")
    assert int(total[3].replace(",", "")) >= 80
    assert int(total[6]) == 0
