"""Files of one commit of a repository, in the cache of huggingface_hub.

A revision is resolved to a commit once, and all files come from that commit. At every load, each file is compared with
its hash in the Hub's listing; the listing is kept beside the files for loads without a connection.

Genes are small, so each file is read or fetched once, as bytes, and exactly these bytes are used. They come over plain
HTTP, which works for every file of the Hub, and are stored as files, not links, under names that no server chose.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import TIMEOUT_MAX, Thread
from typing import TypeVar, cast

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

from learngene_hub import __version__
from learngene_hub.core.downloads import check_download, limit_of
from learngene_hub.core.errors import HubError, HubUnreachableError, LearngeneWarning
from learngene_hub.core.files import atomic_path, read_file, write_text
from learngene_hub.hub.address import COMMIT, Address
from learngene_hub.hub.client import (
    ATTEMPTS,
    LIBRARY,
    TIMEOUT,
    HubOptions,
    again,
    explained,
    not_a_hub,
    readable_answer,
    receive,
)
from learngene_hub.hub.listing import MOST_LISTING, ListedFile, Listing, fetch_listing

TIME_VARIABLE, TIME_SECONDS = "LEARNGENE_MAX_DOWNLOAD_SECONDS", 300
MOST_UNLISTED = 10**9  # bytes of a file of the cache whose size no listing tells
LISTINGS = "learngene"  # folder of listings in that of a repository

_T = TypeVar("_T")


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit.

    Attributes:
        folder: where the files are kept; it may hold other files of the same commit.
        commit: hash of the commit.
        files: name -> content, checked by the commit's listing.
    """

    folder: Path
    commit: str
    files: Mapping[str, bytes] = field(repr=False)


def fetch(
    address: Address, required: Sequence[str], *, wanted: Sequence[str] = (), is_all: bool = True, options: HubOptions
) -> Snapshot:
    """Fetch the files `required`, and those of `wanted` that exist, at one commit.

    Cached files are not fetched again: a full commit hash costs no request, a branch or tag one HEAD request.
    If the Hub does not answer, the cached commit of the branch or tag is used, with a warning.

    A cache without a listing, filled by `hf download` or an older version of this package, is compared with the Hub's
    listing at the first load with a connection; without a connection, its files are used unchecked.

    Args:
        address: the repository.
        required: paths in it; the first is used to find the commit, so all revisions should have it.
        wanted: further paths, fetched if they exist.
        is_all: whether these are all files needed without a connection; if not, and the cache knows an older commit of
            the branch or tag, loads without a connection keep using that older commit.
        options: how the Hub is reached.

    Raises:
        HubUnreachableError: the Hub does not answer in time, and the files are not in the cache.
        HubError: there is no such repository, revision or file; access is denied; the files are too large or arrive
            incomplete; they cannot be stored.
    """
    if options.is_offline:
        return _offline(address, required, wanted, options)
    at_hand = None if options.force_download else _at_hand(address, required, wanted, options)
    seconds = time_limit()
    until = time.monotonic() + seconds
    try:
        with explained(address, options):
            newest = within(seconds, address, lambda: _newest(address, required, wanted, options, until, at_hand))
    except HubUnreachableError as error:
        if at_hand is None:
            raise
        warning = f"{error}. Using commit {at_hand.commit[:12]} from the cache"
        warnings.warn(warning, LearngeneWarning, stacklevel=2)
        return at_hand
    is_known = _noted(options, address, "refs", _branch(address)) is not None
    if not address.is_pinned and (is_all or not is_known):  # where huggingface_hub looks without a connection
        _note(options, address, "refs", _branch(address), newest.commit)
    return newest


def time_limit() -> float:
    """Time limit of a download in seconds.

    Raises:
        HubError: the environment variable `TIME_VARIABLE` is not a number.
    """
    return limit_of(TIME_VARIABLE, TIME_SECONDS, "seconds")


def within(seconds: float, address: object, work: Callable[[], _T]) -> _T:
    """The result of `work` if it comes in time; otherwise `work` goes on in a daemon thread.

    Raises:
        HubUnreachableError: it takes longer than `seconds`.
    """
    try:
        return begun(work).result(timeout=min(seconds, TIMEOUT_MAX))
    except TimeoutError:
        raise HubUnreachableError(
            f"{address}: not complete after {seconds:g} seconds: try again later, or set {TIME_VARIABLE} to more"
        ) from None


