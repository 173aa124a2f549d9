"""The round trip on the real Hub, for whoever has a token that may write:

HF_TOKEN=hf_... pytest -m network
"""

import os
import secrets

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants

from learngene_hub import from_learngene
from learngene_hub.gene.learngene import Learngene

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif("HF_TOKEN" not in os.environ, reason="needs HF_TOKEN, a token of the Hub that may write"),
]


@pytest.fixture
def repo_id(monkeypatch):
    """A name that is free in the account of the token; what is made there is deleted at the end."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()  # the client knows whether it is offline when it is made
    api = HfApi()
    name = f"{api.whoami()['name']}/learngene-hub-test-{secrets.token_hex(4)}"
    yield name
    api.delete_repo(name, missing_ok=True)
    huggingface_hub.close_session()


def test_a_gene_goes_to_the_real_hub_and_comes_back(repo_id, tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    first = gene.push_to_hub(repo_id, private=True)
    again = gene.push_to_hub(repo_id, private=True)
    found = from_learngene(repo_id, num_classes=3, cache_dir=tmp_path).inheritance
    offline = from_learngene(repo_id, num_classes=3, cache_dir=tmp_path, local_files_only=True).inheritance
    assert first.changed
    assert (again.changed, again.commit) == ((), first.commit)
    assert (found.sha256, found.revision) == (gene.config.sha256, first.commit)
    assert offline == found
