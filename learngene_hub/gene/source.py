"""Locate a gene: in a folder, in the package, or in a repository of the Hub; see `gene.names`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from learngene_hub.core.errors import GeneFileError, HubError, NoRepositoryError
from learngene_hub.core.files import expanded, is_there
from learngene_hub.gene.folder import CARD_NAME, CONFIG_NAME, MORE_FILES, WEIGHTS_NAME, Files, find_gene
from learngene_hub.gene.names import hint, hub_address, shipped_folder, shipped_genes
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
from learngene_hub.hub.address import parse_address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.fetch import fetch


@dataclass(frozen=True)
class Located:
    """A gene folder on this machine.

    Attributes:
        folder: folder with the requested files.
        name: name that the user gave.
        revision: commit of the Hub; None: it was not fetched from the Hub.
        options: how the Hub was reached.
        files: name -> content of its files, checked by the Hub's hashes; None: not from the Hub, or already loaded.
    """

    folder: Path
    name: str
    revision: str | None = None
    options: HubOptions = HubOptions()  # noqa: RUF009 - frozen
    files: Files | None = field(default=None, repr=False, compare=False)

    @property
    def shown(self) -> Path:
        """What messages call it: the name where the files are the Hub's, since nobody looks into its cache."""
        return self.folder if self.files is None else Path(self.name)


def locate(
    source: str | Path,
    *,
    revision: str | None = None,
    options: HubOptions = HubOptions(),  # noqa: B008
    required: Sequence[str] = (CONFIG_NAME, WEIGHTS_NAME),
    wanted: Sequence[str] = (CARD_NAME,),
) -> Located:
    """Find the gene `source`; fetch its files from the Hub if they are not cached.

    Args:
        source: a gene folder, the folder of a run, a shipped name, or `[hf-hub:]owner/name[@revision]`.
        revision: branch, tag or commit of the Hub, if `source` does not contain it.
        options: how the Hub is reached.
        required: files that must exist on the Hub.
        wanted: files that are fetched only if they exist.

    Raises:
        GeneFileError: there is no gene of this name.
        HubError: it cannot be fetched; see `fetch`.
    """
    if not isinstance(source, str | os.PathLike):
        raise GeneFileError(f"expected the name of a gene, its folder or a Learngene, found a {type(source).__name__}")
    name, folder = os.fspath(source), expanded(source)
    if not isinstance(source, str) or is_there(folder):
        _refuse_revision(name, revision)
        return Located(find_gene(folder), name)
    if name in shipped_genes():
        _refuse_revision(name, revision)
        return Located(shipped_folder(name), name)
    address = hub_address(name).at(revision)
    try:
        fetched = fetch(address, required, wanted=wanted, is_all=WEIGHTS_NAME in required, options=options)
    except NoRepositoryError as error:
        raise NoRepositoryError(f"{error}{hint(name)}") from None
    return Located(fetched.folder, name, fetched.commit, options, fetched.files)


def with_files(located: Located) -> Located:
    """The `located` gene with all its files, fetched from the Hub again if it came from there and the Hub answers."""
    address = parse_address(located.name)
    if located.revision is None or address is None:
        return located
    address, options = replace(address, revision=located.revision), replace(located.options, force_download=False)
    try:
        fetched = fetch(address, (CONFIG_NAME, WEIGHTS_NAME), wanted=MORE_FILES, options=options)
    except HubError:
        return located
    return replace(located, folder=fetched.folder, files=fetched.files)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise GeneFileError(
            f"{name}: revision {revision!r} works only for the Hub, but this gene is on this machine; to use the Hub, "
            f"write {HUB_PREFIX}owner/name"
        )
