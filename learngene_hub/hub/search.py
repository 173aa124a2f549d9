"""Repositories found by their tags."""

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from huggingface_hub import ModelCardData
from huggingface_hub.hf_api import ModelInfo
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from learngene_hub.core.errors import HubError
from learngene_hub.hub.client import HubOptions, asked, explained, not_a_hub, receive
from learngene_hub.hub.fetch import time_limit, within

LIMIT = 200
MOST_FOUND = 50 * 10**6  # bytes of their list, with all cards' metadata
LABEL = "the list of repositories"


class _Listed(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    id: str
    downloads: int | None = None
    card: Any = Field(None, alias="cardData")


def find_models(tags: Sequence[str], *, author: str | None, search: str | None, options: HubOptions) -> list[ModelInfo]:
    """Repositories with all `tags`, the most downloaded first, at most 200, each with its card's metadata.

    Raises:
        HubUnreachableError: the Hub does not answer, or not in time.
        HubError: offline, or the Hub refuses, or its answer is none of a Hub's, or longer than `MOST_FOUND`.
    """
    if options.is_offline:
        raise HubError("the Hub cannot be searched: HF_HUB_OFFLINE forbids it")
    query = {"filter": list(tags), "author": author, "search": search, "sort": "downloads", "limit": LIMIT}
    query |= {"expand": ["cardData", "downloads"]}
    url = f"{options.site}/api/models?{urlencode({key: value for key, value in query.items() if value}, doseq=True)}"
    seconds = time_limit()
    until = time.monotonic() + seconds
    with explained(None, options):
        content = within(seconds, LABEL, lambda: receive(url, options, most=MOST_FOUND, until=until))
    try:
        listed = TypeAdapter(list[_Listed]).validate_json(content)
    except ValidationError:
        raise HubError(not_a_hub(LABEL, options)) from None
    with asked(LABEL, options):
        models = [
            ModelInfo(id=model.id, downloads=model.downloads, cardData=model.card)  # type: ignore[no-untyped-call]
            for model in listed
        ]
    return [model for model in models if isinstance(model.card_data, ModelCardData | None)]
