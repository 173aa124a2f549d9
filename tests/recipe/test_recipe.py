from pathlib import Path

import pytest

from learngene_hub.core.errors import LearngeneWarning, RecipeError
from learngene_hub.data.splits import PRESETS, preset_split
from learngene_hub.evolution.plan import plan_generation
from learngene_hub.recipe.recipe import Recipe, shipped_recipes
from learngene_hub.recipe.sections import PRESET_NAMES

MINIMAL = {"name": "x", "data": {"preset": "glyphs"}}


def test_all_faults_are_reported_together():
    content = MINIMAL | {"evolution": {"population": 0, "decay": 2}, "ancestry": {"lr": -1}, "seed": "many"}
    with pytest.raises(RecipeError, match="4 faults") as caught:
        Recipe.from_mapping(content)
    for key in ("evolution.population", "evolution.decay", "ancestry.lr", "seed"):
        assert key in str(caught.value)


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(RecipeError, match=r"mutaton_rate: no such key; did you mean `evolution.mutation_rate`"):
        Recipe.from_mapping(MINIMAL | {"evolution": {"mutaton_rate": 0.1}})


@pytest.mark.parametrize(("first", "second"), [("base", "held_out"), ("base", "novel"), ("held_out", "novel")])
def test_a_class_with_two_roles_is_refused(first, second):
    data = {"path": "x/y", "classes": {first: ["cat", "dog"], second: ["dog"]}}
    with pytest.raises(RecipeError, match="each class may be listed once, in one role; listed more often: dog"):
        Recipe.from_mapping({"name": "x", "data": data})


def test_class_names_that_are_no_text_are_refused_with_what_to_write():
    classes = {"base": ["cat", 0], "held_out": ["dog", "dog"], "novel": [True]}
    with pytest.raises(RecipeError, match="2 faults") as caught:
        Recipe.from_mapping({"name": "x", "data": {"path": "x/y", "classes": classes}})
    for key, found in (("base", "0"), ("novel", "True")):
        assert f"data.classes.{key}: class names must be text, found {found}: put the names in quotes" in str(
            caught.value
        )


@pytest.mark.parametrize("preset", [name for name in PRESETS if preset_split(name)])
def test_a_preset_with_published_classes_takes_no_others(preset):
    with pytest.raises(RecipeError, match=f"{preset} brings its own classes"):
        Recipe.from_mapping({"name": "x", "data": {"preset": preset, "classes": {"base": 3}}})


def test_a_recipe_may_ask_for_every_preset():
    assert tuple(PRESETS) == PRESET_NAMES


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ancestry.ways=9", r"ancestry\.ways: 9 classes per task, but the recipe has 8 base classes"),
        ("critic.ways=7", r"critic\.ways: 7"),
    ],
)
def test_tasks_of_more_classes_than_there_are_are_refused(tiny, override, message):
    with pytest.raises(RecipeError, match=message):
        tiny(override)


def test_glyphs_with_a_path_are_refused_with_the_way_to_own_images(tiny):
    with pytest.raises(RecipeError, match="for your own images, leave `preset` out"):
        tiny("data.path=photos")


def test_a_key_without_its_section_is_found_by_its_name():
    with pytest.raises(RecipeError, match=r"pool_size: no such key; did you mean `evolution\.pool_size`"):
        Recipe.from_mapping(MINIMAL | {"pool_size": 2})
    with pytest.raises(RecipeError, match=r"did you mean `search\.population` or `evolution\.population`"):
        Recipe.from_mapping(MINIMAL | {"population": 2})


@pytest.mark.parametrize("key", ["tuple", "constrained", "tuples of names"])
def test_an_unknown_key_is_named_whatever_it_is_called(key):
    with pytest.raises(RecipeError, match=rf"data\.{key}: no such key"):
        Recipe.from_mapping({"name": "x", "data": {"path": "x/y", key: 3}})


def test_data_without_a_source_is_refused():
    with pytest.raises(RecipeError, match="needs `preset`"):
        Recipe.from_mapping({"name": "x", "data": {}})


