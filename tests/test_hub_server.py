"""The test Hub itself: what the unmodified client of the real one makes of it."""

import pytest
from huggingface_hub import HfApi


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token="hf_owner")


@pytest.fixture
def folder(tmp_path):
    """A small model to upload: a card, a config, weights that LFS keeps, a file in a folder."""
    home = tmp_path / "gene"
    (home / "figures").mkdir(parents=True)
    (home / "README.md").write_text("---\nlibrary_name: learngene\ntags: [vgg]\n---\n# A gene\n")
    (home / "config.json").write_text('{"width": 0.5}')
    (home / "model.safetensors").write_bytes(bytes(range(256)) * 500)
    (home / "figures" / "notes.txt").write_text("a note")
    return home


@pytest.fixture
def gene(api, folder):
    """The id of a repository with that folder."""
    api.create_repo("owner/gene")
    api.upload_folder(repo_id="owner/gene", folder_path=folder)
    return "owner/gene"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_back_as_it_was_uploaded(api, hub, gene, folder):
    found = contents(api.snapshot_download(gene, local_dir=folder.parent / "copy") and folder.parent / "copy")
    found = {path: data for path, data in found.items() if not path.startswith(".cache/")}
    assert found == contents(folder) | {".gitattributes": hub.files(gene)[".gitattributes"]} == hub.files(gene)
