"""Lists of genes: those of the package and those on the Hub, one line each."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CardData, EvalResult, ModelCardData
from huggingface_hub.hf_api import ModelInfo

from learngene_hub.core.errors import HubError
from learngene_hub.core.files import read_file
from learngene_hub.core.plain_text import one_line
from learngene_hub.data.splits import title_of
from learngene_hub.gene.card import FACTS, GAIN_METRIC, LIBRARY_NAME, MOST_CARD, card_data
from learngene_hub.gene.folder import CARD_NAME
from learngene_hub.gene.names import PREFIX, shipped_folder, shipped_genes
from learngene_hub.hub.client import HubOptions, check_reachable, explained

BYTES_A_PARAMETER = {"float32": 4, "float16": 2}
INTERVAL = re.compile(r"± (\d{1,3}\.\d)$")
MOST_LISTED = 200
MOST = 10**12  # parameters; a card that claims more is not believed
Gain = tuple[float | None, float | None]
"""A gain over scratch, in points of accuracy, and half the width of its 95 % confidence interval; None: not stated."""


@dataclass(frozen=True)
class GeneSummary:
    """One gene of a list.

    Attributes:
        name: name to pass to `from_learngene`.
        network: network that it fits into.
        data: data set that it was evolved on, as users call it.
        megabytes: size of its weights.
        gain: gain over scratch on novel classes, in percentage points of accuracy, as its card states.
        gain_ci95: half the width of the gain's 95 % confidence interval, in points.
        downloads: downloads in the last 30 days; None: the gene is part of the package.
    """

    name: str
    network: str | None = None
    data: str | None = None
    megabytes: float | None = None
    gain: float | None = None
    gain_ci95: float | None = None
    downloads: int | None = None


def list_learngenes(
    *,
    hub: bool = False,
    author: str | None = None,
    network: str | None = None,
    search: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> list[GeneSummary]:
    """The genes of the package, or those on the Hub, the most downloaded first, at most 200.

    Args:
        hub: list the genes on the Hub.
        author: user or organisation of the Hub.
        network: such as `lg_vgg11`.
        search: part of the name, in upper or lower case.
        token: token of a Hub user, to list this user's private genes too.
        endpoint: URL of the Hub.

    Raises:
        HubError: the Hub does not answer, or access to it is switched off.
    """
    if hub:
        tags = [LIBRARY_NAME, *([network] if network else [])]
        options = HubOptions(token=token, endpoint=endpoint)
        models = _found(tags, author, search, options)
        return [
            _summary(model.id, card, model.downloads)
            for model in models
            if (card := model.card_data) and card.get("library_name") == LIBRARY_NAME
        ]
    genes = [_summary(name, _shipped_card(name)) for name in shipped_genes() if (search or "").lower() in name]
    return [gene for gene in genes if network in {None, gene.network} and author in {None, PREFIX.rstrip("/")}]


def _found(tags: list[str], author: str | None, search: str | None, options: HubOptions) -> list[ModelInfo]:
    """Repositories of the Hub with all `tags`, each with its card's metadata."""
    if options.is_offline:
        raise HubError("the Hub cannot be searched: HF_HUB_OFFLINE forbids it")
    with explained(None, options):
        check_reachable(options)  # the client itself would try many times
        models = options.api().list_models(
            filter=tags,
            author=author,
            search=search,
            sort="downloads",
            limit=MOST_LISTED,
            expand=["cardData", "downloads"],
        )
        return [model for model in models if isinstance(model.card_data, ModelCardData | None)]


def read_gain(folder: Path, *, warn: Callable[[str], None] = lambda _: None) -> Gain:
    """The gain over scratch that the card of a gene states.

    `warn` is called with the reason if a card cannot be read, for instance because it is too long.
    """
    path = folder / CARD_NAME
    try:
        content = read_file(path, most=4 * MOST_CARD)
        return _gain(card_data(content.decode("utf-8-sig"), lenient=True))
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        warn(f"{path}: the card cannot be read: {error}")
        return None, None


def _shipped_card(name: str) -> CardData:
    return card_data((shipped_folder(name) / CARD_NAME).read_text(encoding="utf-8"))


def _summary(name: str, card: CardData, downloads: int | None = None) -> GeneSummary:
    """What a card says, whatever it says: anyone may write one."""
    facts: Any = card.get(FACTS)
    facts = facts if isinstance(facts, Mapping) else {}
    parameters, data, (points, ci95) = facts.get("parameters"), _text(facts.get("data")), _gain(card)
    each = BYTES_A_PARAMETER.get(str(facts.get("dtype")), BYTES_A_PARAMETER["float32"])
    size = parameters * each / 1e6 if type(parameters) is int and 0 < parameters < MOST else None
    return GeneSummary(
        name=name,
        network=_text(facts.get("network")),
        data=data and title_of(data),
        megabytes=None if size is None else round(size, 2),
        gain=points,
        gain_ci95=ci95,
        downloads=downloads,
    )


def _text(value: object) -> str | None:
    """A short line without what would steer a terminal."""
    return one_line(value)[:80] if isinstance(value, str) else None


def _gain(data: CardData) -> Gain:
    """The first gain of a card, its interval as the end of its name, which is how `evaluation.card` writes it."""
    results = data.get("eval_results")
    for result in results if isinstance(results, list) else ():
        value = result.metric_value if isinstance(result, EvalResult) and result.metric_type == GAIN_METRIC else None
        if isinstance(value, float | int):
            ci95 = INTERVAL.search(str(result.metric_name))
            return (float(value), float(ci95[1]) if ci95 else None) if abs(value) <= 100 else (None, None)
    return None, None
