"""Names of genes: a folder, one that came with the package, or a repository of the Hub. Without torch, so quick.

A folder that exists always wins. `gtl/...` names genes of the package and nothing else, `runs/...` folders, since such
accounts of the Hub may belong to anyone; `hf-hub:gtl/...` asks the Hub all the same.
"""

import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from learngene_hub.core.errors import GeneFileError, asked
from learngene_hub.core.files import expanded, is_there, near_paths
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
from learngene_hub.hub.address import Address, parse_address

PREFIX = "gtl/"  # of the genes that come with the package; `docs/shipping.py` makes their index
FOLDER = Path(__file__).parent.parent / "genes"
INDEX_NAME = "index.json"
RUNS = "runs"  # where `learngene evolve` puts its folders
RESERVED = (PREFIX, f"{RUNS}/")
CLOSE = 0.8  # of 1: how alike a name must be to a shipped one to be taken for it


@cache
def shipped_index() -> Mapping[str, Mapping[str, str]]:
    """Name -> file -> sha256, in the order of the names."""
    return MappingProxyType(json.loads((FOLDER / INDEX_NAME).read_text(encoding="utf-8")))


def shipped_folder(name: str) -> Path:
    """Where the gene called `name` lies."""
    return FOLDER / name.removeprefix(PREFIX)


def refuse_unknown(name: str) -> None:
    """Do nothing, unless `name` can be told to be no gene without asking the Hub.

    Raises:
        GeneFileError: there is no such gene.
        HubError: see `hub_address`.
    """
    if not is_there(expanded(name)) and name not in shipped_index():
        hub_address(name)


def hub_address(name: str) -> Address:
    """The repository called `name`, which is neither a folder nor a gene of the package.

    Raises:
        GeneFileError: such a name is none of a repository.
        HubError: it looks like one, but the Hub would not allow it.
    """
    if name.startswith(RESERVED) or (address := parse_address(name)) is None:
        raise _unknown(name)
    return address


def hint(name: str) -> str:
    """Folders and shipped genes that `name` may have been meant for."""
    path = Path(name.removeprefix(HUB_PREFIX))
    near = [*near_paths(path), *difflib.get_close_matches(name, shipped_index(), cutoff=CLOSE)]
    return asked(near) or (f"; nor is there such a folder in {path.parent}/" if is_there(path.parent) else "")


def _unknown(name: str) -> GeneFileError:
    named = {shipped.removeprefix(PREFIX): shipped for shipped in shipped_index()}
    close = difflib.get_close_matches(name.removeprefix(PREFIX), named, n=1)
    near = [*near_paths(name), *near_paths(Path(RUNS, name)), *(named[one] for one in close)]
    meant = asked(near) or (
        "; expected a gene folder, a run of `learngene evolve`, owner/name of the Hub, "
        f"or one of {', '.join(shipped_index())}"
    )
    is_account = name.startswith(RESERVED) and name.count("/") == 1
    on_hub = f" (to ask the Hub, where anyone may own that account: {HUB_PREFIX}{name:.200})" if is_account else ""
    return GeneFileError(f"{name:.200}: no such folder or gene{meant}{on_hub}")
