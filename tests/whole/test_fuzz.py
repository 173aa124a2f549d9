"""Eighty cases of the campaign of attacks; `tests/campaigns/fuzz.py` runs 100,000."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from learngene_hub.core.errors import GeneFileError, StorageError

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


@pytest.fixture
def outcome(tmp_path):
    from attacks import engine

    return engine._outcome


def failing(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (failing(GeneFileError("no")), "refused"),
        (failing(StorageError("full")), "refused"),
        (lambda: True, "accepted"),
        (lambda: False, "wrong result"),
        (failing(KeyError("x")), "KeyError: 'x' at -"),
        (failing(MemoryError()), "MemoryError"),
        (failing(SystemExit(1)), "SystemExit: 1"),
    ],
)
def test_the_campaign_tells_a_refusal_from_a_defect(outcome, act, found):
    assert outcome(act).startswith(found)


def test_the_campaign_sees_files_opened_elsewhere_and_code_run(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from attacks import watch\n"
        "watch.install(); outside = Path(sys.argv[2]) / 'outside'; outside.touch()\n"
        "with watch.watched(Path(sys.argv[2]) / 'case') as seen:\n"
        "    outside.read_text(); outside.write_text('x'); exec('1'); outside.unlink()\n"
        "print(len(seen), *seen, sep='\\n')\n"
    )
    command = [sys.executable, "-c", script, str(HERE), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "read " in told
    assert "wrote " in told
    assert "compile " in told
    assert "os.remove " in told
