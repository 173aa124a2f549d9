"""Writes the cards of the genes of the package anew, from their templates and from docs/results.

Their pictures stay as they are: they depend on the version of matplotlib.

    python -m docs.cards
"""

import re
import shutil
import tempfile
from pathlib import Path

from docs.tables import RESULTS
from learngene_hub.core.files import write_text
from learngene_hub.evaluation.card import write_evaluation
from learngene_hub.gene.card import addressed_card
from learngene_hub.gene.folder import CARD_NAME
from learngene_hub.gene.names import PREFIX, shipped_folder, shipped_index
from learngene_hub.gene.shipping import write_index


def made_card(name: str) -> str:
    """The card of the gene called `name`, as templates and results make it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(shipped_folder(name), Path(folder, "copy")))
        (copy / CARD_NAME).unlink(missing_ok=True)
        results = sorted((RESULTS / name.removeprefix(PREFIX)).glob("*.json"))
        text = write_evaluation(copy, results).read_text(encoding="utf-8")
    return addressed_card(re.sub("^# .*$", f"# {name}", text, count=1, flags=re.MULTILINE), name)


if __name__ == "__main__":
    for shipped in shipped_index():
        write_text(shipped_folder(shipped) / CARD_NAME, made_card(shipped))
    write_index()
