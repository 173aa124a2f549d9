"""The routes of the test Hub that move files: uploads, commits, downloads, and the storage of LFS objects.

LFS objects are sent to and fetched from a second origin, the storage, under signed addresses, as the real Hub redirects
to its CDN: a client must not send its token there, and must read a file's metadata from the redirect itself.
"""

import base64
import hashlib
import hmac
import json
import re
from urllib.parse import urlencode

import hub_routes  # noqa: F401  registers its routes
from hub_calls import LINK, REPO, REVISION, Answer, Call, address, route
from hub_store import File, HubError, Repo, Tree, is_lfs

SECRET = b"the storage of the test Hub"

# Uploads: ask how, send LFS objects to the storage, commit


def may_commit(call: Call, kind: str, repo_id: str, revision: str) -> Repo:
    """The repository, if it is the user's, or if the user opens a pull request."""
    if not call.flag("create_pr"):
        return call.write(kind, repo_id)
    call.logged_in()
    return call.read(kind, repo_id)


@route("POST", f"{REPO}/preupload/{REVISION}")
def preupload(call: Call, kind: str, repo_id: str, revision: str):
    repo, asked = may_commit(call, kind, repo_id, revision), call.json()
    present = repo.at(repo.branch(revision)).tree
    files = []
    for each in asked["files"]:
        mode = "lfs" if is_lfs(each["path"], each["size"]) else "regular"
        file = present.get(each["path"])
        oid = file and (file.sha256 if file.lfs else file.blob_id)
        files.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return {"files": files, "commitOid": repo.branches[repo.branch(revision)]}


@route("POST", f"{LINK}\\.git/info/lfs/objects/batch")
def lfs_batch(call: Call, kind: str | None, repo_id: str):
    call.logged_in()
    repo, objects = call.read(kind or "models", repo_id), []
    for each in call.json()["objects"]:
        line = {"oid": each["oid"], "size": each["size"]}
        if each["oid"] not in repo.uploads:
            verify = {"href": f"{address(call, repo)}.git/info/lfs/objects/verify"}
            line["actions"] = {"upload": {"href": storage_address(call, repo, each["oid"], "put")}, "verify": verify}
        objects.append(line)
    return {"transfer": "basic", "objects": objects}


@route("POST", f"{LINK}\\.git/info/lfs/objects/verify")
def lfs_verify(call: Call, kind: str | None, repo_id: str):
    asked = call.json()
    file = call.read(kind or "models", repo_id).uploads.get(asked["oid"])
    if not file or len(file.data) != asked["size"]:
        raise HubError(404, "LFS object is missing or has another size")
    return {}


@route("POST", f"{REPO}/commit/{REVISION}")
def commit(call: Call, kind: str, repo_id: str, revision: str):
    repo = may_commit(call, kind, repo_id, revision)
    header, *operations = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    parent = header["value"].get("parentCommit")
    target = repo.branch(revision)
    head = repo.at(target)
    if call.flag("create_pr"):
        head = repo.at(parent) if parent else head
    elif parent and not head.oid.startswith(parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    tree = changed_tree(repo, head.tree, operations)
    number = call.hub.store.open_pull(repo, head.oid) if call.flag("create_pr") else None
    made = call.hub.store.commit(repo, f"refs/pr/{number}" if number else target, tree)
    result = {"success": True, "commitOid": made.oid, "commitUrl": f"{address(call, repo)}/commit/{made.oid}"}
    return result | ({"pullRequestUrl": f"{address(call, repo)}/discussions/{number}"} if number else {})


def changed_tree(repo: Repo, before: Tree, operations: list[dict]) -> Tree:
    """The tree that the operations of a commit make of another."""
    tree = dict(before)
    for operation in operations:
        value = operation["value"]
        path = value["path"]
        match operation["key"]:
            case "file":
                tree[path] = File(base64.b64decode(value["content"]), lfs=False)
            case "lfsFile":
                if value["oid"] not in repo.uploads:
                    raise HubError(400, f"LFS pointer of {path} pointed to a file that does not exist")
                tree[path] = repo.uploads[value["oid"]]
    return tree


# Files


@route("GET", f"{LINK}/resolve/{REVISION}/(.+)")
def resolve(call: Call, kind: str | None, repo_id: str, revision: str, path: str):
    repo = call.read(kind or "models", repo_id)
    call.hub.store.open_files(repo, call.user)
    commit = repo.at(revision)
    if path not in commit.tree:
        raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.oid)
    file = commit.tree[path]
    repo.downloads += path == "config.json" and call.method == "GET"
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.blob_id}"', "Accept-Ranges": "bytes"}
    if not file.lfs:
        return ranged(call, file.data, headers)
    location = storage_address(call, repo, file.sha256, "get", path)
    headers |= {"Location": location, "X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.data))}
    token_address = f"{call.hub.url}/api/{repo.kind}/{repo.id}/xet-read-token/{commit.oid}"
    headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{token_address}>; rel="xet-auth"'}
    return Answer(f"Found. Redirecting to {location}".encode(), status=302, headers=headers)


def ranged(call: Call, data: bytes, headers: dict[str, str]) -> Answer:
    """The bytes, or the one range of them that the request asks for."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("Range") or "")
    if not match or match[0] == "bytes=-":
        return Answer(data, headers=headers)
    first, last = match.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= end:
        raise HubError(416, "Range not satisfiable", Content_Range=f"bytes */{len(data)}")
    headers = headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
    return Answer(data[start:end], status=206, headers=headers)


# The storage of LFS objects


def storage_address(call: Call, repo: Repo, oid: str, use: str, path: str = "") -> str:
    query = {"filename": path, "signature": signature(repo.kind, repo.id, oid, use)}
    place = use if use.startswith("xorb/") else "lfs"
    return f"{call.hub.storage_url}/{place}/{repo.kind}/{repo.id}/{oid}?{urlencode(query)}"


def signature(*words: str) -> str:
    return hmac.new(SECRET, " ".join(words).encode(), "sha256").hexdigest()[:32]


def signed(call: Call, kind: str, repo_id: str, oid: str, use: str) -> Repo:
    repo = call.hub.store.repos.get((kind, repo_id))
    if not repo or call.first("signature") != signature(kind, repo_id, oid, use):
        raise HubError(403, "Access Denied")
    return repo


@route("GET", "/lfs/(models|datasets)/([^/]+/[^/]+)/([0-9a-f]{64})")
def fetch(call: Call, kind: str, repo_id: str, oid: str):
    repo = signed(call, kind, repo_id, oid, "get")
    return ranged(call, repo.uploads[oid].data, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


@route("PUT", "/lfs/(models|datasets)/([^/]+/[^/]+)/([0-9a-f]{64})")
def store_object(call: Call, kind: str, repo_id: str, oid: str):
    repo = signed(call, kind, repo_id, oid, "put")
    if hashlib.sha256(call.body).hexdigest() != oid:
        raise HubError(400, "The bytes do not have the SHA-256 of their name")
    repo.uploads[oid] = File(call.body, lfs=True)
    return Answer()
