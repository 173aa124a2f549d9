import json
import math
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learngene_hub import Learngene, LearngeneError, evaluate, evolve, extract, from_learngene
from learngene_hub.birth import Body
from learngene_hub.data import sample_task
from learngene_hub.engine import EngineOptions, no_step
from learngene_hub.evaluation import PROTOCOLS, Protocol, bench, pretraining
from learngene_hub.evaluation.bench import Bench, Plan, Unit
from learngene_hub.evaluation.candidates import load_candidates
from learngene_hub.evaluation.judge import Arena, Trial
from learngene_hub.evaluation.ledger import Ledger
from learngene_hub.evaluation.run import Descendants
from learngene_hub.evaluation.slices import at_random, batch_norm, cut, evenly, magnitude
from learngene_hub.evaluation.starts import BASELINES, scratch
from learngene_hub.evaluation.statistics import confidence, paired, student_quantile
from learngene_hub.networks import build
from learngene_hub.progress import SilentReporter
from learngene_hub.results import Results
from learngene_hub.rng import generator

QUICK = Protocol(
    name="quick",
    version=1,
    ways=3,
    shots=4,
    queries=6,
    tasks=3,
    steps=3,
    measured_at=(3,),
    rates=(0.01, 0.1),
    tuning_tasks=2,
    batch_size=8,
    warmup=1,
)


def start(results, name, body=0):
    return results.descendants[body].start(name)


def accuracies(results, name, measure="3"):
    return start(results, name).measures[measure].accuracies


# Statistics.


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (9, 2.262),
        (14, 2.145),
        (29, 2.045),
        (99, 1.984),
        (10_000, 1.960),
    ],
)
def test_students_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, rel=5e-3)


def test_the_interval_is_students():
    values = [0.5, 0.6, 0.7, 0.4, 0.8]
    assert confidence(values) == pytest.approx(2.776 * statistics.stdev(values) / math.sqrt(5), rel=1e-3)
    assert confidence([0.5]) is None


def test_paired_differences_are_those_worked_out_by_hand():
    found = paired([0.9, 0.8, 0.7], [0.5, 0.6, 0.6])  # 0.4, 0.2, 0.1: mean 7/30, standard deviation sqrt(7/300)
    assert found.mean == pytest.approx(7 / 30)
    assert found.ci95 == pytest.approx(4.3027 * math.sqrt(7 / 300) / math.sqrt(3), rel=1e-3)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired([0.5], [0.5, 0.6])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(-1, 1))
def test_a_shift_of_all_values_shifts_the_mean_and_not_the_interval(values, shift):
    moved = [value + shift for value in values]
    assert paired(moved, values).mean == pytest.approx(shift, abs=1e-9)
    assert confidence(moved) == pytest.approx(confidence(values), abs=1e-9)


# Protocols.


def test_at_full_size_a_protocol_of_small_tasks_has_a_hundred_of_them():
    for protocol in PROTOCOLS.values():
        assert protocol.ways is None or 3 * protocol.tasks >= 100
        assert protocol.measured_at[-1] == protocol.steps
        assert list(protocol.measured_at) == sorted(set(protocol.measured_at))


def test_other_steps_end_the_measuring_too():
    changed = PROTOCOLS["short"].with_changes({"steps": 200})
    assert (changed.steps, changed.measured_at) == (200, (100, 200))
    assert changed.changed == ("measured_at", "steps")
    assert changed.aim == "all-way, all images a class, 200 steps"
    assert PROTOCOLS["short"].with_changes({"steps": 1000}) == PROTOCOLS["short"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), number=st.integers(0, 50), ways=st.integers(2, 5), shots=st.integers(1, 8))
def test_tasks_replay_and_never_test_on_what_they_trained_on(seed, number, ways, shots):
    labels = torch.arange(6).repeat(20)
    draw = lambda: sample_task(  # noqa: E731
        labels, n_way=ways, n_shot=shots, n_query=5, generator=generator(seed, "evaluation task", number)
    )
    task, again = draw(), draw()
    assert torch.equal(task.support, again.support)
    assert torch.equal(task.query, again.query)
    assert not set(task.support.tolist()) & set(task.query.tolist())
    assert len(set(task.classes)) == ways


# The judge.


