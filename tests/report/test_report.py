import html
import re

import pytest
from pages import Page
from results_examples import STARTS, example

from learngene_hub.report.evaluation import write_report
from learngene_hub.report.page import render_page
from learngene_hub.report.results import Cost, Summary
from learngene_hub.report.sentences import headline, limits, not_won

SHAPES = ((0.5, 11), (0.25, 11), (1.0, 11), (0.5, 13), (0.5, 16))
MINUS = "\N{MINUS SIGN}"
HEAD = ["start", "what it inherits", "learning rate", "accuracy, %", "gain over scratch", "lead of the gene"]
COSTS = ["cost: images", "FLOPs", "seconds", "device"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of results with all that a page can show, its pictures drawn."""
    results = example(steps=(5, 10, 20, 40, 60), prototype=True, shapes=SHAPES)
    return write_report(results, tmp_path_factory.mktemp("whole")).read_text()


@pytest.fixture
def read(tmp_path):
    """Writes the page of results and reads it."""
    return lambda results: Page(write_report(results, tmp_path / "page").read_text())


def points(summary):
    sign = "+" if summary.mean > 0 else MINUS
    return f"{sign}{abs(100 * summary.mean):.1f} ± {100 * summary.ci95:.1f}"


def test_the_page_loads_nothing_from_anywhere_and_stays_small(whole):
    page = Page(whole)
    assert len(whole.encode()) < 600_000
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"https?:|@import|url\(", whole)
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_what_is_no_plain_markdown_is_text():
    page = Page(render_page("<b>", "<script>x</script> [y](javascript:1) ![z](https://e.org/a.png)", {}))
    assert not {"script", "a"} & {tag for tag, _ in page.tags}
    assert "<script>x</script> [y](javascript:1)" in page.text
    policy = next(one["content"] for tag, one in page.tags if tag == "meta" and "http-equiv" in one)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_the_table_has_every_start_with_its_numbers_best_first(read):
    results = example()
    head, *rows = read(results).tables[0]
    starts = results.descendants[0].starts
    best_first = sorted(starts, key=lambda one: -one.measures["60"].mean)
    assert head == [*HEAD, *COSTS]
    assert {one.start for one in starts} == STARTS.keys()
    for row, one in zip(rows, best_first, strict=True):
        mean, interval = one.measures["60"].mean, one.measures["60"].ci95
        assert row[:4] == [one.start, one.description, "0.05", f"{100 * mean:.1f} ± {100 * interval:.1f}"]
        assert row[4] == (points(one.gain["60"]) if one.gain else "")
        assert row[5] == (points(one.lead["60"]) if one.lead else "")
        assert row[6] == f"{one.cost.images:,}"
        assert row[8:] == [f"{one.cost.seconds:,.0f}", one.cost.device]
    assert {row[7] for row in rows} == {"3.0e15", "3.1e15", "3.1e14", "1.2e15", "0"}


def test_beside_scratch_alone_no_column_repeats_the_gain(read):
    head, *rows = read(example(("learngene", "scratch"))).tables[0]
    assert head == [*HEAD[:-1], *COSTS]
    assert {len(row) for row in rows} == {9}


def test_a_cost_that_is_not_known_is_not_called_nothing(read):
    results = example(("learngene", "scratch", "narrow"))
    first = results.descendants[0]
    starts = [one.model_copy(update={"cost": Cost()}) if one.start == "narrow" else one for one in first.starts]
    changed = first.model_copy(update={"starts": tuple(starts)})
    costs = {row[0]: row[6:9] for row in read(results.model_copy(update={"descendants": (changed,)})).tables[0]}
    assert costs["narrow"] == ["unknown"] * 3
    assert costs["scratch"] == ["0"] * 3


def test_the_setting_says_what_was_changed():
    results = example(("learngene", "scratch"))
    assert results.setting == "few-shot: 5-way, 20 images per class, 60 steps"
    changes = {"shots": 10, "steps": 60, "measured_at": [60], "lr": 0.01, "changed": ["lr", "measured_at", "shots"]}
    changed = results.model_copy(update={"protocol": results.protocol | changes})
    assert changed.setting.startswith("few-shot with lr 0.01: 5-way, ")


def test_every_picture_is_described_and_in_the_page(whole):
    images = [attributes for tag, attributes in Page(whole).tags if tag == "img"]
    assert len(images) == 3  # all starts, curves, widths and depths
    assert all(len(one["alt"]) > 30 for one in images)
    assert all(one["src"].startswith("data:image/png;base64,") for one in images)


@pytest.mark.drawn
def test_the_same_results_give_the_same_page(whole, tmp_path):
    results = example(steps=(5, 10, 20, 40, 60), prototype=True, shapes=SHAPES)
    texts = {write_report(results, tmp_path / name).read_text() for name in "ab"}
    assert len(texts) == 1


def test_the_first_sentences_say_the_gain_and_also_a_loss(read):
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


def test_one_task_has_no_interval_anywhere(read):
    results = example(("learngene", "scratch", "narrow"), tasks=1)
    page = read(results)
    assert all("±" not in cell for row in page.tables[0] for cell in row)
    assert "one task, so without an interval" in page.text
    assert "Only one gene was evaluated, on one task: there is no interval." in limits(results)
    sentences = headline(results, results.descendants[0], "learngene")
    assert sentences[1].startswith("The best other start, apart from scratch, is narrow. The lead over narrow is ")
    assert len(sentences) == 2


def test_several_genes_are_all_told_of(read):
    page = read(example(("learngene:a", "learngene:b", "scratch", "narrow")))
    assert "With learngene:a, lg_vgg11" in page.text
    assert "With learngene:b, lg_vgg11" in page.text
    assert "2 genes were evaluated" in page.text
    assert page.text.count("sha256") == 2


def test_accuracies_by_step_are_there_when_there_are_several(read):
    results = example(steps=(5, 20, 60), prototype=True)
    page = read(results)
    names = ["before any training, by nearest prototype", "after 5 steps", "after 20 steps", "after 60 steps"]
    rows = next(table for table in page.tables if table[0][1:] == names)[1:]
    for row in rows:
        measures = results.descendants[0].start(row[0]).measures
        means = [measures[one].mean for one in ("prototype", "5", "20", "60")]
        assert [cell.split(" ")[0] for cell in row[1:]] == [f"{100 * mean:.1f}" for mean in means]
    assert len(rows) == len(STARTS)
    assert "Accuracy by step" not in read(example()).text


def test_steps_that_no_start_was_measured_at_have_no_curves(read):
    assert "Accuracy by step" not in read(example(steps=(5, 60)).model_copy(update={"steps": (7, 60)})).text


def test_every_other_network_has_a_table(whole):
    page = Page(whole)
    assert "Other networks" in page.text
    for words in ("width 0.25, depth 11", "width 1, depth 11", "width 0.5, depth 13", "width 0.5, depth 16"):
        assert f"lg_vgg11, {words}" in page.text
    worth = [table for table in page.tables if table[0] == [*HEAD, *COSTS]]
    assert len(worth) == 5
    assert all(any(row[0] == "learngene" for row in table) for table in worth)


def test_constants_recipe_classes_and_environment_are_there(read, tmp_path):
    results = example()
    page = read(results)
    rows = [row for table in page.tables for row in table]
    assert ["shots", "20"] in rows
    assert ["device", "NVIDIA H100"] in rows
    assert html.escape(results.recipe) in (tmp_path / "page/report.html").read_text()
    for words in (results.statistic, "pickup truck", "What these results do not show"):
        assert words in page.text


def test_hostile_names_are_text(read):
    evil = "<script>alert(1)</script>\"'&|`"
    results = example(("learngene", "scratch"))
    start = results.descendants[0].starts[1].model_copy(update={"start": evil, "description": evil})
    descendant = results.descendants[0].model_copy(update={"starts": (results.descendants[0].starts[0], start)})
    gene = results.genes[0].model_copy(update={"name": evil})
    recipe = f"{evil}\n```\n\n# {evil}\n"
    changed = {"descendants": (descendant,), "genes": (gene,), "recipe": recipe, "data": evil, "classes": (evil,)}
    page = read(results.model_copy(update=changed))
    assert "script" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert page.text.count(evil) >= 7


def test_the_page_and_the_pictures_that_apply_are_written(tmp_path):
    path = write_report(example(("learngene", "scratch")), tmp_path / "plain")
    assert path == tmp_path / "plain/report.html"
    assert {one.name for one in path.parent.iterdir()} == {"report.html", "comparison.png"}
    results = example(("learngene", "scratch"), steps=(5, 60), shapes=SHAPES)
    write_report(results, tmp_path / "full")
    names = {one.name for one in (tmp_path / "full").iterdir()}
    assert names == {"report.html", "comparison.png", "curves.png", "sweep.png"}
