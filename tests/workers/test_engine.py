"""Pools of workers, in this process and in others: tasks in, results out, whatever becomes of a worker."""

import os
import pickle
import re
import signal
import sys
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from engine_faults import (
    Add,
    After,
    Become,
    Deadly,
    Echo,
    Give,
    Heard,
    Hungry,
    LockedError,
    PickyError,
    Place,
    Raise,
    Refuse,
    Room,
    Sleep,
    Where,
    descendants,
    end_at_once,
)
from listener import Listener

from learngene_hub.core.device import processor_name
from learngene_hub.core.errors import EngineError, SelectionError
from learngene_hub.core.progress import SilentReporter
from learngene_hub.evolution.plan import plan_generation
from learngene_hub.workers import EngineOptions, choice, make_engine
from learngene_hub.workers import local as local_engine
from learngene_hub.workers.worker import LARGE, Worker, pack, unpack

CPU = torch.device("cpu")


def pool_of(workers, notes=None, shared=None):
    engine = make_engine(EngineOptions(workers=workers), device="cpu", local_device=CPU, most=8)
    return engine.pool(shared or Room(10), notes or SilentReporter())


@pytest.mark.slow
def test_a_task_that_nobody_survives_is_given_up_after_three_attempts():
    with pool_of(2) as pool, pytest.raises(EngineError, match=r"the deadly task: given up after 3 attempts: .*SIGKILL"):
        list(pool.run([Deadly()]))


def test_an_error_of_ours_is_raised_here_as_it_was_there():
    with pool_of(2) as pool, pytest.raises(SelectionError, match="10 is not enough"):
        list(pool.run([Refuse()]))


@pytest.mark.parametrize(
    ("error", "as_type", "says"),
    [
        (TypeError, TypeError, "^10"),
        (LockedError, RuntimeError, "^LockedError: 10 is locked"),
        (PickyError, RuntimeError, "^PickyError: 10 is not to be read"),
    ],
)
def test_a_fault_of_the_program_ends_the_run_at_once_with_its_traceback(tmp_path, error, as_type, says):
    mark, notes = tmp_path / "mark", Listener()
    with pool_of(2, notes) as pool, pytest.raises(as_type, match=says) as caught:
        list(pool.run([Raise(error, mark)]))
    assert mark.read_text() == "tried\n"
    assert notes.warnings == []
    (note,) = caught.value.__notes__
    assert note.startswith("worker 1 raised it:\nTraceback")
    assert "in __call__" in note


def test_a_result_that_cannot_be_sent_is_an_error_at_once():
    with pool_of(2) as pool, pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        list(pool.run([Give()]))


def test_images_of_a_lost_attempt_are_taken_back(tmp_path):
    seen, heard = [], tmp_path / "heard"

    def step(images, doing):
        seen.append(images)
        heard.touch()

    with pool_of(2) as pool:
        assert dict(pool.run([Heard(heard)], step)) == {0: None}
    assert seen == [7, -7, 7]


def test_more_than_a_pipe_holds_goes_there_and_back():
    load = "x" * 10**6
    with pool_of(2) as pool:
        assert list(pool.run([Echo(load)])) == [(0, load)]


def test_workers_are_started_only_as_there_is_work_for_them():
    with pool_of(8) as pool:
        list(pool.run([Add(1)]))
        assert pool.record()["workers"] == 1
        list(pool.run([Add(1), Add(2), Add(3)]))
        assert 1 <= pool.record()["workers"] <= 3


@pytest.mark.slow
def test_out_of_memory_is_said_as_such_when_a_task_is_given_up():
    says = r"the hungry task: given up .*worker 1 ran out of memory \(can't allocate.*give the workers more memory"
    with pool_of(2) as pool, pytest.raises(EngineError, match=says):
        list(pool.run([Hungry()]))


def test_a_worker_that_was_killed_between_two_tasks_is_replaced():
    notes = Listener()
    with pool_of(2, notes, Place()) as pool:
        ((_, (process, _)),) = pool.run([Where()])
        os.kill(process, signal.SIGKILL)
        ((_, (other, _)),) = pool.run([Where()])
    assert other != process
    assert notes.warnings == ["worker 1 was killed by SIGKILL: the question where goes to another worker, attempt 2"]


def test_workers_that_end_while_they_start_are_an_error(monkeypatch):
    monkeypatch.setattr(local_engine, "_begin", end_at_once)
    says = r"the sum: given up after 3 attempts: worker 1 ended with exit code 3; .*remove the cause"
    with pool_of(2) as pool, pytest.raises(EngineError, match=says):
        list(pool.run([Add(1)]))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_worker_outlives_a_run_that_failed(tmp_path):
    begun = tmp_path / "begun"
    with pool_of(2) as pool, pytest.raises(SelectionError, match="10 is not enough"):
        list(pool.run([Sleep(begun), After(Refuse(), begun)]))
    assert int(begun.read_text()) not in descendants(os.getpid())


