"""A data set of the Hub: its size is said before it is fetched, and one that is too large is not."""

import datasets
import pytest
from hub_server import Fault
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from image_tables import Listener, levels, png, write_parquet

from learngene_hub.core.errors import DataError, HubError
from learngene_hub.core.progress import SilentReporter
from learngene_hub.data.counting import available_classes
from learngene_hub.data.fetch import commit_of
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource, pinned
from learngene_hub.finetuning import Photos
from learngene_hub.finetuning.photos import load_photos
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions, explained

pytestmark = pytest.mark.usefixtures("own_cache", "no_waiting")
REPO = "owner/pets"
PARQUET = "data/train.parquet"
CARD = b"---\nlicense: mit\n---\n"


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


def test_its_test_split_is_kept_apart_in_a_fine_tuning(shared, tmp_path):
    for split, rows in {"train": range(4), "test": range(10, 12)}.items():
        animals = [(level, "ant" if level % 2 else "bee") for level in rows]
        write_parquet(tmp_path / "some.parquet", animals, names=("ant", "bee"))
        shared(f"data/{split}.parquet", (tmp_path / "some.parquet").read_bytes())
    parts = load_photos(Photos(REPO), image_size=8, seed=0, reporter=SilentReporter())
    assert [len(one) for one in (parts.train, parts.val, parts.test)] == [2, 2, 2]


def test_its_size_is_said_first_and_once(hub, shared, caplog):
    source = DataSource(None, REPO, 8)
    assert levels(load_classes(source, ["ant", "bee"])) == [(1, "ant"), (2, "bee")]
    assert [one.method for one in hub.requests if one.path.endswith(PARQUET)].count("GET") == 1
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


def test_a_data_set_cannot_name_files_of_this_machine(shared, tmp_path):
    write_parquet(tmp_path / "private/a.parquet", [(7, "ant")])
    shared(
        "README.md", f"---\nconfigs:\n- {{config_name: x, data_files: {tmp_path}/private/*.parquet}}\n---\n".encode()
    )
    with pytest.raises(DataError, match=r"Cannot load 'owner/pets'.*Data files don't belong to owner/pets"):
        load_classes(DataSource(None, REPO, 8), ["ant"])


def test_a_data_set_cannot_name_files_of_its_other_commits(hub, shared):
    other = hub.commits(REPO, kind="datasets")[0]
    card = f"---\nconfigs:\n- {{config_name: x, data_files: 'hf://datasets/{REPO}@{other}/{PARQUET}'}}\n---\n"
    shared("README.md", card.encode())
    with pytest.raises(HubError, match=rf"^owner/pets@\w+: expected only files of this commit, found hf://.*@{other}/"):
        load()
    assert "train.parquet" not in fetched(hub)


def test_what_is_cached_does_not_count_as_a_download(hub, shared, monkeypatch, tmp_path, caplog):
    load()
    shared("README.md", CARD)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "other")
    commit = hub.commits(REPO, kind="datasets")[0]
    HfApi().hf_hub_download(REPO, PARQUET, repo_type="dataset", revision=commit)
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "0.001")
    caplog.clear()
    assert levels(load()) == [(1, "ant"), (2, "bee")]
    assert caplog.messages == []


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


@pytest.mark.xet
def test_one_that_changed_on_the_hub_is_not_trained_on_as_it_was(shared, tmp_path):
    assert levels(load()) == [(1, "ant"), (2, "bee")]
    write_parquet(tmp_path / "new.parquet", [(5, "ant"), (6, "bee")])
    shared(PARQUET, (tmp_path / "new.parquet").read_bytes())
    assert levels(load()) == [(5, "ant"), (6, "bee")]


@pytest.mark.xet
def test_what_is_fetched_once_serves_without_a_connection(hub, shared, monkeypatch):
    load()
    hub.requests.clear()
    for place in (datasets.config, constants):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", True)
    assert levels(load()) == [(1, "ant"), (2, "bee")]
    assert len(load_classes(DataSource(None, REPO, 8), ["bee"])) == 1  # no longer decoded
    assert hub.requests == []


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("body", [[], {"id": REPO, "sha": "../../../odd", "siblings": []}])
def test_an_answer_about_it_that_is_none_is_refused(answers, body):
    answers("GET", r"/api/datasets/owner/pets(/revision/.*)?", body)
    with pytest.raises(HubError, match=r"^owner/pets: http\S+ does not answer like a Hub: check HF_ENDPOINT"):
        load()


def test_another_commit_of_the_cache_is_not_taken_for_the_one_that_is_listed(hub, shared):
    load()
    shared("README.md", CARD)
    hub.faults.append(Fault("HEAD", "/resolve/.*/README.md", status=503, times=99))
    with pytest.raises(HubError, match=r"lists the commit .* but does not deliver it"):
        load_classes(DataSource(None, REPO, 8), ["bee"])


def test_without_a_connection_another_commit_is_not_taken_for_the_one_of_the_branch(hub, shared, monkeypatch):
    load()
    old = hub.commits(REPO, kind="datasets")[0]
    shared("README.md", CARD)
    new = commit_of(REPO, None, SilentReporter())
    for place in (datasets.config, constants):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", True)
    told = rf"^owner/pets: expected commit {new[:12]} in the cache .*, found {old[:12]}: .*data\.revision={old}$"
    with pytest.raises(HubError, match=told):
        available_classes(DataSource(None, REPO, 8))
    assert levels(load_classes(DataSource(None, REPO, 8, revision=old), ["bee"])) == [(2, "bee")]


def test_a_commit_of_the_cache_is_told_of_where_the_hub_does_not_answer(hub, shared):
    load()
    commit = hub.commits(REPO, kind="datasets")[0]
    hub.faults.append(Fault("GET", f"/api/datasets/{REPO}", status=500, times=99))
    listener = Listener()
    source = pinned(DataSource(None, REPO, 8), listener)
    assert source.revision == commit
    (told,) = listener.warnings
    assert told.endswith(f". Using commit {commit[:12]} from the cache")
    assert pinned(source, listener) == source
    assert len(listener.warnings) == 1


def test_a_commit_is_asked_for_once(hub, shared):
    load()
    assert [one.path for one in hub.requests].count(f"/api/datasets/{REPO}") == 1


@pytest.mark.xet
def test_one_failed_file_ends_the_downloads_of_the_others(hub, shared, tmp_path, monkeypatch):
    shared("data/train-2.parquet", (tmp_path / "pets.parquet").read_bytes() + bytes(10**5))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    slow = hub.repo(REPO, kind="datasets").at("main").tree["data/train-2.parquet"]
    hub.faults += [
        Fault("HEAD", "/resolve/.*/data/train.parquet", status=403, times=99),
        Fault("GET", f"{slow.sha256}|/v1/", "drip", seconds=8, times=99),
    ]
    with pytest.raises(HubError, match=r"^owner/pets@\w+: no permission"):
        load()
    assert try_to_load_from_cache(REPO, "data/train-2.parquet", repo_type="dataset") is None


@pytest.mark.usefixtures("shared")
def test_a_gated_one_says_where_to_ask(hub):
    hub.put(REPO, {}, gated=True, kind="datasets")
    where = rf"ask for access on {hub.url}/datasets/{REPO}, then"
    with pytest.raises(HubError, match=where), explained(Address(REPO), HubOptions(), kind="dataset"):
        HfApi(token="hf_other").hf_hub_download(REPO, PARQUET, repo_type="dataset")


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
