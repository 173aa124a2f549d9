"""Genes on the Hub of the tests: pushed, loaded, and what was asked for them."""

from pathlib import Path

import pytest

from learngene_hub import from_learngene
from learngene_hub.gene.sharing import push_gene
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import PushTerms

REPO = "owner/gene"
ALL_FILES = {"config.json", "learngene.safetensors", "README.md", "recipe.yaml", "metrics.jsonl", "evolution.png"}


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its attempts


@pytest.fixture
def options(hub, tmp_path):
    return HubOptions(cache_dir=tmp_path / "cache", token="hf_owner", endpoint=hub.url)


@pytest.fixture
def push(options, tiny_run):
    """Pushes the tiny gene, or another folder: `push(folder, revision=..., overwrite_card=True)`."""

    def do(folder=tiny_run, repo=REPO, *, revision=None, **terms):
        return push_gene(Path(folder), Address(repo, revision), terms=PushTerms(**terms), options=options)

    return do


@pytest.fixture
def load(options):
    """Makes a model from the Hub: `load("owner/gene@v1", force_download=True)`."""

    def do(source=REPO, **more):
        places = {"cache_dir": options.cache_dir, "token": options.token, "endpoint": options.endpoint}
        return from_learngene(source, num_classes=3, **(places | more))

    return do


def asked(hub, methods=("GET", "HEAD")):
    return [one for one in hub.requests if one.method in methods and "agent-harnesses" not in one.path]
