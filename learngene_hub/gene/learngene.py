"""`Learngene`: the tensors of a gene and their description."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from learngene_hub.core.errors import GeneFileError
from learngene_hub.core.files import expanded, explain_write_errors
from learngene_hub.gene.config import GeneConfig
from learngene_hub.gene.folder import CARD_NAME, read_beside, read_config, read_gene, write_gene
from learngene_hub.gene.names import shipped_genes
from learngene_hub.gene.sharing import push_gene
from learngene_hub.gene.source import Located, locate
from learngene_hub.genome.genome import Genome
from learngene_hub.hub.address import address_of
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import Pushed, PushTerms


@dataclass(frozen=True, eq=False)
class Learngene:
    """A sub-network that new networks inherit: kernels and batch norms of some channels of every layer.

    Attributes:
        tensors: tensor name in the network -> the gene's leading channels of it, float32 on the CPU.
        config: network, channels, normalisation, origin.
        place: where it was loaded from; None: it is in memory only.
    """

    tensors: Mapping[str, Tensor] = field(repr=False)
    config: GeneConfig
    place: Located | None = None

    @property
    def genome(self) -> Genome:
        """The tensors and channel counts that networks inherit."""
        return Genome(self.tensors, self.config.channels)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        endpoint: str | None = None,
    ) -> "Learngene":
        """Load a gene strictly, with every check of `learngene verify`.

        Args:
            source: a gene folder, the folder of a run, the name of a gene of this package, or a repository of the
                Hub, `[hf-hub:]owner/name[@revision]`.
            revision: branch, tag or commit of the Hub.
            cache_dir: where downloads are kept; None: the cache of huggingface_hub.
            token: token of a Hub user; None: that of the logged-in user; False: no token.
            local_files_only: never contact the Hub.
            force_download: fetch again what is in the cache.
            endpoint: URL of the Hub; None: `HF_ENDPOINT`.

        Raises:
            GeneFileError: there is no gene, or a check of it fails.
            HubError: it cannot be fetched.
        """
        options = HubOptions(cache_dir, token, local_files_only, force_download, endpoint)
        return cls.load(locate(source, revision=revision, options=options))

    @classmethod
    def load(cls, located: Located) -> "Learngene":
        """Load the gene from a folder found by `locate`.

        Raises:
            GeneFileError: a check of it fails.
        """
        tensors, config = located.read(read_gene)
        return cls(tensors, config, located)

    def save_pretrained(self, path: str | Path) -> Path:
        """Write weights and config into the folder `path`, each file atomically; other files there are left alone.

        Returns:
            The folder.

        Raises:
            GeneFileError: a tensor has values that are not finite or too large, or a variance below zero.
            StorageError: no space, no permission, or no folder there.
        """
        folder = expanded(path)
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_gene(folder, self.tensors, self.config)
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        revision: str | None = None,
        create_pr: bool = False,
        message: str | None = None,
        overwrite_card: bool = False,
        token: str | bool | None = None,
        endpoint: str | None = None,
    ) -> Pushed:
        """Push the gene to the Hub as one commit; no commit if nothing has changed.

        Weights, config and the other files of its folder are sent: card, recipe, pictures. A gene made
        in memory gets a card.

        Args:
            repo_id: `[hf-hub:]owner/name[@branch]`; created if it does not exist.
            private: make a new repository private; otherwise it is public, unless its organisation's default is
                private.
            revision: branch to push to, created if it does not exist; None: that of `repo_id`, or main.
            create_pr: propose the commit as a pull request.
            message: commit message.
            overwrite_card: replace the card even if it was edited on the Hub.
            token: token of a Hub user; None: that of the logged-in user.
            endpoint: URL of the Hub; None: `HF_ENDPOINT`.

        Raises:
            GeneFileError: a check of the gene fails, or its card cannot be read.
            HubError: access is denied, the card was edited on the Hub, or the Hub does not answer.
        """
        with TemporaryDirectory() as folder:
            saved = self.save_pretrained(folder)
            self._add_files(saved)
            is_own = self.place and self.place.revision is None and self.place.name not in shipped_genes()
            home = self.place.folder if is_own and self.place else Path("FOLDER, after save_pretrained(FOLDER)")
            return push_gene(
                saved,
                address_of(repo_id, revision),
                terms=PushTerms(private, create_pr, message, overwrite_card, card=home / CARD_NAME),
                options=HubOptions(token=token, endpoint=endpoint),
            )

    def _add_files(self, folder: Path) -> None:
        """Put what lies beside the gene into `folder`, if it is that gene still."""
        if self.place is None:
            return
        try:
            is_that = self.place.read(read_config) == read_config(folder)
        except GeneFileError:
            return
        if is_that:
            for name, content in self.place.read(read_beside).items():
                (folder / name).write_bytes(content)
