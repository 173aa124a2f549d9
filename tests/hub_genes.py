"""Genes on the Hub of the tests: pushed, loaded, and what was asked for them; a storage that sends raw bytes."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import with_no_error

from learngene_hub import from_learngene
from learngene_hub.gene.sharing import push_gene
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import PushTerms

REPO = "owner/gene"
ALL_FILES = {"config.json", "learngene.safetensors", "README.md", "recipe.yaml", "metrics.jsonl", "evolution.png"}


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its attempts


@pytest.fixture
def options(hub, tmp_path):
    return HubOptions(cache_dir=tmp_path / "cache", token="hf_owner", endpoint=hub.url)


@pytest.fixture
def push(options, tiny_run):
    """Pushes the tiny gene, or another folder: `push(folder, revision=..., overwrite_card=True)`."""

    def do(folder=tiny_run, repo=REPO, *, revision=None, **terms):
        return push_gene(Path(folder), Address(repo, revision), terms=PushTerms(**terms), options=options)

    return do


@pytest.fixture
def load(options):
    """Makes a model from the Hub: `load("owner/gene@v1", force_download=True)`."""

    def do(source=REPO, **more):
        places = {"cache_dir": options.cache_dir, "token": options.token, "endpoint": options.endpoint}
        return from_learngene(source, num_classes=3, **(places | more))

    return do


@pytest.fixture
def storage():
    """A storage of raw bytes: `storage((pieces, is_reset), ...)` gives its address, the sizes sent and the requests."""
    running = []

    def do(*connections):
        listener = socket.create_server(("127.0.0.1", 0))
        sent, heads = [], []

        def serve():
            for pieces, is_reset in connections:
                with suppress(OSError):  # the client has hung up, or the test has ended
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(5)  # for a client that is there, and neither asks nor reads
                        heads.append(connection.recv(65536).lower())
                        with suppress(OSError):  # a client that has enough is still to be reset
                            for piece in pieces:
                                connection.sendall(piece)
                                sent.append(len(piece))
                        if is_reset:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file", sent, heads

    yield do
    huggingface_hub.close_session()  # which ends connections that a test left open
    for listener, thread in running:
        with_no_error(listener)  # on Linux this wakes who waits for a connection, elsewhere the next line does
        listener.close()
        thread.join()


def asked(hub, methods=("GET", "HEAD")):
    return [one for one in hub.requests if one.method in methods and "agent-harnesses" not in one.path]