def test_results_hold_every_task_of_every_start_and_are_written(tiny_run, tmp_path):
    results = evaluate(tiny_run, protocol=QUICK, seeds=(0, 1), out=tmp_path)
    assert results.tasks == len(accuracies(results, "scratch")) == len(accuracies(results, "learngene")) == 6
    for name in ("scratch", "learngene"):
        measure = start(results, name).measures["3"]
        assert measure.mean == pytest.approx(statistics.fmean(measure.accuracies))
        assert measure.ci95 >= 0
    gains = [a - b for a, b in zip(accuracies(results, "learngene"), accuracies(results, "scratch"), strict=True)]
    assert start(results, "learngene").gain["3"].mean == pytest.approx(statistics.fmean(gains))
    assert start(results, "scratch").lead["3"].mean == pytest.approx(statistics.fmean(gains))
    assert 0.15 < start(results, "learngene").inherited < 0.25
    assert start(results, "learngene").cost.images == Learngene.from_pretrained(tiny_run).config.origin.cost.images
    assert Results.load(tmp_path) == results


def test_only_the_roles_that_are_needed_are_loaded_and_never_mixed(tiny_run, monkeypatch):
    loaded, real = [], bench.load_classes

    def spy(source, names, **kwargs):
        loaded.append(tuple(names))
        return real(source, names, **kwargs)

    monkeypatch.setattr(bench, "load_classes", spy)
    data = Learngene.from_pretrained(tiny_run).config.origin.data
    results = evaluate(tiny_run, protocol=QUICK, seeds=(0,))
    assert loaded == [data.novel, data.held_out]
    assert set(results.classes) == set(data.novel)
    assert not set(results.classes) & {*data.base, *data.held_out}
    loaded.clear()
    evaluate(tiny_run, protocol=replace(QUICK, lr=0.03), seeds=(0,))
    assert loaded == [data.novel]


def test_every_start_has_the_learning_rate_that_suits_it_best_on_held_out_classes(tiny_run):
    results = evaluate(tiny_run, protocol=QUICK, seeds=(0,))
    for name in ("scratch", "learngene"):
        tuning = {float(lr): accuracy for lr, accuracy in start(results, name).tuning.items()}
        assert tuning.keys() == {0.01, 0.1}
        assert tuning[start(results, name).lr] == max(tuning.values())


def test_one_learning_rate_for_all_needs_no_choice(tiny_run):
    results = evaluate(tiny_run, protocol=replace(QUICK, lr=0.03), seeds=(0,))
    assert {one.lr for one in results.descendants[0].starts} == {0.03}
    assert start(results, "scratch").tuning == {}


def test_small_classes_are_tested_on_what_they_have_or_refused(tiny_run):
    results = evaluate(tiny_run, protocol=replace(QUICK, queries=100, lr=0.05), seeds=(0,))
    assert results.protocol["queries"] == 8
    with pytest.raises(LearngeneError, match="12 training images a class, but a class has only 12: lower --shots"):
        evaluate(tiny_run, protocol=replace(QUICK, shots=12), seeds=(0,))


def test_the_same_seeds_give_the_same_numbers_and_others_do_not(tiny_run):
    first, again, other = (evaluate(tiny_run, protocol=QUICK, seeds=seeds) for seeds in ((0,), (0,), (1,)))
    assert first == again
    assert accuracies(first, "scratch") != accuracies(other, "scratch")


def test_the_starts_of_a_task_differ_in_what_they_inherit_alone(tiny_run, monkeypatch):
    born, real = [], bench.newborn

    def spy(*args, gene, **kwargs):
        born.append((kwargs["path"], kwargs["seed"], gene is None))
        return real(*args, gene=gene, **kwargs)

    monkeypatch.setattr(bench, "newborn", spy)
    evaluate(tiny_run, protocol=replace(QUICK, lr=0.05), seeds=(4,))
    assert [path for path, _, nothing in born if nothing] == [path for path, _, nothing in born if not nothing]
    assert {seed for _, seed, _ in born} == {4}


