import json
import multiprocessing
import os
import queue
import re
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine_faults import (
    Add,
    Deadly,
    Faulty,
    Give,
    Heavy,
    LockedError,
    Notes,
    PickyError,
    Raise,
    Refuse,
    Room,
    put_faults,
)

from learngene_hub.backends import Choice
from learngene_hub.engine import EngineOptions, choice, make_engine, no_step, threads
from learngene_hub.engine import local as local_engine
from learngene_hub.engine.crew import Ended, Started, Team
from learngene_hub.engine.parcel import Parcel, unwrap, wrap
from learngene_hub.engine.task import Done, Lost
from learngene_hub.engine.worker import answer, read_answer
from learngene_hub.errors import EngineError, SelectionError
from learngene_hub.evolution import pace, shard
from learngene_hub.evolution.run import evolve
from learngene_hub.evolution.shard import cut, manner
from learngene_hub.progress import SilentReporter

WEIGHTS = "gene/learngene.safetensors"
CPU = torch.device("cpu")


def crew_of(workers, notes=None, timeout=60.0, most=8):
    options = EngineOptions(workers=workers, timeout=timeout)
    return make_engine(options, device="cpu", place=CPU, most=most).crew(Room(10), notes or SilentReporter())


def rows(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def loop_run(tiny_file, tmp_path_factory):
    """The folder of a tiny evolution in this process, one shard an individual."""
    from learngene_hub.recipe import Recipe

    out = tmp_path_factory.mktemp("runs") / "loop"
    evolve(Recipe.from_file(tiny_file, LOOP), out=out)
    return out


LOOP = ("backend=loop", "evolution.recombination=average")


def test_where_processes_cannot_be_forked_they_are_spawned_and_give_the_same_bytes(
    tiny, loop_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(local_engine, "get_all_start_methods", lambda: ["spawn"])
    evolve(tiny(*LOOP), out=tmp_path, engine=EngineOptions(workers=2))
    assert (tmp_path / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes()


def test_four_processes_give_the_bytes_of_one_and_say_what_each_did(tiny, loop_run, tmp_path):
    evolve(tiny(*LOOP), out=tmp_path, engine=EngineOptions(workers=4))
    assert (tmp_path / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes()
    for row, alone in zip(rows(tmp_path), rows(loop_run), strict=True):
        assert row["individuals"] == alone["individuals"]
        assert (row["engine"]["name"], row["engine"]["workers"], row["engine"]["retried"]) == ("local", 4, 0)
        tasks = 4 + (row["recombinant"] is not None)
        assert sum(one["shards"] for one in row["engine"]["each"]) == tasks
        assert all(0 <= one["idle"] <= 1 for one in row["engine"]["each"])
    assert json.loads((tmp_path / "gene/config.json").read_text())["origin"]["cost"]["device"] == "4 x CPU"


def test_workers_that_will_have_no_work_are_told_of(tiny, tmp_path):
    notes = Notes()
    recipe = tiny("backend=grouped", "evolution.generations=1")
    evolve(recipe, out=tmp_path, engine=EngineOptions(workers=2), reporter=notes)
    assert notes.warnings[0].startswith("1 of 2 workers will have work: the back end grouped makes 1 shard of a gen")


def test_groups_give_the_same_bytes_in_two_processes(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("learngene_hub.evolution.shard.TOGETHER", 2)
    for workers in (1, 2):
        evolve(tiny("backend=grouped"), out=tmp_path / str(workers), engine=EngineOptions(workers=workers))
    assert (tmp_path / "1" / WEIGHTS).read_bytes() == (tmp_path / "2" / WEIGHTS).read_bytes()


def test_workers_that_are_killed_hang_and_run_out_of_memory_cost_nothing_but_time(
    tiny, loop_run, tmp_path, monkeypatch
):
    notes = Notes()
    put_faults(monkeypatch, tmp_path, {0: "killed", 1: "hangs", 2: "memory"})
    evolve(tiny(*LOOP), out=tmp_path / "run", engine=EngineOptions(workers=2, timeout=10), reporter=notes)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes()
    killed, hung, memory = notes.warnings
    goes = r": generation {} individual 1 goes to another worker, attempt 2"
    assert re.fullmatch(r"worker \d \(process \d+\) was killed by SIGKILL" + goes.format("1,"), killed)
    assert re.fullmatch(r"worker \d \(process \d+\) hung: no step for 10 s" + goes.format("2,"), hung)
    assert re.fullmatch(r"worker \d \(process \d+\) out of memory \(.*can't allocate.*\)" + goes.format("3,"), memory)
    assert [row["engine"]["retried"] for row in rows(tmp_path / "run")] == [1, 1, 1]


def test_a_task_that_nobody_survives_is_given_up_after_three_attempts():
    with crew_of(2) as crew, pytest.raises(EngineError, match=r"the deadly task: given up after 3 attempts: .*SIGKILL"):
        list(crew.run([Deadly()]))


def test_an_error_of_ours_is_raised_here_as_it_was_there():
    with crew_of(2) as crew, pytest.raises(SelectionError, match="10 is not enough"):
        list(crew.run([Refuse()]))


@pytest.mark.parametrize(
    ("error", "as_type", "says"),
    [
        (TypeError, TypeError, "^10"),
        (LockedError, RuntimeError, "^LockedError: 10 is locked"),
        (PickyError, RuntimeError, "^PickyError: 10 is not to be read"),
    ],
)
def test_a_fault_of_the_program_ends_the_run_at_once_with_its_traceback(tmp_path, error, as_type, says):
    mark, notes = tmp_path / "mark", Notes()
    with crew_of(2, notes) as crew, pytest.raises(as_type, match=says) as caught:
        list(crew.run([Raise(error, mark)]))
    assert mark.read_text() == "tried\n"
    assert notes.warnings == []
    (note,) = caught.value.__notes__
    assert re.match(r"worker 1 \(process \d+\) raised it:\nTraceback", note)
    assert "in __call__" in note


def test_a_result_that_cannot_be_sent_is_an_error_at_once():
    with crew_of(2) as crew, pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        list(crew.run([Give()]))


def test_what_a_machine_may_have_done_is_tried_elsewhere():
    full, broken = OSError(28, "No space left"), torch.AcceleratorError("CUDA error: an illegal access\nmore")
    library = RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    for error, why in [(full, "OSError: .*No space left"), (broken, "illegal access"), (library, "cuDNN error")]:
        lost = read_answer(answer(wrap(partial(fail, error)), None, no_step))
        assert isinstance(lost, Lost)
        assert re.fullmatch(rf"failed \(.*{why}.*\)", lost.why)


def fail(error, scene, step):
    raise error


def test_a_worker_that_sends_rubbish_is_lost_and_keeps_nobody_waiting():
    ours, theirs = multiprocessing.Pipe()
    heard = queue.SimpleQueue()
    theirs.send_bytes(b"rubbish")
    local_engine._listen(local_engine._Member(None, ours), 1, heard)
    _, ended = heard.get_nowait()
    assert re.match(r"sent what cannot be read \(UnpicklingError: ", ended.outcome.why)


def test_an_answer_that_cannot_be_read_is_a_loss():
    assert read_answer(Parcel(b"rubbish", [])).why.startswith("sent what cannot be read (UnpicklingError: ")


def test_images_of_a_lost_attempt_are_taken_back(tmp_path):
    seen = []
    with crew_of(2) as crew:
        tasks = [Add(5), Faulty(Add(7), tmp_path / "mark", "killed")]
        found = dict(crew.run(tasks, lambda images, doing: seen.append(images)))
    assert found == {0: 15, 1: 17}
    assert sum(seen) == 12


def test_workers_are_started_only_as_there_is_work_for_them():
    with crew_of(8) as crew:
        list(crew.run([Add(1)]))
        assert crew.record()["workers"] == 1
        list(crew.run([Add(1), Add(2), Add(3)]))
        assert 1 <= crew.record()["workers"] <= 3


def test_a_worker_that_cannot_be_started_is_an_error_with_a_way_out(monkeypatch):
    monkeypatch.setattr(local_engine, "_serve", os._exit)  # which takes no such arguments
    with (
        crew_of(2) as crew,
        pytest.raises(EngineError, match=r"no worker can be started, .* it ended with exit code 1; see what it wrote"),
    ):
        list(crew.run([Add(1)]))


class Two:
    """Two workers in this process, of different kinds."""

    name, most, advice = "fake", 2, "mend it"

    def __init__(self):
        self.happened = []

    def start(self, worker):
        self.happened.append(Started(worker, f"worker {worker}", "CPU", f"CPU of kind {worker}"))

    def give(self, worker, task):
        self.happened.append(Ended(worker, Done(task(Room(10), no_step))))

    def stop(self, worker):
        pass

    def events(self, timeout):
        happened, self.happened = self.happened, []
        return iter(happened)


class OneOfTwo(Two):
    """The second of which cannot be started."""

    def start(self, worker):
        if worker == 1:
            super().start(worker)
        else:
            self.happened.append(Ended(worker, Lost("ended with exit code 1")))


def test_workers_of_different_kinds_are_warned_of():
    notes = Notes()
    assert dict(Team(Two(), notes, 60.0).run([Add(1), Add(2)])) == {0: 11, 1: 12}
    (warning,) = notes.warnings
    assert warning.startswith("worker 2 computes on CPU of kind 2, others on CPU of kind 1: the same recipe may give")


def test_a_worker_that_cannot_be_started_leaves_the_work_to_the_others():
    notes = Notes()
    team = Team(OneOfTwo(), notes, 60.0)
    assert dict(team.run([Add(number) for number in range(9)])) == {number: 10 + number for number in range(9)}
    assert [one for one in notes.warnings if "no more workers are started, since 3 in a row failed" in one]


def test_a_worker_that_is_stopped_without_a_task_keeps_nobody_from_the_clock():
    notes = Notes()
    with crew_of(2, notes, timeout=5.0) as crew:
        list(crew.run([Add(1)]))
        os.kill(crew._workers._members[1].process.pid, signal.SIGSTOP)
        assert list(crew.run([Heavy("x" * 10**6)])) == [(0, 10**6)]
    assert [one for one in notes.warnings if "hung: no step for 5 s" in one]


def test_automatic_workers_are_as_many_as_threads_and_work(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    engine = make_engine(EngineOptions(workers=None), device="cpu", place=CPU, most=4)
    assert engine.most == 4
    assert make_engine(EngineOptions(workers=None), device="cpu", place=CPU, most=99).most == 6
    alone = make_engine(EngineOptions(workers=None), device="cpu", place=CPU, most=1)
    assert type(alone).__name__ == "Alone"


def test_a_process_that_may_have_no_children_does_all_itself(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(choice, "current_process", lambda: SimpleNamespace(daemon=True))
    assert type(make_engine(EngineOptions(), device="cpu", place=CPU, most=4)).__name__ == "Alone"


SCRIPT = """\
import sys, torch
from learngene_hub import Recipe, evolve

print("run as", __name__)
torch.set_num_threads(2)
evolve(Recipe.from_file(sys.argv[1], sys.argv[3:]), out=sys.argv[2])
"""


def test_a_plain_script_has_all_cores_and_is_not_run_again_by_workers(tiny_file, loop_run, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tiny_file), str(tmp_path / "run"), *LOOP]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "run as __main__\n"), done.stderr
    assert [row["engine"]["workers"] for row in rows(tmp_path / "run")] == [2] * 3
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "slurm"}, "engine 'slurm': expected local or ray"),
        ({"workers": 0}, "workers=0: expected 1 or more"),
        ({"timeout": 0}, "timeout=0: expected seconds, more than 0"),
        ({"address": "head:6379"}, "address head:6379: only the engine ray has one; add --engine ray"),
    ],
)
def test_options_that_cannot_be_met_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        EngineOptions(**options)


def test_a_parcel_holds_each_tensor_once_and_keeps_what_refers_to_it():
    weight = torch.arange(6.0).view(2, 3)
    parcel = wrap({"a": weight, "b": [weight, torch.tensor(3)]})
    assert len(parcel.tensors) == 2
    again = unwrap(parcel)
    assert torch.equal(again["a"], weight)
    assert again["a"] is again["b"][0]
    again["a"].zero_()
    assert weight.sum() == 15


def test_threads_are_shared_out_among_shards_whatever_the_number_of_workers(tiny):
    backends = {"ancestry": "loop", "critics": "loop"}
    recipe = tiny("evolution.population=4", "evolution.founder_generations=1")
    shares = [manner(backends, "float32", recipe, now, count=8).threads for now in (0, 1)]
    assert shares == [{"ancestry": 8, "critics": 2}, {"ancestry": 2, "critics": 2}]
    assert manner(backends, "float32", recipe, 1, count=1).threads == {"ancestry": 1, "critics": 1}


def test_shards_follow_from_the_back_end_alone(tiny):
    recipe = tiny("evolution.population=40")
    for backend, sizes in (("loop", [1] * 40), ("grouped", [16, 16, 8])):
        how = manner({"ancestry": backend, "critics": "loop"}, "float32", recipe, 0, count=4)
        assert [len(shard.numbers) for shard in cut([None] * 40, 0, how)] == sizes


def test_back_ends_are_timed_with_the_threads_of_a_shard(tiny, tmp_path, monkeypatch):
    asked = []

    def choose(example, count, training, **given):
        asked.append(given["threads_of"])
        return Choice("grouped")

    monkeypatch.setattr(pace, "choose", choose)
    with threads(8):
        evolve(tiny("evolution.generations=1"), out=tmp_path, engine=EngineOptions(workers=1))
    assert asked == [{"loop": 2, "grouped": 8}, {"loop": 8, "grouped": 8}]  # of 4 individuals


@contextmanager
def noted(log, device):
    log.append(f"on {device}")
    yield
    log.append(f"off {device}")


class Closing:
    """A driver's pipe with one task in it."""

    def __init__(self, log):
        self.log, self.tasks = log, [wrap(Add(5))]

    def recv(self):
        if not self.tasks:
            raise EOFError
        return self.tasks.pop()

    def send(self, message):
        self.log.append(type(message).__name__)


def test_a_worker_is_at_work_on_its_own_gpu_from_its_images_to_its_end(monkeypatch):
    log = []
    monkeypatch.setattr(torch.cuda, "device", partial(noted, log))
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    local_engine._serve(Closing(log), 2, wrap(Room(10)), "cuda:1")
    assert log == ["on cuda:1", "Started", "Stepped", "Stepped", "Parcel", "off cuda:1"]


def test_this_process_is_at_work_on_the_gpu_that_was_named(monkeypatch):
    log, place = [], torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device", partial(noted, log))
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    engine = make_engine(EngineOptions(workers=1), device="cuda:1", place=place, most=1)
    with engine.crew(Room(10), SilentReporter()) as crew:
        assert list(crew.run([Add(5)], lambda images, doing: log.append("step"))) == [(0, 15)]
    assert log == ["on cuda:1", "step", "off cuda:1"]


class StopAfterOne(SilentReporter):
    def line(self, text):
        raise KeyboardInterrupt("stopped by the test")


def begin(recipe, out, monkeypatch, precision):
    """One generation of a run on a machine where `precision` is best."""
    monkeypatch.setattr(pace, "best_precision", lambda device: precision)
    monkeypatch.setattr(shard, "best_precision", lambda device: precision)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=out, reporter=StopAfterOne())