def begun(work: Callable[[], _T]) -> Future[_T]:
    """The future result of `work`, which runs in a daemon thread."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # it is raised where the result is wanted
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _offline(address: Address, required: Sequence[str], wanted: Sequence[str], options: HubOptions) -> Snapshot:
    """What the cache holds, when the Hub must not be asked."""
    why = "local_files_only" if options.local_files_only else "HF_HUB_OFFLINE"
    if options.force_download:
        raise HubError(f"{address}: force_download and {why} cannot be combined; leave out one of them")
    if (at_hand := _at_hand(address, required, wanted, options)) is None:
        raise HubError(
            f"{address}: not in the cache {options.cache}, or damaged there, and {why} is set, so it is not "
            f"fetched: load it once without {why}, or give a folder"
        )
    return at_hand


def _at_hand(address: Address, required: Sequence[str], wanted: Sequence[str], options: HubOptions) -> Snapshot | None:
    """What the cache holds, if that is all of `required`, at the commit that the address meant last."""
    commit = address.revision if address.is_pinned else _noted(options, address, "refs", _branch(address))
    if commit is None or not COMMIT.fullmatch(commit):
        return None
    pinned = replace(address, revision=commit)
    files = _kept(pinned, (*required, *wanted), _recorded(pinned, options), options)
    return Snapshot(_folder(pinned, options), commit, files) if set(required) <= files.keys() else None


def _newest(
    address: Address,
    required: Sequence[str],
    wanted: Sequence[str],
    options: HubOptions,
    until: float,
    at_hand: Snapshot | None,
) -> Snapshot:
    """The files at the commit that the Hub says is meant; what of them is not `at_hand` is looked for, or fetched."""
    pinned = replace(address, revision=_commit_of(address, required[0], options, attempts=1 if at_hand else ATTEMPTS))
    listing = None if options.force_download else _recorded(pinned, options)
    if listing is not None:
        names = {*required, *(name for name in wanted if name in listing.files)}
        if at_hand is None or at_hand.commit != listing.commit:
            at_hand = Snapshot(_folder(pinned, options), listing.commit, _kept(pinned, names, listing, options))
        if names <= at_hand.files.keys():
            return at_hand
    return _complete(pinned, required, wanted, options, until)


def _commit_of(address: Address, file: str, options: HubOptions, *, attempts: int) -> str:
    """The commit that is meant, by one HEAD request for `file`; no request for a full commit hash.

    Raises:
        HubUnreachableError: the answer is not that of a Hub, such as the page where a network asks for a login.
        HfHubHTTPError, httpx2.HTTPError: the last of `attempts` failed.
    """
    if address.is_pinned:
        return cast(str, address.revision)
    url = hf_hub_url(address.repo_id, file, revision=address.revision, endpoint=options.site)

    def ask() -> str | None:
        with readable_answer(address, options):
            return get_hf_file_metadata(
                url,
                timeout=cast(float, TIMEOUT),  # httpx takes both
                token=options.token,
                library_name=LIBRARY,
                library_version=__version__,
                endpoint=options.site,
            ).commit_hash

    commit = again(ask, attempts=attempts)
    if commit is None or not COMMIT.fullmatch(commit):
        raise HubUnreachableError(not_a_hub(address, options))
    return commit


def _complete(
    address: Address, required: Sequence[str], wanted: Sequence[str], options: HubOptions, until: float
) -> Snapshot:
    """The files at the commit of `address`, as the Hub lists them, kept in the cache with the listing."""
    listing = fetch_listing(address, options, until=until)
    if listing.commit != address.revision:
        raise HubError(not_a_hub(address.repo_id, options))
    if absent := [name for name in required if name not in listing.files]:
        there = sorted(listing.files)
        more = f" and {len(there) - 6} more" if len(there) > 6 else ""
        raise HubError(
            f"{address.repo_id}: expected {', '.join(absent)}, found {', '.join(there[:6]) or 'no file'}{more}"
        )
    chosen = [listing.files[name] for name in (*required, *wanted) if name in listing.files]
    files = {} if options.force_download else _kept(address, [file.name for file in chosen], listing, options)
    folder, missing = _folder(address, options), [file for file in chosen if file.name not in files]
    check_download(address.repo_id, sum(file.size for file in missing))
    for file in missing:
        files[file.name] = _fetched(address, file, options, until)
        with atomic_path(folder / file.name) as staged:  # replaces a link of huggingface_hub, not what it leads to
            staged.write_bytes(files[file.name])
    _note(options, address, LISTINGS, f"{listing.commit}.json", listing.model_dump_json(by_alias=True))
    return Snapshot(folder, listing.commit, files)


def _fetched(address: Address, file: ListedFile, options: HubOptions, until: float) -> bytes:
    """The file's content, with the hash that the Hub has for it; fetched twice if need be."""
    url = hf_hub_url(address.repo_id, file.name, revision=address.revision, endpoint=options.site)
    for _ in range(2):
        content = receive(url, options, most=file.size, until=until)
        if file.fits(content):
            return content
    raise HubError(
        f"{address.repo_id}: {file.name} was received twice with a wrong hash, so it was not kept: try again "
        "later, or over another connection"
    )


def _kept(address: Address, names: Iterable[str], listing: Listing | None, options: HubOptions) -> dict[str, bytes]:
    """Those of the files `names` that the cache holds for a commit; with a listing, only as it has them."""
    contents = {}
    for name in names if listing is None else [name for name in names if name in listing.files]:
        with suppress(OSError):  # not there, or of another user
            most = MOST_UNLISTED if listing is None else listing.files[name].size
            content = read_file(_folder(address, options) / name, most=most)
            if listing is None or listing.files[name].fits(content):
                contents[name] = content
    return contents


def _branch(address: Address) -> str:
    return address.revision or constants.DEFAULT_REVISION


def _recorded(address: Address, options: HubOptions) -> Listing | None:
    """The listing of a commit, as the cache keeps it; None where there is none, or a damaged one."""
    try:
        content = read_file(_home(address, options) / LISTINGS / f"{address.revision}.json", most=MOST_LISTING)
        listing = Listing.model_validate_json(content)
    except (OSError, ValueError):
        return None
    return listing if listing.commit == address.revision else None


def _note(options: HubOptions, address: Address, kind: str, name: str, text: str) -> None:
    """Write a small file into the cache; a failure is ignored, since the file only saves a request."""
    if _noted(options, address, kind, name) != text:
        with suppress(OSError):
            write_text(_home(address, options) / kind / name, text)


def _noted(options: HubOptions, address: Address, kind: str, name: str) -> str | None:
    try:
        return (_home(address, options) / kind / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _home(address: Address, options: HubOptions) -> Path:
    """The folder of a repository in the cache, as huggingface_hub names it."""
    return options.cache / ("models--" + address.repo_id.replace("/", "--"))


def _folder(address: Address, options: HubOptions) -> Path:
    """The folder of a commit in the cache."""
    return _home(address, options) / "snapshots" / cast(str, address.revision)
