"""Communication with the Hub: one client, its options, and a message for each of its failures."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import Any, Literal
from urllib.request import getproxies

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]
from huggingface_hub.utils.logging import get_verbosity, set_verbosity

from learngene_hub import __version__
from learngene_hub.core.errors import HubError, HubUnreachableError, LearngeneError, NoRepositoryError
from learngene_hub.core.files import expanded
from learngene_hub.hub.address import Address

LIBRARY = "learngene-hub"
_THE_LIST = "the list of repositories"
CONNECT_SECONDS, ANSWER_SECONDS = 1.5, 10.0  # huggingface_hub may spend 3 more on a request of its own first
ASKED_SECONDS = float(constants.HF_HUB_ETAG_TIMEOUT) if os.environ.get("HF_HUB_ETAG_TIMEOUT") else 0.0
TIMEOUT: Any = httpx2.Timeout(max(ANSWER_SECONDS, ASKED_SECONDS), connect=max(CONNECT_SECONDS, ASKED_SECONDS))
"""huggingface_hub annotates `timeout` as float, but passes any httpx2 timeout on."""
Kind = Literal["model", "dataset"]
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, RevisionResolutionError, OSError, RuntimeError)
_UNREADABLE = (ImportError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class HubOptions:
    """How a repository is reached.

    Attributes:
        cache_dir: where downloads are kept; None: the cache of huggingface_hub (`HF_HUB_CACHE`).
        token: token of a Hub user; None: that of `hf auth login` or `HF_TOKEN`; False: no token.
        local_files_only: never contact the Hub.
        force_download: fetch again what is in the cache.
        endpoint: URL of the Hub; None: `HF_ENDPOINT`, or https://huggingface.co.
    """

    cache_dir: str | Path | None = None
    token: str | bool | None = field(default=None, repr=False)
    local_files_only: bool = False
    force_download: bool = False
    endpoint: str | None = None

    def __post_init__(self) -> None:
        """An empty token, as of an empty variable, is none."""
        object.__setattr__(self, "token", None if self.token == "" else self.token)

    @property
    def is_offline(self) -> bool:
        """Whether contacting the Hub is switched off."""
        return self.local_files_only or constants.is_offline_mode()

    @property
    def offline_by(self) -> str:
        """What switched it off."""
        return "local_files_only" if self.local_files_only else "HF_HUB_OFFLINE"

    @property
    def cache(self) -> Path:
        """Folder of the cache."""
        return expanded(self.cache_dir or constants.HF_HUB_CACHE)

    @property
    def site(self) -> str:
        """URL of the Hub."""
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def shown_site(self) -> str:
        """The same without a user's name and password, for messages."""
        return re.sub(r"^([^/]*//)?[^/]*@", r"\1", self.site)

    def api(self) -> HfApi:
        """The client."""
        return HfApi(endpoint=self.site, token=self.token, library_name=LIBRARY, library_version=__version__)


def check_reachable(options: HubOptions) -> None:
    """Ask the Hub once and briefly, without a further attempt."""
    get_session().head(options.site, timeout=TIMEOUT)


@contextmanager
def explained(address: Address | None, options: HubOptions, *, kind: Kind = "model") -> Iterator[None]:
    """Turn every failure of the client, for `address` or a search, into one message that says what to do.

    The client does not check types: an answer that it cannot read is reported as not from a Hub. Meanwhile it does
    not log its attempts, unless the user has set how much it logs.

    Raises:
        HubUnreachableError: the Hub does not answer, or its answer says to try again later.
        HubError: any other failure.
    """
    level = get_verbosity()
    set_verbosity(logging.ERROR if level == logging.WARNING else level)
    try:
        yield
    except LearngeneError:
        raise
    except (*_FAILURES, *_UNREADABLE) as error:
        raise _meaning(_cause(error), address, options, kind) from None
    finally:
        set_verbosity(level)


def _cause(error: BaseException) -> BaseException:
    """What went wrong behind the client's own words, such as that it has no file, or could not send one."""
    is_said = isinstance(error, RuntimeError | DryRunError | LocalEntryNotFoundError | RevisionResolutionError)
    return _cause(error.__cause__) if is_said and error.__cause__ else error


