"""Locate a gene: in a folder, in the package, or in a repository of the Hub; see `gene.names`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from learngene_hub.core.errors import GeneFileError, NoRepositoryError
from learngene_hub.core.files import expanded, is_there
from learngene_hub.gene.folder import CONFIG_NAME, MORE_FILES, WEIGHTS_NAME, find_gene
from learngene_hub.gene.names import hint, hub_address, shipped_folder, shipped_genes
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.fetch import fetch

ALL_FILES = (CONFIG_NAME, WEIGHTS_NAME, *MORE_FILES)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Located:
    """A gene folder on this machine.

    Attributes:
        folder: folder with the requested files.
        name: name that the user gave.
        revision: commit of the Hub; None: it was not fetched from the Hub.
    """

    folder: Path
    name: str
    revision: str | None = None

    def read(self, how: Callable[..., _T]) -> _T:
        """What `how`, such as `read_gene`, finds here; faults of a gene of the Hub have its name, not its folder.

        Raises:
            GeneFileError: see `how`.
        """
        try:
            return how(self.folder, is_snapshot=self.revision is not None)
        except GeneFileError as error:
            if self.revision is None:
                raise
            raise GeneFileError(str(error).replace(str(self.folder), self.name)) from None


def locate(
    source: str | Path,
    *,
    revision: str | None = None,
    options: HubOptions = HubOptions(),  # noqa: B008
    names: Sequence[str] = ALL_FILES,
) -> Located:
    """Find the gene `source`; fetch its files from the Hub if they are not cached.

    Args:
        source: a gene folder, the folder of a run, a shipped name, or `[hf-hub:]owner/name[@revision]`.
        revision: branch, tag or commit of the Hub, if `source` does not contain it.
        options: how the Hub is reached.
        names: files that are fetched, as far as they exist.

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
        fetched = fetch(address, names, options=options)
    except NoRepositoryError as error:
        raise NoRepositoryError(f"{error}{hint(name)}") from None
    return Located(fetched.folder, name, fetched.commit)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise GeneFileError(
            f"{name}: revision {revision!r} works only for the Hub, but this gene is on this machine; to use the Hub, "
            f"write {HUB_PREFIX}owner/name"
        )
