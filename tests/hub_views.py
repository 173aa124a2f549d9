"""How the test Hub describes a repository: model info, tags from the card, file listings.

The answers have the fields that `huggingface_hub` reads, with the spelling of the real Hub. Tags are derived from the
YAML front matter of README.md on the main branch; they only approximate those of the real Hub.
"""

import json
import re
from datetime import datetime

import yaml
from hub_store import Commit, File, HubError, Repo, Tree, folders, tree_id

FRONT_MATTER = re.compile(r"\A\s*---[\r\n]+([\S\s]*?)[\r\n]+---(?:\r?\n|\Z)")
FIELDS = [
    "id",
    "likes",
    "private",
    "downloads",
    "tags",
    "pipeline_tag",
    "library_name",
    "createdAt",
    "modelId",
    "author",
]
FIELDS += ["sha", "lastModified", "gated", "disabled", "siblings", "cardData", "downloadsAllTime", "model-index"]
FIELDS += ["usedStorage", "spaces"]


def front_matter(readme: str) -> dict | None:
    """The metadata of a card; None without a front matter.

    Raises:
        ValueError: the front matter is no YAML, no mapping, or has tags that are no list.
    """
    match = FRONT_MATTER.match(readme)
    if not match or not match[1].strip():
        return None
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(f"YAML Metadata Error: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ValueError("YAML Metadata Error: the metadata must be a mapping")
    if not isinstance(data.get("tags") or [], list):
        raise ValueError('"tags" must be an array')
    return data


def card(tree: Tree) -> dict | None:
    """The metadata of README.md as JSON can carry it; None if there is none that can be read."""
    if "README.md" not in tree:
        return None
    try:
        data = front_matter(tree["README.md"].data.decode(errors="replace"))
    except ValueError:
        return None
    return data and json.loads(json.dumps(data, default=str))


def tags(tree: Tree, data: dict) -> list[str]:
    """What `list_models(filter=...)` finds a model by."""
    found = [data.get("library_name"), *listed(data.get("tags")), data.get("pipeline_tag")]
    found += ["safetensors"] if any(path.endswith(".safetensors") for path in tree) else []
    found += ["model-index"] if data.get("model-index") else []
    found += listed(data.get("language"))
    for key, prefix in {"datasets": "dataset", "base_model": "base_model", "license": "license"}.items():
        found += [f"{prefix}:{value}" for value in listed(data.get(key))]
    readme = tree["README.md"].data.decode(errors="replace") if "README.md" in tree else ""
    found += [f"arxiv:{number}" for number in re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", readme)]
    return list(dict.fromkeys(str(tag) for tag in [*found, "region:us"] if tag))


def listed(value: object) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


def info(repo: Repo, revision: str = "main", *, blobs: bool = False) -> dict:
    """All that the Hub says about a repository at a revision; callers choose from it."""
    commit = repo.at(revision)
    data = card(commit.tree)
    return {
        "_id": repo.commits[next(iter(repo.commits))].oid[:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.namespace,
        "sha": commit.oid,
        "createdAt": when(repo.created),
        "lastModified": when(commit.date),
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": repo.downloads,
        "downloadsAllTime": repo.downloads,
        "likes": 0,
        "library_name": (data or {}).get("library_name"),
        "pipeline_tag": (data or {}).get("pipeline_tag"),
        "tags": tags(commit.tree, data or {}),
        "cardData": data,
        "model-index": (data or {}).get("model-index"),
        "siblings": [sibling(path, file, blobs=blobs) for path, file in commit.tree.items()],
        "spaces": [],
        "usedStorage": sum(len(file.data) for file in repo.uploads.values()),
    }


def chosen(everything: dict, fields: list[str]) -> dict:
    """The asked fields, and always the id; 400 for a field that does not exist."""
    if unknown := set(fields) - set(FIELDS):
        raise HubError(400, f'"expand" does not know {", ".join(sorted(unknown))}')
    return {key: everything[key] for key in ("_id", "id", *fields) if everything.get(key) is not None}


def sibling(path: str, file: File, *, blobs: bool) -> dict:
    entry: dict = {"rfilename": path}
    if blobs:
        entry |= {"size": len(file.data), "blobId": file.blob_id}
        if file.lfs:
            entry["lfs"] = {"sha256": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}
    return entry


def entries(commit: Commit) -> dict[str, dict]:
    """Every file and folder of a commit as the tree route shows it, by path."""
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


def when(date: datetime) -> str:
    """A date as the client parses it: milliseconds and Z."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.") + f"{date.microsecond // 1000:03d}Z"
