"""Communication with the Hub: one client, its options, and a message for each of its failures.

All downloads go through `receive`, which limits size and time; all uploads go through the client.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import TypeVar
from urllib.request import getproxies

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    parse_ratelimit_headers,
)
from huggingface_hub.utils.logging import get_verbosity, set_verbosity

from learngene_hub import __version__
from learngene_hub.core.errors import HubError, HubUnreachableError, NoRepositoryError, StorageError
from learngene_hub.core.files import expanded
from learngene_hub.hub.address import Address

LIBRARY = "learngene-hub"
THE_LIST = "the list of repositories"
CONNECT_SECONDS, ANSWER_SECONDS = 1.5, 10.0  # the client itself may wait 3 seconds more, before
ASKED_SECONDS = float(constants.HF_HUB_ETAG_TIMEOUT) if os.environ.get("HF_HUB_ETAG_TIMEOUT") else 0.0
TIMEOUT = httpx2.Timeout(max(ANSWER_SECONDS, ASKED_SECONDS), connect=max(CONNECT_SECONDS, ASKED_SECONDS))
ATTEMPTS = 3
MOST_PAUSE = 30.0  # seconds between two of them; who is to wait longer is told so
_STATUS = re.compile(r"\((\d{3}) ([^)]*)\)")  # in the words of Xet's client: (403 Forbidden)
LOST = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)

_T = TypeVar("_T")


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

    def headers(self) -> dict[str, str]:
        """Headers of our own requests, without compression, since sizes are compared."""
        with readable_answer("the Hub", self):  # the client fetches a list of its own first
            headers = build_hf_headers(token=self.token, library_name=LIBRARY, library_version=__version__)
        return {**headers, "Accept-Encoding": "identity", constants.X_HF_DOWNLOAD_COUNTER: "1"}


def check_reachable(options: HubOptions) -> None:
    """Ask the Hub once and briefly, without a further attempt."""
    get_session().head(options.site, timeout=TIMEOUT)


def receive(url: str, options: HubOptions, *, most: int, until: float) -> bytes:
    """The body of the answer to a GET request, or the first `most` + 1 bytes of one that is longer.

    Redirections are followed; only the first host gets the token. `until` is the deadline, by `time.monotonic`.

    Raises:
        TimeoutError: the answer was not complete at the deadline.
        HfHubHTTPError, httpx2.HTTPError: the last of `ATTEMPTS` failed.
    """

    def attempt() -> bytes:
        with get_session().stream("GET", url, headers=options.headers(), timeout=TIMEOUT) as answer:
            if answer.is_error:
                answer.close()  # its headers say enough, and its body may have no end
            hf_raise_for_status(answer)
            content = bytearray()
            for piece in answer.iter_raw():
                content += piece
                if len(content) > most:
                    break
                if time.monotonic() > until:
                    raise TimeoutError
            return bytes(content[: most + 1])

    return again(attempt)


def again(attempt: Callable[[], _T], *, attempts: int = ATTEMPTS) -> _T:
    """The result of `attempt`, called up to `attempts` times while its failure may pass."""
    for number in range(1, attempts):
        try:
            return attempt()
        except httpx2.HTTPError as error:
            if not _may_pass(error):
                raise
            time.sleep(_pause(error, number))
    return attempt()


def _may_pass(error: httpx2.HTTPError) -> bool:
    """Whether the same request may succeed soon: the server is busy, the connection was lost, or a body stopped."""
    if isinstance(error, HfHubHTTPError):
        return _has_trouble(error.response.status_code) and _asked_pause(error) <= MOST_PAUSE
    return isinstance(error, LOST) or (isinstance(error, httpx2.ReadTimeout) and error.request.method != "HEAD")


def _has_trouble(status: int) -> bool:
    return status == 429 or status >= 500


def _pause(error: httpx2.HTTPError, number: int) -> float:
    """Seconds until the next attempt: those the server asks for, or 1, then 2."""
    return _asked_pause(error) or 2.0 ** (number - 1)


def _asked_pause(error: httpx2.HTTPError) -> float:
    """Seconds that the server asks to wait; 0 where it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    said, rate = error.response.headers.get("Retry-After", ""), parse_ratelimit_headers(error.response.headers)
    if rate is not None and rate.remaining == 0:
        return float(rate.reset_in_seconds)
    return float(said) if said.isdecimal() and said.isascii() else 0.0


@contextmanager
def readable_answer(label: object, options: HubOptions) -> Iterator[None]:
    """Turn answers that the client cannot read into an error, since the client does not check types.

    Only calls of the client belong in the block: a fault in our own code would get the same message.

    Raises:
        HubError: the client cannot read the answer.
    """
    try:
        yield
    except (HfHubHTTPError, UnicodeEncodeError):  # an answer in order; a token that cannot be sent
        raise
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        raise HubError(not_a_hub(label, options)) from error


