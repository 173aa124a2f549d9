"""Puts genes among those that come with the package, and makes their cards from the templates and from docs/results.

    python -m docs.shipping               # the cards and their copies in `model_cards/` anew
    python -m docs.shipping RUN gtl/NAME  # with the gene of a run; its results are in docs/results/NAME

A card that is right already keeps its pictures, which depend on the version of matplotlib.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from docs.tables import RESULTS
from learngene_hub.core.errors import GeneFileError
from learngene_hub.core.files import atomic_path, write_text
from learngene_hub.evaluation.card import write_evaluation
from learngene_hub.gene.card import addressed_card
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
from learngene_hub.gene.names import FOLDER, PREFIX, shipped_folder, shipped_genes

NOTE = "note.md"
CARDS = FOLDER.parent.parent / "model_cards"
_NAME = re.compile(rf"{PREFIX}[a-z0-9][a-z0-9-]*")
_TITLE = re.compile(r"^# .*$", re.MULTILINE)


def made_card(name: str) -> tuple[str, dict[str, bytes]]:
    """The card of the gene called `name` as templates, results and a `NOTE` beside these make it, and its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(shipped_folder(name), Path(folder, "copy")))
        (copy / CARD_NAME).unlink(missing_ok=True)
        results = sorted((RESULTS / name.removeprefix(PREFIX)).glob("*.json"))
        text = write_evaluation(copy, results).read_text(encoding="utf-8")
        if (note := RESULTS / name.removeprefix(PREFIX) / NOTE).is_file():
            text = text.replace("\n## Limits\n", f"\n{note.read_text(encoding='utf-8')}\n## Limits\n")
        pictures = {path.name: path.read_bytes() for path in copy.iterdir() if path.name in EVALUATIONS}
    return addressed_card(_TITLE.sub(f"# {name}", text, count=1), name), pictures


def card_copy(name: str) -> str:
    """The card of a gene as it stands in `model_cards/`: recipe, pictures and the gene are found from there."""
    card = (shipped_folder(name) / CARD_NAME).read_text(encoding="utf-8")
    for file in (RECIPE_NAME, PICTURE_NAME, *EVALUATIONS):
        card = card.replace(f"]({file})", f"](../learngene_hub/genes/{name.removeprefix(PREFIX)}/{file})")
    return card


def ship(run: Path, name: str) -> None:
    """Put the gene of `run` among the shipped ones as `name`, in place of one of that name; its card is made later.

    A gene that takes the name of another has its version plus one.

    Raises:
        GeneFileError: there is no gene, a check of it fails, or the name is not `gtl/` and small letters.
    """
    if not _NAME.fullmatch(name):
        raise GeneFileError(f"{name!r}: expected {PREFIX} and small letters, digits and -, such as gtl/vgg11-cifar-fs")
    source, folder = find_gene(run), shipped_folder(name)
    _, config = read_gene(source)
    version = 1
    if folder.is_dir():
        before = read_config(folder)
        version = before.version + (before.sha256 != config.sha256)
    with atomic_path(folder) as staged:
        staged.mkdir()
        for file in (WEIGHTS_NAME, *MORE_FILES):
            if (source / file).is_file() and file not in EVALUATIONS:
                shutil.copyfile(source / file, staged / file)
        write_text(staged / CONFIG_NAME, config_text(config.model_copy(update={"version": version})))
        shutil.rmtree(folder, ignore_errors=True)


def _write_card(folder: Path, card: str, pictures: Mapping[str, bytes]) -> None:
    if (folder / CARD_NAME).is_file() and (folder / CARD_NAME).read_text(encoding="utf-8") == card:
        return
    for name in EVALUATIONS:
        (folder / name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        (folder / name).write_bytes(picture)
    write_text(folder / CARD_NAME, card)


def main() -> None:
    """See the docstring of the module."""
    if sys.argv[1:]:
        ship(Path(sys.argv[1]), sys.argv[2])
    for name in shipped_genes():
        _write_card(shipped_folder(name), *made_card(name))
        write_text(CARDS / f"{name.removeprefix(PREFIX)}.md", card_copy(name))


if __name__ == "__main__":
    main()
