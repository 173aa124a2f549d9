"""The folder of a fine-tuning: a timm model, its classes, its record, two pictures and a model card; and its push.

Once it is on the Hub, timm loads it as `hf-hub:owner/name`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
from huggingface_hub import ModelCardData
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from learngene_hub.core.errors import NetworkError, first_fault
from learngene_hub.core.files import atomic_path, parse_json, read_json, write_text
from learngene_hub.core.markdown import markdown_template
from learngene_hub.gene.card import check_card
from learngene_hub.gene.folder import CARD_NAME, MOST_BESIDE, read_files
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import Pushed, PushTerms, push
from learngene_hub.networks import LearngeneNetwork, build, save_timm_folder
from learngene_hub.networks.layers import LAYERS
from learngene_hub.networks.timm_folder import CONFIG_NAME, WEIGHTS_NAME
from learngene_hub.report.plots.canvas import write_png
from learngene_hub.report.plots.finetuning import draw_confusion, draw_training

RECORD_NAME = "finetune.json"
CONFUSION_NAME = "confusion.png"
CURVES_NAME = "curves.png"
STARTS = ("learngene", "scratch")
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"full": {}, "probe": {"global_pool": LAYERS}}  # method -> of the network
ONLY_PROBED = "head.norm.running_mean"  # a tensor that only a probed network has
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=100)]


class _Network(BaseModel):
    """The network, as the record describes it; `build` checks its sizes."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    name: str
    width: float
    depth: int
    image_size: int = Field(ge=1, le=4096)
    mean: tuple[Share, Share, Share]
    std: tuple[Positive, Positive, Positive]


class _Record(BaseModel):
    """What of `finetune.json` is needed to build the network."""

    model_config = ConfigDict(extra="ignore")

    network: _Network
    classes: tuple[str, ...] = Field(min_length=1)


def is_finetuned(folder: Path) -> bool:
    """Whether `finetune` wrote this folder."""
    return (folder / RECORD_NAME).is_file()


def write_folder(out: Path, network: LearngeneNetwork, record: Mapping[str, Any]) -> None:
    """Write all of the new or empty folder `out`, or nothing; `record` is the content of `finetune.json`."""
    with atomic_path(out) as folder:
        folder.mkdir()
        save_timm_folder(network, folder, class_names=record["classes"])
        write_text(folder / RECORD_NAME, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(folder / CARD_NAME, render_card(record, name=out.resolve().name))
        _draw(folder, record)


def load_network(folder: Path) -> LearngeneNetwork:
    """The network in `folder`, in eval mode, on the CPU; every weight must fit.

    Raises:
        NetworkError: it is no folder, or a file is missing or damaged.
    """
    if folder.is_file():
        raise NetworkError(f"{folder}: expected a folder made by `learngene finetune`, found a file")
    for name in (CONFIG_NAME, RECORD_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise NetworkError(f"{folder}: expected the files of `learngene finetune`, found no {name}")
    record = _read_record(folder / RECORD_NAME)
    asked = record.network
    try:
        weights = load_file(folder / WEIGHTS_NAME)
        head = ARGUMENTS["probe" if ONLY_PROBED in weights else "full"]
        with torch.device("meta"):  # which takes no memory, whatever size is asked for
            network = build(asked.name, num_classes=len(record.classes), width=asked.width, depth=asked.depth, **head)
        copies = {name: tensor.clone() for name, tensor in weights.items()}  # these are a map of the file
        network.load_state_dict(copies, assign=True)
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError, NetworkError) as error:
        last = str(error).strip().rpartition("\n")[2].strip() or type(error).__name__
        raise NetworkError(
            f"{folder}: the network cannot be loaded, so a file was altered or cut: {last:.300}"
        ) from None
    network.pretrained_cfg.update(
        input_size=(3, asked.image_size, asked.image_size),
        mean=asked.mean,
        std=asked.std,
        label_names=list(record.classes),
    )
    return network.float().eval()


def _read_record(path: Path) -> _Record:
    try:
        return _Record.model_validate(read_json(path, most=MOST_BESIDE))
    except ValidationError as error:
        raise NetworkError(
            f"{path}: expected the record of a fine-tuning, found a fault: {first_fault(error)}"
        ) from None
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path}: expected JSON, found something else: {error}") from None


