import html
import re
from base64 import b64encode

import pytest
from pages import Page, pictures
from results_examples import STARTS, example

from learngene_hub.report.page import render_report, write_report
from learngene_hub.report.results import Cost, Summary
from learngene_hub.report.sentences import headline, limits, not_won

PNG = b"\x89PNG not really"
SHAPES = ((0.5, 11), (0.25, 11), (1.0, 11), (0.5, 13), (0.5, 16))
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def whole():
    """Results with all that a page can show, and their page, its pictures drawn."""
    results = example(steps=(5, 10, 20, 40, 60), prototype=True, shapes=SHAPES)
    return results, render_report(results, samples=None)


def read(results, samples=None):
    return Page(render_report(results, samples=samples))


def points(summary):
    sign = "+" if summary.mean > 0 else MINUS
    return f"{sign}{abs(100 * summary.mean):.1f} ± {100 * summary.ci95:.1f}"


def test_the_page_loads_nothing_from_anywhere_and_stays_small(whole):
    _, text = whole
    page = Page(text)
    assert len(text.encode()) < 300_000
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"https?:|@import|url\(", text)
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_the_table_has_every_start_with_its_numbers_best_first():
    results = example()
    worth, costs = read(results).tables[:2]
    starts = results.descendants[0].starts
    best_first = sorted(starts, key=lambda one: -one.measures["60"].mean)
    assert [row[0] for row in costs[1:]] == [one.start for one in best_first]
    assert {one.start for one in starts} == STARTS.keys()
    for row, cost, one in zip(worth[1:], costs[1:], best_first, strict=True):
        mean, interval = one.measures["60"].mean, one.measures["60"].ci95
        assert row[0] == f"{one.start}{one.description}"
        assert row[1] == f"{100 * mean:.1f} ± {100 * interval:.1f}"
        assert row[2] == (points(one.gain["60"]) if one.gain else "")
        assert row[3] == (points(one.lead["60"]) if one.lead else "")
        assert cost[1:4] == [f"{100 * one.inherited:.1f} %", "0.05", f"{one.cost.images:,}"]
        assert cost[5:] == [f"{one.cost.seconds:,.0f}"]
    assert {row[4] for row in costs[1:]} == {"3.0e15", "3.1e15", "3.1e14", "1.2e15", "0"}


def test_beside_scratch_alone_no_column_repeats_the_gain():
    worth, *_ = read(example(("learngene", "scratch"))).tables
    assert worth[0] == ["start", "accuracy, %", "gain over scratch"]
    assert {len(row) for row in worth} == {3}


def test_the_device_is_a_column_where_there_are_several():
    results = example()
    assert "seconds on Intel Xeon, 1 core." in read(results).text
    first = results.descendants[0]
    moved = first.starts[0].model_copy(update={"cost": first.starts[0].cost.model_copy(update={"device": "H100"})})
    changed = first.model_copy(update={"starts": (moved, *first.starts[1:])})
    page = read(results.model_copy(update={"descendants": (changed,)}))
    assert page.tables[1][0][-1] == "device"
    assert {row[-1] for row in page.tables[1][1:]} == {"H100", "Intel Xeon, 1 core", ""}


def test_a_cost_that_is_not_known_is_not_called_nothing():
    results = example(("learngene", "scratch", "narrow"))
    first = results.descendants[0]
    starts = [one.model_copy(update={"cost": Cost()}) if one.start == "narrow" else one for one in first.starts]
    changed = first.model_copy(update={"starts": tuple(starts)})
    costs = {row[0]: row[3:] for row in read(results.model_copy(update={"descendants": (changed,)})).tables[1]}
    assert costs["narrow"] == ["unknown"] * 3
    assert costs["scratch"] == ["0"] * 3


def test_the_setting_says_what_was_changed():
    results = example(("learngene", "scratch"))
    assert results.setting == "few-shot: 5-way, 20 images per class, 60 steps"
    changes = {"shots": 10, "steps": 60, "measured_at": [60], "lr": 0.01, "changed": ["lr", "measured_at", "shots"]}
    changed = results.model_copy(update={"protocol": results.protocol | changes})
    assert changed.setting.startswith("few-shot with lr 0.01: 5-way, ")


