"""A Hugging Face Hub on 127.0.0.1 for the tests, that the unmodified client can talk to.

The real Hub cannot be reached from tests, and a mocked client would only repeat what we believe of it. So this is a
small server that speaks the Hub's HTTP protocol, with repositories in memory. Large files go by Xet or by plain LFS, as
the client likes. It can also do what the real one does only on bad days: refuse, hang, cut a body short or flip bytes
in it, see `Fault`.

In a test:            with HubServer() as hub: HfApi(endpoint=hub.url, token="hf_owner").create_repo("owner/gene")
As its own process:   python tests/hub_server.py   (the first line on stdout is its URL)
"""

import json
import re
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

import hub_xet  # noqa: F401  registers its routes, and those of hub_transfers and hub_routes, which it imports
from hub_calls import Answer, Call, answer
from hub_store import File, HubError, Repo, Store, is_lfs

USERS = {"hf_owner": "owner", "hf_other": "other"}
DRIP = 16  # pieces that a dripping body is sent in


@dataclass
class Fault:
    """Something that goes wrong in the next `times` requests of this method whose path fits.

    The kinds: `status` answers with `status` and `headers` and does nothing else; `close` hangs up without an answer;
    `delay` waits `seconds` before it answers; `cut` announces the whole body, sends the first `size` bytes of it and
    hangs up; `corrupt` flips `size` bytes in the middle of a body; `drip` sends a body in pieces over `seconds`. The
    last three wait for an answer that has a body and is no error. With `after`, `status` and `close` happen when the
    request has been carried out: a commit is made, yet its answer is lost.
    """

    method: str = "GET"
    path: str = ""  # a regular expression, found anywhere in the path and query as they were sent
    kind: Literal["status", "close", "delay", "cut", "corrupt", "drip"] = "status"
    times: int = 1
    status: int = 503
    size: int = 0
    seconds: float = 0.0
    after: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def fits(self, method: str, path: str) -> bool:
        return self.times > 0 and self.method == method and re.search(self.path, path) is not None


class Request(NamedTuple):
    """A line of the log: `size` counts the bytes of body that were to be sent in answer, with a fault those sent."""

    method: str
    path: str
    status: int
    size: int


class HubServer:
    """The server: storage, faults to come (`faults`), what was asked (`requests`), and shortcuts for tests."""

    def __init__(self, users: Mapping[str, str] = USERS):
        self.store = Store(users)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._cas = secrets.token_hex(4)
        self._listeners = [Listener(self), Listener(self)]  # the second is the storage of LFS objects
        self._threads = [threading.Thread(target=each.serve_forever, args=(0.01,)) for each in self._listeners]

    @property
    def url(self) -> str:
        return self._listeners[0].url

    @property
    def storage_url(self) -> str:
        return self._listeners[1].url

    @property
    def cas_url(self) -> str:
        """Where Xet stores; no two servers share one, since a client remembers by it what the storage has."""
        return f"{self.storage_url}/cas-{self._cas}"

    def __enter__(self) -> "HubServer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for listener in self._listeners:
            listener.close()
        for thread in self._threads:
            thread.join()

    def put(
        self,
        repo_id: str,
        files: Mapping[str, bytes | None],
        *,
        revision: str = "main",
        private: bool | None = None,
        gated: bool | str | None = None,
        kind: str = "models",
    ) -> str:
        """Commits files as if edited on the website, None deletes; makes what is missing. The new commit's id."""
        with self.lock:
            repo = self.store.repos.get((kind, repo_id)) or self.store.create(kind, repo_id)
            repo.private = repo.private if private is None else private
            repo.gated = repo.gated if gated is None else gated
            repo.branches.setdefault(revision, repo.branches["main"])
            tree = dict(repo.at(revision).tree)
            tree |= {path: File(data, is_lfs(path, len(data))) for path, data in files.items() if data is not None}
            tree = {path: file for path, file in tree.items() if files.get(path, b"") is not None}
            repo.uploads |= {file.sha256: file for file in tree.values() if file.lfs}
            return self.store.commit(repo, revision, tree).oid

    def repo(self, repo_id: str, *, kind: str = "models") -> Repo:
        return self.store.repos[kind, repo_id]

    def files(self, repo_id: str, revision: str = "main", *, kind: str = "models") -> dict[str, bytes]:
        """The files of a revision, with the `.gitattributes` that every repository of the Hub starts with."""
        return {path: file.data for path, file in self.repo(repo_id, kind=kind).at(revision).tree.items()}

    def commits(self, repo_id: str, revision: str = "main", *, kind: str = "models") -> list[str]:
        """The ids of the commits, newest first; the last is the Hub's own first commit."""
        return [commit.oid for commit in self.repo(repo_id, kind=kind).history(revision)]

    def next_fault(self, call: Call, *, sends: bool) -> Fault | None:
        """The first fault that fits, used up by one; `sends` asks for those that spoil a body."""
        with self.lock:
            for fault in self.faults:
                if fault.fits(call.method, call.path) and (fault.kind in ("cut", "corrupt", "drip")) == sends:
                    fault.times -= 1
                    return fault
        return None