def render_card(record: Mapping[str, Any], *, name: str) -> str:
    """The README.md of a fine-tuned network, with the Hub's metadata on top; all numbers are those of `record`."""
    data = ModelCardData(
        library_name="timm", pipeline_tag="image-classification", tags=["image-classification", "timm", "learngene"]
    )
    template = markdown_template("learngene_hub.finetuning", "card.md.jinja")
    return template.render(card_data=Markup(data.to_yaml()), name=name, **record)


def _draw(folder: Path, record: Mapping[str, Any]) -> None:
    starts = {start: record[start] for start in STARTS if "epochs" in record.get(start, ())}  # a probe has none
    if "learngene" in starts:
        rates = ", ".join(f"{start} {outcome['lr']}" for start, outcome in starts.items())
        write_png(draw_training(starts, title=f"learning rate: {rates}"), folder / CURVES_NAME)
    ours, counts = record["learngene"], record["data"]["images"]
    if "test_confusion" in ours:
        title, cells = f"{counts['test']} test images, {ours['test_accuracy']:.1%} right", ours["test_confusion"]
    else:
        title, cells = f"{counts['val']} validation images, {ours['val_accuracy']:.1%} right", ours["confusion"]
    write_png(draw_confusion(cells, record["classes"], title=title), folder / CONFUSION_NAME)


MOST_WEIGHTS = 2 * 10**9  # bytes
BESIDE = (RECORD_NAME, CONFUSION_NAME, CURVES_NAME, CARD_NAME)
MOST = {WEIGHTS_NAME: MOST_WEIGHTS} | dict.fromkeys((CONFIG_NAME, *BESIDE), MOST_BESIDE)
LOCAL = '"local-dir:.", pretrained=True).eval()  # the path of this folder'
_CREATE = re.compile(rf'{re.escape(LOCAL)}|"hf-hub:[^"]*", pretrained=True\)\.eval\(\)')
_PREDICT = re.compile(r"(hf download \S+ --local-dir \S+\n)?learngene predict \S+ photo\.jpg")


def push_finetuned(path: Path, address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Push a folder that `finetune` wrote, after a check that it loads; see `hub.push.push`.

    Raises:
        NetworkError: the network in it cannot be loaded.
        GeneFileError: a file is too large, or its card cannot be read.
        HubError: the push fails.
    """
    files = read_files(path, MOST)
    _check_loads(files, path)
    if CARD_NAME in files:
        card = check_card(files[CARD_NAME], path / CARD_NAME, library="timm")
        files[CARD_NAME] = _addressed(card, address.repo_id).encode()
    return push(files, address, terms=terms, options=options)


def _check_loads(files: Mapping[str, bytes], path: Path) -> None:
    """Load the network from these very bytes, since the files in the folder may change at any time."""
    with TemporaryDirectory() as scratch:
        for name in files.keys() & {CONFIG_NAME, RECORD_NAME, WEIGHTS_NAME}:
            (Path(scratch) / name).write_bytes(files[name])
        try:
            load_network(Path(scratch))
        except NetworkError as error:
            raise NetworkError(str(error).replace(scratch, str(path))) from None
    try:
        parse_json(files[CONFIG_NAME].decode())
    except ValueError as error:
        raise NetworkError(f"{path / CONFIG_NAME}: timm needs JSON, found something else: {error}") from None


def _addressed(card: str, repo_id: str) -> str:
    """The card with snippets that name the repository instead of the folder."""
    name = repo_id.split("/")[1]
    fetched = f"hf download {repo_id} --local-dir {name}\nlearngene predict {name} photo.jpg"
    card = _CREATE.sub(f'"hf-hub:{repo_id}", pretrained=True).eval()', card)
    return _PREDICT.sub(fetched, card)