@contextmanager
def explained(address: Address | None, options: HubOptions) -> Iterator[None]:
    """Turn every failure of the client, for `address` or a search, into one message that says what to do.

    Meanwhile the client does not log its attempts, unless the user has set how much it logs.

    Raises:
        HubUnreachableError: the Hub does not answer, or its answer says to try again later.
        HubError: any other failure.
    """
    level = get_verbosity()
    set_verbosity(logging.ERROR if level == logging.WARNING else level)
    try:
        yield
    except (OSError, RuntimeError, ValueError, ImportError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _meaning(error, address, options) from None
    finally:
        set_verbosity(level)


def _meaning(error: Exception, address: Address | None, options: HubOptions) -> HubError:
    label, site = address or THE_LIST, options.shown_site
    match error:
        case OfflineModeIsEnabled():
            return HubError(f"{label}: cannot be fetched: {_first_line(error)}")
        case HfHubHTTPError():
            return _answered(error, address, options)
        case httpx2.LocalProtocolError() | UnicodeEncodeError():  # its message would show the token
            return HubError(f"{label}: the token contains invalid characters: run `hf auth login`, or correct HF_TOKEN")
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return HubError(f"{label}: expected a Hub at https://..., found {site!r}: correct HF_ENDPOINT")
        case httpx2.TooManyRedirects():
            return HubUnreachableError(not_a_hub(label, options))
        case LocalEntryNotFoundError() | httpx2.HTTPError():  # the first is what the client says after vain attempts
            return HubUnreachableError(f"{label}: no answer from {site} ({_first_line(error)}): {_advice(str(error))}")
        case RuntimeError() | ConnectionError():
            return _untransferred(error, address, options)
        case json.JSONDecodeError() | UnicodeDecodeError():
            return HubError(not_a_hub(label, options))
        case StorageError():
            (why, mark, _), space = str(error).partition("): "), "free some space, or " * (error.errno == ENOSPC)
            return HubError(f"{label}: {why}{mark or ': '}{space}set HF_HUB_CACHE to a folder that you can write")
        case _:  # of a disk, of a proxy's address, or of its library, such as socksio
            return HubError(f"{label}: {_first_line(error)}")


def _advice(why: str) -> str:
    """What to do where the Hub gives no answer."""
    proxy = " and the proxy (HTTPS_PROXY)" if getproxies().keys() - {"no"} else ""
    certificates = " or the certificates (SSL_CERT_FILE)" if "SSL" in why else ""
    more = ", or set HF_HUB_ETAG_TIMEOUT to more whole seconds, such as 30" if "timed out" in why else ""
    return f"check the connection{proxy}{certificates}{more}"


def _answered(error: HfHubHTTPError, address: Address | None, options: HubOptions) -> HubError:
    site = options.shown_site
    match error:
        case GatedRepoError() if address:
            return HubError(f"{address}: gated: ask for access on {site}/{address.repo_id}, then `hf auth login`")
        case RepositoryNotFoundError() if address:
            return NoRepositoryError(
                f"{address}: no such repository on {site}, or a private one that your token may not see: check the "
                f"name, or `hf auth login`"
            )
        case RevisionNotFoundError() if address:
            page = f"{site}/{address.repo_id}/commits/main"
            return HubError(f"{address}: found no such branch, tag or commit; see {page}")
        case RemoteEntryNotFoundError() if address:
            file = str(error.response.url).rsplit("/", 1)[-1]
            return HubError(f"{address}: expected the file {file}, found none: not a gene, or not on this branch")
        case _:
            return _by_answer(error, address, options)


def not_a_hub(label: object, options: HubOptions) -> str:
    """The message if the answer is not that of a Hub, such as a page of a proxy."""
    return f"{label}: {options.shown_site} does not answer like a Hub: check HF_ENDPOINT and proxies"


def _untransferred(error: Exception, address: Address | None, options: HubOptions) -> HubError:
    """What the client says of a file that it could not send, by plain HTTP or by Xet."""
    label = address or THE_LIST
    if isinstance(error.__cause__, HfHubHTTPError):
        return _by_answer(error.__cause__, address, options)
    if isinstance(error.__cause__, TypeError | AttributeError | LookupError | ValueError):
        return HubError(not_a_hub(label, options))
    why = _first_line(error.__cause__ or error)
    if status := _STATUS.search(why):
        return _by_status(int(status[1]), f"{status[2]}, of the storage", address, options)
    return HubUnreachableError(f"{label}: the transfer failed ({why}): try again later")


def _by_answer(error: HfHubHTTPError, address: Address | None, options: HubOptions) -> HubError:
    said = "; ".join((error.server_message or error.response.reason_phrase).split("\n"))
    return _by_status(error.response.status_code, said, address, options, pause=_asked_pause(error))


def _by_status(status: int, said: str, address: Address | None, options: HubOptions, *, pause: float = 0.0) -> HubError:
    label, site = address or THE_LIST, options.shown_site
    later = f"try again in {pause:g} seconds" if pause else "try again later"
    match status:
        case status if status < 400:  # a redirection without a place
            return HubUnreachableError(not_a_hub(label, options))
        case 401 if options.token is False or (options.token is None and get_token() is None):
            return HubError(f"{label}: {site} requires a login: run `hf auth login`, or set HF_TOKEN")
        case 401:
            return HubError(
                f"{label}: {site} does not accept the token ({said}): run `hf auth login`, or correct HF_TOKEN"
            )
        case 403:
            owner = f" to {address.repo_id.split('/')[0]}" if address else ""
            return HubError(
                f"{label}: no permission ({said}): use a token with read access, or to push one with write access"
                f"{owner}, see {site}/settings/tokens; a proxy may also refuse"
            )
        case 407:
            return HubUnreachableError(f"{label}: the proxy wants a login ({said}): correct HTTPS_PROXY")
        case 412:  # the branch is no longer where the push began
            return HubError(f"{label}: changed on the Hub during the push; run the same command again")
        case 429:
            return HubUnreachableError(f"{label}: {site} refuses more requests for now (429): {later}")
        case status if _has_trouble(status):
            return HubUnreachableError(f"{label}: {site} has a server error ({status}: {said}): {later}")
        case status:
            return HubError(f"{label}: {site} refused ({status}): {said}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
