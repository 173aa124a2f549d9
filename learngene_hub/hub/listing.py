"""List the files of a repository at one commit, with sizes and hashes; the Hub's answer is checked here."""

import hashlib
from functools import cached_property
from typing import Literal
from urllib.parse import quote

from huggingface_hub.utils.sha import git_hash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from learngene_hub.core.errors import HubError
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions, not_a_hub, receive

MOST_LISTING = 16 * 10**6  # bytes
SHA1, SHA256 = r"^[0-9a-f]{40}$", r"^[0-9a-f]{64}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Lfs(_Part):
    sha256: str = Field(pattern=SHA256)


class ListedFile(_Part):
    """One file.

    Attributes:
        name: its path in the repository.
        size: bytes.
        blob_id: git's sha1 of the file, or of its LFS pointer.
        lfs: sha256 of its content if git holds only a pointer.
    """

    name: str = Field(alias="rfilename")
    size: int = Field(ge=0)
    blob_id: str = Field(alias="blobId", pattern=SHA1)
    lfs: _Lfs | None = None

    def fits(self, content: bytes) -> bool:
        """Whether `content` has the file's hash."""
        if self.lfs is not None:
            return hashlib.sha256(content).hexdigest() == self.lfs.sha256
        return git_hash(content) == self.blob_id


class Listing(_Part):
    """All files (`siblings`) of one commit, and whether the repository is private."""

    commit: str = Field(alias="sha", pattern=SHA1)
    private: bool = False
    siblings: tuple[ListedFile, ...]

    @cached_property
    def files(self) -> dict[str, ListedFile]:
        """Name -> file."""
        return {file.name: file for file in self.siblings}


def fetch_listing(
    address: Address,
    options: HubOptions,
    *,
    until: float,
    kind: Literal["models", "datasets"] = "models",
    most: int = MOST_LISTING,
) -> Listing:
    """Fetch the list of files at the revision of `address`; the answer may have at most `most` bytes.

    Raises:
        HubError: the answer is not valid.
        TimeoutError, HfHubHTTPError, httpx2.HTTPError: see `receive`.
    """
    revision = f"/revision/{quote(address.revision, safe='')}" if address.revision else ""
    url = f"{options.site}/api/{kind}/{address.repo_id}{revision}?blobs=true"
    try:
        return Listing.model_validate_json(receive(url, options, most=most, until=until))
    except ValidationError:
        raise HubError(not_a_hub(address.repo_id, options)) from None
