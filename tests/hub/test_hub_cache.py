"""What the cache of huggingface_hub holds, and what is believed of it."""

import shutil
import warnings

import pytest
from command_line import learngene
from hub_genes import ALL_FILES, REPO, asked
from hub_server import Fault
from huggingface_hub import constants, scan_cache_dir, snapshot_download

from learngene_hub.cli.console import show_warnings_as_lines
from learngene_hub.core.errors import GeneFileError, HubError
from learngene_hub.gene.sharing import pull_gene

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def downloaded(push, options):
    """The gene in the cache as `hf download` leaves it."""
    commit = push().commit
    snapshot_download(REPO, cache_dir=options.cache, token="hf_owner")
    return commit


def test_a_cache_that_another_program_filled_serves_with_and_without_a_connection(hub, load, downloaded):
    hub.requests.clear()
    assert load(local_files_only=True).inheritance.revision == downloaded
    assert asked(hub) == []
    assert load().inheritance.revision == downloaded
    assert not [one for one in asked(hub) if "/resolve/" in one.path]


def test_a_cache_whose_branch_is_no_commit_is_told(load, downloaded, options):
    next(options.cache.glob("*/refs/main")).write_text("")
    told = r"^owner/gene: expected a commit under refs/main in the cache .*, found '': load it once without local_"
    with pytest.raises(HubError, match=told):
        load(local_files_only=True)
    assert load().inheritance.revision == downloaded


@pytest.mark.xet
def test_a_cache_that_another_program_filled_is_pulled_from_without_its_links(downloaded, options, tmp_path):
    pull_gene(REPO, tmp_path / "mine", options=options)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == ALL_FILES
    assert not any(path.is_symlink() for path in (tmp_path / "mine").iterdir())


def test_without_links_the_cache_of_another_machine_serves(load, downloaded, options):
    snapshot = options.cache / "models--owner--gene/snapshots" / downloaded
    shutil.copytree(snapshot, snapshot.parent / "copy")  # as where the system has no links
    shutil.rmtree(snapshot)
    (snapshot.parent / "copy").rename(snapshot)
    assert load(local_files_only=True).inheritance.revision == downloaded


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
    hub.faults.append(Fault("GET", "/api/models/", "status", status=503))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        show_warnings_as_lines()
        done = learngene("info", REPO)
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: {REPO}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.xet
@pytest.mark.parametrize("name", ["learngene.safetensors", "config.json"])
def test_a_damaged_file_of_the_cache_is_named_and_fetched_anew_when_asked(push, load, options, name):
    commit = push().commit
    load()
    file = (options.cache / "models--owner--gene/snapshots" / commit / name).resolve()
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-2] + b"!!")
    with pytest.raises(GeneFileError, match=rf"^owner/gene/{name}: .*fetch it again \(learngene pull"):
        load(local_files_only=True)
    load(force_download=True)
    load(local_files_only=True)
