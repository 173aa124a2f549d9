"""Files for those who carry the project on: what they name exists, and what they repeat agrees."""

import re
import tomllib
from pathlib import Path

import yaml

import learngene_hub

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
DEVELOPMENT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]


def test_the_citation_is_of_this_version_and_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == learngene_hub.__version__
    assert citation["authors"] == [{"name": "The learngene-hub maintainers"}]
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2401.08139"


def test_pre_commit_has_the_ruff_of_the_project():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f"ruff=={hook['rev'].removeprefix('v')}" in DEVELOPMENT


def test_every_file_and_test_that_contributing_names_is_there():
    files = set(re.findall(r"`((?:learngene_hub|tests|docs|benchmarks)/[\w/.-]+\.\w+)`", CONTRIBUTING))
    assert len(files) > 8
    assert [name for name in files if not (ROOT / name).is_file()] == []
    tests = re.findall(r"`(test_\w+)` in\s+`(tests/[\w/]+\.py)`", CONTRIBUTING)
    assert len(tests) > 3
    for test, file in tests:
        assert f"def {test}(" in (ROOT / file).read_text(), test


def test_the_layout_in_contributing_names_every_package_and_module():
    layout = CONTRIBUTING.split("    core/ ")[1].split("| to add |")[0]
    names = {path.stem for path in (ROOT / "learngene_hub").iterdir() if path.suffix == ".py" or path.is_dir()}
    missing = {name for name in names if not name.startswith("_") and not re.search(rf"\b{name}\b", layout)}
    assert missing - {"core", "recipes"} == set()
