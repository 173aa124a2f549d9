"""Evaluations that are stopped, killed, resumed, or shared by several processes."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
import timm
import torch
from engine_faults import calling
from quick_evaluation import ONE, QUICK
from safetensors.torch import save_file

from learngene_hub import Learngene, LearngeneError, evaluate
from learngene_hub.core.progress import SilentReporter
from learngene_hub.data.source import DataSource
from learngene_hub.evaluation import measuring
from learngene_hub.evaluation.cache import ResultsCache
from learngene_hub.evaluation.measuring import EvaluationData, MeasureTask, Plan, Source, Unit
from learngene_hub.evaluation.run import Descendants
from learngene_hub.evaluation.starts import scratch
from learngene_hub.genome.birth import Body
from learngene_hub.genome.genome import Genome
from learngene_hub.report.results import Results
from learngene_hub.workers import EngineOptions, no_step


class _Stops(SilentReporter):
    """Stops everything after some networks, as Ctrl-C would."""

    def __init__(self, after):
        self.left = after

    def task(self, title, total, unit="it"):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount=1.0, **fields):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt("stopped by the test")


def trainings(monkeypatch):
    """A list that grows by one at every training from now on."""
    trained, real = [], measuring.train
    monkeypatch.setattr(measuring, "train", lambda *args, **kwargs: trained.append(1) or real(*args, **kwargs))
    return trained


@pytest.fixture
def whole(plain):
    """The folder of a finished evaluation, `QUICK` with seed 0; read it, do not change it."""
    return plain[1]


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of that folder, to be changed."""
    return shutil.copytree(whole, tmp_path / "copy")


def results_of(folder):
    return (folder / "results.json").read_bytes()


def test_an_evaluation_interrupted_twice_ends_with_the_same_bytes_and_redoes_nothing(
    tiny_run, whole, tmp_path, monkeypatch
):
    trained, out = trainings(monkeypatch), tmp_path / "cut"
    for after in (7, 4):
        with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
            evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=out, reporter=_Stops(after))
        assert not (out / "results.json").exists()
        for file in (out / "tasks").iterdir():  # a line torn by a kill
            with file.open("a") as opened:
                opened.write('{"role": "nov')
    assert len(trained) == 7 + 4
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=out)
    assert len(trained) == 2 * (2 * 2 + 3)
    assert results_of(out) == results_of(whole)


@pytest.mark.slow
def test_a_climb_that_was_interrupted_in_its_second_round_goes_on(tiny_run, tmp_path):
    long = replace(QUICK, rates=(0.1, 0.2, 0.4, 0.8, 1.6), tasks=2)  # too high: a start climbs downwards
    whole = evaluate(tiny_run, protocol=long, seeds=(0,), out=tmp_path / "whole")
    assert {float(lr) for one in whole.descendants[0].starts for lr in one.tuning} >= {0.1}
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evaluate(tiny_run, protocol=long, seeds=(0,), out=tmp_path / "cut", reporter=_Stops(13))
    mended = evaluate(tiny_run, protocol=long, seeds=(0,), out=tmp_path / "cut", engine=EngineOptions(workers=2))
    assert mended == whole


def test_more_tasks_and_seeds_later_keep_those_already_done_and_fewer_or_others_are_refused(
    tiny_run, tmp_path, monkeypatch
):
    asked = {"checkpoints": [tiny_run], "out": tmp_path}
    evaluate(tiny_run, protocol=replace(ONE, tasks=2), seeds=(0,), **asked)
    trained = trainings(monkeypatch)
    evaluate(tiny_run, protocol=replace(ONE, tasks=3), seeds=(0, 1), **asked)
    assert len(trained) == 3 * (3 + 1)
    before = results_of(tmp_path)
    for tasks, seeds, lost in ((1, (0, 1), "3 tasks per seed"), (3, (0,), "seed 1"), (3, (3, 4), "seed 0; seed 1")):
        with pytest.raises(LearngeneError, match=f"holds results of {lost} too; ask for these again, or give another"):
            evaluate(tiny_run, protocol=replace(ONE, tasks=tasks), seeds=seeds, **asked)
    assert results_of(tmp_path) == before
    mine = shutil.copytree(tiny_run, tmp_path / "mine")
    more = evaluate(tiny_run, protocol=replace(ONE, tasks=3), seeds=(0, 1), out=tmp_path, checkpoints=[tiny_run, mine])
    assert [one.start for one in more.descendants[0].starts][2:] == ["checkpoint:tiny", "checkpoint:mine"]
    assert len(trained) == 3 * (3 + 1)


