"""Fetch files of one commit of a repository into the cache of huggingface_hub, which fetches and keeps them."""

import glob
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import ResolvedRevision
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from learngene_hub.core.downloads import check_download
from learngene_hub.core.errors import HubError, HubUnreachableError, LearngeneWarning
from learngene_hub.hub.address import COMMIT, Address
from learngene_hub.hub.client import TIMEOUT, HubOptions, Kind, explained


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit.

    Attributes:
        folder: where they lie, perhaps as links, perhaps beside other files of the commit.
        commit: hash of the commit.
    """

    folder: Path
    commit: str


def fetch(address: Address, names: Iterable[str], *, options: HubOptions) -> Snapshot:
    """The files `names`, as far as they exist, at one commit; those in the cache are not fetched again.

    If the Hub does not answer, the cached commit of the branch or tag is used, with a warning.

    Raises:
        HubUnreachableError: the Hub does not answer, and the files are not in the cache.
        HubError: there is no such repository or revision; access is denied; the files are too large; they cannot be
            stored; the Hub must not be asked, and the files are not in the cache.
    """
    if options.is_offline and options.force_download:
        raise HubError(f"{address}: force_download needs the Hub, which local_files_only or HF_HUB_OFFLINE forbids")
    try:
        return _snapshot(address, names, options)
    except HubUnreachableError as error:
        if options.force_download:
            raise
        with suppress(HubError):
            kept = _snapshot(address, names, replace(options, local_files_only=True))
            warning = f"{error}. Using commit {kept.commit[:12]} from the cache"
            warnings.warn(warning, LearngeneWarning, stacklevel=2)
            return kept
        raise


def resolved(address: Address, options: HubOptions, *, kind: Kind = "model") -> ResolvedRevision:
    """The commit that `address` means, which is noted in the cache for times without a connection.

    Raises:
        HubError: as for `fetch`; HubUnreachableError too if the cache knows a commit.
    """
    api = options.api()
    # Otherwise it would wait for ever, and take the commit of the cache without a word.
    asked = explained(address, options, kind=kind)(partial(api.repo_info, timeout=TIMEOUT))
    api.repo_info = asked  # type: ignore[method-assign]
    with explained(address, options, kind=kind):
        found = api.resolve_revision(
            address.repo_id,
            repo_type=kind,
            revision=address.revision,
            cache_dir=options.cache,
            local_files_only=options.is_offline,
        )
        if COMMIT.fullmatch(found.resolved):  # a folder will have this name
            return found
        if not options.is_offline:
            raise ValueError(f"no commit: {found.resolved!r:.60}")
        raise HubError(
            f"{address}: expected a commit under refs/{address.revision or 'main'} in the cache {options.cache}, found "
            f"{found.resolved!r:.60}: load it once without {options.offline_by}, or give a folder"
        )


def _snapshot(address: Address, names: Iterable[str], options: HubOptions) -> Snapshot:
    revision = resolved(address, options)
    ask: Callable[..., Any] = partial(
        options.api().snapshot_download,
        address.repo_id,
        revision=revision,
        allow_patterns=[glob.escape(name) for name in names],
        cache_dir=options.cache,
        local_files_only=options.is_offline,
        force_download=options.force_download,
        tqdm_class=Silent,
    )
    with explained(address, options):
        if not options.is_offline:
            missing = [file.file_size or 0 for file in ask(dry_run=True) if file.will_download]
            check_download(address.repo_id, sum(missing))
        return Snapshot(Path(ask()), revision.resolved)


class Silent(tqdm):
    """A bar of huggingface_hub that is not shown."""

    def __init__(self, *args: object, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **more | {"disable": True})  # type: ignore[no-untyped-call]