class Listener(ThreadingHTTPServer):
    """One address of the server. It knows its open connections, so that closing it leaves no thread behind."""

    daemon_threads = False

    def __init__(self, hub: HubServer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hung up is no error
            traceback.print_exc()

    def close(self) -> None:
        self.shutdown()
        for connection in list(self._open):
            with_no_error(connection)
        self.server_close()


def with_no_error(connection: socket.socket) -> None:
    """Ends a connection, which may have ended by itself."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, asks the routes, applies faults, writes answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def serve(self) -> None:
        hub = self.server.hub
        call = Call(hub, self.command, self.path, self.headers, self.read_body())
        fault = hub.next_fault(call, sends=False)
        if fault and fault.kind == "delay":
            hub.closing.wait(fault.seconds)
        if not fault or fault.after or fault.kind == "delay":
            result = self.carry_out(call)
        if fault and fault.kind == "status":
            result = Answer({"error": "as the test asked"}, fault.status, fault.headers)
        if fault and fault.kind == "close":
            self.log(call, 0, 0)
            self.close_connection = True
            return
        spoils = call.method != "HEAD" and result.body and result.status < 300
        self.send(call, result, hub.next_fault(call, sends=True) if spoils else None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve  # noqa: N815  the names that the base class looks for

    def carry_out(self, call: Call) -> Answer:
        try:
            with call.hub.lock:
                return answer(call)
        except HubError as error:
            headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
            headers |= {key.replace("_", "-"): value for key, value in error.headers.items()}
            return Answer({"error": error.message, **error.body}, error.status, headers)
        except Exception:
            traceback.print_exc()
            return Answer({"error": "Internal error of the test Hub, see its stderr"}, 500)

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def send(self, call: Call, result: Answer, fault: Fault | None) -> None:
        body = result.body if isinstance(result.body, bytes) else json.dumps(result.body).encode()
        kind = "application/octet-stream" if isinstance(result.body, bytes) else "application/json; charset=utf-8"
        sent = spoiled(body, fault) if call.method != "HEAD" else b""
        self.log(call, result.status, len(sent))  # before the body, so that a test that has the body finds the line
        self.send_response(result.status)
        for key, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | result.headers).items():
            self.send_header(key, " ".join(value.split()).encode("latin-1", "replace").decode("latin-1"))
        self.end_headers()
        step = max(1, -(-len(sent) // DRIP)) if fault and fault.kind == "drip" else len(sent) or 1
        for start in range(0, len(sent), step):
            if start:
                self.server.hub.closing.wait(fault.seconds / DRIP)
            self.wfile.write(sent[start : start + step])
        if len(sent) < len(body) and call.method != "HEAD":
            self.close_connection = True

    def log(self, call: Call, status: int, size: int) -> None:
        call.hub.requests.append(Request(call.method, call.path, status, size))

    def log_message(self, *_: object) -> None:
        """Nothing on stderr: `HubServer.requests` is the log."""


def spoiled(body: bytes, fault: Fault | None) -> bytes:
    """What is sent of a body with a `cut` or `corrupt` fault."""
    match fault and fault.kind:
        case "cut":
            return body[: fault.size]
        case "corrupt":
            size = min(fault.size or 1, len(body))
            start = (len(body) - size) // 2
            return body[:start] + bytes(byte ^ 0xFF for byte in body[start : start + size]) + body[start + size :]
    return body


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with HubServer() as hub:
        sys.stdout.write(f"{hub.url}\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
