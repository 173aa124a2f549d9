"""Which way to train is chosen by the clock, once, and an evolution keeps to it."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
from populations import tensors, trainees, training

from learngene_hub.backends import Choice, choose, memory
from learngene_hub.backends import choice as choosing
from learngene_hub.birth import placed
from learngene_hub.data import cache_folder
from learngene_hub.evolution import ancestry
from learngene_hub.evolution.checkpoint import load_state
from learngene_hub.evolution.run import evolve
from learngene_hub.progress import SilentReporter

WEIGHTS = "gene/learngene.safetensors"


def test_networks_that_do_not_fit_beside_another_are_trained_by_the_loop_and_nothing_is_timed(monkeypatch):
    monkeypatch.setitem(memory.BUDGETS, "cpu", 1)
    monkeypatch.setattr(choosing, "_timed", never)
    assert choice(trainees(count=1)[0]) == Choice("loop")


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))


def never(*args, **kwargs):
    pytest.fail("timed or warned")


def choice(example, warn=never, job=None, count=3):
    return choose(example, count, job or training(), image_size=32, threads_of=ALONE, warn=warn)


ALONE = {"loop": 1, "grouped": 1}


def test_the_choice_is_timed_once_and_then_read(fresh_cache, monkeypatch):
    example = trainees(count=1, dtype=torch.float32)[0]
    chosen = choice(example)
    assert set(chosen.milliseconds) == {"loop", "grouped"}
    assert min(chosen.milliseconds.values()) > 0
    monkeypatch.setattr(choosing, "_timed", never)
    assert choice(trainees(count=1, dtype=torch.float32)[0]) == chosen
    assert len(list((cache_folder() / "backends").glob("*.json"))) == 1


def test_the_faster_back_end_is_chosen(fresh_cache, monkeypatch):
    example = trainees(count=1)[0]
    for count, fast in enumerate(["loop", "grouped"], start=2):
        monkeypatch.setattr(choosing, "_milliseconds", lambda one, *args, fast=fast: 1.0 if one == fast else 2.0)
        assert choice(example, count=count).backend == fast


def single():
    return trainees(count=1, dtype=torch.float32)[0]


def test_each_back_end_is_timed_with_its_threads_and_every_step_is_told_of(fresh_cache):
    seen = []
    example = replace(single(), on_step=lambda images: seen.append((torch.get_num_threads(), images)))
    before = torch.get_num_threads()
    choose(example, 2, training(), image_size=32, threads_of={"loop": 1, "grouped": 2}, warn=never)
    steps = 2 * choosing.TRIALS * (1 + choosing.TIMED_STEPS)
    batch = training().optimisation.batch_size
    assert Counter(seen) == {(1, batch): steps, (2, batch): steps}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("threads", "turns"), [(4, 1), (2, 2), (1, 3)])
def test_on_a_cpu_networks_of_the_loop_are_trained_beside_each_other_as_far_as_threads_go(monkeypatch, threads, turns):
    ticks = itertools.count()
    monkeypatch.setattr(choosing, "_now", lambda *args: next(ticks))
    job = choosing._Job(single(), 3, 3, 1, training(), 32, {"loop": 1, "grouped": threads})
    a_step_of_one = 1000.0
    assert choosing._milliseconds("grouped", job) == 3 * a_step_of_one
    assert choosing._milliseconds("loop", job) == turns * a_step_of_one


@pytest.mark.parametrize(
    ("total", "workers", "loop", "grouped"), [(8, 1, 8, 1), (8, 8, 1, 1), (64, 8, 8, 2), (64, 2, 32, 4), (20, 8, 3, 2)]
)
def test_on_gpus_a_worker_trains_its_networks_or_groups_one_after_the_other(total, workers, loop, grouped):
    threads = {"loop": 2, "grouped": 16}
    assert choosing._Job(single(), 8, total, workers, training(), 32, threads).turns("loop") == 1
    elsewhere = replace(single(), network=single().network.to("meta"))
    job = choosing._Job(elsewhere, 8, total, workers, training(), 32, threads)
    assert (job.turns("loop"), job.turns("grouped")) == (loop, grouped)


def test_another_process_that_times_is_waited_for_with_signs_of_life_and_not_for_ever(fresh_cache, monkeypatch):
    monkeypatch.setattr(choosing, "PATIENCE", 0.3)
    monkeypatch.setattr(choosing, "LOOK", 0.1)
    monkeypatch.setattr(choosing, "_timed", never)
    told, warnings, folder = [], [], cache_folder() / "backends"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert choice(replace(trainees(count=1)[0], on_step=told.append), warn=warnings.append) == Choice("loop")
    assert set(told) == {0}
    assert warnings[0].startswith("Networks are trained one after another: for 0.3 s another process has been timing")
    assert not list(folder.glob("*.json"))


def test_grouped_must_be_faster_by_a_tenth(fresh_cache, monkeypatch):
    monkeypatch.setattr(choosing, "_milliseconds", lambda one, *args: {"loop": 1.0, "grouped": 0.95}[one])
    assert choice(trainees(count=1)[0]).backend == "loop"


def test_networks_that_do_not_fit_side_by_side_are_trained_by_the_loop(fresh_cache, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    said = []
    monkeypatch.setattr(choosing, "_milliseconds", full)
    assert choice(trainees(count=1)[0], warn=said.append) == Choice("loop")
    assert "3 at once need more memory than there is" in said[0]


@pytest.mark.parametrize("error", [RuntimeError, torch.AcceleratorError])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_gpu_cannot_do_side_by_side_it_does_one_after_another(fresh_cache, monkeypatch, gpu, device, error):
    def odd(*_):
        raise error("no engine for this shape\nat a place in C++")

    said = []
    monkeypatch.setattr(choosing, "_milliseconds", odd)
    monkeypatch.setattr(choosing, "networks_at_once", lambda example, *_: 3)
    example = trainees(count=1, dtype=torch.float32)[0]
    with gpu():
        placed(example.network, torch.device(device))
        if (device, error) == ("cuda", RuntimeError):
            assert choice(example, warn=said.append) == Choice("loop")
            assert said == [
                "Networks are trained one after another: both ways could not be timed (no engine for this shape)"
            ]
        else:
            with pytest.raises(error, match="no engine"):
                choice(example, warn=said.append)


def test_another_batch_size_is_another_choice(fresh_cache, monkeypatch):
    example, asked = trainees(count=1)[0], []
    monkeypatch.setattr(choosing, "_milliseconds", lambda *args: asked.append(args) or 1.0)
    for job in (training(), training(batch_size=8), training(), training(steps=9)):
        choice(example, job=job)
    assert len(asked) == 2 * 2 * choosing.TRIALS


def test_choosing_touches_no_weight(fresh_cache):
    example, twin = trainees(count=1, dtype=torch.float32)[0], trainees(count=1, dtype=torch.float32)[0]
    choice(example)
    torch.testing.assert_close(tensors(example), tensors(twin), rtol=0, atol=0)


def test_a_lone_network_is_trained_by_the_loop_and_nothing_is_timed(fresh_cache, monkeypatch):
    monkeypatch.setattr(choosing, "_timed", never)
    assert choice(trainees(count=1)[0], count=1) == Choice("loop")


def test_a_damaged_choice_is_made_anew(fresh_cache):
    example = trainees(count=1, dtype=torch.float32)[0]
    choice(example)
    file = next((cache_folder() / "backends").glob("*.json"))
    file.write_text('{"backend": "vmap"}')
    assert json.loads(file.read_text())["backend"] != choice(example).backend
    assert "milliseconds" in json.loads(file.read_text())


def test_a_choice_that_cannot_be_kept_is_the_loop_with_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "file"))
    warnings = []
    assert choice(trainees(count=1)[0], warn=warnings.append).backend == "loop"
    assert "Set LEARNGENE_CACHE to a folder" in warnings[0]


def rows(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


class StopAfterOne(SilentReporter):
    def line(self, text):
        raise KeyboardInterrupt("stopped by the test")


def test_an_evolution_in_groups_is_near_one_in_a_loop_and_resumes_to_the_same_bytes(tiny, tmp_path):
    loop, grouped, stopped = tmp_path / "loop", tmp_path / "grouped", tmp_path / "stopped"
    evolve(tiny("backend=loop", "critic.tasks=2"), out=loop)
    recipe = tiny("backend=grouped", "critic.tasks=2")
    evolve(recipe, out=grouped)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=stopped, reporter=StopAfterOne())
    evolve(recipe, out=stopped, resume=True)
    assert (grouped / WEIGHTS).read_bytes() == (stopped / WEIGHTS).read_bytes()
    losses = [[one["loss"] for one in rows(out)[0]["individuals"]] for out in (loop, grouped)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    best = [rows(out)[0]["best"] for out in (loop, grouped)]
    assert best[1] == pytest.approx(best[0], abs=0.1)
    assert [row["backends"] for row in rows(grouped)] == [{"ancestry": "grouped", "critics": "grouped"}] * 3
    assert not any("milliseconds" in row for row in rows(grouped))


def test_an_evolution_says_what_was_timed_and_goes_on_with_its_choice_wherever_it_is_resumed(
    tiny, tmp_path, fresh_cache, monkeypatch
):
    timings = {"loop": 2.0, "grouped": 1.0}
    monkeypatch.setattr(choosing, "_milliseconds", lambda one, *args: timings[one])
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(tiny(), out=tmp_path / "run", reporter=StopAfterOne())
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "elsewhere"))
    timings["loop"] = 0.5
    evolve(tiny(), out=tmp_path / "run", resume=True)
    first, *others = rows(tmp_path / "run")
    assert first["milliseconds"] == {"ancestry": {"loop": 2.0, "grouped": 1.0}}  # its recipe has one critic, not timed
    assert [row["backends"] for row in (first, *others)] == [{"ancestry": "grouped", "critics": "loop"}] * 3
    assert not any("milliseconds" in row for row in others)


def test_a_gene_says_which_back_ends_made_it_and_another_run_can_take_the_same(tiny, tmp_path):
    gene = evolve(tiny(), out=tmp_path / "run", backends={"ancestry": "grouped", "critics": "loop"})
    made_by = gene.config.origin.backends
    assert (made_by.ancestry, made_by.critics) == ("grouped", "loop")
    again = evolve(tiny("backend=grouped"), out=tmp_path / "again", backends={"ancestry": "grouped", "critics": "loop"})
    assert again.config.sha256 == gene.config.sha256


def test_a_founder_is_raised_by_the_loop(tiny, tmp_path):
    evolve(tiny("backend=grouped", "evolution.founder_generations=2"), out=tmp_path)
    assert [row["backends"]["ancestry"] for row in rows(tmp_path)] == ["loop", "loop", "grouped"]


def test_a_run_from_before_there_was_a_choice_goes_on_in_a_loop(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(tiny("backend=loop"), out=tmp_path, reporter=StopAfterOne())
    file = tmp_path / "state/state.json"
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "backends"})
    )
    assert load_state(tmp_path).state.backends == {"ancestry": "loop", "critics": "loop"}


def test_an_individual_that_diverges_fails_alone(tiny, tmp_path, monkeypatch):
    def born(birth, *args):
        one = real(birth, *args)
        if birth.path[1] == 2:
            torch.nn.init.constant_(one.network.head.fc.weight, math.nan)
        return one

    real = ancestry.trainee
    monkeypatch.setattr(ancestry, "trainee", born)
    evolve(tiny("backend=grouped", "evolution.generations=1"), out=tmp_path)
    assert [one["fitness"] is None for one in rows(tmp_path)[0]["individuals"]] == [False, False, True, False]
