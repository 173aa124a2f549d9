"""The routes of the test Hub about repositories: users, creation, settings, listings, branches, tags, pull requests."""

from itertools import islice
from urllib.parse import parse_qs

import hub_views as views
from hub_calls import REPO, REVISION, Answer, Call, address, page, route
from hub_store import HubError, Pull, Repo

# Users and repositories


@route("GET", "/api/whoami-v2")
def whoami(call: Call):
    user = call.logged_in()
    token = {"displayName": "test", "role": "write"}
    return {"type": "user", "id": user, "name": user, "fullname": user, "orgs": []} | {
        "auth": {"type": "access_token", "accessToken": token}
    }


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


@route("PUT", f"{REPO}/settings")
def settings(call: Call, kind: str, repo_id: str):
    repo, asked = call.write(kind, repo_id), call.json()
    repo.gated = asked.get("gated", repo.gated)
    if "private" in asked or "visibility" in asked:
        repo.private = asked.get("private") is True or asked.get("visibility") == "private"
    return {"private": repo.private, "gated": repo.gated}


@route("GET", f"{REPO}/auth-check(/write)?")
def auth_check(call: Call, kind: str, repo_id: str, write: str | None):
    repo = call.write(kind, repo_id) if write else call.read(kind, repo_id)
    call.hub.store.open_files(repo, call.user)
    return {}


# What there is


@route("GET", "/api/(models|datasets|spaces)")
def list_repos(call: Call, kind: str):
    call.hub.store.user(call.headers.get("Authorization"))
    repos = [repo for repo in call.hub.store.repos.values() if repo.kind == kind]
    found = [views.info(repo) for repo in repos if not repo.private or repo.namespace == call.user]
    found = [each for each in found if fits(call, each)]
    key = call.first("sort", "createdAt")
    found.sort(key=lambda each: each.get(key) or 0, reverse=call.first("direction") != "1")
    fields = call.query.get("expand") or views.LISTED + views.FULL * call.flag("full")
    fields += ["cardData"] * call.flag("cardData") + ["config"] * call.flag("config")
    return page(call, [views.chosen(each, fields) for each in found])


def fits(call: Call, info: dict) -> bool:
    wanted = call.query.get("filter", []) + call.query.get("pipeline_tag", [])
    gated = call.first("gated")
    return (
        set(wanted) <= set(info["tags"])
        and call.first("author", info["author"]).lower() == info["author"].lower()
        and call.first("search").lower() in info["id"].lower()
        and (not gated or call.flag("gated") == bool(info["gated"]))
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
    return page(call, [views.expanded(repo, commit, each) for each in found] if call.flag("expand") else found)


@route("POST", f"{REPO}/paths-info/{REVISION}")
def paths_info(call: Call, kind: str, repo_id: str, revision: str):
    repo = call.read(kind, repo_id)
    commit, asked = repo.at(revision), parse_qs(call.body.decode())
    entries = views.entries(commit)
    found = [entries[path] for path in asked.get("paths", []) if path in entries]
    expand = asked.get("expand", ["false"])[0].lower() == "true"
    return [views.expanded(repo, commit, entry) for entry in found] if expand else found


@route("GET", f"{REPO}/refs")
def refs(call: Call, kind: str, repo_id: str):
    repo = call.read(kind, repo_id)
    lines: dict[str, list] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    for name, oid in repo.branches.items():
        is_pull = name.startswith("refs/pr/")
        ref = name if is_pull else f"refs/heads/{name}"
        lines["pullRequests" if is_pull else "branches"].append(
            {"name": name.removeprefix("refs/pr/"), "ref": ref, "targetCommit": oid}
        )
    if not call.flag("include_prs"):
        del lines["pullRequests"]
    lines["tags"] = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repo.tags.items()]
    return lines


@route("GET", f"{REPO}/commits/{REVISION}")
def commits(call: Call, kind: str, repo_id: str, revision: str):
    return page(call, [views.commit_line(commit) for commit in call.read(kind, repo_id).history(revision)])


# Branches and tags


