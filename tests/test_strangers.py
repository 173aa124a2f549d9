"""A gene from anybody: what it names is not read, what it says is not believed, and steers no terminal and no page."""

import json
import shutil

import pytest
from image_tables import write_parquet
from typer.testing import CliRunner

from learngene_hub.cli.main import app

QUICK = [
    "--ways",
    "2",
    "--shots",
    "2",
    "--queries",
    "2",
    "--steps",
    "1",
    "--tasks",
    "1",
    "--seeds",
    "1",
    "--lr",
    "0.05",
]


def learngene(*arguments):
    return CliRunner(env={"NO_COLOR": "1", "COLUMNS": "120", "TERM": "dumb"}).invoke(app, [*map(str, arguments)])


def words(text):
    return " ".join(text.split())


@pytest.fixture
def stranger(tiny_run, tmp_path):
    """A copy of the tiny gene and what changes its `origin.data`."""
    folder = shutil.copytree(tiny_run / "gene", tmp_path / "stranger")

    def change(**data):
        config = json.loads((folder / "config.json").read_text())
        config["origin"]["data"] |= data
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return change


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Private images in the home folder, and a place to stand in below it."""
    write_parquet(
        tmp_path / "home/Pictures/a.parquet", [(level, name) for level in range(6) for name in ("ant", "bee")]
    )
    (tmp_path / "home/here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home/here")
    return {"preset": None, "base": [], "held_out": [], "novel": ["ant", "bee"]}


@pytest.mark.parametrize("source", ["~/Pictures", "../Pictures", "./..", "Pictures", "/tmp"])
def test_a_gene_cannot_name_a_folder_of_this_machine(stranger, pictures, source):
    result = learngene("evaluate", stranger(source=source, **pictures), *QUICK, "--out", "evidence")
    assert result.exit_code == 1
    assert f"the gene was evolved on a local folder '{source}'; say where it is with --data" in words(result.stderr)


def test_a_gene_whose_data_set_is_called_as_a_folder_here_does_not_get_the_folder(stranger, pictures, tmp_path):
    (tmp_path / "home/here/bob").symlink_to(tmp_path / "home")
    result = learngene("evaluate", stranger(source="bob/Pictures", **pictures), *QUICK)
    assert result.exit_code == 1
    assert "a folder here is called the same; say which one to take with --data" in words(result.stderr)
    mine = learngene(
        "evaluate", stranger(source="bob/Pictures", **pictures), *QUICK, "--data", tmp_path / "home/Pictures"
    )
    assert mine.exit_code == 0, mine.output


def test_an_ablation_reads_no_folder_that_only_the_recipe_names(stranger, pictures, tmp_path):
    folder = stranger()
    text = (
        (folder / "recipe.yaml")
        .read_text()
        .replace("preset: glyphs", f"preset: null\n  path: {tmp_path}/home/Pictures")
    )
    (folder / "recipe.yaml").write_text(text)
    result = learngene("evaluate", folder, *QUICK, "--baselines", "gtl-no-selection")
    assert result.exit_code == 1
    assert "baselines are trained by the gene's own recipe" in words(result.stderr)
