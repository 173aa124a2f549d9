"""The genome: the tensors and channel counts that networks inherit."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from safetensors.torch import save
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Genome:
    """The leading channels of every group of a network: what is inherited.

    Index chaining, inferred from Feng 2024 (arXiv:2401.08139, abstract): with `S_l` the gene's outputs of layer `l`, it
    holds `W_l[S_l][:, S_(l-1)]` and the norm of `S_l`. That they are the leading channels is ours: a network's function
    does not depend on the order of its channels.

    Attributes:
        tensors: tensor name -> tensor, under the network's own names.
        sizes: group -> leading channels that are gene; a property of the individual.
    """

    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, int]

    @property
    def sha256(self) -> str:
        """Hash of the tensors, whatever their order; not that of a gene's file, which has metadata too."""
        return hashlib.sha256(save({name: tensor.contiguous() for name, tensor in self.tensors.items()})).hexdigest()
