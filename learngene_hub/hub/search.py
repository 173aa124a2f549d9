"""Find repositories by their tags."""

from collections.abc import Sequence

from huggingface_hub import ModelCardData
from huggingface_hub.hf_api import ModelInfo

from learngene_hub.core.errors import HubError
from learngene_hub.hub.client import THE_LIST, HubOptions, check_reachable, explained, readable_answer
from learngene_hub.hub.fetch import time_limit, within

LIMIT = 200


def find_models(tags: Sequence[str], *, author: str | None, search: str | None, options: HubOptions) -> list[ModelInfo]:
    """Repositories with all `tags`, the most downloaded first, at most 200, each with its card's metadata.

    Raises:
        HubUnreachableError: the Hub does not answer in time.
        HubError: offline mode is on, the Hub refuses, or its answer is not valid.
    """
    if options.is_offline:
        raise HubError("the Hub cannot be searched: HF_HUB_OFFLINE forbids it")

    def ask() -> list[ModelInfo]:
        check_reachable(options)  # the client itself would try many times
        return list(
            options.api().list_models(
                filter=list(tags),
                author=author,
                search=search,
                sort="downloads",
                limit=LIMIT,
                expand=["cardData", "downloads"],
            )
        )

    with explained(None, options), readable_answer(THE_LIST, options):
        models = within(time_limit(), THE_LIST, ask)
    return [model for model in models if isinstance(model.card_data, ModelCardData | None)]
