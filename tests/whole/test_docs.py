"""What the documents claim stands in a committed results file."""

import importlib
import json
import random
import re
from functools import partial

import pytest
from PIL import Image

from docs.drawings import draw_gene_beside_scratch, draw_transfer, draw_worth_over_sizes
from docs.joined import joined
from docs.paired import difference, over_draws
from docs.tables import PAGES, PHOTOS, RESULTS, ROOT, filled
from learngene_hub.evaluation.statistics import summarise
from learngene_hub.gene.folder import read_config
from learngene_hub.gene.names import shipped_folder
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.results import Results, Summary


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_of_a_page_is_made_from_the_committed_results(page):
    text = page.read_text()
    assert "<!-- table: " in text
    assert filled(text) == text


def test_a_number_changed_by_hand_is_found():
    text = (RESULTS / "vgg11-cifar-fs-half.md").read_text()
    changed = re.sub(r"81\.7 ± 2\.4", "91.7 ± 2.4", text)
    assert filled(changed) == text != changed


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_results_can_be_read(path):
    assert Results.load(path).tasks > 0


METHOD = (ROOT / "docs/method.md").read_text()


def default_of(key):
    section, name = key.split(".")
    return Recipe.model_fields[section].annotation.model_fields[name].default


@pytest.mark.parametrize(
    ("key", "default"), re.findall(r"^\| \$.*?\| `(.*?)` \| (.*?) \|$", METHOD, re.MULTILINE), ids=lambda value: value
)
def test_the_defaults_of_the_method_are_those_of_recipes(key, default):
    found = default_of(key)
    assert default == ("null: $G - 2$" if found is None else str(found))


def functions():
    lines = re.findall(r"^Functions?:.*?\n\n|\(`[a-z_.]+`(?:, `[a-z_.]+`)*\)", METHOD + "\n", re.MULTILINE | re.DOTALL)
    return sorted({name for line in lines for name in re.findall(r"`([a-z_]+\.[A-Za-z_.]+)`", line)})


@pytest.mark.parametrize("name", functions())
def test_every_function_that_the_method_names_is_there(name):
    module, function = name.rsplit(".", 1)
    assert hasattr(importlib.import_module(f"learngene_hub.{module}"), function)


def test_the_method_names_functions():
    assert len(functions()) > 20  # else the test above finds none to look for


def results(name):
    return Results.load(RESULTS / f"{name}.json")


VERSION_2, MINI_2, MINI_1 = "vgg11-cifar-fs-half/few-shot", "vgg11-mini-half/few-shot", "vgg11-mini-half-1/few-shot"
RESNET_2, RESNET_MINI_2 = "resnet12-cifar-fs-half/few-shot", "resnet12-mini-half/few-shot"


@pytest.mark.parametrize(
    ("page", "sentence", "pairs"),
    [
        (
            "vgg11-mini-half",
            "Scratch reads {} points lower than with version 1",
            [((MINI_2, "scratch"), (MINI_1, "scratch"))],
        ),
        (
            "more",
            "They ended {} and {} points behind the genes of the package, and {} and {} ahead of the thin networks",
            [
                ((RESNET_2, "gtl-no-selection"), (RESNET_2, "learngene")),
                ((RESNET_MINI_2, "gtl-no-selection"), (RESNET_MINI_2, "learngene")),
                ((RESNET_2, "gtl-no-selection"), (RESNET_2, "narrow")),
                ((RESNET_MINI_2, "gtl-no-selection"), (RESNET_MINI_2, "narrow")),
            ],
        ),
    ],
)
def test_differences_between_files_are_those_of_the_pages(page, sentence, pairs):
    found = [
        difference(results(one), start, "60", results(file), other, "60")[0] for (one, start), (file, other) in pairs
    ]
    said = sentence.format(*(re.sub(r"^\D", "", one) for one in found))
    for one, direction in zip(found, re.findall(r"\{\}(?=.*?(behind|ahead))", sentence), strict=False):
        assert one.startswith("+" if direction == "ahead" else "\N{MINUS SIGN}")
    assert said in " ".join((RESULTS / f"{page}.md").read_text().split())


def test_where_draws_or_tasks_do_not_differ_the_interval_is_that_of_the_others():
    values = [0.1, 0.15, 0.3]
    once = summarise(values)
    for leads in ([values, values], [[value] * 5 for value in values]):
        assert over_draws(leads).model_dump() == pytest.approx(once.model_dump())
    assert over_draws([[0, 0], [0, 0]]) == Summary(mean=0, ci95=0)
    with pytest.raises(ValueError, match="expected at least two draws and two tasks that all share, found 2 and 1"):
        over_draws([[0.1], [0.2]])