def test_results_of_another_gene_or_protocol_are_not_written_over(tiny_run, tmp_path, monkeypatch):
    evaluate(tiny_run, protocol=ONE, seeds=(0,), out=tmp_path)
    with pytest.raises(LearngeneError, match=r"holds results that differ in queries \(6, not 5\); give another --out"):
        evaluate(tiny_run, protocol=replace(ONE, queries=5), seeds=(0,), out=tmp_path)
    monkeypatch.setattr("learngene_hub.evaluation.run.sources_of", lambda *_, **__: pytest.fail("looked for images"))
    with pytest.raises(
        LearngeneError, match=r"holds results that differ in learning rate \(0\.05, not 0\.1\); give another"
    ):
        evaluate(tiny_run, protocol=replace(ONE, lr=0.1), seeds=(0,), out=tmp_path)
    gene = Learngene.from_pretrained(tiny_run)
    other = Learngene({name: tensor + 0.01 for name, tensor in gene.tensors.items()}, gene.config)
    with pytest.raises(
        LearngeneError,
        match=r"holds results that differ in genes \(sha256 \w{12}, not sha256 \w{12}\); give another --out",
    ):
        evaluate(other, protocol=ONE, seeds=(0,), out=tmp_path)


@pytest.mark.parametrize(
    ("asked", "kept", "told"),
    [
        ({"version": 2}, {}, r"protocol version \(1, not 2\)"),
        ({}, {"data": "photos"}, r"data \(photos, not glyphs\)"),
        ({}, {"images": "0" * 12}, r"images \(0{12}, not \w{12}\)"),
        ({}, {"classes": ("a", "b", "c")}, r"classes \(a, b, c, not U.*\)"),
    ],
    ids=["version", "data", "images", "classes"],
)
def test_results_of_other_images_classes_or_versions_are_refused_and_stay(tiny_run, copy, asked, kept, told):
    Results.load(copy).model_copy(update=kept).save(copy / "results.json")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(LearngeneError, match=f"holds results that differ in {told}; give another --out"):
        evaluate(tiny_run, protocol=replace(QUICK, **asked), seeds=(0,), out=copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_results_of_a_newer_version_say_so_whatever_else_they_hold(copy):
    (copy / "results.json").write_text('{"schema_version": 2, "tasks": "of another kind"}')
    with pytest.raises(LearngeneError, match="version 2 is newer than the 1 this package reads; upgrade"):
        Results.load(copy)


def test_results_of_an_older_version_that_kept_no_hash_of_the_images_are_written_over(tiny_run, copy, whole):
    Results.load(copy).model_copy(update={"images": ""}).save(copy / "results.json")
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=copy)
    assert results_of(copy) == results_of(whole)


def test_results_are_not_written_over_by_fewer_networks(tiny_run, tmp_path):
    asked = {"protocol": ONE, "seeds": (0,), "out": tmp_path}
    evaluate(tiny_run, descendants=Descendants(widths=(0.06, 0.12)), **asked)
    with pytest.raises(LearngeneError, match=r"holds results of lg_vgg11, width 0\.12, depth 11 too; ask for these"):
        evaluate(tiny_run, **asked)


def test_results_are_not_written_over_by_fewer_starts(tiny_run, tmp_path):
    checkpoint = tmp_path / "mine.safetensors"
    save_file(timm.create_model("lg_vgg11", num_classes=2, width=0.06).state_dict(), checkpoint)
    asked = {"protocol": ONE, "seeds": (0,), "out": tmp_path / "out"}
    evaluate(tiny_run, checkpoints=[checkpoint], **asked)
    before = (tmp_path / "out/results.json").read_bytes()
    with pytest.raises(LearngeneError, match="holds results of checkpoint too; ask for these again, or give another"):
        evaluate(tiny_run, **asked)
    assert (tmp_path / "out/results.json").read_bytes() == before


