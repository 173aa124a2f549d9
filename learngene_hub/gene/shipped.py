"""Genes that come with the package, each named `gtl/FOLDER`, and their index.

The index says which files every gene has, with their sha256. In a clone, it is made from the folders, and the copies of
the cards in `model_cards/` with it:

    python -m learngene_hub.gene.shipped               # anew
    python -m learngene_hub.gene.shipped RUN gtl/NAME  # with the gene of a run
"""

import difflib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from learngene_hub.files import atomic_path, write_text
from learngene_hub.gene.card import addressed_card
from learngene_hub.gene.folder import (
    CARD_NAME,
    CONFIG_NAME,
    MORE_FILES,
    WEIGHTS_NAME,
    file_sha256,
    find_gene,
    read_gene,
)

PREFIX = "gtl/"
FOLDER = Path(__file__).parent.parent / "genes"
INDEX_NAME = "index.json"
CARDS = FOLDER.parent.parent / "model_cards"  # in a clone only
_TITLE = re.compile(r"^# .*$", re.MULTILINE)


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


def ship(run: Path, name: str) -> None:
    """Put the gene of `run` among the shipped ones as `name`, in place of one of that name; nothing without a card.

    Raises:
        GeneFileError: there is no gene, or a check of it fails.
    """
    found = find_gene(run)
    read_gene(found)
    with atomic_path(shipped_folder(name)) as staged:
        staged.mkdir()
        for file in (CONFIG_NAME, WEIGHTS_NAME, *MORE_FILES):
            if (found / file).is_file():
                shutil.copyfile(found / file, staged / file)
        card = _TITLE.sub(f"# {name}", (found / CARD_NAME).read_text(encoding="utf-8"), count=1)
        write_text(staged / CARD_NAME, addressed_card(card, name))


def write_index() -> None:
    """Make the index, and the copies of the cards, from the folders."""
    write_text(FOLDER / INDEX_NAME, json.dumps(make_index(), indent=2) + "\n")
    shipped_index.cache_clear()
    for name in shipped_index():
        write_text(CARDS / f"{name.removeprefix(PREFIX)}.md", card_copy(name))


if __name__ == "__main__":
    if sys.argv[1:]:
        ship(Path(sys.argv[1]), sys.argv[2])
    write_index()
