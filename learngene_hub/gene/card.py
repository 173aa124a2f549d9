"""The model card: what a gene is, how it was made, and what it has not been shown to do."""

from importlib.resources import files
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from learngene_hub.gene.folder import GeneConfig

LIBRARY_NAME = "learngene"
BEGIN = "<!-- begin of the evaluation: `learngene card` replaces all up to its end -->"
END = "<!-- end of the evaluation -->"


def render_card(config: GeneConfig, *, name: str) -> str:
    """The README.md of a gene folder, with the Hub's metadata on top.

    Args:
        config: of the gene.
        name: what a user would type into `from_learngene`.
    """
    data = ModelCardData(
        library_name=LIBRARY_NAME,
        pipeline_tag="image-classification",
        tags=["learngene", "gtl", "transfer-learning", "few-shot", config.network],
        datasets=_hub_data_sets(config),
    )
    template = files("learngene_hub.gene").joinpath("card.md.jinja").read_text(encoding="utf-8")
    values: dict[str, Any] = {"config": config, "origin": config.origin, "name": name, "begin": BEGIN, "end": END}
    return str(ModelCard.from_template(data, template_str=template, **values))


def _hub_data_sets(config: GeneConfig) -> list[str] | None:
    source = config.origin.data.source if config.origin else ""
    return [source] if source.count("/") == 1 else None