def _meaning(error: BaseException, address: Address | None, options: HubOptions, kind: Kind) -> HubError:
    label, site = address or _THE_LIST, options.shown_site
    said = (
        next(iter(filter(str.strip, str(error).splitlines())), type(error).__name__).strip().replace(options.site, site)
    )
    match error:
        case RevisionResolutionError() | LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return HubError(
                f"{label}: not in the cache {options.cache}, and {options.offline_by} is set, so it is not fetched: "
                f"load it once without {options.offline_by}, or give a folder"
            )
        case HfHubHTTPError():
            return _answered(error, address, options, kind)
        case httpx2.LocalProtocolError() | UnicodeEncodeError():  # its message would show the token
            return HubError(f"{label}: the token contains invalid characters: run `hf auth login`, or correct HF_TOKEN")
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return HubError(f"{label}: expected a Hub at https://..., found {site!r}: correct HF_ENDPOINT")
        case httpx2.TransportError():
            return HubUnreachableError(f"{label}: no answer from {site} ({said}): {_advice(str(error))}")
        case OSError() if error.errno and not isinstance(error, ConnectionError):
            space = "free some space, or " * (error.errno == ENOSPC)
            where = f"{error.filename or options.cache}: cannot be written ({error.strerror})"
            return HubError(f"{label}: {where}: {space}set HF_HUB_CACHE to a folder that you can write")
        case httpx2.HTTPError() | RuntimeError() | ConnectionError() | PermissionError():  # the last three of Xet
            if status := re.search(r"\((401|403) ", said):
                return _refused(int(status[1]), said, address, options)
            return HubUnreachableError(f"{label}: {said}; try again later")
        case _:
            return HubError(f"{label}: {site} does not answer like a Hub: check HF_ENDPOINT and proxies ({said})")


def _advice(why: str) -> str:
    """What to do where the Hub gives no answer."""
    proxy = " and the proxy (HTTPS_PROXY)" if getproxies().keys() - {"no"} else ""
    certificates = " or the certificates (SSL_CERT_FILE)" if "SSL" in why else ""
    more = ", or set HF_HUB_ETAG_TIMEOUT to more whole seconds, such as 30" if "timed out" in why else ""
    return f"check the connection{proxy}{certificates}{more}"


def _answered(error: HfHubHTTPError, address: Address | None, options: HubOptions, kind: Kind) -> HubError:
    label, site, status = address or _THE_LIST, options.shown_site, error.response.status_code
    page = f"{site}/{'datasets/' * (kind == 'dataset')}{address.repo_id if address else ''}"
    said = "; ".join((error.server_message or error.response.reason_phrase).split("\n"))
    match error:
        case GatedRepoError() if address:
            return HubError(f"{address}: gated: ask for access on {page}, then `hf auth login`")
        case RepositoryNotFoundError() if address:
            return NoRepositoryError(
                f"{address}: no such repository on {site}, or a private one that your token may not see: check the "
                f"name, or `hf auth login`"
            )
        case RevisionNotFoundError() if address:
            return HubError(f"{address}: found no such branch, tag or commit; see {page}/commits/main")
        case _ if status in (401, 403):
            return _refused(status, said, address, options)
        case _ if status == 429 or status >= 500:
            return HubUnreachableError(f"{label}: {site} answers {status}: {said}; try again later")
        case _:
            return HubError(f"{label}: {site} answers {status}: {said}")


def _refused(status: int, said: str, address: Address | None, options: HubOptions) -> HubError:
    """The message on a token that is missing or wrong (401) or may not do this (403)."""
    label, site = address or _THE_LIST, options.shown_site
    if status == 403:
        owner = f" to {address.repo_id.split('/')[0]}" if address else ""
        return HubError(
            f"{label}: no permission ({said}): the token needs read access{owner}, and write access for a push; see "
            f"{site}/settings/tokens. A proxy may also refuse"
        )
    if options.token is False or (options.token is None and get_token() is None):
        return HubError(f"{label}: {site} requires a login: run `hf auth login`, or set HF_TOKEN")
    return HubError(f"{label}: {site} does not accept the token ({said}): run `hf auth login`, or correct HF_TOKEN")
