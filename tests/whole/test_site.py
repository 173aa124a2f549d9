import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("material")
pytest.importorskip("latex2mathml")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it: any warning is an error."""
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", "docs/site/mkdocs.yml"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--site-dir", str(out)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        found = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert found == [], page.name


def test_every_document_of_the_repository_is_a_page(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"tutorial", "index", "contributing", "changelog"}
    assert pages <= {path.stem for path in site.glob("*.html")}


def test_the_home_is_the_map_of_the_documents(site):
    home = (site / "index.html").read_text()
    assert 'href="first-steps.html"' in home
    assert 'href="results/index.html"' in home
    assert "make demo" not in home


def test_formulas_are_drawn_and_references_are_made(site):
    method = (site / "method.html").read_text()
    assert method.count("<math") > 50
    assert "arithmatex" not in method
    assert "learngene evolve" in (site / "commands.html").read_text()
    assert "from_pretrained" in (site / "api.html").read_text()
    assert 'id="demo"' in (site / "recipes.html").read_text()
    assert "inherited 467,190 of 2,307,616 parameters" in (site / "tutorial.html").read_text()
