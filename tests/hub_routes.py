"""The routes of the test Hub about repositories: creation, listings, branches, tags."""

import hub_views as views
from hub_calls import REPO, REVISION, Answer, Call, address, route
from hub_store import HubError

# Repositories, and what the client asks before it sends one


@route("GET", "/api/agent-harnesses")
def agent_harnesses(call: Call):
    return {"standardEnvVars": [], "harnesses": {}}


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call):
    try:
        data = views.front_matter(call.json()["content"])
    except ValueError as error:
        return Answer({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    empty = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
    return {"errors": [], "warnings": empty}


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


@route("GET", "/api/(models|datasets|spaces)")
def list_repos(call: Call, kind: str):
    call.hub.store.user(call.headers.get("Authorization"))
    repos = [repo for repo in call.hub.store.repos.values() if repo.kind == kind]
    found = [views.info(repo) for repo in repos if not repo.private or repo.namespace == call.user]
    found = [each for each in found if fits(call, each)]
    key = call.first("sort", "createdAt")
    found.sort(key=lambda each: each.get(key) or 0, reverse=call.first("direction") != "1")
    return [views.chosen(each, call.query.get("expand", views.FIELDS)) for each in found]


def fits(call: Call, info: dict) -> bool:
    wanted = call.query.get("filter", []) + call.query.get("pipeline_tag", [])
    return (
        set(wanted) <= set(info["tags"])
        and call.first("author", info["author"]).lower() == info["author"].lower()
        and call.first("search").lower() in info["id"].lower()
    )


@route("GET", f"{REPO}(?:/revision/{REVISION})?")
def repo_info(call: Call, kind: str, repo_id: str, revision: str | None):
    everything = views.info(call.read(kind, repo_id), revision or "main", blobs=call.flag("blobs"))
    if fields := call.query.get("expand"):
        return views.chosen(everything, fields)
    return {key: value for key, value in everything.items() if value is not None}


@route("GET", f"{REPO}/tree/{REVISION}(?:/(.+))?")
def tree(call: Call, kind: str, repo_id: str, revision: str, below: str | None):
    repo = call.read(kind, repo_id)
    commit = repo.at(revision)
    entries = views.entries(commit)
    prefix = f"{below.strip('/')}/" if below else ""
    if prefix and prefix[:-1] not in entries:
        raise HubError(404, f'"{below}" does not exist on "{revision}"', "EntryNotFound", X_Repo_Commit=commit.oid)
    found = [entry for path, entry in entries.items() if path.startswith(prefix)]
    if not call.flag("recursive"):
        found = [entry for entry in found if "/" not in entry["path"].removeprefix(prefix)]
    return found


# Branches and tags


@route("POST", f"{REPO}/branch/(.+)")
def create_branch(call: Call, kind: str, repo_id: str, branch: str):
    repo = call.write(kind, repo_id)
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
