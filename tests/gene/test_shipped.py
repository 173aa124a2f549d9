"""The genes of the package: folder, card and its copy say the same, and every gene works without a network."""

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docs import shipping
from docs.shipping import CARDS, card_copy, made_card, ship
from learngene_hub import Learngene, from_learngene, list_learngenes
from learngene_hub.cli.main import app
from learngene_hub.core.errors import GeneFileError, HubError
from learngene_hub.gene.folder import CARD_NAME, read_config, read_gene
from learngene_hub.gene.names import refuse_unknown, shipped_folder, shipped_genes
from learngene_hub.recipe.recipe import Recipe

NAMES = list(shipped_genes())


def test_model_cards_holds_a_copy_of_every_card_and_nothing_else():
    assert NAMES
    copies = {path.name: path.read_text() for path in CARDS.iterdir()}
    assert copies == {f"{name.split('/')[1]}.md": card_copy(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_the_copied_card_are_found(name):
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card_copy(name))
    assert pictures
    assert [picture for picture in pictures if not (CARDS / picture).is_file()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_gene_passes_every_check(name):
    read_gene(shipped_folder(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_the_card_makes_a_network_that_inherits_the_gene_by_its_name(name):
    code = re.search(r"```python\n(.*?)```", card_copy(name), re.DOTALL).group(1)
    assert f'from_learngene("{name}"' in code
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, names := {})
    assert said.getvalue().startswith(f"learngene {name} (sha256")
    found = names["model"].inheritance
    assert (found.source, found.sha256) == (name, Learngene.from_pretrained(name).config.sha256)
    assert 0 < found.share < 0.21


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_made_from_its_templates_and_the_committed_results(name):
    assert made_card(name)[0] == (shipped_folder(name) / CARD_NAME).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_beside_the_gene_is_the_one_it_was_evolved_by(name):
    origin = Learngene.from_pretrained(name).config.origin
    recipe = Recipe.from_file(shipped_folder(name) / "recipe.yaml", origin.overrides)
    assert (recipe.name, recipe.seed) == (origin.recipe, origin.seed)


@pytest.mark.parametrize("name", NAMES)
def test_no_file_of_a_shipped_gene_tells_where_it_was_made(name):
    texts = [path.read_text() for path in shipped_folder(name).iterdir() if path.suffix in {".json", ".md", ".yaml"}]
    assert not re.search(r"=/|\"/|/home/|/root/|/tmp/", "\n".join(texts).replace("=/data/", ""))


def test_list_shows_the_shipped_genes_with_no_network():
    found = list_learngenes()
    assert [one.name for one in found] == NAMES
    assert all(one.network and one.data and one.megabytes for one in found)
    assert list_learngenes(network="no-such-network") == list_learngenes(author="somebody") == []


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(GeneFileError, match=f"no such folder or gene; did you mean `{NAMES[0]}`"):
        from_learngene(NAMES[0][:-1], num_classes=5)


def test_neighbours_that_cannot_be_read_do_not_hide_that_there_is_no_such_gene(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "beside").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(GeneFileError, match="no such folder"):
        refuse_unknown(str(tmp_path / "besides"))


def test_a_wrong_account_is_answered_with_the_right_name(hub):
    with pytest.raises(HubError, match=f"no such repository .*; did you mean `{NAMES[0]}`"):
        from_learngene(NAMES[0].replace("gtl/", "glt/"), num_classes=5)


def test_a_folder_of_the_same_name_wins(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gtl").mkdir()
    Path(NAMES[0]).symlink_to(tiny_run)
    assert (
        from_learngene(NAMES[0], num_classes=5).inheritance.sha256 == Learngene.from_pretrained(tiny_run).config.sha256
    )


def test_shipping_puts_the_gene_of_a_run_under_its_name(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "shipped_folder", lambda name: tmp_path / name.split("/")[1])
    ship(tiny_run, "gtl/tiny")
    read_gene(tmp_path / "tiny")


def test_a_better_gene_of_the_same_name_is_a_new_version(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "shipped_folder", lambda name: tmp_path / name.split("/")[1])
    ship(tiny_run, "gtl/tiny")
    ship(tiny_run, "gtl/tiny")
    assert read_config(tmp_path / "tiny").version == 1
    gene = Learngene.from_pretrained(tiny_run)
    better = Learngene({name: 2 * tensor for name, tensor in gene.tensors.items()}, gene.config)
    shutil.copytree(tiny_run / "gene", tmp_path / "better")
    ship(better.save_pretrained(tmp_path / "better"), "gtl/tiny")
    assert read_config(tmp_path / "tiny").version == 2


@pytest.mark.parametrize("name", ["tiny", "gtl/../tiny", "gtl/", "gtl/A B"])
def test_shipping_refuses_names_that_nobody_could_type(tiny_run, name):
    with pytest.raises(GeneFileError, match="expected gtl/ and small letters"):
        ship(tiny_run, name)


@pytest.mark.parametrize("columns", [80, 100])
def test_the_command_takes_a_line_for_each_and_calls_data_sets_by_their_own_names(columns):
    shown = CliRunner(env={"COLUMNS": str(columns), "TERM": "dumb"}).invoke(app, ["list"]).stdout
    for one in list_learngenes():
        (line,) = (line for line in shown.splitlines() if line.split()[:1] == [one.name])
        gain = [f"{one.gain:+.1f}", "±", f"{one.gain_ci95:.1f}"]
        assert line.split() == [one.name, one.network, one.data, f"{one.megabytes:.1f}", *gain]
    assert {one.data for one in list_learngenes()} == {"CIFAR-FS", "miniImageNet"}


def test_info_takes_a_line_for_the_hash_and_gives_the_gain_with_its_interval():
    shown = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, ["info", "gtl/vgg11-mini-half"]).stdout
    assert re.search(r"sha256 +619180f5acef, as recorded \(in full with --json\)", shown)
    assert re.search(r"gain over scratch +\+21\.8 ± 1\.8 points", shown)