def test_another_protocol_shares_nothing(tmp_path):
    unit, body = Unit("novel", 0, 0, 0.1), Body("lg_vgg11")

    def known(body, genome=None, images="a", **constants):
        start = replace(scratch(), genome=genome)
        return ResultsCache(tmp_path, start, body, constants, {"novel": images}, reporter=SilentReporter())

    known(body, steps=3).enter(unit, {"3": 0.5})
    assert unit in known(body, steps=3)
    assert unit not in known(body, steps=4)
    assert unit not in known(Body("lg_vgg11", width=2.0), steps=3)
    assert unit not in known(body, steps=3, images="b")
    assert unit not in known(body, steps=3, genome=Genome({"a": torch.ones(1)}, {}))


def test_a_start_with_a_very_long_name_is_kept_too(tmp_path):
    def known():
        long = replace(scratch(), name="a name" * 50)
        return ResultsCache(tmp_path, long, Body("lg_vgg11"), {}, {}, reporter=SilentReporter())

    unit = Unit("novel", 0, 0, 0.1)
    known().enter(unit, {"3": 0.5})
    assert known()[unit] == {"3": 0.5}


def test_two_processes_give_the_bytes_of_one(tiny_run, whole, tmp_path):
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=tmp_path, engine=EngineOptions(workers=2))
    assert results_of(tmp_path) == results_of(whole)


def test_a_network_is_measured_in_the_precision_of_the_evaluation_whoever_measures_it(monkeypatch):
    monkeypatch.setattr(EvaluationData, "measure", lambda data, *args: args[-1])
    plan = Plan(QUICK, {}, None, padding=0, flip=False)
    shared = EvaluationData(plan, {}, ((scratch(), Body("lg_vgg11")),))
    assert MeasureTask(0, Unit("novel", 0, 0, 0.1), "float32")(shared, no_step) == "float32"


def test_images_that_judge_and_choose_rates_are_moved_to_a_device_once(monkeypatch):
    class Moving:
        moved = 0

        def on(self, device):
            self.moved += 1
            return Moving()

    monkeypatch.setattr(measuring, "load_classes", lambda *_, **__: None)
    monkeypatch.setattr(measuring, "tell_copies", lambda *_: None)
    monkeypatch.setattr(measuring.Images, "build", lambda *_, **__: Moving())
    same, other = (Source(DataSource("glyphs", None, 28), classes) for classes in (("a",), ("b",)))
    for sources, moved in (((same, same), 1), ((same, other), 2)):
        plan = Plan(QUICK, dict(zip(("novel", "held-out"), sources, strict=True)), None, padding=0, flip=False)
        shared = EvaluationData.build(plan, torch.device("cpu"), SilentReporter())
        assert len(shared.on(torch.device("cpu")).images) == sum(one.moved for one in shared.images.values()) == moved


def test_what_another_processor_measured_is_kept_and_the_last_one_is_told(tiny_run, copy, monkeypatch):
    first = Results.load(copy)
    monkeypatch.setattr("learngene_hub.evaluation.run.processor_name", lambda: "another")
    monkeypatch.setattr(measuring, "train", lambda *args, **kwargs: pytest.fail("measured again"))
    second = evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=copy)
    assert second.environment == first.environment | {"processor": "another"} != first.environment
    assert second.descendants == first.descendants


@pytest.mark.slow
def test_a_killed_evaluation_is_resumed_and_its_folder_is_not_shared(tiny_run, tmp_path):
    asked = {"protocol": replace(QUICK, tasks=10, lr=0.05), "seeds": (0,)}
    evaluate(tiny_run, out=tmp_path / "alone", **asked)
    out = tmp_path / "killed"
    process = calling(evaluate, tiny_run, out=out, **asked)
    while process.is_alive() and not list(out.glob("tasks/*")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGSTOP)  # that it does not end meanwhile
    with pytest.raises(LearngeneError, match="another process is running here"):
        evaluate(tiny_run, out=out, **asked)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    evaluate(tiny_run, out=out, **asked)
    assert results_of(out) == results_of(tmp_path / "alone")


def test_results_that_are_none_are_refused(tmp_path):
    with pytest.raises(LearngeneError, match=r"no such file; expected the results\.json of `learngene evaluate --out`"):
        Results.load(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(LearngeneError, match="expected the results of `learngene evaluate`: protocol: Field required"):
        Results.load(tmp_path)
