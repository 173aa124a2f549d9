"""How much may be fetched from the Hub at once: genes and data sets alike."""

import math
import os

from learngene_hub.core.errors import HubError

LIMIT_VARIABLE, LIMIT_MB = "LEARNGENE_MAX_DOWNLOAD_MB", 200


def check_download(repo_id: str, size: int) -> None:
    """Do nothing, unless `size` bytes are more than may be fetched at once.

    Raises:
        HubError: they are more, or the limit that the user set is no number.
    """
    limit = limit_of(LIMIT_VARIABLE, LIMIT_MB, "megabytes")
    if size > limit * 1e6:
        raise HubError(
            f"{repo_id}: {megabytes(size)} MB to download, expected at most {limit:g}; if you trust it, set "
            f"{LIMIT_VARIABLE}={size / 1e6 + 1:.0f}"
        )


def megabytes(size: int) -> str:
    """`size` bytes in megabytes, in words for a person.

    >>> megabytes(142_600_000)
    '142.6'
    """
    return f"{round(size / 1e6, 3):g}"


def limit_of(variable: str, usual: float, unit: str) -> float:
    """What an environment variable says, a number of `unit`; `usual` where it is not set.

    Raises:
        HubError: it says no number.
    """
    text = os.environ.get(variable, str(usual))
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if math.isnan(limit):
        raise HubError(f"{variable}: expected a number of {unit}, found {text!r}")
    return limit
