"""A recipe whose images do not suffice is told so by a dry run, in the recipe's own words; nothing is left behind."""

import pytest
from command_line import learngene, words
from image_tables import write_parquet

from learngene_hub import evolve
from learngene_hub.core.errors import DataError
from learngene_hub.data.splits import ClassSplit
from learngene_hub.evolution.ancestry import AncestryTask
from learngene_hub.evolution.environment import Supply, check_supply, take_stock

PHOTOS = """\
name: photos
network: {name: lg_vgg11, width: 0.06}
data:
  path: PATH
  image_size: 28
  classes: {base: 3, held_out: 2, novel: 1}
evolution: {generations: 1, population: 2}
ancestry: {ways: 3, steps: 1, batch_size: 8}
critic: {ways: 2, shots: 4, queries: 3, steps: 1, tasks: 1, batch_size: 8}
precision: float32
"""
SPLIT = ClassSplit(base=("ant",), held_out=("bee", "cat", "dog", "elk"), novel=())


@pytest.fixture
def recipe(tmp_path):
    """Writes the recipe of a data set of six classes with so many images each."""

    def write(images):
        rows = [(number, f"class{label}") for label in range(6) for number in range(images)]
        names = [f"class{label}" for label in range(6)]
        write_parquet(tmp_path / "images/a.parquet", rows, names=names)
        file = tmp_path / "photos.yaml"
        file.write_text(PHOTOS.replace("PATH", str(tmp_path / "images")))
        return file

    return write


def test_a_dry_run_says_how_many_images_there_are(recipe):
    shown = words(learngene("evolve", recipe(7), "--dry-run").stdout)
    assert "3 base, 2 held-out, 1 novel classes; 7 images per class" in shown


def test_a_dry_run_refuses_too_few_images_and_leaves_nothing(recipe, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = learngene("evolve", recipe(6), "--dry-run")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "error: critic.shots=4 and critic.queries=3 together need 7 images of every held-out class, found 6 of "
    )
    assert list((tmp_path / "here").iterdir()) == []


def test_the_evolution_refuses_them_in_the_same_words_and_leaves_nothing(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(AncestryTask, "__call__", lambda *args: pytest.fail("trained"))
    with pytest.raises(DataError, match=r"critic\.shots=4 and critic\.queries=3 together need 7 images"):
        evolve(recipe(6), out=tmp_path / "runs/photos")
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_the_user_stays_when_nothing_was_written_there(recipe, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="held-out class"):
        evolve(recipe(6), out=tmp_path / "mine/run")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == []


def test_an_evolution_says_how_to_skip_images_that_cannot_be_read(recipe, tmp_path):
    file = recipe(7)
    rows = [(image, f"class{label}") for label in range(6) for image in (b"?", *range(7))]
    write_parquet(tmp_path / "images/a.parquet", rows, names=[f"class{label}" for label in range(6)])
    with pytest.raises(DataError, match=r"cannot be decoded: .* or skip them with data\.on_corrupt=skip$"):
        evolve(file, out=tmp_path / "run")


def test_a_dry_run_refuses_classes_that_are_not_there(recipe):
    result = learngene("evolve", recipe(7), "data.classes.base=9", "--dry-run")
    assert result.exit_code == 1
    assert "Cannot draw 9 + 2 + 1 classes: the data set has 6" in result.stderr


def test_another_data_set_than_the_presets_is_told(recipe, tmp_path):
    recipe(7)
    done = learngene("evolve", "cifar_fs_vgg11", f"data.path={tmp_path / 'images'}", "--dry-run")
    assert done.exit_code == 1
    assert "expected a copy of CIFAR-FS, found none of its classes" in words(done.stderr)


def test_the_classes_with_the_fewest_images_are_named(tiny):
    images = {"ant": 9, "bee": 3, "cat": 2, "dog": 1}
    with pytest.raises(
        DataError, match=r"found 0 of 'elk', 1 of 'dog', 2 of 'cat' and fewer than 10 of 1 other classes"
    ):
        check_supply(tiny(), SPLIT, images)


def test_a_base_class_needs_what_a_life_takes_of_it(tiny):
    images = dict.fromkeys(("bee", "cat", "dog", "elk"), 10)
    with pytest.raises(DataError, match="an ancestry network needs 1 image of every base class, found 0 of 'ant'"):
        check_supply(tiny(), SPLIT, images)
    with pytest.raises(DataError, match=r"ancestry\.images_per_class=5 needs 5 images of every base class, found 4"):
        check_supply(tiny("ancestry.images_per_class=5"), SPLIT, images | {"ant": 4})


def test_a_cap_counts(recipe):
    result = learngene("evolve", recipe(7), "data.images_per_class=5", "--dry-run")
    assert "found 5 of " in result.stderr
    assert (
        "raise data.images_per_class=5, or lower these numbers, or choose other classes with data.classes"
        in result.stderr
    )


def test_images_on_the_hub_are_not_asked_for_and_built_in_ones_need_no_look(tiny):
    assert take_stock(tiny("data.preset=cifar_fs", "data.classes=null")) is None
    assert take_stock(tiny()) == Supply(base=8, held_out=6, novel=6, fewest=12, most=12)


def test_a_dry_run_of_a_data_set_on_the_hub_says_so():
    shown = words(learngene("evolve", "cifar_fs_vgg11", "network.width=0.05", "--dry-run").stdout)
    assert "on the Hub, not checked; give a local copy with data.path=" in shown


def test_a_dry_run_says_that_the_classes_on_the_hub_are_not_compared_with_what_the_ancestor_has_seen():
    cheap = ("network.width=0.5", "ancestry.batch_size=8")
    shown = words(
        learngene("evolve", "cifar_fs_vgg11", *cheap, "evolution.ancestor=gtl/vgg11-mini-half", "--dry-run").stdout
    )
    assert "not checked, nor whether gtl/vgg11-mini-half has seen these classes; give a local copy" in shown
