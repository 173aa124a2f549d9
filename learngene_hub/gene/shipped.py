"""Genes that come with the package, each named `gtl/FOLDER`, and their index, which `shipping` makes."""

import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

PREFIX = "gtl/"
FOLDER = Path(__file__).parent.parent / "genes"
INDEX_NAME = "index.json"


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
