"""A Hub that answers in other ways than a Hub does, too slowly, without end, or only at the second attempt."""

import hashlib
import time
from dataclasses import replace

import pytest
from hub_genes import REPO, asked
from hub_server import Fault
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent

from learngene_hub import list_learngenes
from learngene_hub.core.errors import HubError, HubUnreachableError, LearngeneWarning
from learngene_hub.hub import client as client_module

pytestmark = pytest.mark.usefixtures("no_waiting")
PAUSE = client_module._pause
RESOLVE = r"/owner/gene/resolve/[^/]+/"


def weights_at(answers, address):
    """Has the Hub send whoever asks for the weights to another storage."""
    answers("GET", RESOLVE + "learngene.safetensors", status=302, headers={"Location": address})


# Answers that are none of a Hub's


def listed(**changed):
    file = {"rfilename": "config.json", "size": 2, "blobId": "0" * 40} | changed
    return {"id": REPO, "sha": "0" * 40, "siblings": [file]}


@pytest.mark.parametrize("body", ["a page", listed(size=-1), listed(blobId="../x"), listed() | {"sha": "../x"}])
def test_a_listing_that_is_none_is_refused_on_loading_and_on_pushing(hub, push, load, answers, body):
    push()
    answers("GET", r"/api/models/owner/gene(/revision/.*)?", body)
    for attempt in (load, push):
        with pytest.raises(HubError, match=r"^owner/gene: http\S+ does not answer like a Hub: check HF_ENDPOINT"):
            attempt()


def test_a_listing_of_another_commit_than_was_asked_for_is_refused(push, load, answers):
    push()
    answers("GET", r"/api/models/owner/gene/revision/.*", listed())
    with pytest.raises(HubError, match="does not answer like a Hub"):
        load()


def test_an_odd_answer_to_a_commit_is_named(push, answers):
    answers("POST", r"/api/models/owner/gene/commit/main", [])
    with pytest.raises(HubError, match=r"^owner/gene: http\S+ does not answer like a Hub"):
        push()


@pytest.mark.parametrize("body", [None, {"error": 1}, [1], [{}]])
def test_an_odd_list_of_repositories_is_named(hub, answers, body):
    answers("GET", "/api/models", body)
    with pytest.raises(HubError, match=r"^the list of repositories: http\S+ does not answer like a Hub"):
        list_learngenes(hub=True)


def test_a_server_that_answers_everything_with_a_list_is_named(hub, push, load, answers, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))  # as with a new HF_HOME
    answers("GET", ".*", [])
    for attempt in (load, push, lambda: load(revision="0" * 40)):
        monkeypatch.setattr(_detect_agent, "_registry", None)
        (tmp_path / "harnesses.json").unlink(missing_ok=True)
        with pytest.raises(HubError, match="does not answer like a Hub: check HF_ENDPOINT"):
            attempt()


@pytest.mark.parametrize("commit", ["../../../../x", "a" * 39, "A" * 40, ""])
def test_a_commit_that_cannot_be_one_is_refused(push, load, answers, tmp_path, commit):
    push()
    answers("GET", RESOLVE + "config.json", headers={"X-Repo-Commit": commit, "ETag": '"1"'})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(HubError, match="does not answer like a Hub"):
        load()
    assert set(tmp_path.rglob("*")) == before


# Bodies that are too long, too slow, or lost


def test_a_body_without_a_length_is_read_no_further_than_the_file_is_long(push, load, answers, storage):
    push()
    endless = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", *[bytes(100_000)] * 1000]
    address, sent, _ = storage((endless, False), (endless, False))
    weights_at(answers, address)
    with pytest.raises(HubError, match="was received twice with a wrong hash"):
        load()
    assert sum(sent) < 50e6  # of 200 MB; what the system had taken is not read


