"""The folder a fine-tuning leaves: a timm model, its classes, its record, two pictures and a model card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from markupsafe import Markup

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import atomic_path, write_text
from learngene_hub.core.markdown import markdown_template
from learngene_hub.gene.folder import CARD_NAME
from learngene_hub.networks import LearngeneNetwork, save_timm_folder
from learngene_hub.report.plots import draw_confusion, draw_training, write_png

CLASSES_NAME = "classes.json"
RECORD_NAME = "finetune.json"
CONFUSION_NAME = "confusion.png"
CURVES_NAME = "curves.png"


def refuse_occupied(out: Path) -> None:
    """Do nothing, unless something would be overwritten.

    Raises:
        RunError: `out` is a file, or a folder with something in it.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise RunError(f"{out}: expected a new or empty folder, found something there; give another --out")


def is_finetuned(folder: Path) -> bool:
    """Whether a fine-tuning left this folder."""
    return (folder / RECORD_NAME).is_file()


def write_folder(
    out: Path, network: LearngeneNetwork, *, class_names: Sequence[str], record: Mapping[str, Any]
) -> None:
    """Write the whole folder `out`, or nothing.

    Args:
        out: a new or empty folder.
        network: on the CPU.
        class_names: of its outputs.
        record: what `finetune.json` holds.
    """
    with atomic_path(out, is_new=True) as folder:
        folder.mkdir()
        save_timm_folder(network, folder, class_names=class_names)
        write_text(folder / CLASSES_NAME, _json(list(class_names)))
        write_text(folder / RECORD_NAME, _json(record))
        write_text(folder / CARD_NAME, render_card(record, name=out.resolve().name))
        _draw(folder, class_names, record)


def render_card(record: Mapping[str, Any], *, name: str) -> str:
    """The README.md of a fine-tuned network, with the Hub's metadata on top; all numbers are those of `record`."""
    data = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "learngene"],
    )
    template = markdown_template("learngene_hub.finetuning", "card.md.jinja")
    return template.render(card_data=Markup(data.to_yaml()), name=name, **record)


def _draw(folder: Path, class_names: Sequence[str], record: Mapping[str, Any]) -> None:
    starts = {start: record[start] for start in ("learngene", "scratch") if start in record}
    rates = ", ".join(f"{start} {one['lr']}" for start, one in starts.items())
    write_png(draw_training(starts, title=f"learning rate: {rates}"), folder / CURVES_NAME)
    ours, count = record["learngene"], record["data"]["images"]["val"]
    title = f"{count} validation images, {ours['val_accuracy']:.1%} right"
    write_png(draw_confusion(ours["confusion"], class_names, title=title), folder / CONFUSION_NAME)


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