def test_overrides_go_through_the_same_checks(tiny_file):
    recipe = Recipe.from_file(tiny_file, ["evolution.population=6", "data.crop_padding=null", "network.width=0.5"])
    assert (recipe.evolution.population, recipe.network.width) == (6, 0.5)
    assert recipe.overrides == ("evolution.population=6", "data.crop_padding=null", "network.width=0.5")
    with pytest.raises(RecipeError, match=r"evolution\.population"):
        Recipe.from_file(tiny_file, ["evolution.population=none"])


def test_an_evolution_without_end_is_refused(tiny_file):
    with pytest.raises(RecipeError, match=r"evolution\.generations: expected 10000 or less"):
        Recipe.from_file(tiny_file, ["evolution.generations=1000000000000"])


@pytest.mark.parametrize("override", ["population", "=3"])
def test_an_override_without_key_or_value_is_refused(tiny_file, override):
    with pytest.raises(RecipeError, match="expected key=value"):
        Recipe.from_file(tiny_file, [override])


def test_an_override_may_not_reach_into_a_value(tiny_file):
    with pytest.raises(RecipeError, match=r"seed"):
        Recipe.from_file(tiny_file, ["seed.inner=3"])


def test_text_is_verbatim(tiny_file):
    assert Recipe.from_file(tiny_file, ["seed=5"]).text == tiny_file.read_text()


def test_a_changed_copy_tells_its_own_text_and_no_overrides(tiny_file):
    recipe = Recipe.from_file(tiny_file, ["seed=5"])
    changed = recipe.model_copy(update={"seed": 7})
    assert "seed: 7" in changed.text
    assert changed.overrides == ()
    same = recipe.model_copy()
    assert (same.text, same.overrides) == (recipe.text, recipe.overrides)


def test_a_recipe_made_in_python_writes_a_text_that_reads_back(tmp_path):
    recipe = Recipe.from_mapping(MINIMAL | {"seed": 3})
    (tmp_path / "again.yaml").write_text(recipe.text)
    assert Recipe.from_file(tmp_path / "again.yaml").sha256 == recipe.sha256


def test_the_hash_is_of_the_content_not_of_the_text(tiny_file, tmp_path):
    (tmp_path / "same.yaml").write_text("# other words\n" + tiny_file.read_text())
    assert Recipe.from_file(tmp_path / "same.yaml").sha256 == Recipe.from_file(tiny_file).sha256
    assert Recipe.from_file(tiny_file, ["seed=1"]).sha256 != Recipe.from_file(tiny_file).sha256


def test_differences_name_keys_and_both_values(tiny):
    other = tiny("seed=9", "evolution.decay=0.5").model_dump(mode="json")
    assert tiny().differences(other) == {"seed": (0, 9), "evolution.decay": (0.2, 0.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "expected sections"), ("a: [1", "expected YAML"), ("", "expected sections")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        Recipe.from_file(tmp_path / "bad.yaml")


def test_a_missing_recipe_names_the_nearest_shipped_one():
    with pytest.raises(RecipeError, match="did you mean `demo`"):
        Recipe.from_file("dmeo")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_is_valid_and_carries_its_header(name):
    path = shipped_recipes()[name]
    assert Recipe.from_file(name).sha256 == Recipe.from_file(path).sha256
    header = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    for part in ("Command:", "Cost:", "Evidence:"):
        assert part in header


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed: 2024-99-99", "month must be in 1..12"),
        ("seed: !!float oops", "could not convert string to float"),
        ("seed: !!int ''", "string index out of range"),
        ("seed: !!timestamp oops", "expected YAML"),
        ("seed: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (f"seed: {'9' * 5000}", "expected YAML, found: Exceeds the limit"),
        (f"seed: {'[' * 1000}", "nested too deeply"),
        ("seed: &a [*a]", r"an alias \(\*name\)"),
        ("seed: 1\nseed: 2", "the key 'seed' occurs twice"),
        ('data: {path: "C:\\data"}', "unknown escape.*use single quotes"),
        ("\ud800", "cannot be read as UTF-8"),
    ],
)
def test_yaml_that_would_surprise_is_refused(tmp_path, line, message):
    (tmp_path / "r.yaml").write_bytes(f"name: x\n{line}\n".encode("utf-8", errors="surrogatepass"))
    with pytest.raises(RecipeError, match=message):
        Recipe.from_file(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name:x\nseed: 1", "line 1, `name:x`: no space after the colon; write `name: x`"),
        ("name: x\nnetwork:\n  width:0.5\n  depth: 11", "line 3, `width:0.5`: no space after the colon"),
        ("data: {path: x}: y", "line 1, `data: {path: x}: y`: one colon too many; write one key per line"),
        (
            "data:\n  path: x\n   seed: 1",
            "line 3, `seed: 1`: indented more than line 2; begin both lines in the same",
        ),
        ("data:\n\tpath: x", "line 2, `path: x`: a tab before the text; indent with spaces"),
        ("data: {path: x\nseed: 1", "line 1, `data: {path: x`: a bracket is not closed"),
        ("data: {path: x}}", "a closing bracket without an opening one"),
        ("name: 'x\nseed: 1", "line 1, `name: 'x`: a quote is not closed"),
        ("name: x\nevolution\n  generations: 3", "line 2, `evolution`: a key without a colon"),
        ("name: @x", "line 1, `name: @x`: a value begins with a character that has a meaning in YAML"),
        ("name: x\n- y", "line 2, `- y`: the indentation does not fit the lines above"),
        ("name:x", "found text without a key; write a space after each colon"),
        (
            "network: {width:0.5}",
            "network.width:0.5: no such key; write a colon and a space after the key, `width: 0.5`",
        ),
        (
            "network: {width 0.5}",
            "network.width 0.5: no such key; write a colon and a space after the key, `width: 0.5`",
        ),
    ],
)
def test_a_fault_of_yaml_is_told_in_plain_words_with_its_line(text, told):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_content(text.encode(), file=Path("my.yaml"))
    assert told in str(caught.value)