def test_an_error_whose_body_has_no_end_is_not_read(push, load, answers, storage):
    push()
    endless = [b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n", *[bytes(100_000)] * 1000]
    address, sent, _ = storage((endless, False))
    weights_at(answers, address)
    with pytest.raises(HubError, match=r"no permission .*: use a token with read access"):
        load()
    assert sum(sent) < 50e6


def test_a_download_that_is_reset_is_tried_again(hub, push, load, answers, storage):
    push()
    weights = hub.files(REPO)["learngene.safetensors"]
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(weights)
    address, _, heads = storage(([head, weights[:1000]], True), ([head, weights], False))
    weights_at(answers, address)
    assert load().inheritance.sha256 == hashlib.sha256(weights).hexdigest()
    assert len(heads) == 2
    assert not any(b"hf_owner" in head for head in heads)  # the token is for the Hub only


@pytest.mark.parametrize(
    "slow", [Fault("GET", "README.md", "drip", seconds=600), Fault("GET", "/api/", "delay", seconds=600)]
)
def test_a_download_that_takes_too_long_is_given_up(hub, push, load, options, monkeypatch, slow):
    push()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_SECONDS", "0.5")
    hub.faults.append(replace(slow))
    with pytest.raises(HubUnreachableError, match=r"not complete after 0\.5 seconds: .*set LEARNGENE_MAX_DOWNLOAD_SEC"):
        load()


def test_the_cached_gene_is_used_where_a_newer_one_takes_too_long(hub, push, load, monkeypatch):
    commit = push().commit
    load()
    hub.put(REPO, {"README.md": b"new"})
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_SECONDS", "0.5")
    hub.faults.append(Fault("GET", "/api/", "delay", seconds=600))
    with pytest.warns(LearngeneWarning, match=f"not complete after .* Using commit {commit[:12]} from the cache"):
        assert load().inheritance.revision == commit


# Servers that are busy


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/resolve/", 503),
        ("GET", "/api/models", 503),
        ("GET", "config.json", 503),
        ("HEAD", "/resolve/", 429),
        ("HEAD", "/resolve/", 500),
    ],
)
def test_a_hub_that_is_busy_is_asked_again(hub, push, load, method, path, status):
    push()
    hub.faults.append(Fault(method, path, "status", status=status, times=2))
    load()
    assert hub.faults[0].times == 0


def test_a_first_request_whose_connection_is_lost_is_sent_again(hub, push, load):
    push()
    hub.faults.append(Fault("HEAD", "/resolve/", "close", times=2))
    load()
    assert hub.faults[0].times == 0


def test_a_hub_that_refuses_more_requests_is_not_told_as_broken(hub, push, load):
    push()
    hub.faults.append(Fault("HEAD", "/resolve/", status=429, headers={"Retry-After": "60"}))
    with pytest.raises(HubUnreachableError, match=r"refuses more requests for now \(429\): try again in 60 seconds$"):
        load()


@pytest.mark.parametrize("status", [200, 302, 407])
def test_where_a_network_asks_for_a_login_the_cached_gene_is_used(hub, push, load, status):
    commit = push().commit
    load()
    hub.faults.append(Fault("HEAD", "/resolve/", status=status))
    with pytest.warns(
        LearngeneWarning, match=f"(check HF_ENDPOINT|HTTPS_PROXY).*Using commit {commit[:12]} from the cache"
    ):
        assert load().inheritance.revision == commit


def test_with_the_gene_in_the_cache_a_busy_hub_is_asked_once(hub, push, load):
    commit = push().commit
    load()
    hub.requests.clear()
    hub.faults.append(Fault("HEAD", "/resolve/", "status", status=503, times=9))
    with pytest.warns(LearngeneWarning, match=f"has a server error .*Using commit {commit[:12]} from the cache"):
        assert load().inheritance.revision == commit
    assert len(asked(hub)) == 1


@pytest.fixture
def waits(monkeypatch):
    """The pauses that are made, in seconds; none takes time."""
    made = []
    monkeypatch.setattr(client_module, "_pause", PAUSE)
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_the_pause_that_a_hub_asks_for_is_made(hub, push, waits):
    hub.faults.append(Fault("GET", "/api/models/", "status", status=429, headers={"Retry-After": "7"}))
    assert push().changed
    assert waits == [7.0]


def test_a_hub_that_asks_for_a_long_pause_is_not_asked_again(hub, push, waits):
    hub.faults.append(Fault("GET", "/api/models/", "status", status=503, headers={"Retry-After": "3600"}, times=9))
    with pytest.raises(HubUnreachableError, match=r"has a server error .*: try again in 3600 seconds"):
        push()
    assert waits == []
    assert hub.faults[0].times == 8


def test_an_upload_that_cannot_begin_is_tried_by_the_client_alone(hub, push, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub.faults.append(Fault("POST", "/preupload/", "status", status=503, times=99))
    with pytest.raises(HubUnreachableError, match="has a server error"):
        push()
    assert hub.faults[0].times == 99 - 6  # the client's own attempts, not those of a commit on top
