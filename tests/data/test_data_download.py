"""A data set of the Hub: its size is said before it is fetched, and one that is too large or too slow is given up."""

import threading
import time
from dataclasses import replace

import datasets
import pytest
from hub_server import Fault
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import _http
from image_tables import Listener, levels, png, write_parquet

from learngene_hub.core.errors import DataError, HubError, HubUnreachableError
from learngene_hub.data import fetch
from learngene_hub.data.counting import available_classes
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

pytestmark = pytest.mark.usefixtures("to_the_end", "own_cache", "no_waiting")
REPO = "owner/pets"
RESOLVE = "/datasets/owner/pets/resolve/[^/]+/"
PARQUET = "data/train.parquet"
CARD = b"---\nlicense: mit\n---\n"
NOT_A_HUB = r"^owner/pets: http\S+ does not answer like a Hub: check HF_ENDPOINT"


@pytest.fixture
def to_the_end(monkeypatch):
    """What goes on behind a download that was given up ends with its test, since its Hub is gone."""
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)  # between attempts of the client
    yield
    for thread in threading.enumerate():
        if thread.name.endswith("(run)"):  # those of hub.fetch
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def shared(hub, tmp_path, monkeypatch):
    """A data set on the Hub of the tests, and what puts another file into it."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    api = HfApi()
    api.create_repo(REPO, repo_type="dataset")

    def put(name, content):
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPO, repo_type="dataset")

    write_parquet(tmp_path / "pets.parquet", [(1, "ant"), (2, "bee")])
    put(PARQUET, (tmp_path / "pets.parquet").read_bytes())
    hub.requests.clear()
    return put


def load(**more):
    return load_classes(DataSource(None, REPO, 8), ["ant", "bee"], **more)


def fetched(hub):
    return {one.path.rpartition("/")[2] for one in hub.requests if "/resolve/" in one.path}


def test_its_size_is_said_first_and_once(shared, caplog):
    source = DataSource(None, REPO, 8)
    assert levels(load_classes(source, ["ant", "bee"])) == [(1, "ant"), (2, "bee")]
    assert levels(load_classes(source, ["bee"])) == [(2, "bee")]  # no longer decoded, but there
    (said,) = caplog.messages
    assert said.startswith("fetching 0.00")
    assert said.endswith(" MB: data set owner/pets from the Hugging Face Hub")


def test_one_that_is_too_large_is_not_fetched(hub, shared, monkeypatch):
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "0.001")
    expected = r"owner/pets: 0\.00\d MB to download, expected at most 0\.001; if you trust it, set LEARNGENE_MAX"
    with pytest.raises(HubError, match=expected):
        load_classes(DataSource(None, REPO, 8), ["ant"])
    assert "train.parquet" not in fetched(hub)


def test_neither_is_a_description_that_is_too_large(hub, shared, monkeypatch):
    shared("README.md", b"---\npretty_name: " + b"a" * 300_000 + b"\n---\n")
    hub.requests.clear()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "0.1")
    with pytest.raises(HubError, match=r"0\.3\d* MB to download, expected at most 0\.1"):
        load_classes(DataSource(None, REPO, 8), ["ant"])
    assert fetched(hub) == set()


def test_a_data_set_cannot_name_files_of_this_machine(shared, tmp_path):
    write_parquet(tmp_path / "private/a.parquet", [(7, "ant")])
    shared(
        "README.md", f"---\nconfigs:\n- {{config_name: x, data_files: {tmp_path}/private/*.parquet}}\n---\n".encode()
    )
    with pytest.raises(DataError, match=r"Cannot load 'owner/pets'.*Data files don't belong to owner/pets"):
        load_classes(DataSource(None, REPO, 8), ["ant"])


def test_its_tables_cannot_name_files_beside_the_caches(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", tmp_path / "home")  # where the token lies
    (tmp_path / "home").mkdir()
    (tmp_path / "home/secret.png").write_bytes(png(7))
    cells = [{"bytes": None, "path": str(tmp_path / "home/secret.png")}, {"bytes": png(1), "path": None}]
    features = {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    features["label"] = datasets.ClassLabel(names=["ant", "bee"])
    table = datasets.Dataset.from_dict({"image": cells, "label": [0, 1]}, features=datasets.Features(features))
    table.to_parquet(tmp_path / "odd.parquet")
    shared(PARQUET, (tmp_path / "odd.parquet").read_bytes())
    with pytest.raises(DataError, match="lies outside its folder"):
        load()


# Answers that are none of a Hub's


def listed(**changed):
    file = {"rfilename": PARQUET, "size": 2, "blobId": "0" * 40} | changed
    return {"id": REPO, "sha": "0" * 40, "siblings": [file]}


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("body", [[], listed() | {"sha": "../../../odd"}])
def test_a_listing_that_is_none_is_refused(answers, body):
    answers("GET", r"/api/datasets/owner/pets(/revision/.*)?", body)
    with pytest.raises(HubError, match=NOT_A_HUB):
        load()


@pytest.mark.usefixtures("shared")
def test_a_listing_of_another_commit_than_was_asked_for_is_refused(answers):
    answers("GET", r"/api/datasets/owner/pets/revision/.*", listed())
    with pytest.raises(HubError, match="does not answer like a Hub"):
        load_classes(DataSource(None, REPO, 8, revision="1" * 40), ["ant"])


@pytest.mark.usefixtures("shared")
def test_a_file_that_is_not_listed_is_not_fetched(hub, answers):
    commit = hub.commits(REPO, kind="datasets")[0]
    answers("GET", r"/api/datasets/owner/pets(/revision/.*)?", listed(rfilename="other.parquet") | {"sha": commit})
    with pytest.raises(
        DataError, match=r"expected the Hub to list a size for every file, found none for .*train\.parquet"
    ):
        load()


def test_another_commit_of_the_cache_is_not_taken_for_the_one_that_is_listed(hub, shared):
    load()
    shared("README.md", CARD)
    hub.faults.append(Fault("GET", "/api/datasets/owner/pets/revision/", status=503, times=99))  # what `datasets` asks
    commit = hub.commits(REPO, kind="datasets")[0]
    with pytest.raises(HubError, match=f"lists the commit {commit[:12]} but does not deliver it"):
        load_classes(DataSource(None, REPO, 8), ["bee"])


# Too long, or too slow


def test_a_file_without_end_is_read_no_further_than_the_hub_lists(hub, shared, answers, storage, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10**5)
    endless = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", *[bytes(100_000)] * 1000]
    address, sent, _ = storage(*[(endless, False)] * 3)
    commit = hub.commits(REPO, kind="datasets")[0]
    headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{"0" * 64}"', "Location": address}
    answers("GET", RESOLVE + PARQUET, b"", status=302, headers=headers)
    with pytest.raises(HubError, match=r"^owner/pets: received more than the 0\.00\d MB that the Hub lists"):
        load()
    assert sum(sent) < 50e6  # of 100 MB; what the system had taken is not read


@pytest.mark.parametrize("cuts", [1, 20])
def test_an_answer_that_is_cut_and_begun_anew_is_read_twice_at_most(
    hub, shared, answers, storage, monkeypatch, tmp_path, cuts
):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_SECONDS", "20")
    content = (tmp_path / "pets.parquet").read_bytes()
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content)
    address, _, heads = storage(*[([head, content[:-50]], False)] * cuts, ([head, content], False))
    commit = hub.commits(REPO, kind="datasets")[0]
    headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{"0" * 64}"', "X-Linked-Size": str(len(content))}
    answers("GET", RESOLVE + PARQUET, b"", status=302, headers=headers | {"Location": address})
    if cuts == 1:
        assert len(load()) == 2
    else:
        with pytest.raises(HubError, match=r"^owner/pets: received more than the 0\.00\d MB that the Hub lists"):
            load()
    assert len(heads) <= 3


@pytest.mark.xet
def test_neither_is_one_that_is_longer_than_the_hub_lists(hub, shared, answers):
    commit = hub.commits(REPO, kind="datasets")[0]
    answers("GET", r"/api/datasets/owner/pets(/revision/.*)?", listed() | {"sha": commit})
    with pytest.raises(HubError, match=r"^owner/pets: (received more than the |data/train.parquet differs in size)"):
        load()


SLOW = [
    Fault("GET", "/api/datasets/owner/pets", "drip", seconds=600),
    Fault("HEAD", "README.md", "delay", seconds=600),
    Fault("GET", "README.md", "drip", seconds=600),
    Fault("GET", "/tree/", "drip", seconds=600),
    Fault("HEAD", PARQUET, "delay", seconds=600),
    pytest.param(Fault("GET", "/lfs/|/xorb/|/resolve/.*parquet", "drip", seconds=600), marks=pytest.mark.xet),
]


@pytest.mark.parametrize("slow", SLOW, ids=lambda slow: f"{slow.method} {slow.path}")
def test_a_data_set_that_takes_too_long_is_given_up(hub, shared, monkeypatch, slow):
    shared("README.md", CARD)
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_SECONDS", "0.5")
    hub.faults.append(replace(slow))
    began = time.monotonic()
    with pytest.raises(HubUnreachableError, match=r"^owner/pets: not complete after 0\.5 seconds: .*set LEARNGENE_MAX"):
        load()
    assert time.monotonic() - began < 5


def test_neither_is_a_hub_that_does_not_answer_waited_for(hub, shared, monkeypatch):
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_SECONDS", "0.5")
    hub.faults.append(Fault("HEAD", "^/$", "delay", seconds=600))
    with pytest.raises(DataError, match=r"Cannot load 'owner/pets'.*not complete after 0\.5 seconds"):
        load()


def test_a_large_one_is_given_more_time(hub, shared, monkeypatch):
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_SECONDS", "0.5")
    monkeypatch.setattr(fetch, "LIMIT_MB", 1e-4)
    hub.faults.append(Fault("GET", PARQUET, "drip", seconds=2))
    assert len(load()) == 2


@pytest.mark.xet
def test_the_reporter_is_told_the_size_first_and_then_how_far_it_is(shared):
    listener = Listener()
    assert available_classes(DataSource(None, REPO, 8), reporter=listener) == ("ant", "bee", "cat")
    assert len(listener.warnings) == 1
    assert listener.warnings[0].startswith("fetching 0.00")
    (bar,) = listener.bars
    assert bar["title"] == "fetching owner/pets"
    assert bar["unit"] == "MB"
    assert bar["done"] == pytest.approx(bar["total"])
