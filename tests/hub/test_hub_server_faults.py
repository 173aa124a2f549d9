"""What the test Hub refuses, what goes wrong with it on demand, and the Hub met by other processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from hub_server import Fault
from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

WEIGHTS = bytes(range(256)) * 500
GENE = "owner/gene"
BAD_TOKEN = "Invalid credentials in Authorization header"


@pytest.fixture
def api(hub):
    hub.put(GENE, {"config.json": b'{"width": 0.5}', "model.safetensors": WEIGHTS})
    return HfApi(endpoint=hub.url, token="hf_owner")


@pytest.fixture
def get(api):
    """Asks for a file of the repository; the client's own session, without retries."""
    return lambda path: get_session().get(f"{api.endpoint}/{GENE}/resolve/main/{path}", follow_redirects=True)


@pytest.fixture
def upload(api):
    """Uploads a new small file."""
    return lambda: api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=GENE)


@pytest.fixture
def hf(hub, tmp_path):
    """Runs the `hf` command line of this environment in the test's folder."""

    def run(*arguments):
        command = [Path(sys.executable).with_name("hf"), *arguments]
        environment = os.environ | hub.environment(tmp_path / "home")
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


# Refusals.


@pytest.mark.parametrize(
    ("repo_id", "path", "revision", "error", "message"),
    [
        ("owner/nothing", "config.json", None, RepositoryNotFoundError, "Repository Not Found"),
        (GENE, "config.json", "v9", RevisionNotFoundError, "Revision Not Found"),
        (GENE, "nothing.json", None, RemoteEntryNotFoundError, "Entry Not Found"),
    ],
)
def test_what_does_not_exist_is_told_apart(api, repo_id, path, revision, error, message):
    with pytest.raises(error, match=message):
        api.hf_hub_download(repo_id, path, revision=revision)


@pytest.mark.parametrize(("token", "status"), [("hf_other", 404), (False, 401)], ids=["stranger", "nobody"])
def test_a_private_repository_does_not_exist_for_strangers(api, hub, token, status):
    hub.put(GENE, {}, private=True)
    stranger = HfApi(endpoint=hub.url, token=token)
    for ask in (stranger.model_info, stranger.snapshot_download, stranger.list_repo_refs):
        with pytest.raises(RepositoryNotFoundError, match="Repository Not Found") as refusal:
            ask(GENE)
        assert refusal.value.response.status_code == status
    assert Path(api.hf_hub_download(GENE, "config.json")).exists()


@pytest.mark.parametrize(("token", "status"), [("hf_other", 403), (False, 401)], ids=["stranger", "nobody"])
def test_a_gated_repository_shows_itself_but_not_its_files(api, hub, token, status):
    hub.put(GENE, {}, gated="auto")
    stranger = HfApi(endpoint=hub.url, token=token)
    assert stranger.model_info(GENE).gated == "auto"
    with pytest.raises(GatedRepoError, match="Access to model owner/gene is restricted") as refusal:
        stranger.hf_hub_download(GENE, "config.json")
    assert refusal.value.response.status_code == status
    assert Path(api.hf_hub_download(GENE, "config.json")).exists()


def test_a_bad_token_is_refused_with_the_words_of_the_hub(api, hub):
    intruder = HfApi(endpoint=hub.url, token="hf_wrong")
    for ask in (intruder.model_info, intruder.create_repo, lambda repo: intruder.hf_hub_download(repo, "config.json")):
        with pytest.raises(HfHubHTTPError, match=BAD_TOKEN) as refusal:
            ask(GENE)
        assert refusal.value.response.status_code == 401
        assert not isinstance(refusal.value, RepositoryNotFoundError)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        intruder.whoami()


