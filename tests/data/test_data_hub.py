"""Images from data sets of the Hub, and what is said when it fails."""

import socket
import time

import datasets
import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import get_session
from image_tables import CLASSES, levels, write_parquet

from learngene_hub.core.errors import DataError
from learngene_hub.data import rows
from learngene_hub.data.counting import available_classes
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource
from learngene_hub.hub import client
from learngene_hub.hub.address import Address

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub with one data set, of the columns and splits of CIFAR-100; remembers what it was asked."""
    columns = ("img", "fine_label")
    write_parquet(tmp_path / "hub" / "train.parquet", [(1, "ant"), (2, "bee")], columns=columns)
    write_parquet(tmp_path / "hub" / "test.parquet", [(3, "ant"), (4, "cat")], columns=columns)
    files = {split: str(tmp_path / "hub" / f"{split}.parquet") for split in ("train", "test")}
    asked, load = [], datasets.load_dataset_builder

    def load_dataset_builder(path, revision=None):
        asked.append((path, revision))
        builder = load("parquet", data_files=files, cache_dir=str(tmp_path / "hub_cache"))
        builder.hash = revision
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    return asked


def test_a_preset_comes_from_the_hub(hub):
    source = DataSource("cifar_fs", None, 8, revision="abc")
    assert available_classes(source) == CLASSES
    assert levels(load_classes(source, ["ant", "cat"])) == [(1, "ant"), (3, "ant"), (4, "cat")]
    assert set(hub) == {("uoft-cs/cifar100", "abc")}


def test_another_revision_is_another_cache_entry(hub):
    for revision in ("abc", "abc", "def"):
        load_classes(DataSource("cifar_fs", None, 8, revision=revision), ["ant"])
    assert [revision for _, revision in hub] == ["abc", "def"]


def test_where_the_hub_does_not_answer_only_the_cache_is_looked_at(monkeypatch):
    seen = []

    def load_dataset_builder(path, revision=None):
        seen.append((datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE))
        raise ConnectionError("nobody")

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    with pytest.raises(
        DataError,
        match=r"uoft-cs/cifar100: no answer from http://127.0.0.1:9 \(.*give the path of a local copy",
    ):
        available_classes(DataSource("cifar_fs", None, 32))
    assert seen == [(True, True)]
    assert before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)


def test_the_hub_is_waited_for_as_long_as_the_user_says(monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        get_session()
        start = time.monotonic()
        with rows._without_waiting(datasets, Address("owner/pets")) as silence:
            assert "or set HF_HUB_ETAG_TIMEOUT to more whole seconds" in str(silence)
    assert time.monotonic() - start < 4


def test_where_the_address_of_the_hub_is_none_its_variable_is_named(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "hub.example")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    told = "uoft-cs/cifar100: expected a Hub at https://..., found 'hub.example': correct HF_ENDPOINT"
    with pytest.raises(DataError, match=told):
        available_classes(DataSource("cifar_fs", None, 32))


def test_where_the_hub_must_not_be_asked_the_variable_that_forbids_it_is_named(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    told = "has this name: uoft-cs/cifar100: not in the cache .*, and HF_HUB_OFFLINE is set, so it is not fetched"
    with pytest.raises(DataError, match=told):
        available_classes(DataSource("cifar_fs", None, 32))


@pytest.mark.parametrize(
    "failure",
    [
        datasets.exceptions.DatasetGenerationError("damaged"),
        ValueError("Config name is missing"),
        RuntimeError("Dataset scripts are no longer supported"),
        httpx2.ReadTimeout("timed out"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_hub_that_fails_points_to_a_local_copy_and_to_glyphs(monkeypatch, failure):
    def load_dataset_builder(path, revision=None):
        raise failure

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    with pytest.raises(
        DataError, match=rf"'uoft-cs/cifar100'.*{failure}.*give the path of a local copy .*data\.preset=glyphs"
    ):
        available_classes(DataSource("cifar_fs", None, 32))
