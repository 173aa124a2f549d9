"""The routes of the test Hub about repositories: creation, listings, branches, tags.

The answers have the fields that `huggingface_hub` reads, with the spelling of the real Hub. Tags come from the YAML
front matter of README.md on the main branch.
"""

import json
import re

import yaml
from hub_calls import REPO, REVISION, Answer, Call, address, route
from hub_store import Commit, File, HubError, Repo, Tree, folders, tree_id

FRONT_MATTER = re.compile(r"\A\s*---[\r\n]+([\S\s]*?)[\r\n]+---(?:\r?\n|\Z)")

# Repositories, and what the client asks before it sends one


@route("GET", "/api/agent-harnesses")
def agent_harnesses(call: Call):
    return {"standardEnvVars": [], "harnesses": {}}


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call):
    return {"errors": [], "warnings": []}


def named(call: Call) -> tuple[str, str]:
    """The kind and the id of the repository in a request to create or delete one."""
    asked = call.json()
    return f"{asked.get('type') or 'model'}s", f"{asked.get('organization') or call.logged_in()}/{asked['name']}"


@route("POST", "/api/repos/create")
def create_repo(call: Call):
    kind, repo_id = named(call)
    store, asked, namespace = call.hub.store, call.json(), repo_id.split("/")[0]
    refusal = f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{namespace}"'
    store.may_write(namespace, call.user, refusal)
    if repo := store.repos.get((kind, repo_id)):
        raise HubError(409, f"You already created this {kind[:-1]} repo", body={"url": address(call, repo)})
    default = "private" if namespace in store.private_by_default else "public"
    repo = store.create(kind, repo_id, private=asked.get("visibility", default) == "private")
    return {"url": address(call, repo), "name": repo.id, "id": repo.id}


@route("DELETE", "/api/repos/delete")
def delete_repo(call: Call):
    repo = call.write(*named(call))
    del call.hub.store.repos[repo.kind, repo.id]
    return Answer()


# What there is


@route("GET", "/api/(models|datasets)")
def list_repos(call: Call, kind: str):
    user, repos = call.user, [repo for repo in call.hub.store.repos.values() if repo.kind == kind]
    found = [info(repo) for repo in repos if not repo.private or repo.namespace == user]
    return sorted((one for one in found if fits(call, one)), key=lambda one: -one["downloads"])


def fits(call: Call, one: dict) -> bool:
    return (
        set(call.query.get("filter", [])) <= set(one["tags"])
        and call.first("author", one["author"]).lower() == one["author"].lower()
        and call.first("search").lower() in one["id"].lower()
    )


@route("GET", f"{REPO}(?:/revision/{REVISION})?")
def repo_info(call: Call, kind: str, repo_id: str, revision: str | None):
    return info(call.read(kind, repo_id), revision or "main", blobs=call.flag("blobs"))


def info(repo: Repo, revision: str = "main", *, blobs: bool = False) -> dict:
    """What the Hub says about a repository at a revision."""
    commit = repo.at(revision)
    data = card(commit.tree)
    return {
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit.oid,
        "private": repo.private,
        "downloads": repo.downloads,
        "tags": [tag for tag in (data.get("library_name"), *(data.get("tags") or ())) if tag],
        "cardData": data or None,
        "siblings": [sibling(path, file, blobs=blobs) for path, file in commit.tree.items()],
    }


def card(tree: Tree) -> dict:
    """The metadata of README.md as JSON can carry it; empty if there is none that can be read."""
    match = FRONT_MATTER.match(tree["README.md"].data.decode(errors="replace")) if "README.md" in tree else None
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return json.loads(json.dumps(data, default=str)) if isinstance(data, dict) else {}


def sibling(path: str, file: File, *, blobs: bool) -> dict:
    entry: dict = {"rfilename": path}
    if blobs:
        entry |= {"size": len(file.data), "blobId": file.blob_id}
        if file.lfs:
            entry["lfs"] = {"sha256": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}
    return entry


@route("GET", f"{REPO}/tree/{REVISION}(?:/(.+))?")
def tree(call: Call, kind: str, repo_id: str, revision: str, below: str | None):
    repo = call.read(kind, repo_id)
    commit = repo.at(revision)
    found = entries(commit)
    prefix = f"{below.strip('/')}/" if below else ""
    if prefix and prefix[:-1] not in found:
        raise HubError(404, f'"{below}" does not exist on "{revision}"', "EntryNotFound", X_Repo_Commit=commit.oid)
    inside = [entry for path, entry in found.items() if path.startswith(prefix)]
    if call.flag("recursive"):
        return inside
    return [entry for entry in inside if "/" not in entry["path"].removeprefix(prefix)]


def entries(commit: Commit) -> dict[str, dict]:
    """Every file and folder of a commit, by path."""
    found = {
        path: {"type": "directory", "oid": tree_id(tree), "size": 0, "path": path}
        for path, tree in folders(commit.tree).items()
    }
    for path, file in commit.tree.items():
        found[path] = {"type": "file", "oid": file.blob_id, "size": len(file.data), "path": path}
        if file.lfs:
            found[path]["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}
            found[path]["xetHash"] = file.xet_hash
    return dict(sorted(found.items()))


# Branches and tags


@route("POST", f"{REPO}/branch/(.+)")
def create_branch(call: Call, kind: str, repo_id: str, branch: str):
    repo = call.write(kind, repo_id)
    if branch.startswith("refs/"):
        raise HubError(400, f"Invalid reference for a branch: {branch}")
    if branch in repo.branches:
        raise HubError(409, f"Reference already exists: refs/heads/{branch}")
    repo.branches[branch] = repo.at(call.json().get("startingPoint") or "main").oid
    return {}


@route("POST", f"{REPO}/tag/{REVISION}")
def create_tag(call: Call, kind: str, repo_id: str, revision: str):
    repo, tag = call.write(kind, repo_id), call.json()["tag"]
    if tag in repo.tags:
        raise HubError(409, f"Tag reference exists already: refs/tags/{tag}")
    repo.tags[tag] = repo.at(revision).oid
    return {}
