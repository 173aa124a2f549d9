"""What mkdocs builds beside the pages of docs/: a map of them as the home, references made from the code, formulas.

Links of a page are written as they lead on GitHub, from file to file of the repository; here they are turned to where
those files are in the site.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

import learngene_hub

ROOT = Path(__file__).parent.parent.parent
COPIES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
COMMAND = (sys.executable, "-m", "typer", "learngene_hub.cli.main", "utils", "docs", "--name", "learngene")
LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Add the pages that are made."""
    pages = {site: (ROOT / source).read_text(encoding="utf-8") for site, source in COPIES.items()}
    pages["index.md"] = _map_of(pages["index.md"])
    pages |= {"commands.md": _commands(), "api.md": _api(), "recipes.md": _recipes(), "cards.md": _cards()}
    pages["tutorial.md"] = _tutorial()
    for site, text in pages.items():
        files.append(File.generated(config, site, content=text))
    for card in sorted((ROOT / "model_cards").glob("*.md")):
        files.append(File.generated(config, f"cards/{card.name}", content=_without_metadata(card)))
    for picture in sorted((ROOT / "learngene_hub" / "genes").rglob("*.png")):
        files.append(File.generated(config, f"cards/{picture.parent.name}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401
    """Turn links between files of the repository into links between pages."""
    here = PurePosixPath(page.file.src_uri)
    home = _source_of(str(here)).parent

    def turned(found: re.Match[str]) -> str:
        source = os.path.normpath(home / found[2])
        target = _site_of(source, found[3] or "")
        return f"{found[1]}{os.path.relpath(target, here.parent)})" if target else found[0]

    return LINK.sub(turned, markdown)


def on_page_content(html: str, **_: Any) -> str:  # noqa: ANN401
    """Write formulas as MathML, which browsers show without a script."""
    return FORMULA.sub(_formula, html)


def _formula(found: re.Match[str]) -> str:
    formula = unescape(found[3]).strip()
    if found[2] == "(":
        return convert(formula)
    return f'<div style="overflow: auto; padding: .3em 0">{convert(formula, display="block")}</div>'


def _source_of(site: str) -> PurePosixPath:
    """The file of the repository that a page of the site shows."""
    if site in COPIES:
        return PurePosixPath(COPIES[site])
    if site.startswith("cards/"):
        return PurePosixPath("model_cards", site.removeprefix("cards/"))
    return PurePosixPath("docs", site)


def _site_of(source: str, anchor: str) -> str | None:
    """Where a file of the repository is in the site; None: nowhere."""
    parts = PurePosixPath(source).parts
    match parts:
        case (name,) if name in COPIES.values():
            return next(site for site, one in COPIES.items() if one == name) + anchor
        case ("docs", *rest) if rest[-1].endswith(".ipynb"):
            return "tutorial.md"
        case ("docs", *rest):
            return "/".join(rest) + anchor
        case ("recipes", name):
            return f"recipes.md#{PurePosixPath(name).stem}"
        case ("model_cards", name):
            return f"cards/{name}{anchor}"
        case ("learngene_hub", "genes", *rest):
            return "/".join(("cards", *rest))
    return None


def _map_of(readme: str) -> str:
    """The README's title, its first paragraph, and its map of the documents."""
    title, paragraph, *_ = readme.split("\n\n")
    documents = re.search(r"^## Documents\n.*?(?=^## )", readme, re.DOTALL | re.MULTILINE)
    assert documents is not None
    return "\n\n".join((title, paragraph, documents[0]))


def _commands() -> str:
    """The reference of the command line, as typer writes it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    return done.stdout.replace("# `learngene`", "# Commands", 1)


def _api() -> str:
    """The public names, from their docstrings."""
    names = [name for name in learngene_hub.__all__ if name != "LearngeneError"]
    homes = {name: f"learngene_hub.{learngene_hub._HOMES[name]}.{name}" for name in names}
    text = "# Python\n\n`from learngene_hub import ...` gives these names. Each is loaded when it is first used.\n\n"
    text += "\n".join(f"::: {home}\n" for home in homes.values())
    return text + "\n::: learngene_hub.core.errors\n"


def _recipes() -> str:
    """The shipped recipes as they are."""
    text = "# Recipes\n\nThese come with the package: `learngene recipes copy NAME` makes one yours. "
    text += "[Evolve](evolve.md) lists every field.\n"
    for recipe in sorted((ROOT / "recipes").glob("*.yaml")):
        text += f"\n## {recipe.stem} {{: #{recipe.stem} }}\n\n```yaml\n{recipe.read_text(encoding='utf-8')}```\n"
    return text


def _cards() -> str:
    names = sorted(card.stem for card in (ROOT / "model_cards").glob("*.md"))
    return "# Model cards\n\n" + "".join(f"* [{name}](../model_cards/{name}.md)\n" for name in names)


def _without_metadata(card: Path) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", card.read_text(encoding="utf-8"), flags=re.DOTALL)


def _tutorial() -> str:
    """The notebook as a page, with what it printed."""
    notebook = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    return "\n\n".join(part for cell in notebook["cells"] for part in _cell(cell)) + "\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        if text := "".join(output.get("text", output.get("data", {}).get("text/plain", ""))):
            yield f"```text\n{text.rstrip()}\n```"
        if picture := output.get("data", {}).get("image/png"):
            yield f"![what the cell drew](data:image/png;base64,{''.join(picture).strip()})"