def test_every_picture_is_described_and_has_the_names_of_what_it_shows(whole):
    page = Page(whole[1])
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(pictures(page)) == 4  # all starts, curves, before training, widths and depths
    assert all(len(one["alt"]) > 30 for one in images)
    for picture in pictures(page)[:3]:
        assert STARTS.keys() <= set(picture.itertext())


@pytest.mark.drawn
def test_pictures_are_the_same_each_time_without_a_date_and_load_nothing(whole):
    results, text = whole
    assert text == render_report(results, samples=None)
    for picture in pictures(Page(text)):
        assert not [one for one in picture.iter() if one.tag.endswith(("}metadata", "}script"))]
        links = {value for one in picture.iter() for name, value in one.attrib.items() if name.endswith("href")}
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_the_first_sentences_say_the_gain_and_also_a_loss():
    results = example(("learngene", "scratch", "narrow", "full"))
    first = results.descendants[0]
    gain, lead = first.start("learngene").gain["60"], first.start("full").lead["60"]
    sentences = headline(results, first, "learngene")
    assert f"{100 * gain.mean:.1f} ± {100 * gain.ci95:.1f} points above training from scratch" in sentences[0]
    assert f"It is behind the best other start, full, by {points(lead)[1:]} points." in sentences[1]
    assert " ".join(sentences) in read(results).text
    assert [one.split(" ")[0] for one in not_won(results, "learngene")] == ["full", "narrow"]


def test_a_win_is_told_and_so_is_that_nothing_else_was_judged():
    won = example(("learngene", "scratch", "cut-at-random"))
    assert "It is ahead of the best other start, cut-at-random, by" in headline(won, won.descendants[0], "learngene")[1]
    alone = example(("learngene", "scratch"))
    assert headline(alone, alone.descendants[0], "learngene")[1] == "It was compared only with scratch."
    assert not_won(alone, "learngene") == []
    sizes = example(("learngene", "scratch", "full"), shapes=((0.5, 11), (1.0, 11)))
    first = sizes.descendants[0].model_copy(update={"starts": sizes.descendants[0].starts[:2]})
    sizes = sizes.model_copy(update={"descendants": (first, sizes.descendants[1])})
    assert headline(sizes, first, "learngene")[1] == "In this network, it was compared only with scratch."
    two = example(("learngene:a", "learngene:b", "scratch"))
    for gene, other in (("learngene:a", "learngene:b"), ("learngene:b", "learngene:a")):
        assert f"the best other start, {other}" in headline(two, two.descendants[0], gene)[1]


@pytest.mark.parametrize(
    ("mean", "ci95", "words"),
    [
        (0.001, 0.02, r"not clearly different from training from scratch: \+0.1 ± 2.0 points"),
        (-0.06, 0.02, "6.0 ± 2.0 points below training from scratch"),
        (0.06, None, "6.0 points above training from scratch"),
    ],
)
def test_a_gain_that_is_none_is_not_called_one(mean, ci95, words):
    results = example(("learngene", "scratch"))
    first = results.descendants[0]
    gene = first.start("learngene").model_copy(update={"gain": {"60": Summary(mean=mean, ci95=ci95)}})
    changed = first.model_copy(update={"starts": (gene, first.start("scratch"))})
    assert re.search(words, headline(results, changed, "learngene")[0])


def test_one_task_has_no_interval_anywhere():
    results = example(("learngene", "scratch", "narrow"), tasks=1)
    page = read(results)
    assert all("±" not in cell for row in page.tables[0] for cell in row)
    assert "one task, so without an interval" in page.text
    assert "Only one gene was evaluated, on one task: there is no interval." in limits(results)
    sentences = headline(results, results.descendants[0], "learngene")
    assert sentences[1].startswith("The best other start, apart from scratch, is narrow. The lead over narrow is ")
    assert len(sentences) == 2


def test_several_genes_are_all_told_of_and_highlighted():
    results = example(("learngene:a", "learngene:b", "scratch", "narrow"))
    page = read(results)
    assert "With learngene:a, lg_vgg11" in page.text
    assert "With learngene:b, lg_vgg11" in page.text
    rows = [attributes["class"] for tag, attributes in page.tags if tag == "tr" and "class" in attributes]
    assert rows.count("gene") == 2 + 2  # what they are worth, and their cost
    assert "2 genes were evaluated" in page.text
    assert page.text.count("sha256") == 2


