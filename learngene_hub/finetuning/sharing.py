"""A fine-tuned network to the Hub, where timm loads it as `hf-hub:owner/name`."""

import re
from pathlib import Path

from learngene_hub.errors import RunError
from learngene_hub.files import leads_out
from learngene_hub.finetuning.folder import (
    CLASSES_NAME,
    CONFUSION_NAME,
    CURVES_NAME,
    RECORD_NAME,
    is_finetuned,
)
from learngene_hub.gene.card import check_card
from learngene_hub.gene.folder import CARD_NAME
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import Pushed, PushTerms, push
from learngene_hub.networks import load_timm_folder
from learngene_hub.networks.timm_folder import CONFIG_NAME, WEIGHTS_NAME

LOCAL = '"local-dir:.", pretrained=True).eval()  # the path of this folder'
PREDICT = "learngene predict . photo.jpg"
_CREATE = re.compile(rf'{re.escape(LOCAL)}|"hf-hub:[^"]*", pretrained=True\)\.eval\(\)')
_PREDICT = re.compile(r"(hf download \S+ --local-dir \S+\n)?learngene predict \S+ photo\.jpg")


def push_finetuned(path: Path, address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Push the folder that a fine-tuning left, once it loads; see `hub.push.push`.

    Raises:
        RunError: there is no such folder.
        NetworkError: the network in it cannot be loaded.
        GeneFileError: its card cannot be read.
        HubError: the push fails.
    """
    if not is_finetuned(path):
        raise RunError(f"{path}: expected a folder made by `learngene finetune`, found no {RECORD_NAME}")
    names = (CONFIG_NAME, WEIGHTS_NAME, CLASSES_NAME, RECORD_NAME, CONFUSION_NAME, CURVES_NAME, CARD_NAME)
    for name in names:
        if (path / name).exists() and leads_out(path / name, path):
            raise RunError(f"{path / name}: is a link out of the folder; put the file itself there")
    load_timm_folder(path)
    files = {name: (path / name).read_bytes() for name in names if (path / name).is_file()}
    if CARD_NAME in files:
        card = check_card(files[CARD_NAME], path / CARD_NAME, library="timm")
        files[CARD_NAME] = _addressed(card, address.repo_id).encode()
    return push(files, address, terms=terms, options=options)


def _addressed(card: str, repo_id: str) -> str:
    """The card with snippets that name the repository instead of the folder."""
    name = repo_id.split("/")[1]
    fetched = f"hf download {repo_id} --local-dir {name}\nlearngene predict {name} photo.jpg"
    card = _CREATE.sub(f'"hf-hub:{repo_id}", pretrained=True).eval()', card)
    return _PREDICT.sub(fetched, card)
