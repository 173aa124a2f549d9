"""What the test Hub says about repositories, to the unmodified client of the real one."""

from typing import get_args

import pytest
from huggingface_hub import HfApi, ModelCard, hf_api
from huggingface_hub.errors import HfHubHTTPError

CARD = "---\nlibrary_name: learngene\nlicense: mit\ntags: [vgg]\ndatasets: [cifar100]\n---\n# A gene\n"
WEIGHTS = bytes(range(256)) * 500


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token="hf_owner")


@pytest.fixture
def gene(hub):
    """The id of a repository with a card, a config, weights that LFS keeps, and a file in a folder."""
    files = {"README.md": CARD.encode(), "config.json": b"{}", "model.safetensors": WEIGHTS}
    hub.put("owner/gene", files | {"figures/notes.txt": b"a note"})
    return "owner/gene"


@pytest.fixture
def shelf(hub):
    """Four models of two owners, put there in the order of their names; `hub.page_size` is 2."""
    cards = {
        "owner/a-gene": "library_name: learngene\ntags: [vgg, cifar100]",
        "owner/b-gene": "library_name: learngene\ntags: [vit]",
        "owner/c-net": "library_name: timm\npipeline_tag: image-classification",
        "other/d-gene": "library_name: learngene\ntags: [vgg]",
    }
    for repo_id, card in cards.items():
        hub.put(repo_id, {"README.md": f"---\n{card}\n---\n".encode(), "config.json": b'{"model_type": "vgg"}'})
    hub.page_size = 2


# Repositories.


def test_a_repository_that_exists_is_refused_unless_it_may_exist(api, hub, gene):
    assert str(api.create_repo(gene, exist_ok=True)) == f"{hub.url}/{gene}"
    with pytest.raises(HfHubHTTPError, match="You already created this model repo"):
        api.create_repo(gene)
    assert HfApi(endpoint=hub.url, token="hf_other").create_repo(gene, exist_ok=True).repo_id == gene


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_repository_is_made_found_and_deleted(api, kind):
    made = api.create_repo("owner/gene", repo_type=kind)
    assert (made.repo_id, made.repo_type) == ("owner/gene", kind)
    assert api.repo_exists("owner/gene", repo_type=kind)
    api.delete_repo("owner/gene", repo_type=kind)
    assert not api.repo_exists("owner/gene", repo_type=kind)
    api.delete_repo("owner/gene", repo_type=kind, missing_ok=True)


def test_settings_are_read_back(api):
    api.create_repo("owner/gene", private=True)
    assert api.model_info("owner/gene").private
    api.update_repo_settings("owner/gene", private=False, gated="manual")
    assert (api.model_info("owner/gene").private, api.model_info("owner/gene").gated) == (False, "manual")
    api.update_repo_settings("owner/gene", gated=False)
    assert not api.model_info("owner/gene").gated


def test_files_are_listed_by_folder_and_by_path(api, hub, gene):
    top = {"README.md", "config.json", "model.safetensors", ".gitattributes", "figures"}
    assert {one.path for one in api.list_repo_tree(gene)} == top
    assert {one.path for one in api.list_repo_tree(gene, recursive=True)} == top | {"figures/notes.txt"}
    assert [one.path for one in api.list_repo_tree(gene, "figures")] == ["figures/notes.txt"]
    weights, figures = api.get_paths_info(gene, ["model.safetensors", "nothing", "figures"], expand=True)
    assert (weights.size, weights.lfs.size) == (len(WEIGHTS), len(WEIGHTS))
    assert weights.last_commit.oid == figures.last_commit.oid == hub.commits(gene)[0]


def test_a_tree_of_many_files_is_paged(api, hub, gene):
    hub.page_size = 2
    assert len(list(api.list_repo_tree(gene, recursive=True))) == 6
    assert len(api.list_repo_commits(gene)) == 2
    assert len([one for one in hub.requests if "/tree/" in one.path]) == 3


def test_info_tells_sizes_and_hashes_of_files(api, hub, gene):
    info = api.model_info(gene, files_metadata=True)
    files = {one.rfilename: one for one in info.siblings}
    assert (info.sha, info.author) == (hub.commits(gene)[0], "owner")
    assert {path: one.size for path, one in files.items()} == {
        path: len(data) for path, data in hub.files(gene).items()
    }
    assert files["model.safetensors"].lfs.size == len(WEIGHTS)
    assert files["config.json"].lfs is None
    assert api.model_info(gene, revision=hub.commits(gene)[1]).sha == hub.commits(gene)[1]


