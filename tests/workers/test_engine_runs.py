"""Evolutions by several processes: the bytes of one, whatever happens on the way."""

import json
import os
import re
import select
import signal
import subprocess
import sys

import pytest
from engine_faults import WEIGHTS, calling, descendants, put_faults, rows, wait_for
from listener import Listener

from learngene_hub.cli.main import INTERRUPTED, main
from learngene_hub.core.errors import EngineError
from learngene_hub.evolution import plan
from learngene_hub.evolution.checkpoint import load_state
from learngene_hub.evolution.run import evolve
from learngene_hub.workers import EngineOptions
from learngene_hub.workers import local as local_engine


@pytest.mark.slow
def test_where_processes_cannot_be_forked_they_are_spawned_and_give_the_same_bytes(tiny, tmp_path, monkeypatch):
    founder = tiny("evolution.generations=1", "evolution.founder_generations=1")  # one worker is enough
    evolve(founder, out=tmp_path / "here")
    monkeypatch.setattr(local_engine, "get_all_start_methods", lambda: ["spawn"])
    assert local_engine._context().get_start_method() == "spawn"
    evolve(founder, out=tmp_path / "there", engine=EngineOptions(workers=2))
    assert rows(tmp_path / "there")[0]["engine"]["workers"] == 1
    assert (tmp_path / "there" / WEIGHTS).read_bytes() == (tmp_path / "here" / WEIGHTS).read_bytes()


@pytest.mark.parametrize(("platform", "folder"), [("darwin", "/tmp"), ("linux", "/" + 80 * "t")])
def test_a_fork_server_is_not_taken_where_it_may_crash_or_its_socket_has_too_long_a_path(monkeypatch, platform, folder):
    monkeypatch.setattr(local_engine.sys, "platform", platform)
    monkeypatch.setattr(local_engine.tempfile, "gettempdir", lambda: folder)
    assert local_engine._context().get_start_method() == "spawn"


def test_four_processes_give_the_bytes_of_one(tiny, tiny_run, tmp_path):
    evolve(tiny(), out=tmp_path, engine=EngineOptions(workers=4))
    assert (tmp_path / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
    for row, alone in zip(rows(tmp_path), rows(tiny_run), strict=True):
        assert row["individuals"] == alone["individuals"]
        assert row["engine"] == {"name": "local", "place": "4 x CPU", "workers": 4, "retried": 0}
    assert json.loads((tmp_path / "gene/config.json").read_text())["origin"]["cost"]["device"] == "4 x CPU"


def test_workers_that_will_have_no_work_are_told_of(tiny, tmp_path):
    notes = Listener()
    evolve(tiny("evolution.generations=1"), out=tmp_path, engine=EngineOptions(workers=5), reporter=notes)
    assert notes.warnings == ["only 4 of 5 workers are needed: one for each individual, or shape, of a generation"]


@pytest.mark.slow
def test_workers_that_are_killed_and_run_out_of_memory_cost_nothing_but_time(tiny, tiny_run, tmp_path, monkeypatch):
    notes = Listener()
    put_faults(monkeypatch, tmp_path, {0: "killed", 2: "memory"})
    evolve(tiny(), out=tmp_path / "run", engine=EngineOptions(workers=2), reporter=notes)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
    killed, memory = notes.warnings
    goes = r": generation {}, individual 1 goes to another worker, attempt 2"
    assert re.fullmatch(r"worker \d was killed by SIGKILL" + goes.format(1), killed)
    assert re.fullmatch(r"worker \d ran out of memory \(.*can't allocate.*\)" + goes.format(3), memory)
    assert [row["engine"]["retried"] for row in rows(tmp_path / "run")] == [1, 0, 1]


SCRIPT = """\
import sys, torch
from learngene_hub import Recipe, evolve

print("run as", __name__)
torch.set_num_threads(2)
evolve(Recipe.from_file(sys.argv[1], ["evolution.generations=1", "evolution.population=2"]), out=sys.argv[2])
"""


@pytest.mark.slow
def test_a_plain_script_has_all_cores_and_is_not_run_again_by_workers(tiny_file, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tiny_file), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "run as __main__\n"), done.stderr
    assert [row["engine"]["workers"] for row in rows(tmp_path / "run")] == [2]