def test_curves_are_there_when_there_are_several_steps():
    results = example(steps=(5, 20, 60))
    page = read(results)
    curves = next(table for table in page.tables if table[0][1:] == ["5 steps", "20 steps", "60 steps"])
    for row in curves[1:]:
        measures = results.descendants[0].start(row[0]).measures
        assert [cell.split(" ")[0] for cell in row[1:]] == [f"{100 * measures[s].mean:.1f}" for s in ("5", "20", "60")]
    assert "Learning curves" not in read(example()).text


def test_steps_that_no_start_was_measured_at_have_no_curves(tmp_path):
    results = example(steps=(5, 60)).model_copy(update={"steps": (7, 60)})
    assert "Learning curves" not in read(results).text
    assert write_report(results, tmp_path, samples=None).is_file()


def test_the_measure_before_training_has_bars_of_its_own():
    two = ("learngene", "scratch")
    assert "Before any training" in read(example(two, prototype=True)).text
    assert "Before any training" not in read(example(two)).text


def test_sweeps_show_the_gain_from_zero_and_every_other_network_has_a_table():
    page = read(example(("learngene", "scratch"), shapes=SHAPES))
    assert "Other widths and depths" in page.text
    for words in ("width 0.25, depth 11", "width 1, depth 11", "width 0.5, depth 13", "width 0.5, depth 16"):
        assert f"All starts in lg_vgg11, {words}" in page.text
    worth = [table for table in page.tables if table[0][1:2] == ["accuracy, %"]]
    assert len(worth) == 5
    assert all(any(row[0].startswith("learngene") for row in table) for table in worth)


def test_rates_constants_recipe_classes_and_environment_are_there():
    results = example()
    page = read(results)
    rates = next(table for table in page.tables if table[0] == ["start", "0.02", "0.05", "0.1", "0.2"])
    assert len(rates) == 14
    assert f"{100 * results.descendants[0].starts[0].tuning['0.05']:.1f}" in rates[1]
    assert ["shots", "20"] in [row for table in page.tables for row in table]
    assert ["device", "NVIDIA H100"] in [row for table in page.tables for row in table]
    assert html.escape(results.recipe) in render_report(results, samples=None)
    for words in (results.statistic, "pickup truck", "Limits"):
        assert words in page.text


def test_hostile_names_are_text():
    evil = "<script>alert(1)</script>\"'&"
    results = example(("learngene", "scratch"))
    start = results.descendants[0].starts[1].model_copy(update={"start": evil, "description": evil})
    descendant = results.descendants[0].model_copy(update={"starts": (results.descendants[0].starts[0], start)})
    gene = results.genes[0].model_copy(update={"name": evil})
    changed = {"descendants": (descendant,), "genes": (gene,), "recipe": evil, "data": evil, "classes": (evil,)}
    page = read(results.model_copy(update=changed))
    assert "script" not in {tag for tag, _ in page.tags}
    assert evil in page.text


def test_the_samples_are_inside_the_page_and_described():
    page = read(example(("learngene", "scratch")), PNG)
    image = [attributes for tag, attributes in page.tags if tag == "img"][-1]
    assert image["src"] == f"data:image/png;base64,{b64encode(PNG).decode()}"
    assert "owner/cifar-fs" in image["alt"]
    without = read(example(("learngene", "scratch")))
    assert "image/png" not in " ".join(without.addresses)


def test_the_page_and_the_pictures_that_apply_are_written(tmp_path):
    path = write_report(example(("learngene", "scratch")), tmp_path / "plain", samples=None)
    assert path == tmp_path / "plain/report.html"
    assert {one.name for one in path.parent.iterdir()} == {"report.html", "comparison.png"}
    results = example(("learngene", "scratch"), steps=(5, 60), shapes=SHAPES)
    write_report(results, tmp_path / "full", samples=None)
    names = {one.name for one in (tmp_path / "full").iterdir()}
    assert names == {"report.html", "comparison.png", "curves.png", "sweep.png"}
