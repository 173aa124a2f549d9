"""The model card of a gene: what it is, how it was made, and its limits."""

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from markupsafe import Markup

from learngene_hub.core.errors import GeneFileError
from learngene_hub.core.markdown import markdown_template
from learngene_hub.core.plain_text import one_line
from learngene_hub.core.plain_yaml import load_yaml
from learngene_hub.gene.config import GeneConfig
from learngene_hub.hub.address import is_hub_id

LIBRARY_NAME = "learngene"
ACCURACY_METRIC, GAIN_METRIC = "accuracy", "accuracy_gain_over_scratch"  # in the metadata
MOST_CARD = 200_000  # characters: YAML takes seconds for more
FACTS = "learngene"  # key of the metadata under which a list finds what it shows
BEGIN = "<!-- begin of the evaluation: `learngene card` replaces all up to its end -->"
END = "<!-- end of the evaluation -->"
_LOAD = re.compile(r'from_learngene\("([^"]*)", num_classes=5\)(  # "\.": this folder)?')


def render_card(config: GeneConfig, *, name: str, picture: bool = True, recipe: bool = True) -> str:
    """The README.md of a gene folder, with the Hub's metadata on top.

    `name` is the name to pass to `from_learngene`; `picture` and `recipe` say whether these files are in the folder.
    """
    facts: dict[str, Any] = {FACTS: card_facts(config)}
    source = config.origin.data.source if config.origin else ""
    is_local = config.origin is not None and config.origin.data.preset is None and not is_hub_id(source)
    data_tag = [one_line(source.rsplit("/", 1)[-1])] if config.origin else []  # as a user would search it
    data = ModelCardData(
        library_name=LIBRARY_NAME,
        pipeline_tag="image-classification",
        tags=["learngene", "gtl", "transfer-learning", "few-shot", one_line(config.network), *data_tag],
        datasets=[source] if is_hub_id(source) else None,
        **facts,
    )
    values: dict[str, Any] = {"config": config, "origin": config.origin, "name": name}
    given = config.origin.overrides if config.origin else ()
    kept = [one for one in given if not one.startswith("data.path=") or is_hub_id(one.removeprefix("data.path="))]
    values |= {"from_folder": is_local or len(kept) < len(given)}
    ancestor = config.origin.ancestor if config.origin else None
    if from_gene := ancestor is not None and "/" not in ancestor.name:  # a folder on the machine of the evolution
        kept = [one for one in kept if not one.startswith("evolution.ancestor=")]
    values |= {"overrides": kept, "from_gene": from_gene}
    values |= {"begin": Markup(BEGIN), "end": Markup(END), "picture": picture, "recipe": recipe, "is_local": is_local}
    template = markdown_template("learngene_hub.gene", "card.md.jinja")
    return template.render(card_data=Markup(data.to_yaml()), **values)


def check_card(content: bytes, path: Path, *, library: str | None = None) -> str:
    """The text of a card, checked: the Hub must accept it, and it must name the `library`, if one is given.

    Raises:
        GeneFileError: the card is not UTF-8 or too long, or its metadata are not YAML between two lines of `---` or
            name another library.
    """
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        named = card_data(text).get("library_name")
    except UnicodeDecodeError as error:
        raise GeneFileError(f"{path}: expected UTF-8 text, found something else: {error}") from None
    except ValueError as error:
        fault = " ".join(str(error).split())
        raise GeneFileError(
            f"{path}: expected YAML metadata between two lines of ---, found a fault: {fault}; correct it"
        ) from None
    if library is not None and named != library:
        raise GeneFileError(
            f"{path}: expected `library_name: {library}` in the metadata, needed for the Hub's search, found {named!r}"
        )
    return text


def card_data(text: str, *, lenient: bool = False) -> ModelCardData:
    """The metadata of a card; `lenient`: an invalid model-index is ignored.

    Raises:
        ValueError: the card is longer than `MOST_CARD`, or its metadata are not plain YAML that the Hub accepts.
    """
    if len(text) > MOST_CARD:
        raise ValueError(f"expected at most {MOST_CARD:,} characters, found more")
    block = REGEX_YAML_BLOCK.search(text)  # the Hub's own
    metadata = load_yaml(block[2]) if block else None
    if not isinstance(metadata, dict | None):
        raise ValueError(f"expected keys and values, found a {type(metadata).__name__}")
    try:
        return ModelCardData(**(metadata or {}), ignore_metadata_errors=lenient)
    except (yaml.YAMLError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"the Hub does not accept the metadata: {error}") from None


def addressed_card(card: str, name: str, *, title: str | None = None) -> str:
    """The card with `name` in its code snippets, in place of another name or of "this folder".

    It also takes the place of that other name, or of `title`, as the heading and as the name of the results.
    """
    snippet = _LOAD.search(card)
    if snippet is None:
        return card
    options = r"((?: --(?:data FOLDER|(?:ways|tasks|shots) \d+))*)(?: --out \.\./evaluation)?"
    evaluate = re.compile(rf"^learngene evaluate {re.escape(snippet[1])}{options}$", re.MULTILINE)
    titles = "|".join(map(re.escape, (snippet[1], title or snippet[1])))
    headed = re.compile(rf"^(# |model-index:\n- name: )(?:{titles})$", re.MULTILINE)
    card = headed.sub(lambda found: found[1] + name, card)
    card = card.replace(snippet[0], f'from_learngene("{name}", num_classes=5)')
    return evaluate.sub(lambda found: f"learngene evaluate {name}{found[1]}", card)


def card_facts(config: GeneConfig) -> dict[str, Any]:
    """Facts about the gene for the card's metadata, which lists of genes show."""
    return {
        "network": one_line(config.network),
        "width": config.width,
        "depth": config.depth,
        "version": config.version,
        "parameters": config.parameters,
        "dtype": config.dtype,
        "image_size": config.image_size,
        "data": one_line(config.origin.data.source) if config.origin else None,
        "sha256": config.sha256,
    }
