"""Genes that come with the package, each named `gtl/FOLDER`, and their index.

The index says which files every gene has, with their sha256. `python -m learngene_hub.gene.shipped` writes it anew from
the folders, and the copies of the cards in `model_cards/` with it.
"""

import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from learngene_hub.files import write_text
from learngene_hub.gene.folder import CARD_NAME, file_sha256

PREFIX = "gtl/"
FOLDER = Path(__file__).parent.parent / "genes"
INDEX_NAME = "index.json"
CARDS = FOLDER.parent.parent / "model_cards"  # in a clone only


@cache
def shipped_index() -> Mapping[str, Mapping[str, str]]:
    """Name -> file -> sha256, in the order of the names."""
    return MappingProxyType(json.loads((FOLDER / INDEX_NAME).read_text(encoding="utf-8")))


def shipped_folder(name: str) -> Path:
    """Where the gene called `name` lies."""
    return FOLDER / name.removeprefix(PREFIX)


def near_names(name: str) -> list[str]:
    """Names of shipped genes that are like `name`, the nearest first."""
    return difflib.get_close_matches(name, shipped_index(), n=3, cutoff=0.5)


def make_index() -> dict[str, dict[str, str]]:
    """The index that the folders ask for."""
    folders = sorted(path for path in FOLDER.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    return {
        f"{PREFIX}{folder.name}": {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
        for folder in folders
    }


def card_copy(name: str) -> str:
    """The card of a shipped gene as it stands in `model_cards/`: pictures and the gene are found from there."""
    card = (shipped_folder(name) / CARD_NAME).read_text(encoding="utf-8")
    return card.replace("](ev", f"](../learngene_hub/genes/{name.removeprefix(PREFIX)}/ev")


def _write() -> None:
    write_text(FOLDER / INDEX_NAME, json.dumps(make_index(), indent=2) + "\n")
    shipped_index.cache_clear()
    for name in shipped_index():
        write_text(CARDS / f"{name.removeprefix(PREFIX)}.md", card_copy(name))


if __name__ == "__main__":
    _write()
