"""The test Hub itself: what the unmodified client of the real one makes of it."""

import pytest
import timm
from huggingface_hub import (
    _CACHED_NO_EXIST,
    HfApi,
    get_session,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

CARD = "---\nlibrary_name: learngene\nlicense: mit\ntags: [vgg]\ndatasets: [cifar100]\n---\n# A gene\n"
WEIGHTS = bytes(range(256)) * 500
GENE = "owner/gene"


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token="hf_owner")


@pytest.fixture
def folder(tmp_path):
    """A small model to upload: a card, a config, weights that LFS keeps, a file in a folder."""
    home = tmp_path / "gene"
    (home / "figures").mkdir(parents=True)
    (home / "README.md").write_text(CARD)
    (home / "config.json").write_text('{"width": 0.5}')
    (home / "model.safetensors").write_bytes(WEIGHTS)
    (home / "figures" / "notes.txt").write_text("a note")
    return home


@pytest.fixture
def gene(api, folder):
    """The id of a repository with that folder, uploaded by the client."""
    api.create_repo(GENE)
    api.upload_folder(repo_id=GENE, folder_path=folder)
    return GENE


def contents(folder):
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: data for path, data in files.items() if not path.startswith(".cache/")}


def asked(hub):
    """Method and status of the requests for files."""
    return [(one.method, one.status) for one in hub.requests if "/resolve/" in one.path or one.path.startswith("/lfs/")]


# Files up and down.


def test_a_folder_comes_back_as_it_was_uploaded(api, hub, gene, folder):
    copy = folder.parent / "copy"
    api.snapshot_download(gene, local_dir=copy)
    assert contents(copy) == contents(folder) | {".gitattributes": hub.files(gene)[".gitattributes"]} == hub.files(gene)
    assert len(hub.commits(gene)) == 2


@pytest.mark.parametrize(
    ("path", "data", "is_lfs"),
    [
        ("config.json", b'{"width": 0.5}', False),
        ("model.safetensors", WEIGHTS, True),
        ("empty.safetensors", b"", False),
        ("two words.txt", b"\r\n\x00\xff", False),
        ("a/b/loss #1 für 100%.png", b"\x89PNG", True),
        ("table.csv", b"1," * 5_000_001, True),
    ],
    ids=["regular", "lfs", "empty", "binary", "odd name", "large"],
)
def test_a_file_comes_back_byte_for_byte(api, hub, path, data, is_lfs):
    api.create_repo(GENE)
    api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=GENE)
    with open(api.hf_hub_download(GENE, path), "rb") as file:
        assert file.read() == hub.files(GENE)[path] == data
    (described,) = api.get_paths_info(GENE, path)
    assert (described.lfs is not None, described.size) == (is_lfs, len(data))


def test_a_file_is_found_at_a_branch_a_tag_a_commit_and_a_pull_request(api, hub):
    first = hub.put(GENE, {"config.json": b"1"})
    api.create_tag(GENE, tag="v1")
    api.create_branch(GENE, branch="wide")
    hub.put(GENE, {"config.json": b"2"})
    hub.put(GENE, {"config.json": b"3"}, revision="wide")
    api.upload_file(path_or_fileobj=b"4", path_in_repo="config.json", repo_id=GENE, create_pr=True)
    for revision, data in {"v1": b"1", first: b"1", "main": b"2", "wide": b"3", "refs/pr/1": b"4"}.items():
        with open(api.hf_hub_download(GENE, "config.json", revision=revision), "rb") as file:
            assert file.read() == data


@pytest.mark.parametrize(("path", "first"), [("config.json", 200), ("model.safetensors", 302)])
def test_a_cached_file_costs_one_head_and_nothing_at_a_commit(api, hub, gene, path, first):
    api.hf_hub_download(gene, path)
    hub.requests.clear()
    api.hf_hub_download(gene, path)
    assert asked(hub) == [("HEAD", first)]
    api.hf_hub_download(gene, path, revision=hub.commits(gene)[0])
    assert asked(hub) == [("HEAD", first)]


@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_a_part_of_a_file_is_sent_when_a_range_is_asked_for(api, hub, gene, path):
    data, address = hub.files(gene)[path], f"{hub.url}/{gene}/resolve/main/{path}"

    def part(asked):
        return get_session().get(address, headers={"Range": asked}, follow_redirects=True)

    assert (part("bytes=2-5").status_code, part("bytes=2-5").content) == (206, data[2:6])
    assert part("bytes=2-5").headers["Content-Range"] == f"bytes 2-5/{len(data)}"
    assert (part("bytes=9-").content, part("bytes=-3").content) == (data[9:], data[-3:])
    assert part(f"bytes={len(data)}-").status_code == 416


def test_the_cache_learns_that_a_file_does_not_exist(api, hub, gene):
    with pytest.raises(RemoteEntryNotFoundError, match="Entry Not Found"):
        api.hf_hub_download(gene, "adapter.json")
    assert try_to_load_from_cache(gene, "adapter.json", revision=hub.commits(gene)[0]) is _CACHED_NO_EXIST


def test_an_unchanged_upload_makes_no_commit_and_sends_no_file(api, hub, gene, folder):
    before = hub.commits(gene)
    hub.requests.clear()
    assert api.upload_folder(repo_id=gene, folder_path=folder).oid == before[0]
    assert hub.commits(gene) == before
    assert not [one for one in hub.requests if one.method == "PUT" or "/xorbs/" in one.path or "/commit/" in one.path]


def test_checksums_of_a_download_are_those_of_the_hub(api, gene, folder):
    api.snapshot_download(gene, local_dir=folder)
    assert not api.verify_repo_checksums(gene, local_dir=folder).mismatches
    (folder / "model.safetensors").write_bytes(WEIGHTS[::-1])
    assert [one["path"] for one in api.verify_repo_checksums(gene, local_dir=folder).mismatches] == [
        "model.safetensors"
    ]


# Commits, branches, tags, pull requests.


def test_a_commit_on_a_stale_parent_is_refused(api, hub, gene):
    stale = hub.commits(gene)[1]
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as refusal:
        api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=gene, parent_commit=stale)
    assert refusal.value.response.status_code == 412
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=gene, parent_commit=hub.commits(gene)[0])
    assert hub.files(gene)["a.txt"] == b"2"


# timm.


def test_timm_loads_the_network_that_it_pushed(api, hub):
    network = timm.create_model("test_resnet", num_classes=3)
    timm.models.push_to_hf_hub(network, "owner/net", safe_serialization=True)
    loaded = timm.create_model("hf-hub:owner/net", pretrained=True)
    assert set(hub.files("owner/net")) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert all((loaded.state_dict()[key] == value).all() for key, value in network.state_dict().items())