def test_the_card_appears_as_data_tags_and_library(api, gene):
    info = api.model_info(gene)
    assert info.library_name == "learngene"
    assert info.card_data["datasets"] == ["cifar100"]
    assert {"learngene", "vgg", "license:mit", "dataset:cifar100", "safetensors"} <= set(info.tags)
    assert ModelCard.load(gene).data.license == "mit"


def test_what_exists_is_told_from_what_does_not(api, hub, gene):
    assert api.file_exists(gene, "figures/notes.txt")
    assert not api.file_exists(gene, "nothing.txt")
    assert not api.file_exists("owner/nothing", "config.json")
    assert api.repo_exists(gene)
    assert not api.repo_exists("owner/nothing")
    assert api.revision_exists(gene, hub.commits(gene)[1])
    assert not api.revision_exists(gene, "v9")


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ("tags: vgg", '"tags" must be an array'),
        ("tags: [vgg", "YAML Metadata Error: while parsing"),
        ("- vgg", "YAML Metadata Error: the metadata must be a mapping"),
    ],
)
def test_a_bad_card_is_refused(api, hub, gene, metadata, fault):
    card = f"---\n{metadata}\n---\n".encode()
    with pytest.raises(ValueError, match=f"Invalid metadata in README.md.\n- {fault}"):
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=gene)
    assert hub.files(gene)["README.md"] == CARD.encode()


def test_a_card_without_metadata_is_a_warning(api, gene):
    with pytest.warns(UserWarning, match="empty or missing yaml metadata in repo card"):
        api.upload_file(path_or_fileobj=b"# A gene\n", path_in_repo="README.md", repo_id=gene)


def test_whoami_names_the_user_of_the_token(api, hub):
    assert api.whoami()["name"] == "owner"
    assert HfApi(endpoint=hub.url, token="hf_other").whoami()["name"] == "other"


# Lists of models.


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ({}, "dcba"),
        ({"filter": "learngene"}, "dba"),
        ({"filter": ["learngene", "vgg"]}, "da"),
        ({"filter": ["learngene", "vgg"], "author": "owner"}, "a"),
        ({"search": "GENE", "author": "owner"}, "ba"),
        ({"pipeline_tag": "image-classification"}, "c"),
        ({"sort": "last_modified"}, "dcba"),
        ({"sort": "downloads", "limit": 1}, "a"),
        ({"limit": 3}, "dcb"),
        ({"limit": 1}, "d"),
        ({"filter": "nothing"}, ""),
    ],
)
def test_models_are_found(api, terms, found):
    api.hf_hub_download("owner/a-gene", "config.json")
    assert [one.id.split("/")[1][0] for one in api.list_models(**terms)] == list(found)


@pytest.mark.usefixtures("shelf")
def test_a_list_has_the_fields_that_were_asked_for(api, hub):
    plain, full, chosen = (
        next(iter(api.list_models(search="a-gene", **terms)))
        for terms in ({}, {"full": True, "cardData": True, "fetch_config": True}, {"expand": ["sha", "cardData"]})
    )
    assert (plain.sha, plain.card_data, plain.library_name) == (None, None, "learngene")
    assert (full.sha, full.config["model_type"]) == (hub.commits("owner/a-gene")[0], "vgg")
    assert [one.rfilename for one in full.siblings] == [".gitattributes", "README.md", "config.json"]
    assert (chosen.sha, chosen.card_data["tags"], chosen.tags) == (full.sha, ["vgg", "cifar100"], None)


def test_every_field_that_the_client_knows_may_be_asked_for(api, gene):
    (found,) = api.list_models(expand=get_args(hf_api.ExpandModelProperty_T))
    assert (found.id, found.author) == (gene, "owner")
    with pytest.raises(HfHubHTTPError, match='"expand" does not know colour'):
        list(api.list_models(expand=["colour"]))


@pytest.mark.usefixtures("shelf")
def test_a_private_model_is_listed_for_its_owner_only(api, hub):
    hub.put("owner/a-gene", {}, private=True)
    assert "owner/a-gene" in [one.id for one in api.list_models()]
    assert "owner/a-gene" not in [one.id for one in HfApi(endpoint=hub.url, token="hf_other").list_models()]
