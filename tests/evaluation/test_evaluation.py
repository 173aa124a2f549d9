"""Protocols, and the judge of descendants and what they are compared with."""

import json
import math
import re
import shutil
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from listener import Listener
from photo_folders import write_photos
from quick_evaluation import ONE, QUICK, accuracies, start, with_data

from learngene_hub import Learngene, LearngeneError, evaluate, extract, from_learngene
from learngene_hub.core.errors import EngineError
from learngene_hub.data.glyphs import glyph_classes
from learngene_hub.evaluation import measuring
from learngene_hub.evaluation import run as run_module
from learngene_hub.evaluation.candidates import load_candidates
from learngene_hub.evaluation.measuring import EvaluationData
from learngene_hub.evaluation.protocols import PROTOCOLS
from learngene_hub.evaluation.run import Descendants
from learngene_hub.evaluation.scoring import TUNING_SEED, best_rate, next_rates
from learngene_hub.evaluation.sources import Target, sources_of
from learngene_hub.report.results import Results

RATES = replace(QUICK, tasks=1, tuning_tasks=1)


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


def test_steps_to_measure_at_that_are_given_stay():
    assert PROTOCOLS["short"].with_changes({"steps": 200, "measured_at": (50, 200)}).measured_at == (50, 200)


def test_results_hold_every_task_of_every_start_and_are_written(tiny_run, plain):
    results, out = plain
    assert results.tasks == len(accuracies(results, "scratch")) == len(accuracies(results, "learngene")) == 3
    for name in ("scratch", "learngene"):
        measure = start(results, name).measures["3"]
        assert measure.mean == pytest.approx(statistics.fmean(measure.accuracies))
        assert measure.ci95 >= 0
    gains = [a - b for a, b in zip(accuracies(results, "learngene"), accuracies(results, "scratch"), strict=True)]
    assert start(results, "learngene").gain["3"].mean == pytest.approx(statistics.fmean(gains))
    assert start(results, "scratch").lead["3"].mean == pytest.approx(statistics.fmean(gains))
    half = 4.3027 * statistics.stdev(gains) / math.sqrt(3)  # Student's t of two degrees of freedom
    for found in (start(results, "learngene").gain, start(results, "scratch").lead):
        assert found["3"].ci95 == pytest.approx(half, rel=1e-4)
    assert 0.15 < start(results, "learngene").inherited < 0.25
    assert start(results, "learngene").cost.images == Learngene.from_pretrained(tiny_run).config.origin.cost.images
    assert Results.load(out) == results


@pytest.mark.parametrize(("seeds", "lr", "most"), [((0, 1), None, 12), ((0,), None, 8), ((0,), 0.05, 6)])
def test_there_are_as_many_workers_as_networks_at_once(tiny_run, monkeypatch, seeds, lr, most):
    def make_engine(*_, most, **__):
        raise EngineError(f"{most} workers at most")

    monkeypatch.setattr(run_module, "make_engine", make_engine)
    with pytest.raises(EngineError, match=f"^{most} workers at most"):
        evaluate(tiny_run, protocol=replace(QUICK, lr=lr), seeds=seeds)


@pytest.fixture
def loaded(monkeypatch):
    """The names of all classes whose images are loaded from now on, one tuple a load."""
    names_of, real = [], measuring.load_classes

    def spy(source, names, **kwargs):
        names_of.append(tuple(names))
        return real(source, names, **kwargs)

    monkeypatch.setattr(measuring, "load_classes", spy)
    return names_of


def test_only_the_roles_that_are_needed_are_loaded_and_never_mixed(tiny_run, loaded):
    data = Learngene.from_pretrained(tiny_run).config.origin.data
    results = evaluate(tiny_run, protocol=RATES, seeds=(0,))
    assert loaded == [data.novel, data.held_out]
    assert set(results.classes) == set(data.novel)
    assert not set(results.classes) & {*data.base, *data.held_out}


