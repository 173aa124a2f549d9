"""What goes wrong while a gene is loaded from the Hub, in words, and what it leaves behind."""

import json
import logging

import httpx2
import pytest
from hub_genes import REPO
from hub_server import Fault
from huggingface_hub.utils.logging import get_verbosity

from learngene_hub import from_learngene
from learngene_hub.core.errors import GeneFileError, HubError, HubUnreachableError
from learngene_hub.hub import fetch as fetch_module
from learngene_hub.hub.client import HubOptions, explained

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_server_that_does_not_answer_in_time_is_an_error(hub, push, load, monkeypatch):
    push()
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.2)
    hub.faults.append(Fault("GET", "/api/models/", "delay", seconds=30))
    with pytest.raises(HubUnreachableError, match=r"no answer from .*timed out.*or set HF_HUB_ETAG_TIMEOUT to more"):
        load()


def test_no_server_is_an_error_after_one_attempt(load):
    with pytest.raises(HubUnreachableError, match=r"^owner/gene: no answer from http"):
        load(endpoint="http://127.0.0.1:9")


def test_a_repository_that_is_not_there_is_named_with_what_to_do(load):
    with pytest.raises(HubError, match=r"^owner/gane: no such repository on http"):
        load("owner/gane")


def test_a_revision_that_is_not_there_is_named(push, load):
    push()
    with pytest.raises(HubError, match=r"owner/gene@v9: found no such branch, tag or commit"):
        load(f"{REPO}@v9")


def test_a_gated_repository_says_where_to_ask(hub, push, load):
    push()
    hub.put(REPO, {}, gated=True)
    with pytest.raises(HubError, match=r"gated: ask for access on http.*/owner/gene, then `hf auth login`"):
        load(token="hf_other")


def test_a_bad_token_is_named(push, load):
    push()
    with pytest.raises(HubError, match="does not accept the token"):
        load(token="hf_wrong")


def test_another_kind_of_repository_is_refused(hub, load):
    hub.put(REPO, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(GeneFileError, match=r"^owner/gene: learngene\.safetensors is missing; this is not"):
        load()


def test_a_gene_of_a_newer_schema_asks_for_a_newer_package(push, load, gene_copy, hub):
    push(gene_copy)
    config = json.loads((gene_copy / "config.json").read_text())
    hub.put(REPO, {"config.json": json.dumps(config | {"schema_version": 99}).encode()})
    with pytest.raises(GeneFileError, match=r"schema version 99 is newer than .*upgrade"):
        load()


def test_weights_other_than_the_config_says_are_refused(push, load, hub):
    push()
    hub.put(REPO, {"learngene.safetensors": hub.files(REPO)["learngene.safetensors"][:-1] + b"x"})
    with pytest.raises(GeneFileError, match=r"^owner.gene.learngene\.safetensors: .* altered or cut; fetch it again "):
        load()


@pytest.mark.xet
def test_weights_that_arrive_damaged_are_refused(hub, push, load):
    push()
    digest = hub.repo(REPO).at("main").tree["learngene.safetensors"].sha256
    hub.faults.append(Fault("GET", digest, "corrupt", size=4, times=20))
    with pytest.raises((HubError, GeneFileError), match=r"^owner/gene"):
        load()
    hub.faults.clear()
    load(force_download=True)


@pytest.mark.xet
def test_a_download_cut_short_is_an_error_and_the_next_load_works(hub, push, load):
    push()
    digest = hub.repo(REPO).at("main").tree["learngene.safetensors"].sha256
    hub.faults.append(Fault("GET", digest, "cut", size=100, times=50))
    with pytest.raises(HubUnreachableError, match=r"^owner/gene: "):
        load()
    hub.faults.clear()
    load()


def test_a_limit_that_is_no_number_is_an_error(push, load, monkeypatch):
    push()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "1 GB")
    with pytest.raises(HubError, match="LEARNGENE_MAX_DOWNLOAD_MB: expected a number of megabytes, found '1 GB'"):
        load()


def test_too_large_a_download_is_refused_before_it_begins(hub, push, load, monkeypatch):
    push()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "0.001")
    hub.requests.clear()
    with pytest.raises(
        HubError, match=r"0\.\d+ MB to download, expected at most 0\.001; if you trust it, set LEARNGENE_MAX"
    ):
        load()
    assert not [one for one in hub.requests if one.method == "GET" and "/resolve/" in one.path]


def test_a_cache_that_cannot_be_written_is_named(push, load, tmp_path):
    push()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HubError, match=r"file.*: cannot be written \((Not a directory|File exists)\): set HF_HUB"):
        load(cache_dir=tmp_path / "file")


