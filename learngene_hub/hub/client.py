"""How this package talks to the Hub: one client, its options, and what each of its failures means to a user."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from learngene_hub import __version__
from learngene_hub.errors import HubError, HubUnreachableError
from learngene_hub.hub.address import Address

LIBRARY = "learngene-hub"
CONNECT_SECONDS, ANSWER_SECONDS = 1.5, 10.0  # the client itself may wait 3 seconds more, before
STALE_PARENT = 412


@dataclass(frozen=True)
class HubOptions:
    """How a repository is reached.

    Attributes:
        cache_dir: where downloads are kept; None: the cache of huggingface_hub (`HF_HUB_CACHE`).
        token: of a user of the Hub; None: the one of `hf auth login` or `HF_TOKEN`; False: none.
        local_files_only: never ask the Hub.
        force_download: fetch again what is in the cache.
        endpoint: URL of the Hub; None: `HF_ENDPOINT`, or https://huggingface.co.
    """

    cache_dir: str | Path | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    force_download: bool = False
    endpoint: str | None = None

    @property
    def is_offline(self) -> bool:
        """Whether the Hub must not be asked."""
        return self.local_files_only or constants.is_offline_mode()

    @property
    def cache(self) -> Path:
        """Folder of the cache."""
        return Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser()

    @property
    def site(self) -> str:
        """URL of the Hub."""
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    def api(self) -> HfApi:
        """The client."""
        return HfApi(endpoint=self.endpoint, token=self.token, library_name=LIBRARY, library_version=__version__)


@contextmanager
def explained(address: Address, options: HubOptions, *, known: Sequence[str] = ()) -> Iterator[None]:
    """Turn every failure of the client into one message that says what to do.

    Args:
        address: what the client is asked for.
        options: how.
        known: names that are like it, to be offered where there is no such repository.

    Raises:
        HubUnreachableError: there was no answer, or one that says to try again later.
        HubError: any other failure.
    """
    try:
        yield
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise HubError(f"{address}: cannot be fetched: {_first_line(error)}") from None
    except (HfHubHTTPError, FileMetadataError, LocalTokenNotFoundError) as error:
        raise _answered(error, address, options, known) from None
    except httpx2.HTTPError as error:
        raise HubUnreachableError(
            f"{address}: no answer from {options.site} ({_first_line(error)}): check the connection, or work from the "
            "cache with HF_HUB_OFFLINE=1"
        ) from None
    except OSError as error:
        raise _not_kept(error, address, options) from None


def _answered(error: OSError, address: Address, options: HubOptions, known: Sequence[str]) -> HubError:
    site = options.site
    match error:
        case GatedRepoError():
            return HubError(f"{address}: gated: ask for access on {site}/{address.repo_id}, then `hf auth login`")
        case RepositoryNotFoundError():
            near = f"; did you mean {' or '.join(known)}?" if known else ""
            return HubError(
                f"{address}: no such repository on {site}, or a private one that your token may not see: check the "
                f"name, or `hf auth login`{near}"
            )
        case RevisionNotFoundError():
            return HubError(
                f"{address}: expected a branch, tag or commit of {address.repo_id}, found no {address.revision!r}; "
                f"see {site}/{address.repo_id}/commits/main"
            )
        case RemoteEntryNotFoundError():
            return HubError(f"{address}: a file is missing: {_first_line(error)}")
        case HfHubHTTPError():
            return _by_status(error, address, site)
        case _:
            return HubError(f"{address}: {_first_line(error)}")


def _by_status(error: HfHubHTTPError, address: Address, site: str) -> HubError:
    said = "; ".join((error.server_message or error.response.reason_phrase).split("\n"))
    match error.response.status_code:
        case 401:
            return HubError(f"{address}: {site} does not accept the token ({said}): `hf auth login`, or mend HF_TOKEN")
        case 403:
            return HubError(
                f"{address}: the token may not do this ({said}): use one that may write to "
                f"{address.repo_id.split('/')[0]}, see {site}/settings/tokens"
            )
        case status if status == STALE_PARENT:
            return HubError(f"{address}: changed on the Hub meanwhile; run the same command again")
        case status if status == 429 or status >= 500:
            return HubUnreachableError(f"{address}: {site} is in trouble ({status}: {said}): try again later")
        case status:
            return HubError(f"{address}: {site} refused ({status}): {said}")


def _not_kept(error: OSError, address: Address, options: HubOptions) -> HubError:
    """Why a file that came could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return HubError(
            f"{address}: no space left for the cache {options.cache}: free some, or set cache_dir or HF_HUB_CACHE; "
            "nothing half-written was kept"
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
        return HubError(
            f"{address}: the cache {options.cache} cannot be written ({error.strerror}): set cache_dir or HF_HUB_CACHE"
        )
    return HubError(f"{address}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
