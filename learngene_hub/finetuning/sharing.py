"""A fine-tuned network to the Hub, where timm loads it as `hf-hub:owner/name`."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from learngene_hub.core.errors import NetworkError, RunError
from learngene_hub.finetuning.folder import (
    CLASSES_NAME,
    CONFUSION_NAME,
    CURVES_NAME,
    RECORD_NAME,
    is_finetuned,
)
from learngene_hub.gene.card import check_card
from learngene_hub.gene.folder import CARD_NAME, MOST_BESIDE, read_files
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import Pushed, PushTerms, push
from learngene_hub.networks import load_timm_folder
from learngene_hub.networks.timm_folder import CONFIG_NAME, MOST_CONFIG, WEIGHTS_NAME

MOST_WEIGHTS = 2 * 10**9  # bytes
BESIDE = (CLASSES_NAME, RECORD_NAME, CONFUSION_NAME, CURVES_NAME, CARD_NAME)
MOST = {CONFIG_NAME: MOST_CONFIG, WEIGHTS_NAME: MOST_WEIGHTS} | dict.fromkeys(BESIDE, MOST_BESIDE)
LOCAL = '"local-dir:.", pretrained=True).eval()  # the path of this folder'
PREDICT = "learngene predict . photo.jpg"
_CREATE = re.compile(rf'{re.escape(LOCAL)}|"hf-hub:[^"]*", pretrained=True\)\.eval\(\)')
_PREDICT = re.compile(r"(hf download \S+ --local-dir \S+\n)?learngene predict \S+ photo\.jpg")


def push_finetuned(path: Path, address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Push the folder that a fine-tuning left, once it loads; see `hub.push.push`.

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
    """Load the network from these very bytes, since what lies in the folder may change meanwhile."""
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
