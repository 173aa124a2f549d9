"""Push a folder's files to a repository as one commit; no commit if nothing has changed.

The card carries a mark with the hash of its own text. If a card on the Hub does not match its mark, somebody edited it
there, and it is not overwritten by accident.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, ModelInfo
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.sha import git_hash

from learngene_hub.core.errors import HubError
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import TIMEOUT, HubOptions, explained
from learngene_hub.hub.fetch import fetch

CARD_NAME = "README.md"
KINDS = "learngene.safetensors", "model.safetensors"  # weights of a gene, and of a whole network
XET_PAUSE = "HF_XET_CLIENT_RETRY_BASE_DELAY"  # of Xet's client, whose n-th pause is up to its n-th power
_MARK = re.compile(r"<!-- pushed by learngene-hub; sha256 of all above: ([0-9a-f]{64}) -->\Z")


@dataclass(frozen=True)
class Pushed:
    """The result of a push.

    Attributes:
        url: URL of the repository or of the pull request.
        commit: commit that now holds the files.
        address: repository and branch that hold the files, or the pull request (`refs/pr/1`).
        changed: paths that were new or different; empty: nothing had changed.
        private: whether the repository is private.
        sizes: path -> bytes of all files, changed or not.
    """

    url: str
    commit: str
    address: Address
    changed: tuple[str, ...]
    private: bool
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class PushTerms:
    """Options of a push.

    Attributes:
        private: make a new repository private; otherwise it is public, unless its organisation's default is private.
        create_pr: open a pull request instead of committing.
        message: commit message.
        overwrite_card: replace the card even if it was edited on the Hub.
        dry_run: send nothing and ask nothing of the Hub.
        card: where the user's card lies, for messages.
    """

    private: bool = False
    create_pr: bool = False
    message: str | None = None
    overwrite_card: bool = False
    dry_run: bool = False
    card: Path = Path(CARD_NAME)


def push(files: Mapping[str, bytes], address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Put `files` (path -> content) into the repository at `address`, whose other files stay unchanged.

    Repository and branch (revision None: main) are created if they do not exist.

    Raises:
        HubUnreachableError: the Hub does not answer or has an error. The push can be repeated; with `create_pr`, look
            first whether the pull request was opened.
        HubError: access is denied, the card was edited on the Hub, or there is no such pull request, or no repository
            or branch for a new one.
    """
    files = {name: marked(content) if name == CARD_NAME else content for name, content in files.items()}
    sizes = {name: len(content) for name, content in files.items()}
    url = f"{options.shown_site}/{address.repo_id}"
    url += f"/tree/{quote(address.revision, safe='')}" if address.revision else ""
    if terms.dry_run:
        return Pushed(url, "", address, (), terms.private, sizes)
    if options.is_offline:
        raise HubError(f"{address}: offline (HF_HUB_OFFLINE), so nothing can be pushed")
    made: list[str] = []
    try:
        with explained(address, options):
            api = options.api()
            before = _repository(api, address, terms, made)
            known = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in before.siblings or ()}
            _refuse_other_kind(address, files, known)
            changed = {name: own for name, own in files.items() if known.get(name) not in _hashes(own)}
            if not terms.overwrite_card and CARD_NAME in changed.keys() & known.keys():
                _check_card(address, str(before.sha), terms, options)
            if not changed:
                return Pushed(url, str(before.sha), address, (), bool(before.private), sizes)
            commit = _commit(api, changed, address, str(before.sha), terms)
            there = replace(address, revision=commit.pr_revision or address.revision)
            return Pushed(commit.pr_url or url, commit.oid, there, tuple(changed), bool(before.private), sizes)
    except HubError as error:
        if not made:
            raise
        raise type(error)(f"{error}; the repository was created and may be empty: repeat the push") from None


def marked(card: bytes) -> bytes:
    """The card with the mark of its own text at its end."""
    text = _MARK.sub("", _plain(card).rstrip()).rstrip() + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}\n<!-- pushed by learngene-hub; sha256 of all above: {digest} -->\n".encode()


