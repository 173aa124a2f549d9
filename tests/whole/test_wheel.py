"""What is built, installed and tried: the same bytes every time, and all that the package needs is in it."""

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

wheels = pytest.importorskip("hatchling.builders.wheel", reason="comes with the extra `dev`")
sdists = pytest.importorskip("hatchling.builders.sdist")

ROOT = Path(__file__).parents[2]
TRY = """
from learngene_hub import from_learngene, list_learngenes
from learngene_hub.recipe.recipe import Recipe
import learngene_hub
shares = [from_learngene(one.name, num_classes=5).inheritance.share for one in list_learngenes()]
print(learngene_hub.__file__, len(shares) >= 4 and min(shares) > 0.1, Recipe.from_file("demo").name)
"""


def built(source, out, builder):
    """The file that hatchling builds of the tree `source`."""
    (path,) = builder(str(source)).build(directory=str(out), versions=["standard"])
    return Path(path)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(ROOT, tmp_path_factory.mktemp("wheel"), wheels.WheelBuilder)


def test_a_wheel_or_sdist_built_from_the_sdist_has_the_same_bytes(wheel, tmp_path):
    sdist = built(ROOT, tmp_path / "sdist", sdists.SdistBuilder)
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert digest(built(unpacked, tmp_path, wheels.WheelBuilder)) == digest(wheel)
    assert digest(built(unpacked, tmp_path, sdists.SdistBuilder)) == digest(sdist)


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", "learngene_hub", "recipes"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a checkout")
    assert names == {
        f"learngene_hub/{name}" if name.startswith("recipes/") else name for name in tracked.stdout.split()
    }


def test_the_installed_wheel_inherits_a_gene_and_knows_its_recipes(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")  # what pip does with a pure wheel
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRY]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.startswith(str(tmp_path / "site"))
    assert told.split()[1:] == ["True", "demo"]
