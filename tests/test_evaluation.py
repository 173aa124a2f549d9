import json
import math
import statistics
from dataclasses import replace

import pytest

from learngene_hub import Learngene, LearngeneError, evaluate, evaluation, extract, from_learngene
from learngene_hub.evaluation import FewShot, confidence, student_quantile

QUICK = FewShot(ways=3, shots=4, queries=6, tasks=3, steps=3, batch_size=8, rates=(0.01, 0.1), tuning_tasks=2)


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


def test_results_hold_every_task_of_every_start_and_are_written(tiny_run, tmp_path):
    results = evaluate(tiny_run, protocol=QUICK, seeds=(0, 1), out=tmp_path)
    assert results["tasks"] == len(results["scratch"]["accuracies"]) == len(results["learngene"]["accuracies"]) == 6
    for start in ("scratch", "learngene"):
        assert results[start]["mean"] == pytest.approx(statistics.fmean(results[start]["accuracies"]))
        assert results[start]["ci95"] >= 0
    gains = [a - b for a, b in zip(results["learngene"]["accuracies"], results["scratch"]["accuracies"], strict=True)]
    assert results["difference"]["mean"] == pytest.approx(statistics.fmean(gains))
    assert 0.15 < results["parameters_inherited"] < 0.25
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_every_start_has_the_learning_rate_that_suits_it_best_on_held_out_classes(tiny_run, monkeypatch):
    loaded, real = [], evaluation.load_classes

    def spy(source, names, **kwargs):
        loaded.append(names)
        return real(source, names, **kwargs)

    monkeypatch.setattr(evaluation, "load_classes", spy)
    results = evaluate(tiny_run, protocol=QUICK, seeds=(0,))
    data = Learngene.from_pretrained(tiny_run).config.origin.data
    assert loaded == [data.novel, data.held_out]
    for start in ("scratch", "learngene"):
        tuning = {float(lr): accuracy for lr, accuracy in results[start]["tuning"].items()}
        assert tuning.keys() == {0.01, 0.1}
        assert tuning[results[start]["lr"]] == max(tuning.values())


def test_one_learning_rate_for_all_needs_no_held_out_images(tiny_run):
    results = evaluate(tiny_run, protocol=replace(QUICK, lr=0.03), seeds=(0,))
    assert {results[start]["lr"] for start in ("scratch", "learngene")} == {0.03}
    assert results["scratch"]["tuning"] == {}


def test_small_classes_are_tested_on_what_they_have_or_refused(tiny_run):
    results = evaluate(tiny_run, protocol=replace(QUICK, queries=100, lr=0.05), seeds=(0,))
    assert results["protocol"]["queries"] == 8
    with pytest.raises(LearngeneError, match="12 training images a class, but a class has only 12: lower --shots"):
        evaluate(tiny_run, protocol=replace(QUICK, shots=12), seeds=(0,))


def test_the_same_seeds_give_the_same_numbers_and_others_do_not(tiny_run):
    first, again, other = (evaluate(tiny_run, protocol=QUICK, seeds=seeds) for seeds in ((0,), (0,), (1,)))
    assert first == again
    assert first["scratch"]["accuracies"] != other["scratch"]["accuracies"]


def test_the_starts_differ_in_the_gene_alone(tiny_run, monkeypatch):
    born, real = [], evaluation.newborn

    def spy(*args, gene, **kwargs):
        born.append((kwargs["path"], kwargs["seed"], gene is None))
        return real(*args, gene=gene, **kwargs)

    monkeypatch.setattr(evaluation, "newborn", spy)
    evaluate(tiny_run, protocol=replace(QUICK, lr=0.05), seeds=(4,))
    assert [path for path, _, scratch in born if scratch] == [path for path, _, scratch in born if not scratch]
    assert {seed for _, seed, _ in born} == {4}


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


def test_wider_and_deeper_descendants_are_evaluated_beside_scratch_of_their_size(tiny_run):
    results = evaluate(tiny_run, protocol=QUICK, seeds=(0,), width=0.12, depth=13)
    assert (results["width"], results["depth"]) == (0.12, 13)
    assert results["parameters_inherited"] < 0.15
