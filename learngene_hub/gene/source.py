"""Where a gene is: a folder, one that came with the package, or a repository of the Hub; see `gene.names`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from learngene_hub.core.errors import GeneFileError, HubError
from learngene_hub.core.files import is_there
from learngene_hub.gene.folder import CARD_NAME, CONFIG_NAME, MORE_FILES, WEIGHTS_NAME, Files, find_gene
from learngene_hub.gene.names import hint, hub_address, shipped_folder, shipped_index
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
from learngene_hub.hub.address import Address, parse_address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.fetch import fetch


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
    return _from_hub(name, _at(hub_address(name), revision), options, required, wanted)


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
        raise type(error)(f"{error}{hint(name)}") from None
    return Located(fetched.folder, name, fetched.commit, options, fetched.files)


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
