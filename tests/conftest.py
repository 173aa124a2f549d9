"""What all tests share: one thread, no network, a cache of their own, and one tiny evolution run once."""

import os
import re
import shutil
import tempfile
from pathlib import Path

# Read at import by the libraries below, so they are set before any of them is imported.
os.environ |= {
    "LEARNGENE_CACHE": tempfile.mkdtemp(prefix="learngene-tests-"),
    "HF_HOME": tempfile.mkdtemp(prefix="learngene-tests-hf-"),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "1ms",  # with the default, a transfer by Xet that fails for good takes minutes
    "OMP_NUM_THREADS": "1",
}

import hub_calls
import huggingface_hub
import pytest
import torch
from hub_calls import Answer
from hub_server import HubServer
from huggingface_hub import constants, hf_api
from huggingface_hub.utils import _xet
from matplotlib.figure import Figure

from learngene_hub.evolution.run import evolve
from learngene_hub.recipe.recipe import Recipe

torch.set_num_threads(1)

pytest_plugins = [
    "hub_genes",
    "image_tables",
    "photo_folders",
    "pretend_gpu",
    "quick_evaluation",
    "small_networks",
]  # fixtures of several modules

TINY = """\
# Tiny.
name: tiny
network: {name: lg_vgg11, width: 0.06}
gene: {taper: 1}
data:
  preset: glyphs
  image_size: 28
  images_per_class: 12
  classes: {base: 8, held_out: 6, novel: 6}
evolution: {generations: 3, population: 4, founder_generations: 0, mutation_rate: 0.2}
ancestry: {ways: 4, steps: 3, batch_size: 8, warmup: 1, statistics_batches: 3}
critic: {ways: 3, shots: 4, queries: 6, steps: 2, tasks: 1, batch_size: 8, warmup: 0}
precision: float32
"""


def pytest_configure(config):
    """Without `-m gpu` no test sees a GPU, where `auto` would train and other last digits come out."""
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_unconfigure():
    for name in ("LEARNGENE_CACHE", "HF_HOME"):
        shutil.rmtree(os.environ[name], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before marks are chosen by `-m`
def pytest_collection_modifyitems(items):
    """Only a test that is marked `xet` runs by Xet, too; see `hub`."""

    def is_by_xet(item):
        return "callspec" in vars(item) and item.callspec.params.get("hub") == "xet"

    items[:] = [item for item in items if not is_by_xet(item) or item.get_closest_marker("xet")]


@pytest.fixture(autouse=True)
def blank_pictures(request, monkeypatch):
    """Pictures are written blank, since drawing them is a third of a tiny evolution."""
    if request.node.get_closest_marker("drawn"):
        return

    monkeypatch.setattr(Figure, "savefig", lambda figure, target, **_: target.write(b"\x89PNG"))


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """A recipe file whose evolution takes about a second."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny(tiny_file):
    """The tiny recipe with overrides: `tiny("evolution.population=2")`."""
    return lambda *overrides: Recipe.from_file(tiny_file, overrides)


@pytest.fixture(scope="session")
def tiny_run(tiny_file, tmp_path_factory):
    """The folder of a finished tiny evolution; read it, do not change it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    evolve(Recipe.from_file(tiny_file), out=out)
    return out


@pytest.fixture
def tiny_copy(tiny_run, tmp_path):
    """A copy of the tiny run, to be changed."""
    return Path(shutil.copytree(tiny_run, tmp_path / "copy"))


@pytest.fixture
def gene_copy(tiny_run, tmp_path):
    """A copy of its gene folder, to be changed."""
    return Path(shutil.copytree(tiny_run / "gene", tmp_path / "gene"))


@pytest.fixture(params=["lfs", "xet"])
def hub(request, monkeypatch, tmp_path):
    """A running Hub of our own that `huggingface_hub` takes for the real one, asked as the user `owner`.

    A test that uses it has large files go by plain LFS. One that is marked `xet` runs again by Xet, the default of
    `huggingface_hub`: what it says is about Xet, or is a promise.
    """
    with HubServer() as server:
        monkeypatch.setenv("HF_HUB_DISABLE_XET", str(int(request.param == "lfs")))
        monkeypatch.setenv("HF_TOKEN", "hf_owner")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "lfs")
        monkeypatch.setattr(_xet, "XET_CONNECTION_INFO_CACHE", {})  # tokens, by addresses that a later test may have
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)  # create_repo and such are methods of this object
        huggingface_hub.close_session()  # the one HTTP client of the process: it knows NO_PROXY when it is made
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def answers(monkeypatch):
    """Has the Hub answer otherwise: `answers("GET", pattern of the path, body, status=..., headers=...)`."""

    def do(method, pattern, body=b"", **more):
        entry = (method, re.compile(pattern), lambda call, *_: Answer(body, **more))
        monkeypatch.setattr(hub_calls, "ROUTES", [entry, *hub_calls.ROUTES])

    return do