@pytest.mark.parametrize("workers", [1, 2])
def test_precision_is_settled_once_for_a_run_and_all_workers_obey(tiny, loop_run, tmp_path, monkeypatch, workers):
    recipe = tiny(*LOOP, "precision=auto")
    begin(recipe, tmp_path, monkeypatch, "float32")
    assert json.loads((tmp_path / "state/state.json").read_text())["precision"] == "float32"
    monkeypatch.undo()
    monkeypatch.setattr(pace, "best_precision", lambda device: pytest.fail("asked again"))
    monkeypatch.setattr(shard, "best_precision", lambda device: "bfloat16")
    evolve(recipe, out=tmp_path, resume=True, engine=EngineOptions(workers=workers))
    assert (tmp_path / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes()


def test_a_worker_that_has_not_the_precision_of_the_run_is_refused(tiny, tmp_path, monkeypatch):
    recipe = tiny(*LOOP, "precision=auto")
    begin(recipe, tmp_path, monkeypatch, "bfloat16")
    monkeypatch.setattr(shard, "best_precision", lambda device: "float32")
    with pytest.raises(
        EngineError, match=r"precision: the run was begun in bfloat16, so workers need it, but \S+ comp"
    ):
        evolve(recipe, out=tmp_path, resume=True)


def test_a_run_from_before_precision_was_kept_settles_it_when_resumed(tiny, loop_run, tmp_path, monkeypatch):
    recipe, state = tiny(*LOOP, "precision=auto"), tmp_path / "state/state.json"
    begin(recipe, tmp_path, monkeypatch, "float32")
    old = json.loads(state.read_text())
    del old["precision"]
    state.write_text(json.dumps(old))
    evolve(recipe, out=tmp_path, resume=True)
    assert json.loads(state.read_text())["precision"] == "float32"
    assert (tmp_path / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes()


def start(recipe, out, *more):
    command = [sys.executable, "-m", "learngene_hub", "evolve", str(recipe), *LOOP, "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in children for one in (int(child), *descendants(int(child)))]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_driver_that_is_killed_and_the_run_resumes_to_the_same_bytes(tiny_file, loop_run, tmp_path):
    driver = start(tiny_file, tmp_path, "--workers", "2")
    with driver.stderr:
        assert any("generation 1/3" in line for line in iter(driver.stderr.readline, ""))
        handles = [os.pidfd_open(pid) for pid in descendants(driver.pid)]
        driver.kill()
        driver.wait()
    assert len(handles) >= 3  # two workers and what they are copies of
    for handle in handles:
        assert select.select([handle], [], [], 30)[0], "a worker outlived its driver"
        os.close(handle)
    _, errors = start(tiny_file, tmp_path, "--resume").communicate(timeout=240)
    assert (tmp_path / WEIGHTS).read_bytes() == (loop_run / WEIGHTS).read_bytes(), errors


def test_ctrl_c_ends_a_run_of_several_workers_in_one_message(tiny_file, tmp_path):
    driver = start(tiny_file, tmp_path, "--workers", "2", "evolution.generations=500")
    with driver.stderr:
        assert any("generation 1/500" in line for line in iter(driver.stderr.readline, ""))
        driver.send_signal(signal.SIGINT)
        errors = driver.stderr.read()
    assert driver.wait(timeout=240) == 130
    assert "go on with the same command and --resume" in " ".join(errors.split())
    assert "Traceback" not in errors
