"""What the documents claim stands in a committed results file."""

import re
from pathlib import Path

import pytest

from learngene_hub.report import numbers
from learngene_hub.results import Results

DOCS = Path(__file__).parent.parent / "docs"


def rows(text):
    """Start -> cells of its row, of every table row that begins with a start's name."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 9:
            found[cells[0]] = cells
    return found


def test_every_number_of_the_evidence_table_is_that_of_its_results_file():
    text = (DOCS / "evidence.md").read_text()
    results = Results.load(DOCS / re.search(r"\]\((results/[^)]+json)\)", text)[1])
    table, measure = rows(text), results.headline
    for one in results.descendants[0].starts:
        _, _, lr, accuracy, gain, lead, images, flops, seconds = table[one.start]
        assert float(lr) == one.lr
        assert accuracy == numbers.accuracy(one.measures[measure])
        assert gain == (numbers.points(one.gain[measure]) if one.gain else "")
        assert lead == (numbers.points(one.lead[measure]) if one.lead else "")
        assert (images, flops) == (numbers.count(one.cost.images), numbers.flops(one.cost.flops))
        assert seconds == numbers.seconds(one.cost.seconds)
    assert len(table) == len(results.descendants[0].starts) + 2  # head and rule


@pytest.mark.parametrize("path", sorted((DOCS / "results").glob("*few_shot*.json")), ids=lambda path: path.name)
def test_committed_results_can_be_read(path):
    assert Results.load(path).tasks > 0