def test_instinct_measures_newborns_with_and_without_a_few_steps(tiny_run):
    protocol = replace(QUICK, measured_at=(0, 1, 3), prototype=True)
    results = evaluate(tiny_run, protocol=protocol, seeds=(0,))
    for name in ("scratch", "learngene"):
        assert start(results, name).measures.keys() == {"prototype", "0", "1", "3"}
    plain = evaluate(tiny_run, protocol=QUICK, seeds=(0,))
    tuned = replace(QUICK, lr=start(results, "learngene").lr)
    assert accuracies(evaluate(tiny_run, protocol=tuned, seeds=(0,)), "learngene") == accuracies(results, "learngene")
    assert plain.steps == (3,)
    assert results.steps == (0, 1, 3)


def test_all_classes_and_all_images_are_one_task(tiny_run):
    protocol = replace(QUICK, ways=None, shots=None, queries=5, tasks=1, measured_at=(1, 3), lr=0.05)
    results = evaluate(tiny_run, protocol=protocol, seeds=(0, 1))
    assert results.tasks == 2
    assert start(results, "learngene").measures["1"].ci95 is not None


def test_a_training_that_diverges_has_learned_nothing(tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    huge = Learngene({name: tensor * 1e30 for name, tensor in gene.tensors.items()}, gene.config)
    protocol = replace(QUICK, lr=0.05, steps=25, measured_at=(0, 5, 25))
    results = evaluate(huge, protocol=protocol, seeds=(0,), out=tmp_path)
    assert set(accuracies(results, "learngene", "25")) == {0.0}
    assert set(accuracies(results, "learngene", "5")) == {0.0}
    assert max(accuracies(results, "learngene", "0")) > 0
    assert Results.load(tmp_path) == results


def test_several_genes_are_judged_side_by_side(tiny_run, tmp_path):
    other = tmp_path / "other"
    gene = Learngene.from_pretrained(tiny_run)
    Learngene({name: tensor + 0.01 for name, tensor in gene.tensors.items()}, gene.config).save_pretrained(other)
    results = evaluate([tiny_run, other], protocol=replace(QUICK, lr=0.05), seeds=(0,))
    assert [one.start for one in results.descendants[0].starts] == ["scratch", "learngene:tiny", "learngene:other"]
    assert [one.start for one in results.genes] == ["learngene:tiny", "learngene:other"]
    assert start(results, "learngene:tiny").lead == {}
    assert start(results, "learngene:other").lead.keys() == {"3"}


def test_a_gene_that_has_seen_the_novel_classes_of_another_is_refused(tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    data = gene.config.origin.data
    data = data.model_copy(update={"base": data.novel, "novel": data.base})
    origin = gene.config.origin.model_copy(update={"data": data})
    swapped = Learngene(gene.tensors, gene.config.model_copy(update={"origin": origin}))
    with pytest.raises(LearngeneError, match="has seen 6 classes that are novel to learngene:gene1, such as"):
        evaluate([gene, swapped], protocol=QUICK)


NAMES = st.permutations([f"class {number}" for number in range(9)])


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES)
def test_no_gene_is_judged_by_classes_that_another_has_trained_on(tiny_run, names, others):
    gene = Learngene.from_pretrained(tiny_run)

    def candidate(start, names):
        data = gene.config.origin.data.model_copy(
            update={"base": tuple(names[:5]), "held_out": tuple(names[5:7]), "novel": tuple(names[7:]), "source": start}
        )
        origin = gene.config.origin.model_copy(update={"data": data})
        return Learngene(gene.tensors, gene.config.model_copy(update={"origin": origin}))

    seen = {*others[:7]} & {*names[7:]} or {*others[:5]} & {*names[5:7]}
    genes = [candidate("a/b", names), candidate("c/d", others)]
    if seen:
        with pytest.raises(LearngeneError, match="genes of different splits cannot be compared"):
            load_candidates(genes, data=None)
    else:
        assert len(load_candidates(genes, data=None)) == 2


def test_a_gene_that_does_not_name_its_novel_classes_is_refused(tiny_run):
    with pytest.raises(LearngeneError, match="does not say which classes it has never seen"):
        evaluate(extract(from_learngene(tiny_run, num_classes=2)), protocol=QUICK)


def test_a_gene_of_a_local_folder_asks_where_the_images_are(tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    origin = gene.config.origin.model_copy(
        update={"data": gene.config.origin.data.model_copy(update={"preset": None, "source": "photos"})}
    )
    with pytest.raises(LearngeneError, match="local folder 'photos'; say where it is with --data"):
        evaluate(Learngene(gene.tensors, gene.config.model_copy(update={"origin": origin})), protocol=QUICK)


def test_wider_and_deeper_descendants_are_judged_beside_scratch_of_their_size(tiny_run):
    results = evaluate(
        tiny_run,
        protocol=replace(QUICK, lr=0.05),
        seeds=(0,),
        descendants=Descendants(widths=(0.06, 0.12), depths=(11, 13)),
    )
    assert [(one.width, one.depth) for one in results.descendants] == [(0.06, 11), (0.12, 11), (0.06, 13), (0.12, 13)]
    shares = [start(results, "learngene", body).inherited for body in range(4)]
    assert shares[0] > shares[1] > 0
    assert shares[0] > shares[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "few-shots"}, "protocol 'few-shots': expected one of .*; did you mean few-shot?"),
        ({"baselines": ["narow"]}, "baseline 'narow': expected all, or some of .*; did you mean narrow?"),
        ({"protocol": "transfer"}, "protocol transfer needs --target"),
        ({"target": "photos"}, "protocol few-shot takes no --target"),
        ({"genes": []}, "expected one or more genes, found none"),
        ({"seeds": (1, 1)}, r"seeds: expected one or more, all different, found \[1, 1\]"),
        ({"protocol": replace(QUICK, ways=7)}, "7 classes a task, but there are only 6 to judge by: lower --ways"),
        ({"descendants": Descendants(widths=(0.01,))}, "does not fit into the network's"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_once(tiny_run, arguments, message):
    with pytest.raises(LearngeneError, match=message):
        evaluate(**({"genes": tiny_run} | arguments))


# Transfer.


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """An image folder of four plain colours, ten noisy images each."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("photos")
    for place, colour in enumerate(("red", "green", "blue", "grey")):
        (folder / colour).mkdir()
        for number in range(10):
            pixels = torch.randint(0, 60, (32, 32, 3), generator=generator(place, "photo", number))
            pixels[..., min(place, 2)] += 150 if place < 3 else 0
            image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / colour / f"{number}.png")
    return folder


def test_a_gene_is_tried_on_an_image_folder(tiny_run, photos):
    protocol = replace(PROTOCOLS["transfer"], ways=3, shots=4, queries=5, tasks=2, steps=3, measured_at=(3,), lr=0.05)
    results = evaluate(tiny_run, protocol=protocol, target=str(photos), seeds=(0,))
    assert results.data == photos.name
    assert set(results.classes) == {"red", "green", "blue", "grey"}


def test_a_target_with_classes_the_gene_has_seen_is_refused(tiny_run):
    with pytest.raises(LearngeneError, match="have the names of classes the gene has seen"):
        evaluate(tiny_run, protocol="transfer", target="glyphs")


# Baselines.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_baseline_runs_at_the_cost_of_the_gene_and_is_made_once(tiny_run, cache, monkeypatch):
    chosen = replace(QUICK, lr=0.05, tasks=1)
    results = evaluate(tiny_run, protocol=chosen, baselines=["all"], seeds=(0,))
    assert [one.start for one in results.descendants[0].starts] == ["scratch", "learngene", *BASELINES]
    gene = start(results, "learngene")
    for name in BASELINES:
        one = start(results, name)
        share = 1.0 if name in {"pretrained", "weight-selection"} else gene.inherited
        assert one.inherited == pytest.approx(share)
        if name != "narrow-flops":
            assert one.cost.images == gene.cost.images
    assert start(results, "narrow-flops").cost.flops == pytest.approx(gene.cost.flops, rel=0.01)
    assert start(results, "narrow").cost.flops < gene.cost.flops
    monkeypatch.setattr(pretraining, "train", None)  # a second training would fail
    again = evaluate(tiny_run, protocol=chosen, baselines=["all"], seeds=(0,))
    assert again == results


def test_an_ablation_is_trained_by_the_back_ends_of_its_gene(tiny, tmp_path, cache):
    evolve(tiny(), out=tmp_path / "run", backends={"ancestry": "grouped", "critics": "grouped"})
    evaluate(tmp_path / "run", protocol=QUICK, baselines=["gtl-no-mutation"], seeds=(0,))
    metrics = next((cache / "pretrained").glob("gtl-no-mutation-*-grouped/metrics.jsonl"))
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["backends"]["ancestry"] for row in rows] == ["grouped"] * 3


def test_baselines_need_the_recipe_of_the_gene(tiny_run):
    with pytest.raises(LearngeneError, match=r"give the folder of a gene, with its recipe\.yaml"):
        evaluate(Learngene.from_pretrained(tiny_run), protocol=QUICK, baselines=["narrow"])


def test_an_interrupted_pretraining_ends_with_the_same_network(tiny_run, cache, monkeypatch):
    gene, calls, real = str(tiny_run), [], pretraining.train
    chosen = replace(QUICK, lr=0.05, tasks=1)
    whole = evaluate(gene, protocol=chosen, baselines=["narrow"], seeds=(0,))
    monkeypatch.setenv("LEARNGENE_CACHE", str(cache / "other"))

    def fragile(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt("stopped by the test")
        return real(*args, **kwargs)

    monkeypatch.setattr(pretraining, "train", fragile)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evaluate(gene, protocol=chosen, baselines=["narrow"], seeds=(0,))
    resumed = evaluate(gene, protocol=chosen, baselines=["narrow"], seeds=(0,))
    assert len(calls) == 4 + pretraining.CHAPTERS - 3
    assert accuracies(resumed, "narrow") == accuracies(whole, "narrow")
    first, second = (next(one.rglob("network.safetensors")) for one in (cache / "pretrained", cache / "other"))
    assert first.read_bytes() == second.read_bytes()


def test_a_users_own_checkpoint_is_a_start(tiny_run, tmp_path):
    from safetensors.torch import save_file

    own = build("lg_vgg11", num_classes=3, width=0.06)
    save_file(own.state_dict(), tmp_path / "model.safetensors")
    results = evaluate(tiny_run, protocol=replace(QUICK, lr=0.05), seeds=(0,), checkpoints=[tmp_path])
    assert start(results, "checkpoint").inherited == pytest.approx(1.0)
    save_file({"a": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    with pytest.raises(LearngeneError, match="expected a network lg_vgg11, found other tensors: a"):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[tmp_path / "wrong.safetensors"])
    with pytest.raises(LearngeneError, match=r"expected a safetensors file or a folder with model\.safetensors"):
        evaluate(tiny_run, protocol=QUICK, checkpoints=[tmp_path / "none.safetensors"])


@pytest.fixture(scope="module", params=["lg_vgg11", "lg_resnet12"])
def network(request):
    torch.manual_seed(0)
    network = build(request.param, num_classes=4, width=0.1).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.mark.parametrize("ranking", [magnitude, batch_norm, at_random, evenly])
def test_a_slice_of_all_channels_is_the_network_in_another_order(network, ranking):
    state, specs, channels = network.state_dict(), network.conv_specs(), network.channel_counts()
    tensors = cut(state, specs, channels, ranking, seed=0)
    for spec in specs:
        ours, theirs = (one[f"{spec.conv}.weight"].flatten().sort().values for one in (tensors, state))
        assert torch.equal(ours, theirs)


def test_slices_take_the_channels_they_are_named_after(network):
    state, specs = network.state_dict(), network.conv_specs()
    half = {group: max(1, count // 2) for group, count in network.channel_counts().items()}
    last = specs[-1]
    members = [spec for spec in specs if spec.out_group == last.out_group]
    norms = sum(state[f"{spec.norm}.weight"].abs() for spec in members)
    tensors = cut(state, specs, half, batch_norm, seed=0)
    kept = sum(tensors[f"{spec.norm}.weight"].abs() for spec in members)
    assert torch.allclose(kept.sort().values, norms.sort().values[-half[last.out_group] :])
    tensors = cut(state, specs, half, evenly, seed=0)
    total, wanted = len(norms), half[last.out_group]
    places = torch.arange(wanted) * total // wanted
    assert torch.equal(tensors[f"{last.norm}.weight"], state[f"{last.norm}.weight"][places])


# Interruptions.


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


@pytest.mark.parametrize("after", [1, 7, 11])
def test_an_interrupted_evaluation_ends_with_the_same_bytes_and_redoes_nothing(tiny_run, tmp_path, monkeypatch, after):
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=tmp_path / "cut", reporter=_Stops(after))
    assert not (tmp_path / "cut" / "results.json").exists()
    for file in (tmp_path / "cut" / "tasks").iterdir():  # a line torn by a kill
        with file.open("a") as opened:
            opened.write('{"role": "nov')
    trained, real = [], bench.train
    monkeypatch.setattr(bench, "train", lambda *args, **kwargs: trained.append(1) or real(*args, **kwargs))
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=tmp_path / "cut")
    assert len(trained) == 2 * (2 * 2 + 3) - after
    whole, mended = ((tmp_path / name / "results.json").read_bytes() for name in ("whole", "cut"))
    assert mended == whole


def test_more_tasks_later_keep_those_already_done(tiny_run, tmp_path, monkeypatch):
    evaluate(tiny_run, protocol=replace(QUICK, lr=0.05), seeds=(0,), out=tmp_path)
    trained, real = [], bench.train
    monkeypatch.setattr(bench, "train", lambda *args, **kwargs: trained.append(1) or real(*args, **kwargs))
    evaluate(tiny_run, protocol=replace(QUICK, lr=0.05, tasks=4), seeds=(0,), out=tmp_path)
    assert len(trained) == 2


def test_results_of_another_gene_or_protocol_are_not_written_over(tiny_run, tmp_path):
    evaluate(tiny_run, protocol=replace(QUICK, lr=0.05), seeds=(0,), out=tmp_path)
    with pytest.raises(LearngeneError, match="holds results of other protocol, quick, not few-shot"):
        evaluate(tiny_run, protocol="few-shot", out=tmp_path)
    gene = Learngene.from_pretrained(tiny_run)
    other = Learngene(gene.tensors, gene.config.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(LearngeneError, match="holds results of other genes"):
        evaluate(other, protocol=QUICK, out=tmp_path)


def test_another_protocol_shares_nothing(tmp_path):
    unit, body = Unit("novel", 0, 0, 0.1), Body("lg_vgg11")
    Ledger(tmp_path, scratch(), body, {"steps": 3}, {}).enter(unit, {"3": 0.5})
    assert unit in Ledger(tmp_path, scratch(), body, {"steps": 3}, {})
    assert unit not in Ledger(tmp_path, scratch(), body, {"steps": 4}, {})
    assert unit not in Ledger(tmp_path, scratch(), Body("lg_vgg11", width=2.0), {"steps": 3}, {})


MORE = replace(QUICK, tasks=200, lr=0.05)  # long enough to be killed half-way

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
from learngene_hub import evaluate
from test_evaluation import MORE
evaluate(sys.argv[1], protocol=MORE, seeds=(0,), out=sys.argv[2])
"""


def test_two_processes_give_the_bytes_of_one(tiny_run, tmp_path):
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=tmp_path / "one")
    evaluate(tiny_run, protocol=QUICK, seeds=(0,), out=tmp_path / "two", engine=EngineOptions(workers=2))
    one, two = ((tmp_path / name / "results.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_network_is_measured_in_the_precision_of_the_evaluation_whoever_measures_it(monkeypatch):
    monkeypatch.setattr(Bench, "measure", lambda bench, *args: bench.plan.precision)
    plan = Plan(QUICK, {}, None, padding=0, flip=False, device="cpu", precision="bfloat16")
    arena = Arena(Bench(plan, {}), ((scratch(), Body("lg_vgg11")),))
    assert Trial(0, Unit("novel", 0, 0, 0.1), "float32")(arena, no_step) == "float32"


def test_a_killed_evaluation_is_resumed_and_its_folder_is_not_shared(tiny_run, tmp_path):
    evaluate(tiny_run, protocol=MORE, seeds=(0,), out=tmp_path / "whole")
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny_run), str(out), str(Path(__file__).parent)])
    deadline = time.monotonic() + 60
    while not list(out.glob("tasks/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    with pytest.raises(LearngeneError, match="another process is running here"):
        evaluate(tiny_run, protocol=MORE, seeds=(0,), out=out)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    evaluate(tiny_run, protocol=MORE, seeds=(0,), out=out)
    assert (out / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()


def test_results_that_are_none_are_refused(tmp_path):
    with pytest.raises(LearngeneError, match=r"no such file; expected the results\.json of `learngene evaluate --out`"):
        Results.load(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(LearngeneError, match="expected the results of `learngene evaluate`: protocol: Field required"):
        Results.load(tmp_path)
