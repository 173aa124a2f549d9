"""Size limit of a download from the Hub, for genes and data sets."""

import math
import os
from contextlib import suppress

from learngene_hub.core.errors import HubError

LIMIT_VARIABLE, LIMIT_MB = "LEARNGENE_MAX_DOWNLOAD_MB", 200


def check_download(repo_id: str, size: int) -> None:
    """Raise an error if `size` bytes are more than the download limit.

    Raises:
        HubError: `size` is above the limit, or the limit that the user set is not a number.
    """
    limit = _limit()
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
    return f"{round(size / 1e6, 3):.15g}"


def _limit() -> float:
    text = os.environ.get(LIMIT_VARIABLE, str(LIMIT_MB))
    with suppress(ValueError):
        if not math.isnan(limit := float(text)):
            return limit
    raise HubError(f"{LIMIT_VARIABLE}: expected a number of megabytes, found {text!r}")
