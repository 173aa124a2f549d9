"""A folder's files into a repository, as one commit, or none if nothing has changed.

The card carries a mark with the hash of its own text. A card on the Hub whose text does not fit its mark was edited by
a person there, and is not overwritten unawares.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import httpx2
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from learngene_hub.errors import HubError
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import STALE_PARENT, HubOptions, explained
from learngene_hub.hub.fetch import fetch, git_sha1, listing

CARD_NAME = "README.md"
WAITS = (1.0, 3.0)  # seconds before a commit that failed is sent again
_MARK = re.compile(r"<!-- pushed by learngene-hub; sha256 of all above: ([0-9a-f]{64}) -->\Z")


@dataclass(frozen=True)
class Pushed:
    """What became of a push.

    Attributes:
        url: of the repository, or of the pull request.
        commit: that holds the files now.
        changed: paths that were new or different; none: there was nothing to do.
    """

    url: str
    commit: str
    changed: tuple[str, ...]


@dataclass(frozen=True)
class PushTerms:
    """What a push may do.

    Attributes:
        private: a repository that is made now is for its owner only.
        create_pr: propose the commit instead of making it.
        message: of the commit.
        overwrite_card: also where the card was edited on the Hub.
    """

    private: bool = False
    create_pr: bool = False
    message: str | None = None
    overwrite_card: bool = False


def push(files: Mapping[str, bytes], address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Put `files` into the repository at `address`, which is made if need be; what else it holds is left alone.

    Args:
        files: path in the repository -> content.
        address: with the branch to push to, which is made if need be; None: main.
        terms: what may be done.
        options: how the Hub is reached.

    Raises:
        HubUnreachableError: the Hub does not answer, or is in trouble; the same push again does no harm.
        HubError: access is denied, or the card was edited on the Hub.
    """
    if options.is_offline:
        raise HubError(f"{address}: offline (HF_HUB_OFFLINE), so nothing can be pushed")
    files = {name: marked(content) if name == CARD_NAME else content for name, content in files.items()}
    with explained(address, options):
        api = options.api()
        before = _repository(api, address, terms, options)
        if not terms.overwrite_card and CARD_NAME in _changed(files, before):
            _check_card(address, before, options)
        return _commit(files, address, before, terms, options)


def marked(card: bytes) -> bytes:
    """The card with the mark of its own text at its end."""
    text = _MARK.sub("", _plain(card).rstrip()).rstrip() + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}\n<!-- pushed by learngene-hub; sha256 of all above: {digest} -->\n".encode()


def _plain(card: bytes) -> str:
    """Its text with the line ends of Unix."""
    return card.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _repository(api: HfApi, address: Address, terms: PushTerms, options: HubOptions) -> ModelInfo:
    """What the branch holds; repository and branch are made if need be."""
    try:
        found = listing(address, options)[0]
    except RepositoryNotFoundError:
        api.create_repo(address.repo_id, private=terms.private, exist_ok=True)
    except RevisionNotFoundError:
        pass
    else:
        if terms.private and not found.private:
            raise HubError(
                f"{address}: is public already, so nothing was pushed; leave out --private, or make it private in its "
                "settings first"
            )
        return found
    if address.revision is not None:
        api.create_branch(address.repo_id, branch=address.revision, exist_ok=True)
    return listing(address, options)[0]


def _changed(files: Mapping[str, bytes], there: ModelInfo) -> tuple[str, ...]:
    known = {file.rfilename: file for file in there.siblings or []}
    return tuple(name for name, content in files.items() if not _same(content, known.get(name)))


def _same(content: bytes, file: RepoSibling | None) -> bool:
    if file is None:
        return False
    if file.lfs is not None:
        return hashlib.sha256(content).hexdigest() == file.lfs.sha256
    return git_sha1(content) == file.blob_id


def _check_card(address: Address, there: ModelInfo, options: HubOptions) -> None:
    if all(file.rfilename != CARD_NAME for file in there.siblings or []):
        return
    place = fetch(replace(address, revision=there.sha), [CARD_NAME], options=options).folder / CARD_NAME
    card = place.read_bytes()
    if marked(card).decode() != _plain(card):
        raise HubError(
            f"{address}: its card was edited on the Hub, so nothing was pushed: take the edits over into your "
            f"{CARD_NAME} from {options.site}/{address.repo_id}/blob/{address.revision or 'main'}/{CARD_NAME}, then "
            "replace it with --overwrite-card"
        )


def _commit(
    files: Mapping[str, bytes], address: Address, before: ModelInfo, terms: PushTerms, options: HubOptions
) -> Pushed:
    """The commit, sent again after a failure as long as the branch is as it was."""
    changed, url = _changed(files, before), f"{options.site}/{address.repo_id}"
    url += f"/tree/{address.revision}" if address.revision else ""
    if not changed:
        return Pushed(url, str(before.sha), ())

    def send() -> CommitInfo:
        return options.api().create_commit(
            address.repo_id,
            [CommitOperationAdd(name, files[name]) for name in changed],
            commit_message=terms.message or f"Push {', '.join(changed[:3])}{' and more' * (len(changed) > 3)}",
            revision=address.revision,
            create_pr=terms.create_pr,
            parent_commit=None if terms.create_pr else before.sha,
        )

    def arrived() -> str | None:
        now = listing(address, options)[0]
        if now.sha != before.sha and _changed(files, now):
            raise HubError(f"{address}: changed on the Hub meanwhile; run the same command again")
        return None if now.sha == before.sha else now.sha

    try:
        if terms.create_pr:  # a second one would be a second pull request
            info = send()
            return Pushed(info.pr_url or url, info.oid, changed)
        return Pushed(url, _insisting(send, arrived), changed)
    except RevisionNotFoundError:
        raise HubError(
            f"{address}: expected a branch to push to, found a tag or commit, which stays as it is"
        ) from None


def _insisting(send: Callable[[], CommitInfo], arrived: Callable[[], str | None]) -> str:
    """The commit that `send` made, or that it made although it failed."""
    for wait in WAITS:
        try:
            return send().oid
        except (HfHubHTTPError, httpx2.HTTPError) as error:
            if not _may_pass(error):
                raise
            if (commit := arrived()) is not None:
                return commit
            time.sleep(wait)
    return send().oid


def _may_pass(error: Exception) -> bool:
    """Whether the same commit may succeed later. Uploads that failed were tried again by the client already."""
    if not isinstance(error, HfHubHTTPError):
        return True
    return error.response.status_code >= 500 or error.response.status_code in {STALE_PARENT, 429}
