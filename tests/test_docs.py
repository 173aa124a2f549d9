"""What the documents claim stands in a committed results file."""

import re

import pytest

from docs.tables import PAGES, RESULTS, ROOT, filled
from learngene_hub.results import Results


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_of_a_page_is_made_from_the_committed_results(page):
    text = page.read_text()
    assert "<!-- table: " in text
    assert filled(text) == text


def test_a_number_changed_by_hand_is_found():
    text = (ROOT / "docs/evidence.md").read_text()
    changed = re.sub(r"81\.7 ± 2\.4", "91.7 ± 2.4", text)
    assert filled(changed) == text != changed


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_results_can_be_read(path):
    assert Results.load(path).tasks > 0
