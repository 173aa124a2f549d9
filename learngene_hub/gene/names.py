"""Names of genes: a folder, a gene of the package, or a repository of the Hub. Fast to import: no torch.

A folder that exists comes first. `gtl/...` always means a gene of the package and `runs/...` a folder, since anyone may
own accounts with these names on the Hub; `hf-hub:gtl/...` does ask the Hub.
"""

import difflib
import re
from functools import cache
from pathlib import Path

from learngene_hub.core.errors import GeneFileError, suggestion
from learngene_hub.core.files import expanded, is_there, near_paths
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
from learngene_hub.hub.address import Address, parse_address

PREFIX = "gtl/"  # of the genes that come with the package; `docs/shipping.py` puts them there
FOLDER = Path(__file__).parent.parent / "genes"
RUNS = "runs"  # where `learngene evolve` puts its folders
RESERVED = (PREFIX, f"{RUNS}/")
_ALMOST = re.compile(r"\w+://|[\w.-]+/[\w.-]+(?:[:@]|/$)")  # what is nearly the name of a repository
CLOSE = 0.8  # of 1: how alike a name must be to a shipped one to be taken for it


@cache
def shipped_genes() -> tuple[str, ...]:
    """Names of the package's genes, sorted."""
    folders = (path.name for path in FOLDER.iterdir() if path.is_dir())
    return tuple(sorted(PREFIX + name for name in folders if not name.startswith((".", "_"))))


def shipped_folder(name: str) -> Path:
    """Folder of the package's gene `name`."""
    return FOLDER / name.removeprefix(PREFIX)


def refuse_unknown(name: str) -> None:
    """Raise an error if `name` cannot be a gene, without asking the Hub.

    Raises:
        GeneFileError: there is no such gene.
        HubError: see `hub_address`.
    """
    if not is_there(expanded(name)) and name not in shipped_genes():
        hub_address(name)


def hub_address(name: str) -> Address:
    """The repository called `name`, which is neither a folder nor a gene of the package.

    Raises:
        GeneFileError: the name cannot be that of a repository.
        HubError: it looks like a repository, but the Hub does not allow the name.
    """
    is_ours = name.startswith(RESERVED) or name.lower() in shipped_genes()
    if is_ours or (address := parse_address(name)) is None:
        raise _unknown(name)
    return address


def hint(name: str) -> str:
    """End of a message: folders and genes of the package with names close to `name`."""
    path = Path(name.removeprefix(HUB_PREFIX))
    near = [*near_paths(path), *difflib.get_close_matches(name, shipped_genes(), cutoff=CLOSE)]
    return suggestion(near) or (
        f"; a folder of this name does not exist in {path.parent}/ either" if is_there(path.parent) else ""
    )


def _unknown(name: str) -> GeneFileError:
    named = {shipped.removeprefix(PREFIX): shipped for shipped in shipped_genes()}
    close = difflib.get_close_matches(name.lower().removeprefix(PREFIX), named, n=1)
    near = [*near_paths(name), *near_paths(Path(RUNS, name)), *(named[one] for one in close)]
    is_almost = _ALMOST.match(name) and not name.startswith(RESERVED)
    such = ", such as you/your-gene or you/your-gene@main" if is_almost else ""
    meant = suggestion(near) or (
        f"; expected a gene folder, a run of `learngene evolve`, owner/name of the Hub{such}, or a gene of the package:"
        " see `learngene list`"
    )
    is_account = name.startswith(RESERVED) and name.count("/") == 1
    on_hub = f" (to ask the Hub, where anyone may own that account: {HUB_PREFIX}{name:.200})" if is_account else ""
    return GeneFileError(f"{name:.200}: no such folder or gene{meant}{on_hub}")
