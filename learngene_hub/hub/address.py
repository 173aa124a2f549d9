"""Addresses of repositories: `[hf-hub:]owner/name[@revision]`."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from learngene_hub.core.errors import DataError, HubError, did_you_mean, suggestion
from learngene_hub.core.files import expanded, is_hidden, is_there, near_paths

PREFIX = "hf-hub:"
TABLE_FORMATS = {".parquet": "parquet", ".arrow": "arrow"}
"""Ending of a file of images in a table -> what `datasets` calls it."""
COMMIT = re.compile(r"[0-9a-f]{40}")
_ADDRESS = re.compile(r"(?:hf-hub:)?([A-Za-z0-9][\w.-]*/\w[\w.-]*)(?:@([^@\s]+))?", re.ASCII)
_DATA = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Address:
    """One repository at one revision.

    Attributes:
        repo_id: `owner/name`.
        revision: branch, tag, pull request (`refs/pr/1`) or commit; None: the main branch.
    """

    repo_id: str
    revision: str | None = None

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            HubError: the name is not `owner/name` or not allowed by the Hub, or the revision is not printable text.
        """
        is_valid = False
        if not isinstance(self.repo_id, str):
            raise HubError(f"expected the name of a repository, owner/name, found a {type(self.repo_id).__name__}")
        with suppress(HFValidationError):
            validate_repo_id(self.repo_id)
            is_valid = self.repo_id.count("/") == 1
        if not is_valid:
            raise HubError(
                f"{self.repo_id!r:.200}: expected owner/name: letters, digits, - _ . (at most 96); no -- or .., no - "
                "or . at either end, no .git at the end"
            )
        if not isinstance(self.revision, str | None):
            raise HubError(f"revision: expected a branch, tag or commit, found a {type(self.revision).__name__}")
        if self.revision is not None and not (self.revision and self.revision.isprintable()):
            raise HubError(f"revision: expected a branch, tag or commit, found {self.revision!r:.60}")

    def __str__(self) -> str:
        """As a user would type it."""
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    def at(self, revision: str | None) -> "Address":
        """The same repository at `revision`, unless that is None.

        Raises:
            HubError: the address has another revision.
        """
        if revision is not None and self.revision not in {None, revision}:
            raise HubError(
                f"{self}: expected one revision, found another in `revision`, {revision!r}; give only one of them"
            )
        return self if revision is None else replace(self, revision=revision)


def parse_address(text: str) -> Address | None:
    """The repository that `text` names, or None if it does not look like one.

    >>> parse_address("hf-hub:you/gene@v1")
    Address(repo_id='you/gene', revision='v1')
    >>> parse_address("runs/demo/gene") is None
    True

    Raises:
        HubError: it looks like a repository, but the Hub does not allow the name.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None and text.startswith(PREFIX):
        raise HubError(f"{text!r}: expected {PREFIX}owner/name or {PREFIX}owner/name@revision")
    return None if match is None else Address(match[1], match[2])


def address_of(repo: str, revision: str | None = None) -> Address:
    """The repository that `repo`, as for `parse_address`, names, at `revision` unless that is None.

    Raises:
        HubError: it names none, the Hub does not allow the name, or it has another revision.
    """
    address = parse_address(repo) if isinstance(repo, str) else None
    return (address or Address(repo)).at(revision)


def is_hub_id(text: str) -> bool:
    """Whether `text` may be the name of a data set on the Hub.

    >>> is_hub_id("uoft-cs/cifar100"), is_hub_id("~/Pictures"), is_hub_id("../photos")
    (True, False, False)
    """
    return _DATA.fullmatch(text) is not None


def refuse_unknown_data(path: str, *, presets: Sequence[str] = ()) -> None:
    """Raise an error if `path` cannot be a data set, without asking the Hub; it may suggest a name of `presets`.

    Raises:
        DataError: `path` is neither a file, a folder with files, nor a possible name of a data set on the Hub.
    """
    if not is_there(folder := expanded(path)) and not is_hub_id(path):
        if near := near_data(path) or did_you_mean(path, presets):
            raise DataError(f"No file or folder {path}{near}")
        if match := _ADDRESS.fullmatch(path):
            only = "finetune and evaluate cannot choose a revision"
            more = f", and in a recipe data.revision={match[2]} ({only})" if match[2] else ""
            raise DataError(f"No file or folder {path}; for a data set of the Hub give {match[1]}{more}")
        raise DataError(
            f"No file or folder {path}. Expected a Parquet or Arrow file, a folder of those, a folder of class folders "
            "of images, or the name of a data set on the Hugging Face Hub, such as uoft-cs/cifar100"
        )
    if folder.is_dir() and not any(file.is_file() and not is_hidden(file, folder) for file in folder.rglob("*")):
        links = any(entry.is_symlink() for entry in folder.iterdir())
        raise DataError(
            f"{path}: expected images in one folder per class, such as {folder / 'cat' / '1.jpg'}, or Parquet files; "
            f"found no file{' (links to folders are not followed)' if links else ''}. Put the images there"
        )


def near_data(path: str) -> str:
    """End of a message: the folder or table with a name close to the missing `path`; empty if there is none."""
    return suggestion(near_paths(expanded(path), lambda entry: entry.is_dir() or entry.suffix in TABLE_FORMATS))
