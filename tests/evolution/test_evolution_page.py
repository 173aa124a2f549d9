import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from listener import Listener
from pages import BROWSER, Page, browse, pictures
from typer.testing import CliRunner

from learngene_hub import LearngeneError, evolve
from learngene_hub.cli.main import app
from learngene_hub.core.errors import RunError
from learngene_hub.evolution.page import write_page
from learngene_hub.report.evolution import render_evolution
from learngene_hub.report.lineage import MOST, tree
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


def test_who_points_at_an_individual_reads_about_it():
    assert "<title>Individual 5, generation 3: child of 2; fitness 70.0 %," in show()


def test_everyone_is_in_the_tree_with_parents_fitness_and_fate():
    people = {one.id: one for one in tree(FAMILY, 7).nodes}
    assert people.keys() == set(range(8))
    assert people[2].parents == (0,)
    assert people[2].words == (
        "Individual 2, generation 2: child of 0; fitness 60.0 %, training loss 1.00; survived; 1 child."
    )
    assert people[0].words.startswith("Individual 0, generation 1: inherited nothing; fitness 50.0 %")
    assert "its training failed, training loss 1.00; did not survive; no children" in people[3].words
    assert people[7].words.startswith(
        "Individual 7, generation 3: child of 4; fitness 75.0 %, training loss 1.00; survived"
    )
    assert {one.id for one in people.values() if "line" in one.kinds.split()} == {0, 4, 7}
    assert people[7].kinds.split()[-1] == "chosen"


def test_every_child_is_joined_to_its_parents_and_rows_go_down():
    drawn = tree(FAMILY, 7)
    assert {(one.parent, one.child) for one in drawn.links} == {(0, 2), (0, 3), (0, 4), (2, 5), (4, 6), (4, 7)}
    assert {(one.parent, one.child) for one in drawn.links if not one.is_line} == {(0, 2), (0, 3), (2, 5), (4, 6)}
    heights = {one.generation: one.y for one in drawn.nodes}
    assert heights[0] < heights[1] < heights[2]
    assert len({(one.x, one.y) for one in drawn.nodes}) == 8
    assert all(0 < one.x < drawn.width and 0 < one.y < drawn.height for one in drawn.nodes)


@pytest.mark.drawn
def test_the_page_says_what_came_out_what_it_cost_and_that_fitness_is_no_worth():
    page = Page(show())
    assert "individual 7, created in generation 3, with a fitness of 75.0 %" in page.text
    assert "Its ancestors, youngest first: 4, 0." in page.text
    assert "this is no fair measure of the result" in page.text
    (picture,) = pictures(page)
    assert {"eliminated", "result and its ancestors", "generation"} <= set(picture.itertext())
    table = page.tables[-1]
    assert table[1] == ["1", "2", "1", "0", "50.0", "45.0", "1,000", "2.5"]
    assert [row[3] for row in table[1:]] == ["0", "1", "0"]


def test_keys_and_columns_are_those_of_what_there_is():
    everything = ["result", "its ancestors", "survived", "eliminated", "training failed"]
    assert [words for _, words in tree(FAMILY, 7).key] == everything
    alone = [generation(0, [person(0)])]
    assert tree(alone, 0).key == (("chosen", "result"),)
    page = Page(show(alone, chosen=0))
    assert "failed" not in page.tables[-1][0]
    assert "individual in 1 generation, 1 survived" in page.text


def test_rows_say_where_it_was_and_what_was_lost():
    assert "400 images per second; CPU Fitness" in Page(show()).text
    rows = [row | {"engine": {"place": "2 x cpu", "retried": 1}} for row in FAMILY]
    assert "400 images per second; 2 x cpu; work of lost workers repeated 3 times" in Page(show(rows)).text
    once = [rows[0], *FAMILY[1:-1], FAMILY[-1] | {"engine": {"place": "2 x cpu", "retried": 0}}]
    assert "work of lost workers repeated 1 time<" in show(once)


def test_a_line_that_passes_a_generation_passes_between_its_individuals():
    family = [
        generation(0, [person(0)]),
        generation(1, [person(one, [0]) for one in (1, 2, 3)]),
        generation(2, [person(one, [0]) for one in (4, 5, 6, 7)]),
    ]
    drawn = tree(family, 7)
    passed = [one.x for one in drawn.nodes if one.generation == 1]
    for link in drawn.links:
        if link.child >= 4:
            lane = float(re.search(r" (\S+) \S+V", link.path)[1])
            assert all(abs(lane - x) > 20 for x in passed)


def test_a_large_evolution_is_drawn_without_the_eliminated_and_a_huge_one_as_a_line():
    def grow(population, survivors):
        rows, parents = [], []
        for number in range(20):
            ids = range(number * population, (number + 1) * population)
            rows.append(generation(number, [person(one, parents, survived=one - ids[0] < survivors) for one in ids]))
            parents = [ids[0]]
        return rows

    large, huge = grow(30, 10), grow(60, 30)
    drawn = tree(large, large[-1]["best_id"])
    assert len(drawn.nodes) == 200
    assert drawn.left_out == 400
    assert len(tree(huge, huge[-1]["best_id"]).nodes) == 20
    assert MOST >= 200
    assert "1,180 individuals are not drawn" in Page(show(huge, chosen=huge[-1]["best_id"])).text
    assert len(show(large, chosen=large[-1]["best_id"]).encode()) < 300_000


def line(generations):
    """Rows of a run that has one individual a generation, each the child of the one before."""
    return [generation(one, [person(one, [one - 1] if one else [])]) for one in range(generations)]


def test_of_a_line_longer_than_can_be_drawn_the_youngest_are():
    drawn = tree(line(MOST + 50), MOST + 49)
    assert [one.id for one in drawn.nodes] == list(range(50, MOST + 50))
    assert (len(drawn.links), len(drawn.rows), drawn.left_out) == (MOST - 1, MOST, 50)


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


def test_the_page_of_a_gene_of_the_package_is_written_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(write_page("gtl/vgg11-cifar-fs-half")) == "evolution.html"
    assert (tmp_path / "evolution.html").is_file()


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


@pytest.mark.drawn
@pytest.mark.skipif(BROWSER is None, reason="Chromium is not there, so no page can be shown")
def test_a_browser_shows_the_page_without_errors_or_sideways_scrolling(tmp_path):
    errors, document = browse(tmp_path, show(), 360, "light", "--dump-dom")
    assert "CONSOLE" not in errors
    assert "<title>width 360 of 360</title>" in document
