import json
import os

import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

from learngene_hub import __version__, doctor
from learngene_hub.cli.main import app
from learngene_hub.core.device import processor_name
from learngene_hub.data.cache import IMAGES_FOLDER, PIXELS_NAME
from learngene_hub.hub.client import HubOptions

DEAD = HubOptions(endpoint="http://127.0.0.1:9")


def found(check, options=DEAD):
    return next(one for one in doctor.examine(options) if one.check == check)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_everything_a_bug_report_needs_is_there():
    checks = {one.check: one.found for one in doctor.examine(DEAD)}
    assert checks["learngene-hub"] == __version__
    assert torch.__version__.startswith(checks["torch"])  # which may go on with +cpu
    assert {
        "python",
        "timm",
        "huggingface_hub",
        "safetensors",
        "matplotlib",
        "scipy",
        "ray",
        "device",
        "precision",
    } <= checks.keys()
    assert {"threads", "cache", "cache of the Hub", "Hub", "token"} <= checks.keys()
    assert checks["threads"] == "1 (OMP_NUM_THREADS=1)"
    assert "GB free" in checks["cache"]
    assert processor_name() in checks["device"]


def test_what_the_cache_holds_is_told_with_what_may_become_of_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path))
    assert "deleted" not in found("cache").found
    for name in (f"{IMAGES_FOLDER}/entry/{PIXELS_NAME}", f"{IMAGES_FOLDER}/a film of the user's.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / name).open("wb") as file:
            file.truncate(2_300_000_000)  # a hole: no room is taken
    assert "2.3 GB of decoded images in images/, decoded again after deletion" in found("cache").found


def test_a_hub_that_answers_is_found_to(hub):
    one = found("Hub", HubOptions())
    assert one.fault is None
    assert one.found.endswith(": answers")


@pytest.mark.usefixtures("online")
def test_a_hub_that_does_not_answer_is_reported_and_is_no_fault_of_the_machine():
    one = found("Hub")
    assert one.fault is None
    assert one.found.startswith("http://127.0.0.1:9: no answer (")
    assert one.found.count("127.0.0.1:9") == 1
    assert "genes of the package and in the cache load without the Hub" in one.found


def test_offline_the_hub_is_not_asked_and_that_is_no_fault(monkeypatch):
    monkeypatch.setattr(doctor, "check_reachable", lambda options: pytest.fail("asked"))
    one = found("Hub")
    assert one.fault is None
    assert "not asked, since HF_HUB_OFFLINE is set" in one.found


def test_a_cache_on_a_drive_that_is_not_there_is_at_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "is_there", lambda path: False)
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "nowhere/cache"))
    assert "cannot be written" in found("cache").fault


def test_a_cache_that_cannot_be_written_is_at_fault(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "file/cache"))
    assert "cannot be written" in found("cache").fault
    assert "set LEARNGENE_CACHE" in found("cache").fault
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert [one["check"] for one in json.loads(result.stdout) if one["fault"]] == ["cache"]


def test_a_machine_without_a_home_is_examined_too(monkeypatch):
    monkeypatch.delenv("LEARNGENE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert "set LEARNGENE_CACHE to a folder" in found("cache").fault
    assert found("cache of the Hub").found


def test_a_cache_that_is_not_there_yet_is_left_so(monkeypatch, tmp_path):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "new/cache"))
    assert found("cache").fault is None
    assert list(tmp_path.iterdir()) == []


def test_without_cuda_the_cpu_is_told_and_that_is_no_fault(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in found("device").found
    assert found("device").fault is None
    assert found("precision").found.endswith("on cpu")


def test_nothing_personal_is_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    report = doctor.examine(HubOptions(endpoint="http://me:password@127.0.0.1:9", cache_dir=tmp_path / "hub"))
    text = " ".join(f"{one.found} {one.fault}" for one in report)
    assert not any(part in text for part in (str(tmp_path), "hf_secret", "password"))
    assert found("token").found == "found"
    assert found("cache").found.startswith("~/cache")


def test_a_missing_package_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert found("timm").found == 'not installed: pip install "learngene-hub"'
    assert found("datasets").found == 'not installed: pip install "learngene-hub[evolve]"'


def test_the_command_prints_one_line_a_check_and_exits_0():
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert f"learngene-hub      {__version__}" in result.stdout
