"""Where a gene is: a folder, one that came with the package, or a repository of the Hub.

A folder that exists always wins. `gtl/...` names genes of the package and nothing else, `runs/...` folders, since such
accounts of the Hub may belong to anyone; `hf-hub:gtl/...` asks the Hub all the same.
"""

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from learngene_hub.core.errors import GeneFileError, HubError, did_you_mean
from learngene_hub.core.files import is_there
from learngene_hub.gene.folder import CARD_NAME, CONFIG_NAME, MORE_FILES, WEIGHTS_NAME, Files, find_gene
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
from learngene_hub.hub.address import Address, parse_address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.fetch import fetch

PREFIX = "gtl/"  # of the genes that come with the package; `shipping` makes their index
FOLDER = Path(__file__).parent.parent / "genes"
INDEX_NAME = "index.json"
RUNS = "runs"  # where `learngene evolve` puts its folders
CLOSE = 0.8  # of 1: how alike a name must be to a shipped one to be taken for it


@cache
def shipped_index() -> Mapping[str, Mapping[str, str]]:
    """Name -> file -> sha256, in the order of the names."""
    return MappingProxyType(json.loads((FOLDER / INDEX_NAME).read_text(encoding="utf-8")))


def shipped_folder(name: str) -> Path:
    """Where the gene called `name` lies."""
    return FOLDER / name.removeprefix(PREFIX)


@dataclass(frozen=True)
class Located:
    """A gene folder on this machine.

    Attributes:
        folder: with the files that were asked for.
        name: as the user called it.
        revision: commit of the Hub; None: it does not come from there.
        options: how the Hub was reached for it.
        files: name -> content of its files, which were compared with the Hub's hashes; None: of no Hub, or read since.
    """

    folder: Path
    name: str
    revision: str | None = None
    options: HubOptions = HubOptions()  # noqa: RUF009 - frozen
    files: Files | None = field(default=None, repr=False, compare=False)


def locate(
    source: str | Path,
    *,
    revision: str | None = None,
    options: HubOptions = HubOptions(),  # noqa: B008
    required: Sequence[str] = (CONFIG_NAME, WEIGHTS_NAME),
    wanted: Sequence[str] = (CARD_NAME,),
) -> Located:
    """The gene called `source`, its files fetched if need be.

    Args:
        source: a gene folder, the folder of a run, a shipped name, or `[hf-hub:]owner/name[@revision]`.
        revision: branch, tag or commit of the Hub, if `source` does not say it.
        options: how the Hub is reached.
        required: files that must come from the Hub.
        wanted: files that come from the Hub if they are there.

    Raises:
        GeneFileError: there is no gene of this name.
        HubError: it cannot be fetched; see `fetch`.
    """
    if not isinstance(source, str | os.PathLike):
        raise GeneFileError(f"expected the name of a gene, its folder or a Learngene, found a {type(source).__name__}")
    name = os.fspath(source)
    if not isinstance(source, str) or is_there(name):
        _refuse_revision(name, revision)
        return Located(find_gene(Path(source)), name)
    if name in shipped_index():
        _refuse_revision(name, revision)
        return Located(shipped_folder(name), name)
    if name.startswith(PREFIX):
        raise _not_shipped(name)
    if name.startswith(f"{RUNS}/"):
        raise _no_run(name)
    address = parse_address(name)
    if address is None:
        raise _not_there(name)
    return _from_hub(name, _at(address, revision), options, required, wanted)


def with_files(located: Located) -> Located:
    """The gene that was `located`, with all that belongs to it, fetched where it came from if that can be reached."""
    address = parse_address(located.name)
    if located.revision is None or address is None:
        return located
    address, options = replace(address, revision=located.revision), replace(located.options, force_download=False)
    try:
        fetched = fetch(address, (CONFIG_NAME, WEIGHTS_NAME), wanted=MORE_FILES, options=options)
    except HubError:
        return located
    return replace(located, folder=fetched.folder, files=fetched.files)


def _from_hub(
    name: str, address: Address, options: HubOptions, required: Sequence[str], wanted: Sequence[str]
) -> Located:
    try:
        fetched = fetch(address, required, wanted=wanted, is_all=WEIGHTS_NAME in required, options=options)
    except HubError as error:
        raise type(error)(f"{error}{_hint(name)}") from None
    return Located(fetched.folder, name, fetched.commit, options, fetched.files)


def _not_there(name: str) -> GeneFileError:
    named = {shipped.removeprefix(PREFIX): shipped for shipped in shipped_index()}
    near = [named[one] for one in difflib.get_close_matches(name, named, n=1)]
    if near := [*_near_folders(Path(name)), *_near_folders(Path(RUNS, name)), *near]:
        return GeneFileError(f"{name:.200}: no such folder or gene; did you mean `{'` or `'.join(near)}`?")
    return GeneFileError(
        f"{name:.200}: no such folder; expected a gene folder, a run of `learngene evolve`, owner/name of the Hub, "
        f"or one of {', '.join(shipped_index())}"
    )


def _not_shipped(name: str) -> GeneFileError:
    if "@" in name:
        return GeneFileError(f"{name}: genes of this package have no revisions; leave out what follows the @")
    meant = did_you_mean(name, shipped_index()) or f", expected {' or '.join(shipped_index())};"
    return GeneFileError(f"{name}: no gene of this package{meant} {_asks(name)}")


def _no_run(name: str) -> GeneFileError:
    near = _near_folders(Path(name))
    meant = f"did you mean `{near[0]}`?" if near else "expected a run of `learngene evolve`"
    asks = f"{'' if near else ';'} {_asks(name)}" if name.count("/") == 1 else ""
    return GeneFileError(f"{name}: no such folder; {meant}{asks}")


def _asks(name: str) -> str:
    return f"{HUB_PREFIX}{name} asks the Hub, where anyone may own that account"


def _hint(name: str) -> str:
    """Folders and shipped genes that `name` may have been meant for."""
    path = Path(name.removeprefix(HUB_PREFIX))
    near = _near_folders(path)
    near += difflib.get_close_matches(name, shipped_index(), cutoff=CLOSE)
    if near:
        return f"; did you mean `{'` or `'.join(near)}`?"
    return f"; nor is there such a folder in {path.parent}/" if _folders_beside(path) else ""


def _near_folders(path: Path) -> list[str]:
    return [str(path.parent / name) for name in difflib.get_close_matches(path.name, _folders_beside(path), n=1)]


def _folders_beside(path: Path) -> list[str]:
    return [folder.name for folder in path.parent.iterdir() if folder.is_dir()] if path.parent.is_dir() else []


def _at(address: Address, revision: str | None) -> Address:
    if revision is None:
        return address
    if address.revision not in {None, revision}:
        raise HubError(f"{address}: the name says one revision, `revision` another, {revision!r}; give one of them")
    return replace(address, revision=revision)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise GeneFileError(
            f"{name}: is on this machine, where there is no revision {revision!r}; {HUB_PREFIX}owner/name asks the Hub"
        )
