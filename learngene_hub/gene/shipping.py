"""Puts genes among those that come with the package; for maintainers, in a clone.

The index of names, files and sha256, and the copies of the cards in `model_cards/`, are made from the folders:

    python -m learngene_hub.gene.shipping               # anew
    python -m learngene_hub.gene.shipping RUN gtl/NAME  # with the gene of a run
"""

import json
import re
import shutil
import sys
from pathlib import Path

from huggingface_hub import ModelCard

from learngene_hub.core.errors import GeneFileError
from learngene_hub.core.files import atomic_path, file_sha256, write_text
from learngene_hub.gene.card import FACTS, addressed_card, card_facts
from learngene_hub.gene.config import config_text
from learngene_hub.gene.folder import (
    CARD_NAME,
    CONFIG_NAME,
    EVALUATIONS,
    MORE_FILES,
    PICTURE_NAME,
    RECIPE_NAME,
    WEIGHTS_NAME,
    find_gene,
    read_config,
    read_gene,
)
from learngene_hub.gene.names import FOLDER, INDEX_NAME, PREFIX, shipped_folder, shipped_index

CARDS = FOLDER.parent.parent / "model_cards"
_NAME = re.compile(rf"{PREFIX}[a-z0-9][a-z0-9-]*")
_TITLE = re.compile(r"^# .*$", re.MULTILINE)


def make_index() -> dict[str, dict[str, str]]:
    """The index that the folders ask for."""
    folders = sorted(path for path in FOLDER.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    return {
        f"{PREFIX}{folder.name}": {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
        for folder in folders
    }


def card_copy(name: str) -> str:
    """The card of a shipped gene as it stands in `model_cards/`: recipe, pictures and the gene are found from there."""
    card = (shipped_folder(name) / CARD_NAME).read_text(encoding="utf-8")
    for file in (RECIPE_NAME, PICTURE_NAME, *EVALUATIONS):
        card = card.replace(f"]({file})", f"](../learngene_hub/genes/{name.removeprefix(PREFIX)}/{file})")
    return card


def ship(run: Path, name: str) -> None:
    """Put the gene of `run`, with its card, among the shipped ones as `name`, in place of one of that name.

    A gene that takes the name of another has its version plus one.

    Raises:
        GeneFileError: there is no gene, a check of it fails, or the name is not `gtl/` and small letters.
    """
    if not _NAME.fullmatch(name):
        raise GeneFileError(f"{name!r}: expected {PREFIX} and small letters, digits and -, such as gtl/vgg11-cifar-fs")
    source = find_gene(run)
    _, config = read_gene(source)
    version = 1
    if shipped_folder(name).is_dir():
        before = read_config(shipped_folder(name))
        version = before.version + (before.sha256 != config.sha256)
    config = config.model_copy(update={"version": version})
    with atomic_path(shipped_folder(name)) as staged:
        staged.mkdir()
        for file in (CONFIG_NAME, WEIGHTS_NAME, *MORE_FILES):
            if (source / file).is_file():
                shutil.copyfile(source / file, staged / file)
        write_text(staged / CONFIG_NAME, config_text(config))
        card = ModelCard((source / CARD_NAME).read_text(encoding="utf-8"))
        card.data[FACTS] = card_facts(config)
        write_text(staged / CARD_NAME, addressed_card(_TITLE.sub(f"# {name}", str(card), count=1), name))


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