def test_the_interval_over_draws_holds_the_truth_in_19_of_20_cases():
    noise = random.Random(0)
    held = 0
    for _ in range(500):
        of_draws, of_tasks = ([noise.gauss(0, 0.02) for _ in range(count)] for count in (3, 10))
        found = over_draws([[draw + task + noise.gauss(0, 0.02) for task in of_tasks] for draw in of_draws])
        held += abs(found.mean) <= found.ci95
    assert 0.93 <= held / 500 <= 0.99


@pytest.mark.parametrize("count", PHOTOS)
def test_the_photos_were_fine_tuned_from_the_gene_of_the_package(count):
    found = json.loads((RESULTS / f"photos-{count}.json").read_text())
    assert found["gene"]["sha256"] == read_config(shipped_folder("gtl/vgg11-cifar-fs-half")).sha256


@pytest.mark.slow
@pytest.mark.drawn
def test_the_pictures_of_the_documents_are_drawn(tmp_path):
    files = (("depth", "vgg11-cifar-fs-depths-4.json"), ("width", "vgg11-cifar-fs-widths.json"))
    sizes = (partial(draw_worth_over_sizes, size=size, name=name) for size, name in files)
    for draw in (draw_gene_beside_scratch, draw_transfer, *sizes):
        draw(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as image:
            assert image.width < 1000  # readable on a phone


@pytest.mark.parametrize("entry", sorted((ROOT / "docs/log").glob("[0-9]*.md")), ids=lambda entry: entry.stem)
def test_every_entry_of_the_log_is_in_its_index(entry):
    assert f"({entry.name})" in (ROOT / "docs/log/README.md").read_text()


def test_tasks_of_other_classes_are_not_paired():
    with pytest.raises(ValueError, match="expected tasks of the same classes"):
        difference(results(VERSION_2), "learngene", "60", results("vgg11-mini-half/few-shot"), "learngene", "60")


def _with_starts(whole, *names):
    (descendant,) = whole.descendants
    starts = tuple(one for one in descendant.starts if one.start in names)
    return whole.model_copy(update={"descendants": (descendant.model_copy(update={"starts": starts}),)})


def test_the_starts_of_two_evaluations_stand_in_one_file():
    whole = results(VERSION_2)
    names = [one.start for one in whole.descendants[0].starts]
    first, later = _with_starts(whole, *names[:4]), _with_starts(whole, "scratch", "learngene", *names[4:])
    assert joined(first, later) == whole


def test_the_version_of_the_protocol_may_differ():
    whole = results(VERSION_2)
    newer = whole.model_copy(update={"protocol": whole.protocol | {"version": 9, "split": "novel"}})
    assert joined(whole, newer) == whole


def _with_descendant(whole, **changes):
    return {"descendants": (whole.descendants[0].model_copy(update=changes),)}


def _with_start_called_narrow(whole):
    return _with_descendant(whole, starts=(whole.descendants[0].starts[0].model_copy(update={"start": "narrow"}),))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda whole: {"tasks": 15}, "expected equal tasks in both files"),
        (lambda whole: {"classes": ("cat",)}, "expected equal classes in both files"),
        (lambda whole: {"environment": {}}, "expected equal environment in both files"),
        (lambda whole: {"seeds": (3, 4, 5)}, "expected equal seeds in both files"),
        (lambda whole: {"protocol": whole.protocol | {"steps": 20}}, "expected equal steps of the .*, found 60, 20"),
        (lambda whole: {"genes": results(MINI_2).genes}, "of the same gene"),
        (_with_start_called_narrow, "to have the same accuracies in both files"),
        (lambda whole: _with_descendant(whole, width=0.75), "expected descendants of equal network, width"),
        (lambda whole: {"descendants": whole.descendants * 2}, "expected one kind of descendant"),
    ],
)
def test_evaluations_that_measured_otherwise_are_not_joined(change, told):
    whole = results(VERSION_2)
    with pytest.raises(ValueError, match=told):
        joined(whole, whole.model_copy(update=change(whole)))


def test_evaluations_by_different_processors_are_not_joined_where_both_tell_theirs():
    older = results(VERSION_2)
    mine, other = (
        older.model_copy(update={"environment": older.environment | {"processor": name}}) for name in ("one", "two")
    )
    assert joined(older, mine) == joined(mine, older) == older  # not all of which is by the processor that is told
    assert joined(mine, mine) == mine
    with pytest.raises(ValueError, match="expected equal environment in both files"):
        joined(mine, other)
