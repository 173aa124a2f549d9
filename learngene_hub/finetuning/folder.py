"""The folder of a fine-tuning: a timm model, its classes, its record, two pictures and a model card; and its push.

Once it is on the Hub, timm loads it as `hf-hub:owner/name`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import ModelCardData
from markupsafe import Markup

from learngene_hub.core.errors import NetworkError, RunError
from learngene_hub.core.files import atomic_path, write_text
from learngene_hub.core.markdown import markdown_template
from learngene_hub.gene.card import check_card
from learngene_hub.gene.folder import CARD_NAME, MOST_BESIDE, read_files
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import Pushed, PushTerms, push
from learngene_hub.networks import LearngeneNetwork, load_timm_folder, save_timm_folder
from learngene_hub.networks.timm_folder import CONFIG_NAME, MOST_CONFIG, WEIGHTS_NAME
from learngene_hub.report.plots import draw_confusion, draw_training, write_png

CLASSES_NAME = "classes.json"
RECORD_NAME = "finetune.json"
CONFUSION_NAME = "confusion.png"
CURVES_NAME = "curves.png"
STARTS = ("learngene", "scratch")


def is_finetuned(folder: Path) -> bool:
    """Whether `finetune` wrote this folder."""
    return (folder / RECORD_NAME).is_file()


def write_folder(
    out: Path, network: LearngeneNetwork, *, class_names: Sequence[str], record: Mapping[str, Any]
) -> None:
    """Write all of the new or empty folder `out`, or nothing; `record` is the content of `finetune.json`."""
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
        library_name="timm", pipeline_tag="image-classification", tags=["image-classification", "timm", "learngene"]
    )
    template = markdown_template("learngene_hub.finetuning", "card.md.jinja")
    return template.render(card_data=Markup(data.to_yaml()), name=name, **record)


def _draw(folder: Path, class_names: Sequence[str], record: Mapping[str, Any]) -> None:
    starts = {start: record[start] for start in STARTS if "epochs" in record.get(start, ())}  # a probe has none
    if "learngene" in starts:
        rates = ", ".join(f"{start} {outcome['lr']}" for start, outcome in starts.items())
        write_png(draw_training(starts, title=f"learning rate: {rates}"), folder / CURVES_NAME)
    ours, counts = record["learngene"], record["data"]["images"]
    if "test_confusion" in ours:
        title, cells = f"{counts['test']} test images, {ours['test_accuracy']:.1%} right", ours["test_confusion"]
    else:
        title, cells = f"{counts['val']} validation images, {ours['val_accuracy']:.1%} right", ours["confusion"]
    write_png(draw_confusion(cells, class_names, title=title), folder / CONFUSION_NAME)


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


MOST_WEIGHTS = 2 * 10**9  # bytes
BESIDE = (CLASSES_NAME, RECORD_NAME, CONFUSION_NAME, CURVES_NAME, CARD_NAME)
MOST = {CONFIG_NAME: MOST_CONFIG, WEIGHTS_NAME: MOST_WEIGHTS} | dict.fromkeys(BESIDE, MOST_BESIDE)
LOCAL = '"local-dir:.", pretrained=True).eval()  # the path of this folder'
_CREATE = re.compile(rf'{re.escape(LOCAL)}|"hf-hub:[^"]*", pretrained=True\)\.eval\(\)')
_PREDICT = re.compile(r"(hf download \S+ --local-dir \S+\n)?learngene predict \S+ photo\.jpg")


def push_finetuned(path: Path, address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Push a folder that `finetune` wrote, after a check that it loads; see `hub.push.push`.

    Raises:
        RunError: there is no such folder.
        NetworkError: the network in it cannot be loaded.
        GeneFileError: a file is too large, or its card cannot be read.
        HubError: the push fails.
    """
    if not is_finetuned(path):
        raise RunError(f"{path}: expected a folder made by `learngene finetune`, found no {RECORD_NAME}")
    files = read_files(path, MOST)
    _check_loads(files, path)
    if CARD_NAME in files:
        card = check_card(files[CARD_NAME], path / CARD_NAME, library="timm")
        files[CARD_NAME] = _addressed(card, address.repo_id).encode()
    return push(files, address, terms=terms, options=options)


def _check_loads(files: Mapping[str, bytes], path: Path) -> None:
    """Load the network from these very bytes, since the files in the folder may change at any time."""
    with TemporaryDirectory() as scratch:
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            if name in files:
                (Path(scratch) / name).write_bytes(files[name])
        try:
            load_timm_folder(Path(scratch))
        except NetworkError as error:
            raise NetworkError(str(error).replace(scratch, str(path))) from None


def _addressed(card: str, repo_id: str) -> str:
    """The card with snippets that name the repository instead of the folder."""
    name = repo_id.split("/")[1]
    fetched = f"hf download {repo_id} --local-dir {name}\nlearngene predict {name} photo.jpg"
    card = _CREATE.sub(f'"hf-hub:{repo_id}", pretrained=True).eval()', card)
    return _PREDICT.sub(fetched, card)