def test_learning_rates_are_chosen_on_held_out_images_alone(tiny_run, monkeypatch):
    seen, real = set(), EvaluationData.measure

    def spy(data, start, body, unit, precision):
        seen.add((unit.role, unit.seed))
        return real(data, start, body, unit, precision)

    monkeypatch.setattr(EvaluationData, "measure", spy)
    evaluate(tiny_run, protocol=RATES, seeds=(0,))
    assert seen == {("held-out", TUNING_SEED), ("novel", 0)}


def test_one_learning_rate_for_all_needs_no_choice_and_no_images_for_it(tiny_run, loaded):
    results = evaluate(tiny_run, protocol=ONE, seeds=(0,))
    assert {one.lr for one in results.descendants[0].starts} == {0.05}
    assert start(results, "scratch").tuning == {}
    assert loaded == [Learngene.from_pretrained(tiny_run).config.origin.data.novel]


def test_a_recipe_is_tuned_by_tasks_of_held_out_classes_that_chose_no_rate(tiny_run, monkeypatch, tmp_path):
    drawn, real = [], measuring.generator

    def spy(seed, *path):
        drawn.append((seed, *path))
        return real(seed, *path)

    data = Learngene.from_pretrained(tiny_run).config.origin.data
    monkeypatch.setattr(measuring, "generator", spy)
    results = evaluate(tiny_run, protocol=replace(RATES, name="held-out", split="held-out"), seeds=(0,), out=tmp_path)
    assert set(results.classes) == set(data.held_out)
    assert results.test_classes == "held-out classes"
    seeds = [seed for seed, what, _ in drawn if what == "evaluation task"]
    assert {0, TUNING_SEED} == set(seeds)
    page = (tmp_path / "report.html").read_text()
    assert "The gene was selected on held-out classes" in page
    assert "ovel classes" not in page
    assert "never seen" not in page


def climb(accuracies):
    """What a climb over rate -> accuracy tries."""
    tried = {}
    while wanted := next_rates(tried, list(accuracies)):
        tried |= {rate: accuracies[rate] for rate in wanted}
    return tried


def rates_of(accuracies):
    return dict(zip([0.001 * 2**place for place in range(len(accuracies))], accuracies, strict=True))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_a_climb_over_learning_rates_ends_at_a_peak(values):
    rates = rates_of(values)
    place = list(rates).index(best_rate(climb(rates)))
    assert values[place] == max(values[max(0, place - 1) : place + 2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9, unique=True), st.data())
def test_a_climb_finds_the_only_peak_there_is(values, data):
    peak = data.draw(st.integers(0, len(values) - 1))
    rates = rates_of([*sorted(values)[:peak], max(values), *sorted(values)[peak:-1][::-1]])
    assert rates[best_rate(climb(rates))] == max(values)


@pytest.mark.parametrize("peak", [0, 4])
def test_a_climb_looks_beyond_both_ends_of_a_plateau(peak):
    rates = rates_of([0.5] * 5)
    rates[list(rates)[peak]] = 0.6
    assert best_rate(climb(rates)) == list(rates)[peak]


