"""What the test Hub keeps: repositories, their commits and refs, and who may read or write them.

A repository is a small model of git, all in memory. A file is its bytes and whether it is kept by Git LFS; a tree
maps paths to files; a commit is a tree with parents; a branch, a tag or a pull request names a commit. Blob ids are
those of git (SHA-1 of the file, or of its LFS pointer), so that a client can compare them with files on disk; tree and
commit ids are only 40 unique hexadecimal digits. Every refusal is a `HubError` with the status and the `X-Error-Code`
of the real Hub. Nothing here knows about HTTP.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
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
    parents: tuple[str, ...]
    tree: Tree
    title: str
    message: str
    author: str
    date: datetime


@dataclass
class Pull:
    """A pull request: its own branch is `refs/pr/{num}`; `base` is the commit it started from."""

    num: int
    title: str
    author: str
    target: str
    base: str
    created: datetime
    status: str = "open"  # draft, open, closed or merged
    merged_as: str = ""


@dataclass
class Repo:
    kind: str  # models, datasets or spaces
    id: str
    created: datetime
    private: bool = False
    gated: str | bool = False
    downloads: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)  # also "refs/pr/1"
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
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
        """The commits that a revision follows from, newest first, along first parents."""
        commit: Commit | None = self.at(revision)
        while commit:
            yield commit
            commit = self.commits[commit.parents[0]] if commit.parents else None

    def last_commit(self, revision: str, touches: Callable[[str], bool]) -> Commit:
        """The newest commit that changed a path for which `touches` is true."""
        commits = list(self.history(revision))
        for newer, older in zip(commits, [*commits[1:], None], strict=True):
            before = older.tree if older else {}
            if any(touches(path) for path in changed(before, newer.tree)):
                return newer
        return commits[-1]


class Store:
    """All repositories, and the rules of access: a user owns the namespace of the same name and no other."""

    def __init__(self, users: Mapping[str, str]):
        self.users = dict(users)  # token -> user name
        self.repos: dict[tuple[str, str], Repo] = {}
        self.private_by_default: set[str] = set()  # namespaces
        self.xorbs: dict[str, list[bytes]] = {}  # the chunks of what clients sent by Xet
        self._last = datetime(2020, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """The time, at least a millisecond later than the last answer, so that dates order what happened."""
        moment = datetime.now(UTC)
        self._last = max(moment.replace(microsecond=moment.microsecond // 1000 * 1000), self._last + MILLISECOND)
        return self._last

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
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, self.now(), private)
        tree = {".gitattributes": File(GIT_ATTRIBUTES, lfs=False)}
        self.commit(repo, "main", tree, title="initial commit", author=repo.namespace)
        return repo

    def commit(
        self, repo: Repo, branch: str, tree: Tree, *, title: str, author: str, message: str = "", merged: str = ""
    ) -> Commit:
        """A new commit at the head of a branch, which is made if missing; `merged` is a second parent."""
        parents = tuple(oid for oid in (repo.branches.get(branch), merged) if oid)
        date = self.now()
        oid = git_id("commit", f"{repo.kind} {repo.id} {tree_id(tree)} {parents} {author} {date} {title}".encode())
        repo.commits[oid] = Commit(oid, parents, dict(sorted(tree.items())), title, message, author, date)
        repo.branches[branch] = oid
        return repo.commits[oid]

    def open_pull(self, repo: Repo, target: str, base: str, *, title: str, author: str, status: str = "open") -> Pull:
        num = len(repo.pulls) + 1
        pull = repo.pulls[num] = Pull(num, title, author, target, base, self.now(), status)
        repo.branches[f"refs/pr/{num}"] = base
        return pull

    def merge(self, repo: Repo, pull: Pull, *, author: str) -> Commit:
        """Brings the paths that a pull request changed into its target; 409 if the target changed them otherwise."""
        if pull.status != "open":
            raise HubError(409, f"Cannot merge a pull request that is {pull.status}")
        base, head = repo.commits[pull.base].tree, repo.at(f"refs/pr/{pull.num}")
        tree = dict(repo.at(pull.target).tree)
        for path in changed(base, head.tree):
            if tree.get(path) not in (base.get(path), head.tree.get(path)):
                raise HubError(409, f"This branch has merge conflicts in {path}")
            if path in head.tree:
                tree[path] = head.tree[path]
            else:
                tree.pop(path, None)
        title = f"{pull.title} (#{pull.num})"
        merged = self.commit(repo, pull.target, tree, title=title, author=author, merged=head.oid)
        pull.status, pull.merged_as = "merged", merged.oid
        return merged


MILLISECOND = timedelta(milliseconds=1)


def changed(before: Tree, after: Tree) -> list[str]:
    """The paths whose files differ between two trees."""
    return [path for path in {**before, **after} if before.get(path) != after.get(path)]


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


def is_ignored(path: str, gitignore: str) -> bool:
    """Whether a line of a `.gitignore` names the file or a folder above it (plain patterns only)."""
    patterns = [line.strip().strip("/") for line in gitignore.splitlines() if line.strip() and line[0] != "#"]
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(fnmatch(name, pattern) for pattern in patterns for name in (*parts, *above))
