"""A Hub that answers in other ways than a Hub does, or only at the second attempt."""

import time

import pytest
from hub_genes import REPO, asked
from hub_server import Fault
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent

from learngene_hub import list_learngenes
from learngene_hub.core.errors import HubError, HubUnreachableError, LearngeneWarning

pytestmark = pytest.mark.usefixtures("no_waiting")
NO_HUB = r"http\S+ does not answer like a Hub: check HF_ENDPOINT"


@pytest.mark.parametrize("body", [[], None, "a page", {"id": REPO, "siblings": []}])
def test_an_answer_about_a_repository_that_is_none_is_refused_on_loading_and_on_pushing(push, load, answers, body):
    push()
    answers("GET", r"/api/models/owner/gene(/revision/.*)?", body)
    with pytest.raises(HubError, match=f"^owner/gene: {NO_HUB}"):
        load()
    with pytest.raises(HubError, match=r"^owner/gene: http\S+ (does not answer like a Hub|answers 4)"):
        push()


@pytest.mark.parametrize("commit", ["../../../../x", "a" * 39, "A" * 40, "", 7])
def test_a_commit_that_cannot_be_one_is_refused(push, load, answers, tmp_path, commit):
    push()
    answers("GET", "/api/models/owner/gene", {"id": REPO, "sha": commit, "siblings": []})
    with pytest.raises(HubError, match=NO_HUB):
        load()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"main"}  # where it is noted
    assert not list(tmp_path.parent.glob("x*"))


def test_an_odd_answer_to_a_commit_is_named(push, answers):
    answers("POST", r"/api/models/owner/gene/commit/main", [])
    with pytest.raises(HubError, match=f"^owner/gene: {NO_HUB}"):
        push()


@pytest.mark.parametrize("body", [None, {"error": 1}, [1], [{}]])
def test_an_odd_list_of_repositories_is_named(hub, answers, body):
    answers("GET", "/api/models", body)
    with pytest.raises(HubError, match=f"^the list of repositories: {NO_HUB}"):
        list_learngenes(hub=True)


def test_a_server_that_answers_everything_with_a_list_is_named(hub, push, load, answers, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))  # as with a new HF_HOME
    answers("GET", ".*", [])
    for attempt in (load, push, lambda: load(revision="0" * 40)):
        monkeypatch.setattr(_detect_agent, "_registry", None)
        (tmp_path / "harnesses.json").unlink(missing_ok=True)
        with pytest.raises(HubError, match=NO_HUB):
            attempt()


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/resolve/"), ("GET", "/tree/")])
def test_a_hub_that_is_busy_is_asked_again(hub, push, load, method, path):
    push()
    hub.faults.append(Fault(method, path, status=503, times=2))
    load()
    assert hub.faults[0].times == 0


def test_a_hub_that_refuses_more_requests_is_not_told_as_broken(hub, push, load):
    push()
    hub.faults.append(Fault("GET", "/api/models/", status=429))
    with pytest.raises(
        HubUnreachableError, match=r"^owner/gene: http\S+ answers 429: as the test asked; try again later$"
    ):
        load()


def test_with_the_gene_in_the_cache_a_busy_hub_is_asked_once(hub, push, load):
    commit = push().commit
    load()
    hub.requests.clear()
    hub.faults.append(Fault("GET", "/api/models/", status=503, times=9))
    with pytest.warns(LearngeneWarning, match=f"answers 503: .*Using commit {commit[:12]} from the cache"):
        assert load().inheritance.revision == commit
    assert len(asked(hub)) == 1


def test_an_upload_that_cannot_begin_is_tried_by_the_client_alone(hub, push, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub.faults.append(Fault("POST", "/preupload/", status=503, times=99))
    with pytest.raises(HubUnreachableError, match="answers 503"):
        push()
    assert hub.faults[0].times == 99 - 6  # the client's own attempts, not those of a commit on top
