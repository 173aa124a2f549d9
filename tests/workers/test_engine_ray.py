import importlib.util
import math
import os
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine_faults import WEIGHTS, Heard, LockedError, Raise, Room, put_faults, rows
from listener import Listener

from learngene_hub import evaluate
from learngene_hub.core.errors import EngineError
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evolution.run import evolve
from learngene_hub.workers import EngineOptions, make_engine, on_ray
from learngene_hub.workers.on_ray import import_ray

pytestmark = pytest.mark.slow


def test_without_ray_one_line_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r'the engine ray needs Ray: pip install "learngene-hub\[ray\]"'):
        evolve(tiny(), out=tmp_path, engine=EngineOptions("ray"))


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes on this machine, with a processor each."""
    import_ray(is_local=True)  # sets what Ray reads at import
    from ray.cluster_utils import Cluster

    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(parent) for parent in Path(__file__).parents[:3]])
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield made
    made.shutdown()
    os.environ.pop("PYTHONPATH")
    if path is not None:
        os.environ["PYTHONPATH"] = path


def on(cluster, workers):
    return EngineOptions("ray", workers, cluster.address)


@needs_ray
def test_images_of_a_lost_attempt_are_taken_back_and_a_fault_of_the_program_ends_all_with_its_traceback(
    cluster, tmp_path
):
    seen, heard, mark, notes = [], tmp_path / "heard", tmp_path / "mark", Listener()

    def step(images, doing):
        seen.append(images)
        heard.touch()

    engine = make_engine(on(cluster, 1), device="cpu", local_device=torch.device("cpu"), most=1)
    with engine.pool(Room(10), notes) as pool:
        assert dict(pool.run([Heard(heard)], step)) == {0: None}
        assert seen == [7, -7, 7]
        notes.warnings.clear()
        with pytest.raises(RuntimeError, match="LockedError: 10 is") as caught:
            list(pool.run([Raise(LockedError, mark)]))
    assert mark.read_text() == "tried\n"
    assert notes.warnings == []
    assert re.match(r"worker \d raised it:\nTraceback", caught.value.__notes__[0])


@pytest.mark.parametrize(
    ("workers", "gpus", "share"), [(4, 1, 0.25), (4, 3, 0.5), (2, 8, 1.0), (6, 1, 0.1666), (None, 2, 1.0)]
)
def test_actors_share_gpus_such_that_all_have_room(workers, gpus, share):
    ray = SimpleNamespace(cluster_resources=lambda: {"GPU": float(gpus), "CPU": 16.0})
    count = workers or gpus
    assert on_ray.RayEngine("auto", workers, 8, None)._resources(ray) == (count, share)
    assert math.ceil(count / gpus) * share <= 1


@needs_ray
def test_a_cluster_that_is_not_there_is_one_line(tiny, tmp_path):
    with pytest.raises(EngineError, match=r"no Ray cluster at 127\.0\.0\.1:1 \(.*refused\): expected HOST:PORT, as"):
        evolve(tiny(), out=tmp_path, engine=EngineOptions("ray", 1, "127.0.0.1:1"))


@needs_ray
def test_a_cluster_that_ray_refuses_is_one_line(tiny, tmp_path, cluster, monkeypatch):
    def refuse(**options):
        raise RuntimeError("Version mismatch:\n  the cluster has 2.0")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(EngineError, match=r"^Ray cannot be used at the address \S+: Version mismatch: the cluster"):
        evolve(tiny(), out=tmp_path, engine=on(cluster, 1))


@needs_ray
def test_a_process_that_uses_ray_goes_on_with_it_and_another_engine_gives_the_same_bytes(
    tiny, cluster, tiny_run, tmp_path, capfd
):
    import ray

    protocol = Protocol("quick", 1, ways=3, shots=4, queries=6, tasks=2, steps=2, measured_at=(0, 2), lr=0.05)
    judged = {"protocol": protocol, "seeds": (0,)}

    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
            evolve(tiny(), out=tmp_path / "run", engine=EngineOptions("ray", 1), reporter=Listener(stop_after=2))
        evaluate(tiny_run, **judged, out=tmp_path / "there", engine=EngineOptions("ray", 1))
        assert ray.is_initialized()
        with pytest.raises(EngineError, match=r"this process uses Ray already; leave the address out"):
            evolve(tiny(), out=tmp_path / "other", engine=on(cluster, 1))
    finally:
        ray.shutdown()
    evolve(tiny(), out=tmp_path / "run", resume=True)
    evaluate(tiny_run, **judged, out=tmp_path / "here")
    for one, other in (("run/" + WEIGHTS, tiny_run / WEIGHTS), ("there/results.json", tmp_path / "here/results.json")):
        assert (tmp_path / one).read_bytes() == other.read_bytes()
    assert [row["engine"]["name"] for row in rows(tmp_path / "run")] == ["ray", "ray", "local"]
    assert capfd.readouterr().out == ""


@needs_ray
def test_a_lost_node_and_an_actor_that_is_killed_cost_nothing_but_time(
    tiny, cluster, tiny_run, tmp_path, monkeypatch, capfd
):
    notes, (lost,) = Listener(), cluster.worker_nodes
    put_faults(monkeypatch, tmp_path, {1: "waits"}, node=lost.node_id)
    put_faults(monkeypatch, tmp_path, {2: "killed"})
    for name in ("begun", "never"):
        os.mkfifo(tmp_path / f"fault-1.{name}")

    def lose():
        (tmp_path / "fault-1.begun").read_text()
        cluster.remove_node(lost, allow_graceful=False)

    loser = threading.Thread(target=lose, daemon=True)
    loser.start()
    evolve(tiny(), out=tmp_path / "run", engine=on(cluster, 2), reporter=notes)
    loser.join(60)
    assert not loser.is_alive()
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
    told = "\n".join(notes.warnings)  # Ray may lose an actor of the other node once more before that begins
    assert re.search(r"was lost \(.*\): generation 2, individual \d goes to another", told)
    assert re.search(r"was lost \(The actor .*\): generation 3, individual 1 goes to another worker, attempt 2", told)
    first, second, third = [row["engine"]["retried"] for row in rows(tmp_path / "run")]
    assert first == 0
    assert min(second, third) >= 1
    assert capfd.readouterr().out == ""
