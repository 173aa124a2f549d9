"""Crews of workers, in this process and in others: tasks in, outcomes out, whatever becomes of a worker."""

import multiprocessing
import os
import queue
import re
import signal
from contextlib import contextmanager
from functools import partial
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
)
from learngene_hub.evolution.shard import cut, manner

from learngene_hub.engine import EngineOptions, choice, make_engine, no_step, processor_name
from learngene_hub.engine import local as local_engine
from learngene_hub.engine.crew import Ended, Started, Team
from learngene_hub.engine.parcel import Parcel, unwrap, wrap
from learngene_hub.engine.task import Done, Lost
from learngene_hub.engine.worker import answer, read_answer
from learngene_hub.errors import EngineError, SelectionError
from learngene_hub.progress import SilentReporter

CPU = torch.device("cpu")


def crew_of(workers, notes=None, timeout=60.0, most=8):
    options = EngineOptions(workers=workers, timeout=timeout)
    return make_engine(options, device="cpu", place=CPU, most=most).crew(Room(10), notes or SilentReporter())


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


def test_what_a_machine_may_have_done_is_tried_elsewhere_and_its_traceback_is_written(capfd):
    full, broken = OSError(28, "No space left"), torch.AcceleratorError("CUDA error: an illegal access\nmore")
    library = RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    for error, why in [(full, "OSError: .*No space left"), (broken, "illegal access"), (library, "cuDNN error")]:
        lost = read_answer(answer(wrap(partial(fail, error)), None, no_step))
        assert isinstance(lost, Lost)
        assert re.fullmatch(rf"failed \(.*{why}.*\)", lost.why)
        assert re.search(rf"in fail\n.*raise error\n(.*\n)*.*{why}", capfd.readouterr().err)


def fail(error, scene, step):
    raise error


def test_a_worker_that_sends_rubbish_is_lost_and_keeps_nobody_waiting():
    ours, theirs = multiprocessing.Pipe()
    heard = queue.SimpleQueue()
    theirs.send_bytes(b"rubbish")
    sentinel, _open = multiprocessing.Pipe()  # of a process that goes on
    local_engine._listen(local_engine._Member(SimpleNamespace(sentinel=sentinel), ours), 1, heard)
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
    with pytest.raises(EngineError, match="workers: expected 1, found 2: this process is a daemonic one"):
        make_engine(EngineOptions(workers=2), device="cpu", place=CPU, most=4)


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


def test_a_processor_is_called_what_it_calls_itself(monkeypatch, tmp_path):
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr("learngene_hub.engine.place.CPUINFO", told)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert processor_name() == "arm64"  # there is no such file
    told.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert processor_name() == "arm64"
    told.write_text("vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14 \nmodel name\t: another\n")
    assert processor_name() == "AMD EPYC 9R14"