def test_workers_of_different_kinds_are_warned_of():
    notes = Listener()
    with pool_of(2, notes) as pool:
        list(pool.run([Become("a kind"), Become("another")]))
    (warning,) = notes.warnings
    kinds = r"(a kind, others on another|another, others on a kind)"
    assert re.match(
        rf"worker \d computes on {kinds}: these round differently, so the same recipe may give another gene", warning
    )


def test_workers_share_the_devices_in_turn():
    devices = [torch.device("cpu"), torch.device("meta")]
    with local_engine.Processes(devices, 4).pool(Place(), SilentReporter()) as pool:
        places = [place for _, (_, place) in pool.run([Where()] * 4)]
    assert sorted(places) == ["cpu", "cpu", "meta", "meta"]


def test_a_worker_is_at_work_on_its_own_gpu(monkeypatch):
    log = []
    monkeypatch.setattr(torch.cuda, "device", partial(noted, log))
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    done = pickle.loads(Worker(pack(Room(10)), "cuda:1").do(pickle.dumps(Add(5))))
    assert (done.value, done.chip) == (15, "cuda:1")
    assert log == ["on cuda:1", "off cuda:1"]


def test_images_that_do_not_fit_into_shared_memory_are_an_error_in_one_line(monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to resize file: No space left on device (28)\nmore")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    says = r"^4 MB of images do not fit into shared memory \(unable to resize file: No space .*\); .*use --workers 1$"
    with pytest.raises(EngineError, match=says), pool_of(2, shared=[torch.zeros(LARGE, dtype=torch.uint8)]):
        pass


def test_large_tensors_are_shared_and_the_others_are_copied():
    small, large = torch.arange(3), torch.zeros(LARGE, dtype=torch.uint8)
    payload = pack({"small": small, "large": [large, large]})
    assert [one is large for one in payload.tensors] == [True]
    again = unpack(payload)
    assert torch.equal(again["small"], small)
    assert again["small"].data_ptr() != small.data_ptr()
    assert [one.data_ptr() for one in again["large"]] == 2 * [large.data_ptr()]


def test_automatic_workers_are_as_many_as_threads_and_work(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    engine = make_engine(EngineOptions(workers=None), device="cpu", local_device=CPU, most=4)
    assert engine.count == 4
    assert make_engine(EngineOptions(workers=None), device="cpu", local_device=CPU, most=99).count == 6
    alone = make_engine(EngineOptions(workers=None), device="cpu", local_device=CPU, most=1)
    assert type(alone).__name__ == "Alone"


def test_a_process_that_may_have_no_children_does_all_itself(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(choice, "current_process", lambda: SimpleNamespace(daemon=True))
    assert type(make_engine(EngineOptions(), device="cpu", local_device=CPU, most=4)).__name__ == "Alone"
    with pytest.raises(EngineError, match="workers: expected 1, found 2: this is a daemonic process"):
        make_engine(EngineOptions(workers=2), device="cpu", local_device=CPU, most=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "slurm"}, "engine 'slurm': expected local or ray"),
        ({"workers": 0}, "workers=0: expected 1 or more"),
        ({"address": "head:6379"}, "address head:6379: only the ray engine has an address; add --engine ray"),
    ],
)
def test_options_that_cannot_be_met_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        EngineOptions(**options)


def test_threads_are_shared_out_among_individuals_whatever_the_number_of_workers(tiny):
    recipe = tiny("evolution.population=4", "evolution.founder_generations=1")
    plans = [plan_generation(recipe, now, precision="float32", threads=8) for now in (0, 1)]
    assert [(plan.ancestry.threads, plan.critics.threads) for plan in plans] == [(8, 2), (2, 2)]
    alone = plan_generation(recipe, 1, precision="float32", threads=1)
    assert (alone.ancestry.threads, alone.critics.threads) == (1, 1)


@contextmanager
def noted(log, device):
    log.append(f"on {device}")
    yield
    log.append(f"off {device}")


def test_this_process_is_at_work_on_the_gpu_that_was_named(monkeypatch):
    log, device = [], torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device", partial(noted, log))
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    engine = make_engine(EngineOptions(workers=1), device="cuda:1", local_device=device, most=1)
    with engine.pool(Room(10), SilentReporter()) as pool:
        assert list(pool.run([Add(5)], lambda images, doing: log.append("step"))) == [(0, 15)]
    assert log == ["on cuda:1", "step", "off cuda:1"]


def test_a_processor_is_called_what_it_calls_itself(monkeypatch, tmp_path):
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr("learngene_hub.core.device.CPUINFO", told)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert processor_name() == "arm64"  # there is no such file
    told.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert processor_name() == "arm64"
    told.write_text("vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14 \nmodel name\t: another\n")
    assert processor_name() == "AMD EPYC 9R14"
