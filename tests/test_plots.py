from itertools import pairwise

import pytest
from results_examples import example

from learngene_hub import LearngeneError, evolve
from learngene_hub.evolution.checkpoint import read_metrics
from learngene_hub.plots import canvas, draw_confusion, draw_curves, draw_evolution, draw_starts, draw_sweep, spread


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_an_evolution_is_drawn_failed_individuals_and_recombinants_included(tiny_run, tmp_path):
    rows = read_metrics(tiny_run)
    child = rows[1]["individuals"][0]
    rows[1]["individuals"][0] = child | {"fitness": None, "survived": False}
    rows[2]["recombinant"] = {"id": 99, "parents": [child["id"]], "fitness": 0.5, "survived": True}
    rows[1]["individuals"][0]["id"] = 98
    rows[2]["recombinant"]["parents"] = [rows[1]["individuals"][1]["id"]]
    for one in rows[2]["individuals"]:
        one["parents"] = [rows[1]["individuals"][1]["id"]]
    draw_evolution(rows, tmp_path / "evolution.png", title="x")
    assert is_png(tmp_path / "evolution.png")


def test_without_matplotlib_an_evolution_is_refused_before_it_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "find_spec", lambda name: None)
    with pytest.raises(LearngeneError, match=r"pictures need matplotlib: pip install \"learngene-hub\[evolve\]\""):
        evolve(tiny(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_thirteen_starts_are_drawn_and_a_dollar_in_a_name_is_no_formula(tmp_path):
    first = example().descendants[0]
    odd = first.starts[2].model_copy(update={"start": "$x^"})
    draw_starts(
        first.model_copy(update={"starts": (*first.starts[:2], odd, *first.starts[3:])}),
        "60",
        tmp_path / "a.png",
        title="$",
    )
    assert is_png(tmp_path / "a.png")


def test_classes_with_dollars_in_their_names_are_drawn(tmp_path):
    draw_confusion([[3, 1], [0, 4]], ["a$b$", r"$\frac$"], tmp_path / "a.png", title="x")
    assert is_png(tmp_path / "a.png")


def test_starts_of_one_task_are_drawn_without_interval(tmp_path):
    draw_starts(example(("learngene", "scratch"), tasks=1).descendants[0], "60", tmp_path / "a.png", title="x")
    assert is_png(tmp_path / "a.png")


@pytest.mark.parametrize("steps", [(5, 20, 60), (1, 60), (0, 10)])
def test_curves_are_drawn_over_near_and_far_steps(tmp_path, steps):
    draw_curves(example(steps=steps).descendants[0], steps, tmp_path / "a.png", title="x")
    assert is_png(tmp_path / "a.png")


def test_a_sweep_is_drawn_one_row_for_widths_and_one_for_depths(tmp_path):
    results = example(("learngene:a", "learngene:b", "scratch", "full"), shapes=((0.5, 11), (1.0, 11), (0.5, 13)))
    draw_sweep(results, tmp_path / "a.png", title="x")
    assert is_png(tmp_path / "a.png")


def test_a_sweep_of_one_network_is_refused(tmp_path):
    with pytest.raises(LearngeneError, match="expected descendants that differ in width or depth alone, found 1"):
        draw_sweep(example(), tmp_path / "a.png", title="x")


def test_labels_keep_their_order_and_their_distance_and_stay_inside():
    places = {"a": 50.0, "b": 49.0, "c": 98.0, "d": 99.0, "e": 10.0}
    found = spread(places, gap=8, high=100)
    ordered = sorted(found, key=found.__getitem__)
    assert ordered == ["e", "b", "a", "c", "d"]
    assert all(found[above] - found[below] >= 8 - 1e-9 for below, above in pairwise(ordered))
    assert found["e"] == 10.0
    assert all(4 <= place <= 96 for place in found.values())