def test_only_rates_beside_the_best_so_far_are_tried(tiny_run):
    rates = (0.001, 0.003, 0.01, 0.03, 0.1)
    results = evaluate(tiny_run, protocol=replace(RATES, rates=rates), seeds=(0,))
    for one in results.descendants[0].starts:
        tried = {float(lr): accuracy for lr, accuracy in one.tuning.items()}
        assert list(tried) == sorted(tried)
        assert next_rates(tried, rates) == []
        assert one.lr == best_rate(tried)
        assert tried.keys() == {*rates[1:4]} | {rate for rate in (0.001, 0.1) if rate in tried}
        middle = max(tried[rate] for rate in rates[1:4])
        assert (0.001 in tried) == (tried[0.003] == middle)
        assert (0.1 in tried) == (tried[0.03] == middle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": ()}, "rates: Tuple should have at least 1 item"),
        (
            {"steps": 9, "measured_at": (3, 12)},
            r"rising steps, the last from 1 to 9, found \(3, 12\)",
        ),
        ({"measured_at": (0,)}, r"measured_at: expected rising steps"),
        ({"tasks": 0}, "protocol quick: tasks: Input should be greater than or equal to 1"),
        (
            {"transfer": True, "split": "held-out"},
            "a transfer takes its tasks from another data set, not from held-out classes",
        ),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(LearngeneError, match=message):
        QUICK.with_changes(changes)


def test_a_constant_that_no_protocol_has_is_refused():
    with pytest.raises(LearngeneError, match="no constant 'task'; did you mean `tasks`"):
        QUICK.with_changes({"task": 10})


@pytest.mark.slow
def test_images_that_are_copies_of_others_are_told(tiny_run, tmp_path):
    root = write_photos(tmp_path / "photos", 9)
    for file in list(root.rglob("*.png")):
        shutil.copy(file, file.with_name(f"again-{file.name}"))
    listener, protocol = Listener(), replace(ONE, transfer=True, ways=2, name="transfer")
    evaluate(tiny_run, protocol=protocol, target=root, seeds=(0,), reporter=listener)
    assert any("images are copies of others, equal in every pixel" in one for one in listener.warnings)


def test_small_classes_are_tested_on_what_they_have_or_refused(tiny_run):
    listener = Listener()
    results = evaluate(tiny_run, protocol=replace(ONE, queries=100), seeds=(0,), reporter=listener)
    (warning,) = listener.warnings
    assert re.fullmatch(r"tested on 8 images per class instead of 100: the class 'U.*' has 12 in all; add .*", warning)
    assert results.protocol["queries"] == 8
    assert "queries" in results.protocol["changed"]
    with pytest.raises(LearngeneError, match=r"expected 13 or more images per class, found 12 of 'U.*': lower --shots"):
        evaluate(tiny_run, protocol=replace(QUICK, shots=12), seeds=(0,))


def test_the_cost_is_told_before_the_first_network_is_trained(tiny_run):
    listener = Listener()
    evaluate(tiny_run, protocol=RATES, seeds=(0,), reporter=listener)
    # of each start: 1 task, and 1 task at each of 2 rates
    cost = "the tasks take at least 6 networks of 3 steps, 4 of them to choose learning rates (none with --lr)"
    assert listener.lines[0] == cost


def test_too_few_classes_are_refused_before_any_image_is_read(tiny_run, monkeypatch):
    monkeypatch.setattr(EvaluationData, "build", lambda *_: pytest.fail("read"))
    with pytest.raises(LearngeneError, match="lower --ways"):
        evaluate(tiny_run, protocol=replace(QUICK, ways=9), seeds=(0,))


def test_a_transfer_without_the_genes_images_chooses_rates_on_spare_classes_of_its_target(tiny_run, tmp_path):
    record = load_candidates([tiny_run])[0].data.model_copy(update={"preset": None, "source": "gone"})
    target = Target(str(write_photos(tmp_path / "photos", 2, classes=glyph_classes()[100:107])))
    protocol, listener = replace(PROTOCOLS["transfer"], ways=3), Listener()
    sources = sources_of([record], data=None, target=target, protocol=protocol, reporter=listener)
    assert (len(sources["novel"].classes), len(sources["held-out"].classes)) == (4, 3)
    assert not set(sources["novel"].classes) & set(sources["held-out"].classes)
    assert sources["held-out"].data == sources["novel"].data
    assert listener.lines == ["learning rates are chosen on 3 of the 7 classes of photos; the results leave these out"]
    with pytest.raises(
        LearngeneError, match=r"expected 8 or more classes, 4 for each task .* found 7: give --lr, such as 0\.02"
    ):
        sources_of([record], data=None, target=target, protocol=replace(protocol, ways=4), reporter=listener)


def test_a_copy_of_the_genes_data_set_on_the_hub_is_not_asked_for_the_commit_of_the_data_set(tiny_run):
    where = {"preset": None, "source": "owner/images", "revision": "0" * 40}
    record = load_candidates([tiny_run])[0].data.model_copy(update=where)
    asked = {"target": None, "protocol": ONE, "reporter": Listener()}
    for data, revision in (("owner/copy", None), ("owner/images", "0" * 40), (None, "0" * 40)):
        assert sources_of([record], data=data and Target(data), **asked)["novel"].data.revision == revision


def test_the_same_seeds_give_the_same_numbers_whatever_torchs_default_device_and_others_do_not(tiny_run, plain):
    first, _ = plain
    with torch.device("meta"):
        again = evaluate(tiny_run, protocol=QUICK, seeds=(0,))
    assert again == first
    other = evaluate(tiny_run, protocol=replace(QUICK, lr=start(first, "scratch").lr), seeds=(1,))
    assert accuracies(other, "scratch") != accuracies(first, "scratch")


def test_the_starts_of_a_task_differ_in_what_they_inherit_alone(tiny_run, monkeypatch):
    born, real, drawn = [], measuring.newborn, []

    def spy(*args, gene, **kwargs):
        born.append((kwargs["path"], kwargs["seed"], gene is None))
        return real(*args, gene=gene, **kwargs)

    def draw(*args, sample_task=measuring.sample_task, **kwargs):
        drawn.append(sample_task(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(measuring, "newborn", spy)
    monkeypatch.setattr(measuring, "sample_task", draw)
    evaluate(tiny_run, protocol=replace(ONE, tasks=2), seeds=(4,))
    tasks = [(task.support.tolist(), task.query.tolist()) for task in drawn]
    assert tasks[:2] == tasks[2:]
    assert tasks[0] != tasks[1]
    assert [path for path, _, nothing in born if nothing] == [path for path, _, nothing in born if not nothing]
    assert {seed for _, seed, _ in born} == {4}


def test_instinct_measures_newborns_with_and_without_a_few_steps(tiny_run, plain):
    usual, _ = plain
    tuned = replace(QUICK, lr=start(usual, "learngene").lr)
    results = evaluate(tiny_run, protocol=replace(tuned, measured_at=(0, 1, 3), prototype=True), seeds=(0,))
    for name in ("scratch", "learngene"):
        assert start(results, name).measures.keys() == {"prototype", "0", "1", "3"}
    assert accuracies(results, "learngene") == accuracies(usual, "learngene")
    assert (usual.steps, results.steps) == ((3,), (0, 1, 3))


def test_all_classes_and_all_images_are_one_task(tiny_run):
    protocol = replace(ONE, ways=None, shots=None, queries=5, measured_at=(1, 3))
    results = evaluate(tiny_run, protocol=protocol, seeds=(0, 1))
    assert results.tasks == 2
    assert start(results, "learngene").measures["1"].ci95 is not None


def test_a_training_that_diverges_has_learned_nothing(tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    huge = Learngene({name: tensor * 1e30 for name, tensor in gene.tensors.items()}, gene.config)
    protocol = replace(ONE, steps=25, measured_at=(0, 5, 25))
    results = evaluate(huge, protocol=protocol, seeds=(0,), out=tmp_path)
    assert set(accuracies(results, "learngene", "25")) == {0.0}
    assert set(accuracies(results, "learngene", "5")) == {0.0}
    assert max(accuracies(results, "learngene", "0")) > 0
    assert Results.load(tmp_path) == results


def test_several_genes_are_judged_side_by_side(tiny_run, tmp_path):
    other = tmp_path / "other"
    gene = Learngene.from_pretrained(tiny_run)
    Learngene({name: tensor + 0.01 for name, tensor in gene.tensors.items()}, gene.config).save_pretrained(other)
    results = evaluate([tiny_run, other], protocol=ONE, seeds=(0,))
    assert [one.start for one in results.descendants[0].starts] == ["scratch", "learngene:tiny", "learngene:other"]
    assert [one.start for one in results.genes] == ["learngene:tiny", "learngene:other"]
    assert start(results, "learngene:tiny").lead == {}
    assert start(results, "learngene:other").lead.keys() == {"3"}


def test_a_gene_whose_tensors_were_changed_in_memory_is_not_taken_for_the_one_that_was_loaded(tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    changed = replace(gene, tensors={name: tensor + 0.01 for name, tensor in gene.tensors.items()})
    one, other = load_candidates([gene, changed])
    assert (one.gene.config, one.recipe.name) == (gene.config, "tiny")
    assert other.gene.config.sha256 not in ("", gene.config.sha256)
    assert other.recipe is None


def test_a_gene_that_has_seen_the_novel_classes_of_another_is_refused(tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    data = gene.config.origin.data
    swapped = with_data(gene, base=data.novel, novel=data.base)
    with pytest.raises(LearngeneError, match="has seen 6 of the classes that are novel to learngene:gene1, such as"):
        evaluate([gene, swapped], protocol=QUICK)


NAMES = st.permutations([f"class {number}" for number in range(9)])


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES)
def test_no_gene_is_judged_by_classes_that_another_has_trained_on(tiny_run, names, others):
    gene = Learngene.from_pretrained(tiny_run)

    def candidate(start, names):
        base, held_out, novel = tuple(names[:5]), tuple(names[5:7]), tuple(names[7:])
        return with_data(gene, base=base, held_out=held_out, novel=novel, source=start)

    seen = {*others[:7]} & {*names[7:]} or {*others[:5]} & {*names[5:7]}
    genes = [candidate("a/b", names), candidate("c/d", others)]
    if seen:
        with pytest.raises(LearngeneError, match="genes of different splits cannot be compared"):
            load_candidates(genes)
    else:
        assert len(load_candidates(genes)) == 2


def test_a_gene_that_does_not_name_its_novel_classes_is_refused(tiny_run):
    with pytest.raises(LearngeneError, match="was not evolved, so it does not say which classes are novel"):
        evaluate(extract(from_learngene(tiny_run, num_classes=2)), protocol=QUICK)


def test_a_gene_of_gray_images_is_refused_in_a_line(tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    gray = extract(from_learngene(gene, num_classes=2, in_chans=1), gene.config.channels)
    config = gray.config.model_copy(update={"origin": gene.config.origin})
    with pytest.raises(LearngeneError, match=r"gene1: expected a gene for images of 3 channels \(RGB\), found 1"):
        evaluate(Learngene(gray.tensors, config), protocol=QUICK)


@pytest.mark.parametrize(
    ("role", "message"), [("novel", "no novel classes to evaluate on"), ("held_out", "no held-out classes to choose")]
)
def test_a_gene_that_names_no_classes_is_not_judged_by_those_it_has_seen(tiny_run, role, message):
    gene = with_data(Learngene.from_pretrained(tiny_run), **{role: ()})
    with pytest.raises(LearngeneError, match=message):
        evaluate(gene, protocol=QUICK)


def test_the_recipe_of_another_gene_of_the_same_shape_is_not_taken(gene_copy):
    with (gene_copy / "recipe.yaml").open("a") as file:
        file.write("seed: 1\n")  # as where a gene was saved over another
    assert load_candidates([gene_copy])[0].recipe is None


def test_the_recipe_of_a_later_version_is_not_taken(gene_copy):
    with (gene_copy / "recipe.yaml").open("a") as file:
        file.write("recombination: {rate: 0.1}\n")
    assert load_candidates([gene_copy])[0].recipe is None


def with_other_recipe(run, folder):
    """A copy of the gene of `run` beside a recipe of other channels."""
    copied = shutil.copytree(run / "gene", folder / "gene")
    text = (copied / "recipe.yaml").read_text()
    (copied / "recipe.yaml").write_text(text.replace("taper: 1.0", "taper: 0.3"))
    assert (copied / "recipe.yaml").read_text() != text
    return copied


def test_a_gene_in_memory_has_the_recipe_that_lies_where_it_was_loaded_from(tiny_run, tmp_path):
    (loaded,), (named,) = (load_candidates([gene]) for gene in (Learngene.from_pretrained(tiny_run), tiny_run))
    assert loaded.recipe.text == named.recipe.text
    assert loaded.flops == named.flops > 0
    other = loaded.gene.config.model_copy(update={"width": 0.07})
    changed = Learngene(loaded.gene.tensors, other, loaded.gene.place)
    for gene in (changed, with_other_recipe(tiny_run, tmp_path)):
        assert load_candidates([gene])[0].recipe is None
    (bare,) = load_candidates([Learngene(loaded.gene.tensors, loaded.gene.config)])
    assert bare.recipe is None


def test_a_gene_of_a_local_folder_asks_where_the_images_are(tiny_run):
    gene = with_data(Learngene.from_pretrained(tiny_run), preset=None, source="photos")
    with pytest.raises(LearngeneError, match="local folder 'photos'; give its path with --data"):
        evaluate(gene, protocol=QUICK)


def test_wider_and_deeper_descendants_are_judged_beside_scratch_of_their_size(tiny_run):
    results = evaluate(
        tiny_run,
        protocol=ONE,
        seeds=(0,),
        descendants=Descendants(widths=(0.06, 0.12), depths=(11, 13)),
    )
    assert [(one.width, one.depth) for one in results.descendants] == [(0.06, 11), (0.12, 11), (0.06, 13), (0.12, 13)]
    shares = [start(results, "learngene", body).inherited for body in range(4)]
    assert shares[0] > shares[1] > 0
    assert shares[0] > shares[2]


def test_constants_of_numpy_are_kept_as_numbers_of_python():
    changed = PROTOCOLS["few-shot"].with_changes({"tasks": np.int64(2), "steps": np.int64(40)})
    assert json.loads(json.dumps(changed.constants()))["steps"] == 40


def test_a_whole_number_for_a_width_has_the_results_of_the_same_width():
    (body,) = Descendants(("lg_vgg11",), widths=(1,), depths=(11,)).bodies(load_candidates(["gtl/vgg11-mini"])[0].gene)
    assert repr(body.width) == "1.0"


def test_seeds_of_numpy_are_kept_like_others(tiny_run, tmp_path):
    assert evaluate(tiny_run, protocol=ONE, seeds=[np.int64(0)], out=tmp_path).seeds == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "few-shots"}, "protocol 'few-shots': expected one of .*; did you mean `few-shot`"),
        ({"baselines": "narow"}, "baseline 'narow': expected all, or some of .*; did you mean `narrow`"),
        ({"checkpoints": "absent"}, "absent: no such file or folder"),
        ({"baselines": ["narow"]}, "baseline 'narow': expected all, or some of .*; did you mean `narrow`"),
        ({"protocol": "transfer"}, "protocol transfer needs --target"),
        ({"target": "photos"}, "protocol few-shot takes no --target"),
        ({"genes": []}, "expected one or more genes, found none"),
        ({"seeds": 2}, r"seeds: expected whole numbers, such as \(0, 1, 2\), found 2"),
        ({"seeds": (1, 1)}, r"seeds: expected one or more, all different, found \[1, 1\]"),
        ({"protocol": replace(QUICK, ways=7)}, "7 classes per task, but there are only 6 to evaluate on: lower --ways"),
        ({"descendants": Descendants(widths=(0.01,))}, "at least as wide as the gene"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_once(tiny_run, arguments, message):
    with pytest.raises(LearngeneError, match=message):
        evaluate(**({"genes": tiny_run} | arguments))