def begin(recipe, out, monkeypatch, best):
    """One generation of a run on a machine where `best` is the best precision."""
    monkeypatch.setattr(plan, "best_precision", lambda device: best)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=out, reporter=Listener(stop_after=1))


@pytest.mark.slow
def test_precision_is_settled_once_for_a_run_and_all_workers_obey(tiny, tiny_run, tmp_path, monkeypatch):
    recipe = tiny("precision=auto")
    begin(recipe, tmp_path, monkeypatch, "float32")
    assert load_state(tmp_path).state.precision == "float32"
    monkeypatch.undo()
    monkeypatch.setattr("learngene_hub.evolution.run.settle_precision", lambda *_: pytest.fail("asked again"))
    monkeypatch.setattr(plan, "best_precision", lambda device: "bfloat16")
    evolve(recipe, out=tmp_path, resume=True, engine=EngineOptions(workers=2))
    assert (tmp_path / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()


def test_a_worker_that_has_not_the_precision_of_the_run_is_refused(tiny, tmp_path, monkeypatch):
    recipe = tiny("precision=auto")
    begin(recipe, tmp_path, monkeypatch, "bfloat16")
    monkeypatch.setattr(plan, "best_precision", lambda device: "float32")
    with pytest.raises(
        EngineError, match=r"precision: the run was begun in bfloat16, which \S+ cannot compute natively"
    ):
        evolve(recipe, out=tmp_path, resume=True)


def command_line(log, *arguments):
    """What a process does that is made to be interrupted: the command, with what it says in a file."""
    os.setsid()  # as a terminal does: Ctrl-C goes to workers too
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which workers, made likewise, leave to this process
    os.environ["TERM"] = "xterm-256color"
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["learngene", *map(str, arguments)]
    main()


@pytest.fixture
def driver(tiny_file, tmp_path):
    """Begins an evolution by two workers, and gives its process, and a function that reads what it has said."""
    log = tmp_path / "log"

    def begin(*more):
        log.touch()
        arguments = ("evolve", tiny_file, "--out", tmp_path / "run", "--workers", "2", *more)
        return calling(command_line, log, *arguments), log.read_text

    return begin


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_driver_that_is_killed_and_the_run_resumes_to_the_same_bytes(
    driver, tiny, tiny_run, tmp_path
):
    process, said = driver()
    wait_for(lambda: "generation 1/3" in said(), process)
    handles = [os.pidfd_open(pid) for pid in descendants(process.pid)]
    process.kill()
    process.join()
    assert len(handles) >= 3  # two workers and what they are copies of
    for handle in handles:
        assert select.select([handle], [], [], 30)[0], "a worker outlived its driver"
        os.close(handle)
    evolve(tiny(), out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("when", ["workers start", "they work"])
def test_ctrl_c_ends_a_run_of_several_workers_in_one_message_and_a_file_gets_no_colours(driver, when):
    process, said = driver("evolution.generations=500")
    if when == "workers start":
        wait_for(lambda: any(map(descendants, descendants(process.pid))), process)  # the first copy of the fork server
    else:
        wait_for(lambda: "generation 1/500" in said(), process)
    for _ in range(3):  # on a busy machine one in 15 was lost, we do not know where; a user presses again
        os.killpg(process.pid, signal.SIGINT)
        process.join(40)
        if process.exitcode is not None:
            break
    assert process.exitcode == 130
    assert "\x1b" not in said()
    assert said().endswith(f"{INTERRUPTED}\n")
    assert "Traceback" not in said()
