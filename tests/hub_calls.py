"""A request to the test Hub and its answer, and the list of routes that turns the one into the other.

A route is a function from a `Call` and the groups of its pattern to an `Answer`, or to anything that JSON can carry; it
raises `HubError` to refuse. Groups arrive unquoted, matched before unquoting: a revision `refs%2Fpr%2F1` is one part.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from hub_store import HubError, Repo

REPO = r"/api/(models|datasets)/([^/]+/[^/]+)"
REVISION = r"(refs/pr/\d+|[^/]+)"
LINK = r"/(?:(datasets)/)?([^/]+/[^/]+)"


@dataclass
class Call:
    """A request: `path` as sent, `query` and `body` decoded by the route."""

    hub: Any  # the HubServer
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.path.partition("?")[2])

    def first(self, key: str, default: str = "") -> str:
        return self.query.get(key, [default])[0]

    def flag(self, key: str) -> bool:
        return self.first(key).lower() in ("1", "true")

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    @property
    def user(self) -> str | None:
        return self.hub.store.user(self.headers.get("Authorization"))

    def read(self, kind: str, repo_id: str) -> Repo:
        return self.hub.store.readable(kind, repo_id, self.user)

    def write(self, kind: str, repo_id: str) -> Repo:
        return self.hub.store.writable(kind, repo_id, self.user)

    def logged_in(self) -> str:
        if (user := self.user) is None:
            raise HubError(401, "Invalid username or password.")
        return user


@dataclass
class Answer:
    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = []


def route(method: str, pattern: str) -> Callable:
    def register(function: Callable) -> Callable:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


def answer(call: Call) -> Answer:
    """The answer of the first route that fits; 404 if none does."""
    path = call.path.partition("?")[0]
    method = "GET" if call.method == "HEAD" else call.method
    for wanted, pattern, function in ROUTES:
        if wanted == method and (match := pattern.fullmatch(path)):
            result = function(call, *(group and unquote(group) for group in match.groups()))
            return result if isinstance(result, Answer) else Answer(result)
    raise HubError(404, f"Cannot {method} {path}")


def address(call: Call, repo: Repo) -> str:
    return f"{call.hub.url}/{'' if repo.kind == 'models' else f'{repo.kind}/'}{repo.id}"
