"""Files of one commit of a repository, in the cache of huggingface_hub.

A revision is resolved to a commit once, all files come from that commit, and each is compared with the hash that the
Hub has for it, since the client compares sizes only.
"""

import hashlib
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from huggingface_hub import _CACHED_NO_EXIST, constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from learngene_hub import __version__
from learngene_hub.downloads import check_download
from learngene_hub.errors import HubError, HubUnreachableError
from learngene_hub.files import write_text
from learngene_hub.hub.address import COMMIT, Address
from learngene_hub.hub.client import LIBRARY, TIMEOUT, HubOptions, explained, not_a_hub

_HASH = re.compile(r"[0-9a-f]+")


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
    is_all: bool = True,
    options: HubOptions,
) -> Snapshot:
    """The files `required`, and those of `wanted` that there are, at one commit.

    What the cache holds is not fetched again: a whole commit costs no request, a branch or tag one without a body.
    If the Hub does not answer, what the cache holds for the branch or tag is used, with a warning.

    Args:
        address: of the repository.
        required: paths in it; the first tells which commit is meant, so all revisions should have it.
        wanted: more paths.
        is_all: whether that is all somebody without a connection will need; if not, and the cache knows an older commit
            of the branch or tag, it is still that one without a connection.
        options: how the Hub is reached.

    Raises:
        HubUnreachableError: the Hub does not answer, and the cache does not hold the files.
        HubError: there is no such repository, revision or file; access is denied; the files are too large, or do not
            come whole; they cannot be kept.
    """
    if options.is_offline:
        return _offline(address, required, options)
    at_hand = None if options.force_download else _cached(address, required, (), options)
    try:
        with explained(address, options):
            pinned = replace(address, revision=_commit_of(address, required[0], options))
            found = None if options.force_download else _cached(pinned, required, wanted, options)
            found = found or _download(pinned, required, wanted, options)
    except HubUnreachableError as error:
        if at_hand is None:
            raise
        warnings.warn(f"{error}. Using commit {at_hand.commit[:12]} from the cache", stacklevel=2)
        return at_hand
    if is_all or _noted(options, address, "refs", _branch(address)) is None:
        _remember(address, found.commit, options)
    return found


def _cached(address: Address, required: Sequence[str], wanted: Sequence[str], options: HubOptions) -> Snapshot | None:
    """The snapshot in the cache with all files `required`, and those `wanted` that the commit is known to have."""

    def place(name: str) -> object:
        with suppress(OSError, UnicodeDecodeError):
            return try_to_load_from_cache(address.repo_id, name, cache_dir=options.cache, revision=_branch(address))
        return None

    paths = [place(name) for name in required]
    more = [one for name in wanted if (one := place(name)) is not _CACHED_NO_EXIST]
    if not all(isinstance(path, str) and _is_intact(Path(path)) for path in (*paths, *more)):
        return None
    folder = Path(cast(str, paths[0])).parents[required[0].count("/")]
    return Snapshot(folder, folder.name)


def _is_intact(path: Path) -> bool:
    """Whether a file of the cache has the bytes it came with: where there are links, it is named after their hash."""
    try:
        content, name = path.read_bytes(), path.resolve().name
    except OSError:  # of another user, perhaps
        return False
    match len(name) if _HASH.fullmatch(name) else 0:
        case 40:
            return git_sha1(content) == name
        case 64:
            return hashlib.sha256(content).hexdigest() == name
        case _:
            return True


def _offline(address: Address, required: Sequence[str], options: HubOptions) -> Snapshot:
    """What the cache holds, when the Hub must not be asked."""
    why = "local_files_only" if options.local_files_only else "HF_HUB_OFFLINE"
    if options.force_download:
        raise HubError(f"{address}: force_download and {why} exclude each other; leave out one of them")
    found = _cached(address, required, (), options)
    return found or _refuse_offline(address, why, options)


def _refuse_offline(address: Address, why: str, options: HubOptions) -> Snapshot:
    raise HubError(
        f"{address}: not in the cache {options.cache}, or damaged there, and {why} forbids to fetch it: load it once "
        "with a connection and without that, or give the path of a folder"
    )


def _commit_of(address: Address, file: str, options: HubOptions) -> str:
    """The commit that is meant, by one HEAD request; none if it is said in full."""
    if address.is_pinned:
        return cast(str, address.revision)
    url = hf_hub_url(address.repo_id, file, revision=address.revision, endpoint=options.endpoint)
    found = get_hf_file_metadata(
        url,
        timeout=cast(float, TIMEOUT),  # httpx takes both
        token=options.token,
        library_name=LIBRARY,
        library_version=__version__,
        endpoint=options.endpoint,
    )
    if found.commit_hash is None or not COMMIT.fullmatch(found.commit_hash):
        raise HubError(not_a_hub(address, options))
    return found.commit_hash


def _download(address: Address, required: Sequence[str], wanted: Sequence[str], options: HubOptions) -> Snapshot:
    listed = listing(address, options)[1]
    missing = [name for name in required if name not in listed]
    if missing:
        raise HubError(f"{address.repo_id}: expected {', '.join(missing)}, found {_some(sorted(listed))}")
    chosen = [listed[name] for name in (*required, *wanted) if name in listed]
    check_download(address.repo_id, sum(_size(address, file) for file in chosen))
    paths = [_whole(address, file, options) for file in chosen]
    for name in wanted:
        if name not in listed:
            _note(options, address, ".no_exist", f"{address.revision}/{name}", "")
    folder = paths[0].parents[required[0].count("/")]
    return Snapshot(folder, folder.name)


def listing(address: Address, options: HubOptions) -> tuple[ModelInfo, dict[str, RepoSibling]]:
    """What the Hub says of a repository at a revision, and its files by name, with sizes and hashes."""
    info = options.api().model_info(
        address.repo_id, revision=address.revision, files_metadata=True, timeout=cast(float, TIMEOUT)
    )
    return info, {file.rfilename: file for file in info.siblings or []}


def _size(address: Address, file: RepoSibling) -> int:
    if file.size is None:
        raise HubError(f"{address.repo_id}: the Hub does not say how large {file.rfilename} is")
    return file.size


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
    return git_sha1(content) == file.blob_id


def git_sha1(content: bytes) -> str:
    """The name that git gives to a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _remember(address: Address, commit: str, options: HubOptions) -> None:
    """Note which commit a branch or tag means, where huggingface_hub looks when there is no connection."""
    if not address.is_pinned:
        _note(options, address, "refs", _branch(address), commit)


def _branch(address: Address) -> str:
    return address.revision or constants.DEFAULT_REVISION


def _note(options: HubOptions, address: Address, kind: str, name: str, text: str) -> None:
    """Leave a note in the cache, in the form of huggingface_hub; a cache that cannot be written serves as well."""
    if _noted(options, address, kind, name) != text:
        with suppress(OSError):
            write_text(_note_path(options, address, kind, name), text)


def _noted(options: HubOptions, address: Address, kind: str, name: str) -> str | None:
    try:
        return _note_path(options, address, kind, name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _note_path(options: HubOptions, address: Address, kind: str, name: str) -> Path:
    return options.cache / ("models--" + address.repo_id.replace("/", "--")) / kind / name


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more or "no file"
