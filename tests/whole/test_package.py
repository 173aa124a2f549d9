import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import learngene_hub

ROOT = Path(__file__).parents[2]
MODULES = sorted(info.name for info in pkgutil.walk_packages(learngene_hub.__path__, "learngene_hub."))


def test_the_public_names_are_these():
    assert learngene_hub.__all__ == [
        "EngineOptions",
        "InheritanceReport",
        "Learngene",
        "LearngeneError",
        "Recipe",
        "evaluate",
        "evolve",
        "extract",
        "from_learngene",
        "inherit",
        "list_learngenes",
        "unfreeze",
    ]
    assert dir(learngene_hub) == learngene_hub.__all__
    assert all(getattr(learngene_hub, name) is not None for name in learngene_hub.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'from_gene'"):
        _ = learngene_hub.from_gene


KNOWS = "assert {'lg_vgg11', 'lg_resnet12', 'lg_resnet18'} <= {*timm.list_models('lg_*')}"
WHEREVER = [
    f"import learngene_hub, timm; {KNOWS}",
    f"import timm, learngene_hub; {KNOWS}\n"
    "import importlib, multiprocessing.context as made; del made.ForkServerContext  # as on Windows\n"
    f"for name in {[name for name in MODULES if not name.endswith('__main__')]}: importlib.import_module(name)",
]
IN_COPIES = """
import os, sys
import torch, torchvision  # once: they take longest
for code in sys.argv[1:]:
    if not (child := os.fork()):
        exec(code)
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit("failed: " + code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can fork")
def test_timm_knows_the_networks_whichever_is_imported_first_and_modules_need_no_fork_server():
    command = [sys.executable, "-W", "ignore", "-c", IN_COPIES, *WHEREVER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_is_cheap():
    code = "import learngene_hub, sys; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'pydantic', 'typer')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def sources():
    return sorted((ROOT / "learngene_hub").rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in sources() if ">>> " in path.read_text()], ids=lambda path: path.stem)
def test_examples_in_docstrings_are_true(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert doctest.testmod(importlib.import_module(name)) == (0, path.read_text().count(">>> "))


def test_no_module_is_long():
    assert [str(path) for path in sources() if len(path.read_text().splitlines()) > 500] == []


def test_no_module_touches_pickle_or_the_global_generators():
    forbidden = r"torch\.load\(|torch\.save\(|import random\b|numpy\.random|np\.random"
    for path in sources():
        text = path.read_text()
        if path.parent.name != "workers":  # between the processes of one run, as multiprocessing and Ray do; no file
            assert not re.search(r"\bpickle\.", text), path
        assert not re.search(forbidden, text), path
        if path.name != "rng.py":
            assert "torch.manual_seed" not in text, path


def test_links_of_the_readme_into_the_repository_are_there():
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text())
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert targets
    assert missing == []


def test_the_recipe_of_the_readme_is_valid():
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    recipe = learngene_hub.Recipe.from_mapping(yaml.safe_load(text))
    assert recipe.data.path == "photos/"
