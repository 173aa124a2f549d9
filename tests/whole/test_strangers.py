"""A gene from anybody: what it names is not read, what it says is not believed, and steers no terminal and no page."""

import json
import re
import shutil
import unicodedata

import pytest
import yaml
from command_line import learngene, words
from huggingface_hub import ModelCard
from image_tables import png, write_parquet

from learngene_hub.core.plain_text import printable
from learngene_hub.gene.card import BEGIN, END

QUICK = ("--ways", 2, "--shots", 2, "--queries", 2, "--steps", 1, "--tasks", 1, "--seeds", 1, "--lr", 0.05)


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
    assert f"the gene was evolved on a local folder '{source}'; give its path with --data" in words(result.stderr)


def test_a_gene_whose_data_set_is_called_as_a_folder_here_does_not_get_the_folder(stranger, pictures, tmp_path):
    (tmp_path / "home/here/bob").symlink_to(tmp_path / "home")
    result = learngene("evaluate", stranger(source="bob/Pictures", **pictures), *QUICK)
    assert result.exit_code == 1
    assert "a folder here has the same name: give it as --data, or" in words(result.stderr)
    mine = learngene(
        "evaluate", stranger(source="bob/Pictures", **pictures), *QUICK, "--data", tmp_path / "home/Pictures"
    )
    assert mine.exit_code == 0, mine.output


HOSTILE = (
    "cat\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2066\u061c\u2028\x85<script>alert(1)</script>`*x*`[y](javascript:1)|"
)


def assert_plain(text):
    """No letter that acts on a terminal, none that turns the order of letters round, and no other end of a line."""
    acting = {letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf", "Zl", "Zp"}} - set("\n\t\u200d")
    assert not acting


def assert_harmless(card):
    """Nothing of the hostile text is markup: outside of metadata and code all of it is escaped."""
    assert_plain(card)
    text = re.sub(r"\A---\n.*?\n---\n", "", card.replace(BEGIN, "").replace(END, ""), flags=re.DOTALL)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text.replace(r"\`", ""))
    assert "`" not in text
    assert "<" not in text
    assert "](javascript" not in text.replace(r"\]", "")


@pytest.fixture
def hostile(tiny_run, tmp_path):
    """A gene that is hostile in every text it has, and images of classes with hostile names."""
    folder = shutil.copytree(tiny_run / "gene", tmp_path / "hostile")
    config = json.loads((folder / "config.json").read_text())
    names = [f"{HOSTILE}{number}" for number in range(3)]
    config["package_version"] = HOSTILE
    config["origin"] |= {"recipe": HOSTILE, "overrides": [f"name={json.dumps(HOSTILE)}\n```\n<script>"]}
    config["origin"]["cost"]["device"] = HOSTILE
    config["origin"]["data"] |= {"preset": None, "source": HOSTILE, "base": [HOSTILE], "held_out": [], "novel": names}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").unlink()
    write_parquet(tmp_path / "data/a.parquet", [(level, name) for level in range(9) for name in names], names=names)
    return folder


def test_what_a_gene_says_of_itself_is_printed_without_acting(hostile):
    for command in ("info", "verify"):
        result = learngene(command, hostile)
        assert result.exit_code == 0, result.output
        assert_plain(result.output)
    assert r"\x1b[2J" in learngene("info", hostile).stdout
    found = learngene("info", hostile, "--json").stdout
    assert_plain(found)
    assert json.loads(found)["origin"]["recipe"] == HOSTILE


def test_an_evaluation_of_it_leaves_a_page_and_a_card_that_do_nothing(hostile, tmp_path):
    out = tmp_path / "evidence"
    (hostile / "recipe.yaml").unlink()
    result = learngene("evaluate", hostile, "--data", tmp_path / "data", *QUICK, "--out", out)
    assert result.exit_code == 0, result.output
    assert_plain(result.output)
    page = (out / "report.html").read_text()
    assert_plain(page)
    assert "<script>" not in page
    assert "\\x1b[2J" in page
    result = learngene("card", hostile, "--results", out)
    assert result.exit_code == 0, result.output
    assert_plain(result.output)
    text = (hostile / "README.md").read_text()
    assert_harmless(text)
    assert r"\x1b\[2J" in text.replace("\\\\", "\\")
    metadata = ModelCard.load(hostile / "README.md").data
    assert metadata.eval_results[0].dataset_type == metadata.learngene["data"] == printable(HOSTILE)


def test_a_network_made_from_it_names_hostile_classes_without_acting(hostile, tmp_path):
    out = tmp_path / "network"
    result = learngene("finetune", hostile, "--data", tmp_path / "data", "--out", out, "--epochs", 1, "--lr", 0.01)
    assert result.exit_code == 0, result.output
    assert_plain(result.output)
    assert_harmless((out / "README.md").read_text())
    (tmp_path / "a\x1b[2J.png").write_bytes(png(3))
    (tmp_path / "b\x1b[2J.png").write_bytes(b"no image")
    result = learngene("predict", out, tmp_path / "a\x1b[2J.png", tmp_path / "b\x1b[2J.png")
    assert result.exit_code == 1
    assert_plain(result.output)
    assert r"cat\x1b[2J" in words(result.stdout).replace(" ", "")


def test_a_card_too_long_to_be_read_is_said_in_a_line(stranger):
    folder = stranger()
    (folder / "README.md").write_text("---\ntags:\n" + "- {a: 1}\n" * 30_000 + "---\n# Gene\n")
    result = learngene("info", folder)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "README.md: the card cannot be read: expected at most 200,000 characters" in result.stderr
    assert "recipe" in result.stdout


def test_the_metadata_of_a_card_are_parsed_once(stranger, monkeypatch):
    read, load = [], yaml.load
    monkeypatch.setattr(yaml, "load", lambda text, loader: read.append(text) or load(text, loader))
    assert learngene("info", stranger()).exit_code == 0
    assert len(read) == 1