def _plain(card: bytes) -> str:
    """Its text with the line ends of Unix."""
    return card.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _hashes(content: bytes) -> tuple[str, str]:
    """The names that the Hub may have for it: of a large file its sha256, of another git's hash."""
    return hashlib.sha256(content).hexdigest(), git_hash(content)


def _repository(api: HfApi, address: Address, terms: PushTerms, made: list[str]) -> ModelInfo:
    """What the branch holds; repository and branch are made if need be; `made` gets the name of a new repository."""
    try:
        return _private_enough(_listing(api, address), address, terms)
    except RepositoryNotFoundError:
        _refuse_to_make("repository", address, terms)
        api.create_repo(address.repo_id, private=terms.private or None, exist_ok=True)
        made.append(address.repo_id)
    except RevisionNotFoundError:
        _refuse_to_make("branch", address, terms)
        _private_enough(_listing(api, Address(address.repo_id)), address, terms)
    if address.revision is not None:
        api.create_branch(address.repo_id, branch=address.revision, exist_ok=True)
    return _listing(api, address)


def _refuse_to_make(what: str, address: Address, terms: PushTerms) -> None:
    """Raise an error for a pull request, which needs an existing `what`: the Hub makes none of a name in `refs/`."""
    if terms.create_pr or (address.revision or "").startswith("refs/"):
        raise HubError(
            f"{address}: no such {what}; a pull request needs one that exists: push to {address.repo_id}, or to a "
            "branch of it, without --create-pr"
        ) from None


def _refuse_other_kind(address: Address, files: Mapping[str, bytes], known: Mapping[str, object]) -> None:
    """A repository holds a gene or a whole network: both would share one config and one card."""
    for mine, others in (KINDS, KINDS[::-1]):
        if mine in files and mine not in known and others in known:
            raise HubError(f"{address}: holds {others}, which {mine} would break: push to a repository of its own")


def _private_enough(there: ModelInfo, address: Address, terms: PushTerms) -> ModelInfo:
    if terms.private and not there.private:
        raise HubError(
            f"{address}: the repository is already public, so nothing was pushed; leave out --private, or first "
            "make it private in its settings"
        )
    return there


def _listing(api: HfApi, address: Address) -> ModelInfo:
    return api.model_info(address.repo_id, revision=address.revision, files_metadata=True, timeout=TIMEOUT)


def _check_card(address: Address, commit: str, terms: PushTerms, options: HubOptions) -> None:
    there = fetch(replace(address, revision=commit), [CARD_NAME], options=options).folder
    card = (there / CARD_NAME).read_bytes()
    if marked(card).decode() != _plain(card):
        page = f"{options.shown_site}/{address.repo_id}/blob/{quote(address.revision or 'main', safe='')}/{CARD_NAME}"
        raise HubError(
            f"{address}: its card was edited on the Hub, so nothing was pushed: copy the edits from {page} into "
            f"{terms.card}, then replace the card of the Hub with --overwrite-card (in Python: overwrite_card=True)"
        )


def _commit(api: HfApi, files: Mapping[str, bytes], address: Address, parent: str, terms: PushTerms) -> CommitInfo:
    os.environ.setdefault(XET_PAUSE, "1500ms")  # 20 seconds in all; with its own, 3 seconds, up to six minutes
    try:
        made = api.create_commit(
            address.repo_id,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=terms.message or f"Push {', '.join([*files][:3])}{' and more' * (len(files) > 3)}",
            revision=address.revision,
            create_pr=terms.create_pr,
            parent_commit=None if terms.create_pr else parent,
        )
        made.oid.encode()  # as the client checks no types
        return made
    except RevisionNotFoundError:
        raise HubError(
            f"{address}: expected a branch to push to, found a tag or commit, which cannot be changed"
        ) from None
