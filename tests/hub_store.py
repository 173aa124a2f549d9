"""What the test Hub keeps: repositories, their commits and refs, and who may read or write them.

A repository is a small model of git, all in memory. A file is its bytes and whether it is kept by Git LFS; a tree
maps paths to files; a commit is a tree with a parent; a branch, a tag or a pull request names a commit. Blob ids are
those of git (SHA-1 of the file, or of its LFS pointer), so that a client can compare them with files on disk; tree and
commit ids are only 40 unique hexadecimal digits. Every refusal is a `HubError` with the status and the `X-Error-Code`
of the real Hub. Nothing here knows about HTTP.
"""

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

LFS_SUFFIXES = (".parquet", ".safetensors", ".bin", ".pt", ".png")
LFS_SIZE = 10_000_000
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()
REPO_ID = re.compile(r"(?=.{1,96}$)[\w-][\w.-]*/(?![.-])[\w.-]*[\w]")

Tree = dict[str, "File"]


class HubError(Exception):
    """A refusal: HTTP status, message, the `X-Error-Code` that chooses the client's exception, and more headers."""

    def __init__(self, status: int, message: str, code: str = "", body: Mapping = {}, **headers: str):
        super().__init__(message)
        self.status, self.message, self.code, self.body, self.headers = status, message, code, body, headers


def is_lfs(path: str, size: int) -> bool:
    """Whether a file of this name and size is kept by LFS, as `.gitattributes` and the size limit say."""
    return size > 0 and (path.endswith(LFS_SUFFIXES) or size > LFS_SIZE)


def git_id(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


@dataclass(frozen=True)
class File:
    data: bytes
    lfs: bool
    uploaded_as: str = field(default="", compare=False)  # the hash that a client gave it when it sent it by Xet

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return text.encode()

    @cached_property
    def blob_id(self) -> str:
        return git_id("blob", self.pointer if self.lfs else self.data)

    @property
    def xet_hash(self) -> str:
        """What Xet knows an LFS file by; for one that did not come by Xet, the SHA-256 of its SHA-256."""
        return self.uploaded_as or hashlib.sha256(self.sha256.encode()).hexdigest()


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    tree: Tree


@dataclass
class Repo:
    kind: str  # models or datasets
    id: str
    private: bool = False
    gated: str | bool = False
    downloads: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)  # also "refs/pr/1"
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, File] = field(default_factory=dict)  # LFS objects by SHA-256

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a ref or the first 7 or more digits of a commit id name."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self.branches.get(name) or self.tags.get(name)
        if not oid and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            oid = next((each for each in self.commits if each.startswith(revision)), None)
        if not oid:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def branch(self, revision: str) -> str:
        """The name of an existing branch or pull request, the only revisions that can be committed to."""
        name = revision.removeprefix("refs/heads/")
        if name not in self.branches:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return name

    def history(self, revision: str) -> Iterator[Commit]:
        """The commits that a revision follows from, newest first, from parent to parent."""
        commit: Commit | None = self.at(revision)
        while commit:
            yield commit
            commit = self.commits[commit.parent] if commit.parent else None


class Store:
    """All repositories, and the rules of access: a user owns the namespace of the same name and no other."""

    def __init__(self, users: Mapping[str, str]):
        self.users = dict(users)  # token -> user name
        self.repos: dict[tuple[str, str], Repo] = {}
        self.private_by_default: set[str] = set()  # namespaces
        self.xorbs: dict[str, list[bytes]] = {}  # the chunks of what clients sent by Xet

    def user(self, authorization: str | None) -> str | None:
        """The user of an `Authorization` header; None if there is none."""
        if not authorization:
            return None
        user = self.users.get(authorization.removeprefix("Bearer "))
        if user is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return user

    def readable(self, kind: str, repo_id: str, user: str | None) -> Repo:
        """A repository that the user may see; a private one of another user does not exist."""
        repo = self.repos.get((kind, repo_id))
        if repo and (not repo.private or repo.namespace == user):
            return repo
        if user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")

    def open_files(self, repo: Repo, user: str | None) -> None:
        """Refuses the files of a gated repository to all but its owner."""
        if not repo.gated or repo.namespace == user:
            return
        if user is None:
            message = f"Access to model {repo.id} is restricted. You must have access to it and be authenticated"
            raise HubError(401, f"{message} to access it. Please log in.", "GatedRepo")
        message = f"Access to model {repo.id} is restricted and you are not in the authorized list."
        raise HubError(403, message, "GatedRepo")

    def writable(self, kind: str, repo_id: str, user: str | None) -> Repo:
        repo = self.readable(kind, repo_id, user)
        self.may_write(repo.namespace, user, f"You have no write permission for {repo_id}.")
        return repo

    def may_write(self, namespace: str, user: str | None, refusal: str) -> None:
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user != namespace:
            raise HubError(403, refusal)

    def create(self, kind: str, repo_id: str, *, private: bool = False) -> Repo:
        """A new repository with the first commit that the Hub makes itself: a `.gitattributes`."""
        if not REPO_ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
            raise HubError(400, f"Invalid repository name: {repo_id}")
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
        tree = {".gitattributes": File(GIT_ATTRIBUTES, lfs=False)}
        self.commit(repo, "main", tree)
        return repo

    def commit(self, repo: Repo, branch: str, tree: Tree) -> Commit:
        """A new commit at the head of a branch, which is made if missing."""
        oid = secrets.token_hex(20)
        repo.commits[oid] = Commit(oid, repo.branches.get(branch), dict(sorted(tree.items())))
        repo.branches[branch] = oid
        return repo.commits[oid]

    def open_pull(self, repo: Repo, base: str) -> int:
        """The number of a new pull request, whose branch begins at the commit `base`."""
        number = 1 + sum(branch.startswith("refs/pr/") for branch in repo.branches)
        repo.branches[f"refs/pr/{number}"] = base
        return number


def tree_id(tree: Tree) -> str:
    """An id of a tree, the same for the same files."""
    return git_id("tree", "".join(f"{path}\0{file.blob_id}\n" for path, file in sorted(tree.items())).encode())


def folders(tree: Tree) -> dict[str, Tree]:
    """The files below each folder of a tree, by the folder's path."""
    found: dict[str, Tree] = {}
    for path, file in tree.items():
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            found.setdefault("/".join(parts[:depth]), {})[path] = file
    return found