@pytest.mark.parametrize("value", ["0", "abc", "true", "2.5"])
def test_a_wrong_number_of_classes_is_told_once(value):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_file("demo", [f"data.classes.novel={value}"])
    told = "1 fault\n  data.classes.novel: expected a number of classes, 1 or more, or a list of names, found "
    assert told in str(caught.value)


@pytest.mark.parametrize("value", ["2024-99-99", "!!float oops", "&a [*a]"])
def test_an_override_that_would_surprise_is_refused(value):
    with pytest.raises(RecipeError, match="the value is not YAML"):
        Recipe.from_file("demo", [f"seed={value}"])


def test_a_recipe_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(shipped_recipes()["demo"].read_text())
    assert Recipe.from_file("~/mine.yaml") == Recipe.from_file("demo")


def test_a_recipe_of_many_megabytes_is_not_parsed(tmp_path):
    (tmp_path / "large.yaml").write_text("name: x\n" + "# filler\n" * 10**5)
    with pytest.raises(RecipeError, match=r"larger than 0\.25 MB"):
        Recipe.from_file(tmp_path / "large.yaml")


@pytest.mark.parametrize("override", ["seed=true", "evolution.mutation_rate=off", "ancestry.images_per_class=yes"])
def test_a_word_for_true_or_false_is_no_number(override):
    with pytest.raises(RecipeError, match=r"expected a (whole )?number, found '(true|false)'"):
        Recipe.from_file("demo", [override])
    with pytest.raises(RecipeError, match="expected text, found True"):
        Recipe.from_file("demo", ["data.image_column=on"])


def test_too_many_ways_of_both_kinds_are_told_at_once():
    told = r"ancestry\.ways: 64 .* 2 base classes; give at most 2; and data\.classes: .* 2 or more held-out .* found 1"
    with pytest.raises(RecipeError, match=told):
        Recipe.from_file("demo", ["data.classes={base: 2, held_out: 1}"])


