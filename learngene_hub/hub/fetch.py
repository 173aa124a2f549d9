"""Files of one commit of a repository, in the cache of huggingface_hub.

A revision is resolved to a commit once, all files come from that commit, and each is compared with the hash that the
Hub has for it, since the client compares sizes only.
"""

import hashlib
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.hf_api import RepoSibling

from learngene_hub import __version__
from learngene_hub.errors import HubError, HubUnreachableError
from learngene_hub.files import write_text
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import ANSWER_SECONDS, CONNECT_SECONDS, LIBRARY, HubOptions, explained

LIMIT_VARIABLE, LIMIT_MB = "LEARNGENE_MAX_DOWNLOAD_MB", 200
_TIMEOUT = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit; `folder` may hold others of the same commit too."""

    folder: Path
    commit: str


def fetch(
    address: Address,
    required: Sequence[str],
    *,
    wanted: Sequence[str] = (),
    options: HubOptions,
    known: Sequence[str] = (),
) -> Snapshot:
    """The files `required`, and those of `wanted` that there are, at one commit.

    What the cache holds is not fetched again: a whole commit costs no request, a branch or tag one without a body.
    If the Hub does not answer, what the cache holds for the branch or tag is used, with a warning.

    Args:
        address: of the repository.
        required: paths in it; the first tells which commit is meant, so all revisions should have it.
        wanted: more paths.
        options: how the Hub is reached.
        known: names to offer where there is no such repository.

    Raises:
        HubUnreachableError: the Hub does not answer, and the cache does not hold the files.
        HubError: there is no such repository, revision or file; access is denied; the files are too large, or do not
            come whole; they cannot be kept.
    """
    at_hand = _cached(address, required, options)
    if options.is_offline:
        return at_hand or _refuse_offline(address, options)
    try:
        with explained(address, options, known=known):
            commit = _commit_of(address, required[0], options)
    except HubUnreachableError as error:
        if at_hand is None or options.force_download:
            raise
        warnings.warn(f"{error}. Using commit {at_hand.commit[:12]} from the cache", stacklevel=2)
        return at_hand
    pinned = replace(address, revision=commit)
    found = None if options.force_download else _cached(pinned, [*required, *wanted], options)
    if found is None:
        with explained(address, options, known=known):
            found = _download(pinned, required, wanted, options)
    _remember(address, commit, options)
    return found


def _cached(address: Address, files: Sequence[str], options: HubOptions) -> Snapshot | None:
    """The snapshot in the cache that holds all `files`, if there is one."""
    places = [
        try_to_load_from_cache(address.repo_id, name, cache_dir=options.cache, revision=address.revision)
        for name in files
    ]
    if not all(isinstance(place, str) for place in places):
        return None
    folder = Path(cast(str, places[0])).parents[files[0].count("/")]
    return Snapshot(folder, folder.name)


def _refuse_offline(address: Address, options: HubOptions) -> Snapshot:
    why = "local_files_only" if options.local_files_only else "HF_HUB_OFFLINE"
    raise HubError(
        f"{address}: not in the cache {options.cache}, and {why} forbids to fetch it: load it once with a connection "
        "and without that, or give the path of a folder"
    )


def _commit_of(address: Address, file: str, options: HubOptions) -> str:
    """The commit that is meant, by one HEAD request; none if it is said in full."""
    if address.is_pinned:
        return cast(str, address.revision)
    url = hf_hub_url(address.repo_id, file, revision=address.revision, endpoint=options.endpoint)
    found = get_hf_file_metadata(
        url,
        timeout=cast(float, _TIMEOUT),  # httpx takes both
        token=options.token,
        library_name=LIBRARY,
        library_version=__version__,
        endpoint=options.endpoint,
    )
    if found.commit_hash is None:
        raise HubError(f"{address}: {options.site} does not answer like a Hub: check HF_ENDPOINT and proxies")
    return found.commit_hash


def _download(address: Address, required: Sequence[str], wanted: Sequence[str], options: HubOptions) -> Snapshot:
    info = options.api().model_info(
        address.repo_id, revision=address.revision, files_metadata=True, timeout=cast(float, _TIMEOUT)
    )
    listed = {file.rfilename: file for file in info.siblings or []}
    missing = [name for name in required if name not in listed]
    if missing:
        raise HubError(f"{address.repo_id}: expected {', '.join(missing)}, found {_some(sorted(listed))}")
    chosen = [listed[name] for name in (*required, *wanted) if name in listed]
    _check_size(address, sum(file.size or 0 for file in chosen))
    paths = [_whole(address, file, options) for file in chosen]
    folder = paths[0].parents[required[0].count("/")]
    return Snapshot(folder, folder.name)


def _check_size(address: Address, size: int) -> None:
    limit = _limit()
    if size > limit * 1e6:
        raise HubError(
            f"{address.repo_id}: {round(size / 1e6, 3):g} MB to download, expected at most {limit:g}; if you trust "
            f"it, set {LIMIT_VARIABLE}={size / 1e6 + 1:.0f}"
        )


def _limit() -> float:
    """Most megabytes to download at once."""
    said = os.environ.get(LIMIT_VARIABLE, str(LIMIT_MB))
    try:
        return float(said)
    except ValueError:
        raise HubError(f"{LIMIT_VARIABLE}: expected a number of megabytes, found {said!r}") from None


def _whole(address: Address, file: RepoSibling, options: HubOptions) -> Path:
    """The file in the cache, with the bytes that the Hub has; fetched twice if need be, and removed if in vain."""
    for force in (options.force_download, True):
        path = Path(
            options.api().hf_hub_download(
                address.repo_id,
                file.rfilename,
                revision=address.revision,
                cache_dir=options.cache,
                force_download=force,
            )
        )
        if _is_whole(path, file):
            return path
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    raise HubError(
        f"{address.repo_id}: {file.rfilename} came twice with other bytes than the Hub has by its hash; nothing of it "
        "was kept: try again later, or over another connection"
    )


def _is_whole(path: Path, file: RepoSibling) -> bool:
    content = path.read_bytes()
    if file.lfs is not None:
        return hashlib.sha256(content).hexdigest() == file.lfs.sha256
    return file.blob_id is None or git_sha1(content) == file.blob_id


def git_sha1(content: bytes) -> str:
    """The name that git gives to a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _remember(address: Address, commit: str, options: HubOptions) -> None:
    """Note which commit a branch or tag means, where huggingface_hub looks when there is no connection."""
    if address.is_pinned:
        return
    repository = options.cache / ("models--" + address.repo_id.replace("/", "--"))
    note = repository / "refs" / (address.revision or constants.DEFAULT_REVISION)
    with suppress(OSError):  # a read-only cache serves as well
        if not note.is_file() or note.read_text(encoding="utf-8") != commit:
            write_text(note, commit)


def _some(names: Sequence[Any]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "no file"
