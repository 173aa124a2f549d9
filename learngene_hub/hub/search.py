"""Repositories found by their tags."""

from collections.abc import Sequence

from huggingface_hub import ModelCardData
from huggingface_hub.hf_api import ModelInfo

from learngene_hub.core.errors import HubError
from learngene_hub.hub.client import HubOptions, asked, check_reachable, explained, not_a_hub

LIMIT = 200


def find_models(tags: Sequence[str], *, author: str | None, search: str | None, options: HubOptions) -> list[ModelInfo]:
    """Repositories with all `tags`, the most downloaded first, at most 200, each with its card's metadata.

    Raises:
        HubUnreachableError: the Hub does not answer.
        HubError: offline, or the Hub refuses.
    """
    if options.is_offline:
        raise HubError("the Hub cannot be searched: HF_HUB_OFFLINE forbids it")
    with explained(None, options):
        check_reachable(options)
        with asked("the list of repositories", options):
            found = list(
                options.api().list_models(
                    filter=list(tags),
                    author=author,
                    search=search,
                    sort="downloads",
                    limit=LIMIT,
                    expand=["cardData", "downloads", "tags"],
                )
            )
    if not all(isinstance(one.id, str) and isinstance(one.downloads, int | None) for one in found):
        raise HubError(not_a_hub("the list of repositories", options))
    return [one for one in found if isinstance(one.card_data, ModelCardData | None)]
