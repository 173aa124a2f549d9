import pytest

from learngene_hub import LearngeneError, evolve, plots
from learngene_hub.evolution.checkpoint import read_metrics
from learngene_hub.plots import draw_comparison, draw_evolution


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


def test_a_comparison_is_drawn(tmp_path):
    results = {start: {"mean": 0.5, "ci95": 0.1, "accuracies": [0.4, 0.6]} for start in ("scratch", "learngene")}
    draw_comparison(results, tmp_path / "comparison.png", title="x")
    assert is_png(tmp_path / "comparison.png")


def test_without_matplotlib_an_evolution_is_refused_before_it_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(LearngeneError, match=r"pictures need matplotlib: pip install \"learngene-hub\[evolve\]\""):
        evolve(tiny(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
