"""Xet in the test Hub: what the unmodified `hf_xet` sends, what it takes, and what it makes of trouble."""

import hashlib
from pathlib import Path

import hub_xet
import numpy as np
import pytest
from hub_server import Fault
from huggingface_hub import HfApi

pytestmark = [pytest.mark.parametrize("hub", ["xet"], indirect=True), pytest.mark.xet]

GENE, PATH = "owner/gene", "model.safetensors"
BYTES = bytes(range(256)) * 1000
FLOATS = np.random.default_rng(0).normal(size=60_000).astype(np.float32).tobytes() + b"end"
NOISE = np.random.default_rng(0).bytes(200_000)


@pytest.fixture
def api(hub):
    hub.put(GENE, {PATH: BYTES})
    return HfApi(endpoint=hub.url, token="hf_owner")


@pytest.fixture
def download(api):
    return lambda path=PATH: Path(api.hf_hub_download(GENE, path, force_download=True))


@pytest.fixture
def upload(api):
    return lambda data, path="new.safetensors": api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=GENE)


def sent(hub, part):
    return [one.status for one in hub.requests if part in one.path]


# Up and down.


@pytest.mark.parametrize("data", [BYTES, FLOATS, NOISE], ids=["lz4", "grouped bytes", "as it is"])
def test_what_comes_by_xet_goes_by_xet_under_the_hash_that_the_client_gave_it(api, hub, upload, download, data):
    upload(data, "new.safetensors")
    (described,) = api.get_paths_info(GENE, "new.safetensors")
    copy = download("new.safetensors")
    assert copy.read_bytes() == hub.files(GENE)["new.safetensors"] == data
    assert described.xet_hash == copy.resolve().name != described.lfs.sha256 == hashlib.sha256(data).hexdigest()
    assert not sent(hub, "/lfs/") + sent(hub, "/objects/")


def test_a_file_that_came_by_another_way_goes_by_xet_too(api, hub, download):
    copy = download()
    assert copy.read_bytes() == BYTES
    assert copy.resolve().name == api.get_paths_info(GENE, PATH)[0].xet_hash
    assert sent(hub, "/xorb/") == [206]


def test_a_large_file_is_several_xorbs(hub, download, monkeypatch):
    monkeypatch.setattr(hub_xet, "XORB", 2 * hub_xet.CHUNK)
    assert download().read_bytes() == BYTES
    assert sent(hub, "/xorb/") == [206, 206, 206]


# Trouble.


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "/xorb/", "cut", size=1000),
        Fault("GET", "/xorb/", "drip", seconds=0.1),
        Fault("GET", "/xorb/", "corrupt", size=len(BYTES) + 40),  # the headers of the chunks too
        Fault("GET", "/xorb/", status=500),
        Fault("GET", "/reconstructions/", status=503),
        Fault("GET", "/reconstructions/", "close"),
        Fault("GET", "/xet-read-token/", status=503),
    ],
    ids=lambda fault: f"{fault.kind} {fault.path}",
)
def test_trouble_that_ends_is_overcome(hub, download, fault, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults.append(Fault(**vars(fault)))
    assert download().read_bytes() == BYTES
    assert hub.faults[0].times == 0


def test_one_flipped_byte_is_delivered(hub, download):
    hub.faults.append(Fault("GET", "/xorb/", "corrupt", size=1))
    assert sum(new != old for new, old in zip(download().read_bytes(), BYTES, strict=True)) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("GET", "/xorb/", "cut", size=1000, times=99), "error decoding response body"),
        (Fault("GET", "/reconstructions/", status=503, times=99), "503 Service Unavailable"),
        (Fault("GET", "/reconstructions/", status=401, times=99), "401 Unauthorized"),
    ],
    ids=["cut", "trouble", "token"],
)
def test_a_download_that_fails_for_good_is_no_error_of_the_hub(hub, download, fault, message):
    hub.faults.append(Fault(**vars(fault)))
    with pytest.raises(RuntimeError, match=message):
        download()


def test_a_token_that_expires_soon_is_asked_for_again(hub, download):
    hub.xet_seconds = 20
    assert download().read_bytes() == BYTES
    assert sent(hub, "/xet-read-token/") == [200, 200]
    hub.xet_seconds = -1
    with pytest.raises(RuntimeError, match="401 Unauthorized"):
        download()


def test_an_upload_is_tried_again_and_refused_for_good(hub, upload):
    hub.faults += [Fault("POST", "/v1/xorbs/", status=500), Fault("POST", "/v1/shards", status=503)]
    upload(FLOATS)
    assert hub.files(GENE)["new.safetensors"] == FLOATS
    hub.faults.append(Fault("POST", "/v1/xorbs/", status=403, times=99))
    with pytest.raises(ConnectionError, match="403 Forbidden"):
        upload(NOISE)
