"""What the cache holds: files of huggingface_hub, of older versions and of others; and what is believed of them."""

import shutil
import warnings

import pytest
from command_line import learngene
from hub_genes import ALL_FILES, REPO, asked
from hub_server import Fault
from huggingface_hub import constants, scan_cache_dir, snapshot_download

from learngene_hub.cli.console import show_warnings_as_lines
from learngene_hub.core.errors import HubError
from learngene_hub.core.files import read_file
from learngene_hub.evaluation.candidates import load_candidates
from learngene_hub.gene.folder import verify
from learngene_hub.gene.sharing import pull_gene
from learngene_hub.gene.source import locate
from learngene_hub.hub import fetch

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def home(options):
    """The folder of the repository in the cache."""
    return options.cache / "models--owner--gene"


@pytest.fixture
def downloaded(push, options):
    """The gene in the cache as `hf download` leaves it: links to files that Xet's hashes name, or git's and LFS's."""
    commit = push().commit
    snapshot_download(REPO, cache_dir=options.cache, token="hf_owner")
    return commit


def test_a_cache_that_another_program_filled_serves_with_and_without_a_connection(hub, load, downloaded, options):
    hub.requests.clear()
    assert load(local_files_only=True).inheritance.revision == downloaded
    assert asked(hub) == []
    assert load().inheritance.revision == downloaded
    assert not [one for one in asked(hub) if one.method == "GET" and "/resolve/" in one.path]
    hub.requests.clear()
    load()
    assert [(one.method, one.size) for one in asked(hub)] == [("HEAD", 0)]


def test_a_cache_that_another_program_filled_is_verified_pulled_and_pushed_from(downloaded, options, tmp_path):
    place = locate(REPO, options=options)
    assert not [check for check in verify(place.folder, place.files) if check.fault]
    pull_gene(REPO, tmp_path / "mine", options=options)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == ALL_FILES
    assert not any(path.is_symlink() for path in (tmp_path / "mine").iterdir())


def test_a_file_that_another_program_left_damaged_is_fetched_again_and_its_own_stays(load, downloaded, home):
    blob = (home / "snapshots" / downloaded / "learngene.safetensors").resolve()
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    damaged = blob.read_bytes()
    assert load().inheritance.revision == downloaded
    assert load(local_files_only=True).inheritance.revision == downloaded
    assert blob.read_bytes() == damaged


def test_without_links_and_without_a_listing_the_cache_of_another_machine_serves(load, downloaded, options, home):
    snapshot = home / "snapshots" / downloaded
    shutil.copytree(snapshot, home / "copy")  # as where the system has no links
    shutil.rmtree(snapshot)
    (home / "copy").rename(snapshot)
    assert load(local_files_only=True).inheritance.revision == downloaded


def test_a_listing_that_is_damaged_is_fetched_again(hub, push, load, home):
    commit = push().commit
    load()
    record = home / "learngene" / f"{commit}.json"
    whole = record.read_bytes()
    record.write_bytes(whole[:-1])
    assert load(local_files_only=True).inheritance.revision == commit
    hub.requests.clear()
    load(revision=commit)
    assert {one.path.split("?")[0] for one in asked(hub)} == {f"/api/models/{REPO}/revision/{commit}"}
    assert record.read_bytes() == whole


def test_a_listing_whose_hashes_are_damaged_costs_one_request_and_is_not_believed(hub, push, load, home):
    commit, digest = push().commit, hub.repo(REPO).at("main").tree["learngene.safetensors"].sha256
    load()
    record = home / "learngene" / f"{commit}.json"
    record.write_text(record.read_text().replace(digest, "0" * 64))
    with pytest.raises(HubError, match=r"not in the cache .*, or damaged there"):
        load(local_files_only=True)
    load()
    assert digest in record.read_text()
    load(local_files_only=True)


def test_the_tools_of_huggingface_hub_read_the_cache(push, load, options):
    commit = push().commit
    load()
    found = scan_cache_dir(options.cache)
    assert not found.warnings
    assert [revision.commit_hash for repo in found.repos for revision in repo.revisions] == [commit]


def test_a_warning_is_one_line_at_the_command_line(hub, push, load, options, monkeypatch):
    push()
    load()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(options.cache))
    hub.faults.append(Fault("HEAD", "/resolve/", "status", status=503))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        show_warnings_as_lines()
        done = learngene("info", REPO)
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: {REPO}: ")
    assert done.stderr.count("\n") == 1


def test_no_more_of_a_cached_file_is_read_than_its_listing_says(push, load, home):
    commit = push().commit
    load()
    with (home / "snapshots" / commit / "learngene.safetensors").open("r+b") as file:
        file.truncate(200 * 10**9)  # takes no room, and cannot be read whole
    with pytest.raises(HubError, match=r"not in the cache .*, or damaged there"):
        load(local_files_only=True)
    load()


def test_a_load_from_the_cache_reads_each_file_once(push, load, monkeypatch):
    push()
    load()
    read = []
    monkeypatch.setattr(
        fetch, "read_file", lambda path, *, most: (read.append(path.name), read_file(path, most=most))[1]
    )
    load()
    files = [name for name in read if name in ALL_FILES]
    assert sorted(files) == ["README.md", "config.json", "learngene.safetensors"]


def test_a_damaged_recipe_of_the_cache_is_not_evaluated_by(push, home, options, monkeypatch):
    commit = push().commit
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(options.cache))
    (whole,) = load_candidates([REPO])
    assert whole.recipe.name == "tiny"
    path = home / "snapshots" / commit / "recipe.yaml"
    path.write_bytes(path.read_bytes().replace(b"name: tiny", b"name: evil"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (damaged,) = load_candidates([REPO])
    assert damaged.recipe is None