@route("POST", f"{REPO}/branch/(.+)")
def create_branch(call: Call, kind: str, repo_id: str, branch: str):
    repo = call.write(kind, repo_id)
    if branch in repo.branches:
        raise HubError(409, f"Reference already exists: refs/heads/{branch}")
    repo.branches[branch] = repo.at(call.json().get("startingPoint") or "main").oid
    return {}


@route("DELETE", f"{REPO}/branch/(.+)")
def delete_branch(call: Call, kind: str, repo_id: str, branch: str):
    repo = call.write(kind, repo_id)
    if branch == "main":
        raise HubError(403, "Cannot delete the main branch")
    del repo.branches[repo.branch(branch)]
    return {}


@route("POST", f"{REPO}/tag/{REVISION}")
def create_tag(call: Call, kind: str, repo_id: str, revision: str):
    repo, tag = call.write(kind, repo_id), call.json()["tag"]
    if tag in repo.tags:
        raise HubError(409, f"Tag reference exists already: refs/tags/{tag}")
    repo.tags[tag] = repo.at(revision).oid
    return {}


@route("DELETE", f"{REPO}/tag/(.+)")
def delete_tag(call: Call, kind: str, repo_id: str, tag: str):
    repo = call.write(kind, repo_id)
    if tag not in repo.tags:
        raise HubError(404, f"Invalid rev id: {tag}", "RevisionNotFound")
    del repo.tags[tag]
    return {}


# Pull requests


def one_pull(repo: Repo, num: int) -> Pull:
    if num not in repo.pulls:
        raise HubError(404, f"Discussion {num} not found")
    return repo.pulls[num]


@route("GET", f"{REPO}/discussions")
def list_pulls(call: Call, kind: str, repo_id: str):
    repo = call.read(kind, repo_id)
    wanted = {"": {"draft", "open", "closed", "merged"}, "open": {"draft", "open"}, "closed": {"closed", "merged"}}
    status, author = call.first("status").replace("all", ""), call.first("author")
    found = [pull for pull in reversed(repo.pulls.values()) if pull.status in wanted[status]]
    found = [pull for pull in found if not author or pull.author == author]
    if call.first("type") == "discussion":
        found = []
    start = int(call.first("p") or 0) * call.hub.page_size
    lines = [views.pull_line(repo, pull) for pull in islice(found, start, start + call.hub.page_size)]
    return {"count": len(found), "start": start, "discussions": lines}


@route("POST", f"{REPO}/discussions")
def open_pull(call: Call, kind: str, repo_id: str):
    repo, asked = call.read(kind, repo_id), call.json()
    if not asked.get("pullRequest"):
        raise HubError(501, "The test Hub has pull requests, no discussions")
    base = repo.at("main").oid
    pull = call.hub.store.open_pull(repo, "main", base, title=asked["title"], author=call.logged_in(), status="draft")
    return {"num": pull.num, "url": f"{address(call, repo)}/discussions/{pull.num}", "pullRequest": True}


@route("GET", f"{REPO}/discussions/(\\d+)")
def pull_details(call: Call, kind: str, repo_id: str, num: str):
    repo = call.read(kind, repo_id)
    return views.pull_details(repo, one_pull(repo, int(num)))


@route("POST", f"{REPO}/discussions/(\\d+)/merge")
def merge(call: Call, kind: str, repo_id: str, num: str):
    repo = call.write(kind, repo_id)
    merged = call.hub.store.merge(repo, one_pull(repo, int(num)), author=call.logged_in())
    return {"mergeCommitId": merged.oid}


@route("POST", f"{REPO}/discussions/(\\d+)/status")
def pull_status(call: Call, kind: str, repo_id: str, num: str):
    repo = call.read(kind, repo_id)
    pull, user = one_pull(repo, int(num)), call.logged_in()
    if user not in (pull.author, repo.namespace):
        raise HubError(403, "Only the author and the owner may change the status")
    pull.status = call.json()["status"]
    event = {"id": f"{pull.num:024x}", "type": "status-change", "createdAt": views.when(call.hub.store.now())}
    return {"newStatus": event | {"author": {"name": user}, "data": {"status": pull.status}}}