def test_a_download_cannot_be_asked_for_and_forbidden(load):
    with pytest.raises(HubError, match="force_download needs the Hub, which"):
        load(force_download=True, local_files_only=True)


@pytest.mark.parametrize("kind", ["status", "corrupt"])
def test_an_answer_that_is_none_of_the_hubs_is_an_error(hub, push, load, kind):
    push()
    hub.faults.append(Fault("GET", "/api/models", kind, status=200, size=40))
    with pytest.raises(HubError, match="does not answer like a Hub: check HF_ENDPOINT and proxies"):
        load()


def test_a_full_disk_is_named():
    full = OSError(28, "No space left on device", "cache/config.json")
    with (
        pytest.raises(
            HubError, match=r"config\.json: cannot be written \(No space .*\): free some space, or set HF_HUB"
        ),
        explained(None, HubOptions()),
    ):
        raise full


@pytest.mark.parametrize("token", ["hf_\n", "hf_é"])
def test_a_token_that_cannot_be_one_is_named_and_not_shown(push, load, token):
    push()
    with pytest.raises(HubError, match="the token contains invalid characters") as caught:
        load(token=token)
    assert token not in str(caught.value)
    assert token not in repr(HubOptions(token=token))


def test_an_endpoint_that_is_no_address_is_named(load):
    with pytest.raises(HubError, match=r"expected a Hub at https://\.\.\., found 'huggingface\.co'"):
        load(endpoint="huggingface.co")


def test_the_hub_is_not_asked_for_the_folder_of_a_run(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GeneFileError, match="no such folder or gene; expected "):
        from_learngene("runs/demo", num_classes=3, endpoint=hub.url)
    assert hub.requests == []
    with pytest.raises(HubError, match="no such repository"):
        from_learngene("hf-hub:runs/demo", num_classes=3, endpoint=hub.url)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ImportError("the 'socksio' package is not installed"), "(the 'socksio' package is not installed)"),
        (RuntimeError("the client has been closed"), "the list of repositories: the client has been closed"),
        (ConnectionError("of https://me:secret@127.0.0.1:9/x"), "the list of repositories: of https://127.0.0.1:9/x"),
        (httpx2.ConnectError("refused"), "no answer from https://127.0.0.1:9 (refused): check the connection"),
        (httpx2.ConnectError("[SSL: X]"), "([SSL: X]): check the connection or the certificates (SSL_CERT_FILE)"),
        (httpx2.ConnectTimeout("timed out"), "set HF_HUB_ETAG_TIMEOUT to more whole seconds, such as 30"),
        (httpx2.TooManyRedirects("20"), "the list of repositories: 20"),
        (ValueError("Unknown scheme for proxy"), "and proxies (Unknown scheme for proxy)"),
    ],
)
def test_a_failure_names_what_was_asked_for_and_no_password(error, told):
    with pytest.raises(HubError) as failure, explained(None, HubOptions(endpoint="https://me:secret@127.0.0.1:9")):
        raise error
    assert told in str(failure.value)
    assert "secret" not in str(failure.value)


def test_where_a_proxy_is_set_it_may_be_the_cause(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with (
        pytest.raises(HubError, match=r"check the connection and the proxy \(HTTPS_PROXY\)"),
        explained(None, HubOptions()),
    ):
        raise httpx2.ConnectError("refused")


def test_what_is_no_failure_of_the_client_is_not_told_as_one():
    with pytest.raises(MemoryError, match="of the test"), explained(None, HubOptions()):
        raise MemoryError("of the test")


def test_the_client_does_not_log_its_attempts():
    with explained(None, HubOptions()):
        assert get_verbosity() == logging.ERROR
    assert get_verbosity() == logging.WARNING


def test_an_empty_token_is_none():
    assert HubOptions(token="").token is None
    assert HubOptions(token=False).token is False


def test_a_folder_is_not_mentioned_where_the_repository_exists(push, load, tmp_path, monkeypatch):
    push()
    (tmp_path / "owner").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubError, match=r"/owner/gene/commits/main$"):
        load(f"{REPO}@v9")
    with pytest.raises(HubError, match=r"a folder of this name does not exist in owner/ either$"):
        load("owner/other-thing")


@pytest.mark.parametrize(
    "site", ["https://me:secret@hub.example/x", "https://me:se@cret@hub.example/x", "me:secret@hub.example/x"]
)
def test_no_part_of_a_password_is_shown(site):
    assert HubOptions(endpoint=site).shown_site.removeprefix("https://") == "hub.example/x"
