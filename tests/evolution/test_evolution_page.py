import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from listener import Listener
from pages import Page
from typer.testing import CliRunner

from learngene_hub import LearngeneError, evolve
from learngene_hub.cli.main import app
from learngene_hub.core.errors import RunError
from learngene_hub.evolution.page import write_page
from learngene_hub.report.evolution import render_evolution
from learngene_hub.report.plots import canvas


def person(id_, parents=(), fitness=0.5, *, survived=True):
    return {"id": id_, "parents": list(parents), "fitness": fitness, "survived": survived, "loss": 1.0}


def generation(number, people):
    alive = [one["fitness"] for one in people if one["fitness"] is not None]
    best = max(people, key=lambda one: one["fitness"] or 0)
    return {
        "generation": number,
        "best": best["fitness"],
        "mean": sum(alive) / len(alive),
        "best_id": best["id"],
        "failed": len(people) - len(alive),
        "individuals": people,
        "engine": {"place": "CPU", "retried": 0},
        "images": 1000 * (number + 1),
        "seconds": 2.5 * (number + 1),
    }


FAMILY = [
    generation(0, [person(0), person(1, fitness=0.4, survived=False)]),
    generation(1, [person(2, [0], 0.6), person(3, [0], None, survived=False), person(4, [0], 0.55)]),
    generation(2, [person(5, [2], 0.7), person(6, [4], 0.65), person(7, [4], 0.75)]),
]


def show(rows=FAMILY, **options):
    return render_evolution(rows, **({"title": "family", "chosen": 7} | options))


def test_the_page_loads_nothing_and_runs_no_script():
    text = show()
    page = Page(text)
    policy = next(one["content"] for tag, one in page.tags if tag == "meta" and "http-equiv" in one)
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"https?:|@import|url\(", text)
    assert "script" not in {tag for tag, _ in page.tags}


def test_the_page_says_what_came_out_what_it_cost_and_that_fitness_is_no_worth():
    page = Page(show())
    assert "an individual created in generation 3, with a fitness of 75.0 %" in page.text
    assert "It has 2 ancestors." in page.text
    assert "this is no fair measure of the result" in page.text
    table = page.tables[-1]
    assert table[1] == ["1", "2", "1", "0", "50.0", "45.0", "1,000", "2.5"]
    assert [row[3] for row in table[1:]] == ["0", "1", "0"]


def test_columns_are_those_of_what_there_is():
    page = Page(show([generation(0, [person(0)])], chosen=0))
    assert "failed" not in page.tables[-1][0]
    assert "individual in 1 generation, 1 survived" in page.text


def test_rows_say_where_it_was_and_what_was_lost():
    assert "400 images per second; CPU A learngene is" in Page(show()).text
    rows = [row | {"engine": {"place": "2 x cpu", "retried": 1}} for row in FAMILY]
    assert "400 images per second; 2 x cpu; work of lost workers repeated 3 times" in Page(show(rows)).text
    once = [rows[0], *FAMILY[1:-1], FAMILY[-1] | {"engine": {"place": "2 x cpu", "retried": 0}}]
    assert "work of lost workers repeated 1 time</li>" in show(once)


def line(generations):
    """Rows of a run that has one individual a generation, each the child of the one before."""
    return [generation(one, [person(one, [one - 1] if one else [])]) for one in range(generations)]


def test_the_work_of_a_page_is_in_proportion_to_its_generations():
    def calls(generations):
        count, rows = 0, line(generations)

        def counted(frame, event, _):
            nonlocal count
            count += event == "call"

        sys.setprofile(counted)
        try:
            show(rows, chosen=generations - 1)
        finally:
            sys.setprofile(None)
        return count

    calls(10)  # what is imported and kept once
    few, more = calls(600), calls(1200)
    assert more < 2.2 * few


def test_hostile_names_are_text():
    evil = '<script>alert(1)</script>"'
    page = Page(show(title=evil))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(evil) >= 2


def test_an_evolution_leaves_its_page(tiny_run):
    text = (tiny_run / "evolution.html").read_text()
    assert "Generations and their cost" in text
    assert not (tiny_run / "gene/evolution.html").exists()


@pytest.mark.drawn
def test_the_page_can_be_made_again_from_a_run_a_gene_and_a_run_that_is_not_done(tiny, tiny_run, tmp_path):
    first = (tiny_run / "evolution.html").read_text()
    again = CliRunner().invoke(app, ["report", str(tiny_run), "--out", str(tmp_path / "again.html")])
    assert again.stdout == f"{tmp_path / 'again.html'}\n"
    assert (tmp_path / "again.html").read_text() == first
    assert write_page(str(tiny_run / "gene"), tmp_path / "gene.html").read_text() == first

    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(tiny("evolution.population=2"), out=tmp_path / "run", reporter=Listener(stop_after=2))
    page = write_page(str(tmp_path / "run"))
    assert page == tmp_path / "run/evolution.html"
    assert "in 2 generations" in Page(page.read_text()).text


def test_a_run_without_a_finished_generation_has_no_page_and_a_gene_in_a_used_folder_has_one(
    tiny_run, gene_copy, tmp_path
):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/.lock").touch()
    with pytest.raises(RunError, match="no generation of an evolution is finished here yet"):
        write_page(str(tmp_path / "begun"))
    (gene_copy / ".lock").touch()
    assert write_page(str(gene_copy), tmp_path / "page.html").is_file()


def test_a_page_and_its_run_may_be_at_home(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "run")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert write_page("~/run", Path("~/page.html")) == tmp_path / "page.html"
    assert write_page("~/run") == tmp_path / "run/evolution.html"


def test_the_page_of_a_gene_that_is_no_folder_is_written_here_and_replaces_no_run_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evolution.html").write_text("the page of a run")
    assert str(write_page("gtl/vgg11-mini")) == "gtl-vgg11-mini.html"
    assert (tmp_path / "gtl-vgg11-mini.html").is_file()
    assert (tmp_path / "evolution.html").read_text() == "the page of a run"


def test_the_folder_of_an_evaluation_is_not_taken_for_a_run(tmp_path):
    for name in ("results.json", ".lock"):
        (tmp_path / name).touch()
    with pytest.raises(RunError, match=r"expected a run or a gene, found an evaluation; its page is report\.html"):
        write_page(str(tmp_path))


def test_without_matplotlib_a_page_is_refused(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "find_spec", lambda name: None)
    with pytest.raises(LearngeneError, match="pictures need matplotlib: pip install"):
        write_page(str(tiny_run), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_gene_that_was_cut_or_has_no_metrics_is_refused(tiny_run, tmp_path):
    config = json.loads((tiny_run / "gene/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"origin": None}))
    with pytest.raises(RunError, match="this gene was cut from a network, not evolved"):
        write_page(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"expected metrics.jsonl with a row for every generation, found none"):
        write_page(str(tmp_path))