@pytest.mark.parametrize(
    "write",
    [
        lambda api: api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=GENE),
        lambda api: api.upload_file(path_or_fileobj=b"2", path_in_repo="a.safetensors", repo_id=GENE),
        lambda api: api.create_repo("owner/new"),
        lambda api: api.create_tag(GENE, tag="v1"),
        lambda api: api.create_branch(GENE, branch="wide"),
        lambda api: api.update_repo_settings(GENE, private=True),
        lambda api: api.delete_repo(GENE),
    ],
    ids=["commit", "lfs", "repo", "tag", "branch", "settings", "delete"],
)
@pytest.mark.usefixtures("api")
def test_writing_needs_rights(hub, write):
    commits = hub.commits(GENE)
    with pytest.raises(HfHubHTTPError, match=r"403 Forbidden: You (don't have the rights|have no write permission)"):
        write(HfApi(endpoint=hub.url, token="hf_other"))
    assert (hub.commits(GENE), list(hub.store.repos)) == (commits, [("models", GENE)])


# Faults.


def test_status_answers_and_does_nothing_else(hub, upload):
    commits = hub.commits(GENE)
    hub.faults.append(Fault("POST", "/commit/main$", "status", status=500, headers={"X-Error-Message": "no space"}))
    with pytest.raises(HfHubHTTPError, match="no space") as refusal:
        upload()
    assert refusal.value.response.status_code == 500
    assert hub.commits(GENE) == commits


@pytest.mark.parametrize(("kind", "message"), [("status", "500 Internal"), ("close", "Server disconnected")])
def test_after_means_that_the_commit_is_made_and_its_answer_lost(hub, upload, kind, message):
    hub.faults.append(Fault("POST", "/commit/", kind, status=500, after=True))
    with pytest.raises(httpx2.HTTPError, match=message):
        upload()
    assert hub.files(GENE)["a.txt"] == b"2"


def test_cut_announces_the_whole_body_and_sends_its_first_bytes(hub, get):
    hub.faults.append(Fault("GET", "model.safetensors", "cut", size=100))
    with pytest.raises(httpx2.RemoteProtocolError, match=rf"received 100 bytes, expected {len(WEIGHTS)}"):
        get("model.safetensors")
    assert hub.requests[-1].size == 100


@pytest.mark.parametrize("hub", ["lfs"], indirect=True)
def test_a_cut_download_is_resumed_where_it_ended(api, hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub.faults.append(Fault("GET", "model.safetensors", "cut", size=100_000))
    assert Path(api.hf_hub_download(GENE, "model.safetensors")).read_bytes() == WEIGHTS
    sent = [(one.status, one.size) for one in hub.requests if one.path.startswith("/lfs/")]
    assert sent == [(200, 100_000), (206, len(WEIGHTS) - 100_000)]


def test_corrupt_flips_bytes_and_keeps_the_size(api, hub, tmp_path):
    digest = hub.repo(GENE).at("main").tree["model.safetensors"].sha256
    hub.faults.append(Fault("GET", digest, "corrupt", size=4))
    copy = Path(api.hf_hub_download(GENE, "model.safetensors", local_dir=tmp_path)).read_bytes()
    assert len(copy) == len(WEIGHTS)
    assert [new ^ old for new, old in zip(copy, WEIGHTS, strict=True) if new != old] == [255] * 4
    checked = api.verify_repo_checksums(GENE, local_dir=tmp_path)
    assert [one["path"] for one in checked.mismatches] == ["model.safetensors"]


# Another process.


@pytest.mark.slow
def test_hf_uploads_and_downloads_a_folder(hf, hub, tmp_path):
    (tmp_path / "gene").mkdir()
    (tmp_path / "gene" / "config.json").write_text("{}")
    (tmp_path / "gene" / "model.safetensors").write_bytes(WEIGHTS)
    assert f"{hub.url}/{GENE}/commit/" in hf("upload", GENE, "gene").stdout
    assert hf("download", GENE, "--local-dir", "copy").returncode == 0
    for path in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / path).read_bytes() == hub.files(GENE)[path]
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == WEIGHTS
