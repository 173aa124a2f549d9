"""Genes from the Hub, and from the cache it leaves, by the unmodified client."""

import pytest
import torch
from hub_genes import REPO, asked
from huggingface_hub import constants

from learngene_hub import from_learngene
from learngene_hub.core.errors import HubError
from learngene_hub.gene.sharing import pull_gene
from learngene_hub.gene.source import locate
from learngene_hub.hub import fetch as fetch_module

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.xet
def test_a_model_from_the_hub_is_the_model_from_the_folder(push, load, tiny_run):
    pushed, here = push(), from_learngene(tiny_run, num_classes=3)
    there = load()
    assert all(torch.equal(a, b) for a, b in zip(there.state_dict().values(), here.state_dict().values(), strict=True))
    assert (there.inheritance.source, there.inheritance.revision) == (REPO, pushed.commit)
    assert f"commit {pushed.commit[:12]}" in str(there.inheritance)


def test_only_the_three_files_that_are_needed_come(hub, push, load):
    push()
    hub.requests.clear()
    load()
    fetched = {one.path.split("/")[-1] for one in asked(hub) if "/resolve/" in one.path}
    assert fetched == {"config.json", "learngene.safetensors", "README.md"}


def test_what_is_cached_costs_one_request_without_a_body_and_a_commit_none(hub, push, load):
    commit = push().commit
    load()
    hub.requests.clear()
    load()
    assert [(one.method, one.size) for one in asked(hub)] == [("HEAD", 0)]
    hub.requests.clear()
    load(f"{REPO}@{commit}")
    load(revision=commit)
    assert asked(hub) == []


def test_all_files_come_from_the_commit_that_was_meant_at_first(hub, push, load, gene_copy, monkeypatch):
    first = push(gene_copy).commit
    config = (gene_copy / "config.json").read_text().replace('"package_version": "', '"package_version": "9')
    find = fetch_module.get_hf_file_metadata

    def find_then_move(*arguments, **more):
        found = find(*arguments, **more)
        hub.put(REPO, {"config.json": config.encode()})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "get_hf_file_metadata", find_then_move)
        assert load().inheritance.revision == first
    assert load().inheritance.revision == hub.commits(REPO)[0] != first


def test_a_new_revision_comes_when_the_branch_moves(push, load, gene_copy):
    push(gene_copy)
    load()
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    assert load().inheritance.revision != push(gene_copy).commit
    assert load().inheritance.revision == push(gene_copy).commit


def test_offline_works_from_the_cache_and_by_branch(hub, push, load, monkeypatch):
    commit = push().commit
    load()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load().inheritance.revision == commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert load(local_files_only=True).inheritance.revision == commit
    assert asked(hub) == []


def test_offline_without_a_cached_gene_says_the_way_out(hub, push, load, monkeypatch):
    push()
    hub.requests.clear()
    with pytest.raises(HubError, match=r"not in the cache .*, and local_files_only is set, so it is not fetched"):
        load(local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="load it once without HF_HUB_OFFLINE, or give a folder"):
        load()
    assert asked(hub) == []


def test_force_download_fetches_again(hub, push, load):
    push()
    load()
    hub.requests.clear()
    load(force_download=True)
    found = [one for one in asked(hub, ("GET",)) if "/api/" not in one.path]
    bodies = [one for one in found if one.status < 300]
    assert len(bodies) == 3


def test_a_gene_without_a_card_costs_no_request_either_by_commit(hub, push, load):
    push()
    commit = hub.put(REPO, {"README.md": None})
    load(f"{REPO}@{commit}")
    hub.requests.clear()
    load(f"{REPO}@{commit}")
    assert asked(hub) == []


def test_offline_means_the_commit_loaded_last_even_if_more_was_pulled_before(hub, push, load, options, tmp_path):
    push()
    pull_gene(REPO, tmp_path / "mine", options=options)
    newer = hub.put(REPO, {"note.txt": b"new"})
    load()
    assert load(local_files_only=True).inheritance.revision == newer


def test_a_look_at_the_config_does_not_hide_a_gene_in_the_cache(hub, push, load, options):
    commit = push().commit
    load()
    hub.put(REPO, {"note.txt": b"new"})
    locate(REPO, options=options, required=("config.json",))
    assert load(local_files_only=True).inheritance.revision == commit
