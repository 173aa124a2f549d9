"""Whatever a document shows as Python or as a command is tried, in a folder that holds what the text speaks of."""

import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from command_line import commands, learngene
from photo_folders import write_photos
from results_examples import example

import learngene_hub
from learngene_hub.networks import save_timm_folder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "results").glob("*.md"))  # docs/log has the commands of its time
PYTHON = re.compile(r"^(?:<!-- not run: (.+?) -->\n+)?```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
MOST_NOT_RUN = 0  # blocks that no test runs; each has its reason in the text


def named(path):
    return str(path.relative_to(ROOT))


def snippets():
    """Every block of Python that is not marked as one that cannot be run."""
    for path in PAGES:
        for number, (reason, code) in enumerate(PYTHON.findall(path.read_text())):
            if not reason:
                yield pytest.param(code, f"{named(path)}-{number}", id=f"{named(path)}-{number}")


@pytest.fixture
def desk(tiny_run, tmp_path, monkeypatch):
    """A folder with photos, a run, a fine-tuned network and an evaluation, as the documents call them."""
    write_photos(tmp_path / "photos", 5)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/demo").symlink_to(tiny_run)
    (tmp_path / "photos-model").mkdir()
    network = learngene_hub.from_learngene(tiny_run, num_classes=2)
    save_timm_folder(network, tmp_path / "photos-model", class_names=["cat", "dog"])
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "results.json").write_text(example(("learngene", "scratch")).model_dump_json())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(("code", "name"), list(snippets()))
def test_a_snippet_runs(code, name):
    exec(compile(code, name, "exec"), {})


def test_blocks_that_are_not_run_are_few_and_say_why():
    reasons = [reason for path in PAGES for reason, _ in PYTHON.findall(path.read_text()) if reason]
    assert len(reasons) <= MOST_NOT_RUN
    assert PYTHON.findall("<!-- not run: no GPU -->\n```python\nx\n```") == [("no GPU", "x\n")]
    assert sum(path.read_text().count("```python") for path in PAGES) == len(list(snippets())) + len(reasons)


def lines():
    """(page, command line) of every `learngene ...` that a document shows, continued lines joined."""
    for path in PAGES:
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:\$ |[A-Z_]+=\S+ )*learngene +(.*)", line):
                    yield path, found[1]


@cache
def help_of(command):
    return learngene(*command, "--help").stdout


@pytest.mark.parametrize(("path", "line"), [pytest.param(*one, id=f"{named(one[0])}: {one[1]}") for one in lines()])
def test_a_command_in_a_document_is_one_with_such_options(path, line):
    words = shlex.split(line, comments=True)
    known = [command for command in commands() if tuple(words[: len(command)]) == command]
    if not known and words[0].startswith("-"):
        assert words[0] in learngene("--help").stdout
        return
    assert known, f"no such command: learngene {line}"
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", help_of(known[0])), f"no such option: {option} in learngene {line}"


def test_the_campaign_over_the_readme_changes_what_stands_there(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests/campaigns"))
    campaign = importlib.import_module("readme")
    found = [one.text.partition("#")[0].strip() for one in campaign.commands(campaign.journeys())]
    for changed in (*campaign.REPLACED, *campaign.APPENDED, *campaign.LEFT_OUT):
        assert any(changed in one for one in found), f"the pages have no command with {changed}"
    assert campaign.makefile_lines("demo")[0].startswith("learngene evolve demo")
