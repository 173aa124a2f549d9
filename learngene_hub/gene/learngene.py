"""`Learngene`: the tensors of a gene and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from learngene_hub.gene.folder import GeneConfig, find_gene, read_gene, write_gene


@dataclass(frozen=True)
class Learngene:
    """A sub-network that can be inherited: kernels and batch norms of some channels of every layer.

    Attributes:
        tensors: name of the network's tensor -> its leading channels, float32 on the CPU.
        config: network, channels, normalisation, origin.
    """

    tensors: Mapping[str, Tensor]
    config: GeneConfig

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Learngene":
        """Load the gene folder (or the folder of a run) at `path`, strictly.

        Raises:
            GeneFileError: there is no gene, or a check of it fails; see `learngene verify`.
        """
        tensors, config = read_gene(find_gene(Path(path)))
        return cls(tensors, config)

    def save_pretrained(self, path: str | Path) -> Path:
        """Write weights and config into the folder `path`, each file atomically; other files there are left alone.

        Returns:
            The folder.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        write_gene(folder, self.tensors, self.config)
        return folder