def test_of_many_faults_the_first_are_told(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\n" + "".join(f"key{n}: 1\n" for n in range(100)))
    with pytest.raises(RecipeError, match="101 faults, the first 20") as caught:
        Recipe.from_file(tmp_path / "r.yaml")
    assert str(caught.value).count("\n") == 20


def test_a_path_of_windows_reaches_the_data_as_it_was_written(tmp_path):
    recipe = Recipe.from_file("demo", ["data.preset=null", "data.path=C:\\Users\\me\\photos"])
    assert recipe.data.path == "C:\\Users\\me\\photos"


@pytest.mark.parametrize(
    "override",
    [
        "data.path=/home/me/photos",
        "data.path='/home/me/photos'  # /home/me/notes",
        "data={path: /home/me/photos}",
        "evolution.ancestor=C:\\home\\me\\photos",
        "evolution.ancestor=~/home/photos",
        "seed=3 # home",
    ],
)
def test_paths_and_comments_are_told_to_nobody_and_the_recipe_stays_the_same(tmp_path, override):
    written = b"name: x  # of /home/me\ndata: /home/me/photos\nevolution: /home/me/gene\n"
    given = ["data.path=/home/me/cats", "evolution=/home/me/gene", override, "evolution.generations=2"]
    recipe = Recipe.from_content(written, given, file=Path("x.yaml"))
    assert "home" not in recipe.public_text + " ".join(recipe.public_overrides)
    assert "evolution.generations=2" in recipe.public_overrides
    for overrides in ((), recipe.public_overrides):
        again = Recipe.from_content(recipe.public_text.encode(), overrides, file=Path("x.yaml"))
        assert again.public_text == recipe.public_text
        assert again.data.path in {"photos", "cats"}


def test_a_name_too_long_for_a_file_is_no_recipe():
    with pytest.raises(RecipeError, match="expected a recipe file or the name of a shipped recipe"):
        Recipe.from_file("x" * 5000)


@pytest.mark.parametrize(("generations", "founders"), [(1, 0), (2, 0), (3, 1), (5, 3)])
def test_all_but_the_last_two_generations_raise_a_founder_unless_a_recipe_says_otherwise(generations, founders):
    recipe = Recipe.from_file("demo", [f"evolution.generations={generations}"])
    born = [plan_generation(recipe, one, precision="float32", threads=1).individuals for one in range(generations)]
    assert born == [1] * founders + [4] * (generations - founders)
    without = Recipe.from_file("demo", [f"evolution.generations={generations}", "evolution.founder_generations=0"])
    assert plan_generation(without, 0, precision="float32", threads=1).individuals == 4


def test_retired_fields_with_which_nothing_is_lost_are_dropped_in_silence():
    old = MINIMAL | {"backend": "auto", "ancestry": {"circuit_loss": 0}, "evolution": {"recombination": "none"}}
    old |= {"search": {"finalists": 3, "generations": 1, "tournament_size": 2}}
    old["ancestry"]["schedule"] = "two-speed"
    assert Recipe.from_mapping(old) == Recipe.from_mapping(MINIMAL)


def test_retired_fields_that_asked_for_something_are_dropped_with_one_line(tmp_path):
    (tmp_path / "old.yaml").write_text("name: x\nbackend: grouped\ndata: {preset: glyphs}\n")
    with pytest.warns(LearngeneWarning, match=r"old\.yaml: .*backend='grouped', ancestry\.circuit_loss=1; ignored$"):
        recipe = Recipe.from_file(tmp_path / "old.yaml", ["ancestry.circuit_loss=1"])
    assert recipe.lost == {"backend": "grouped", "ancestry.circuit_loss": 1}
    assert recipe.model_dump() == Recipe.from_mapping(MINIMAL).model_dump()
    assert recipe.text == (tmp_path / "old.yaml").read_text()


def test_a_retired_field_of_a_run_differs_unless_its_search_is_over():
    recipe = Recipe.from_mapping(MINIMAL)
    before = recipe.model_dump(mode="json")
    before["ancestry"]["schedule"], before["search"]["generations"] = "evolution", 4
    with pytest.warns(LearngeneWarning, match=r"ancestry\.schedule='evolution', search\.generations=4; ignored"):
        assert recipe.differences(before) == {"ancestry.schedule": (None, "evolution")}


def test_a_fault_of_an_override_is_told_as_one(tiny_file):
    with pytest.raises(RecipeError) as error:
        Recipe.from_file(tiny_file, ["evolution.generations=-3", "gene={tapr: 2}"])
    told = str(error.value).splitlines()
    given = "(from the override evolution.generations=-3, not from the file)"
    assert f"  evolution.generations: expected 1 or more, found -3 {given}" in told
    assert (
        "  gene.tapr: no such key; did you mean `gene.taper`? (from the override gene={tapr: 2}, not from the file)"
        in told
    )
