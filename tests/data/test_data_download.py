"""A data set of the Hub: its size is said before it is fetched, and one that is too large is not."""

import datasets
import pytest
from huggingface_hub import HfApi
from image_tables import levels, write_parquet

from learngene_hub.core.errors import DataError, HubError
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource

pytestmark = pytest.mark.usefixtures("own_cache")
REPO = "owner/pets"


@pytest.fixture
def shared(hub, tmp_path, monkeypatch):
    """A data set on the Hub of the tests, and what puts another file into it."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    api = HfApi()
    api.create_repo(REPO, repo_type="dataset")

    def put(name, content):
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPO, repo_type="dataset")

    write_parquet(tmp_path / "pets.parquet", [(1, "ant"), (2, "bee")])
    put("data/train.parquet", (tmp_path / "pets.parquet").read_bytes())
    hub.requests.clear()
    return put


def fetched(hub):
    return {one.path.rpartition("/")[2] for one in hub.requests if "/resolve/" in one.path}


def test_its_size_is_said_first_and_once(shared, caplog):
    source = DataSource(None, REPO, 8)
    assert levels(load_classes(source, ["ant", "bee"])) == [(1, "ant"), (2, "bee")]
    assert levels(load_classes(source, ["bee"])) == [(2, "bee")]  # no longer decoded, but there
    (said,) = caplog.messages
    assert said.startswith("fetching 0.00")
    assert said.endswith(" MB: the data set owner/pets of the Hugging Face Hub")


def test_one_that_is_too_large_is_not_fetched(hub, shared, monkeypatch):
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "0.001")
    expected = r"owner/pets: 0\.00\d MB to download, expected at most 0\.001; if you trust it, set LEARNGENE_MAX"
    with pytest.raises(HubError, match=expected):
        load_classes(DataSource(None, REPO, 8), ["ant"])
    assert "train.parquet" not in fetched(hub)


def test_neither_is_a_description_that_is_too_large(hub, shared, monkeypatch):
    shared("README.md", b"---\npretty_name: " + b"a" * 2_000_000 + b"\n---\n")
    hub.requests.clear()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "1")
    with pytest.raises(HubError, match=r"2 MB to download, expected at most 1"):
        load_classes(DataSource(None, REPO, 8), ["ant"])
    assert fetched(hub) == set()


def test_a_data_set_cannot_name_files_of_this_machine(shared, tmp_path):
    write_parquet(tmp_path / "private/a.parquet", [(7, "ant")])
    shared(
        "README.md", f"---\nconfigs:\n- {{config_name: x, data_files: {tmp_path}/private/*.parquet}}\n---\n".encode()
    )
    with pytest.raises(DataError, match=r"Cannot load 'owner/pets'.*Data files don't belong to owner/pets"):
        load_classes(DataSource(None, REPO, 8), ["ant"])


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'{"siblings": 7}', b'{"siblings": [{"rfilename": 5}]}', b"{}"])
def test_a_listing_that_is_none_is_refused(shared, answers, body):
    answers("GET", r"/api/datasets/owner/pets(/revision/.*)?", body)
    with pytest.raises(DataError, match=r"Cannot load 'owner/pets'"):
        load_classes(DataSource(None, REPO, 8), ["ant"])


@pytest.mark.parametrize("size", [b'"5"', b"-5", b"1.5"])
def test_a_size_that_is_none_is_refused(shared, answers, size):
    listed = b'{"id": "owner/pets", "sha": "%s", "siblings": [{"rfilename": "README.md", "size": %s}]}' % (
        b"a" * 40,
        size,
    )
    answers("GET", r"/api/datasets/owner/pets(/revision/.*)?", listed)
    with pytest.raises(DataError, match=r"expected a size for each of its files"):
        load_classes(DataSource(None, REPO, 8), ["ant"])
