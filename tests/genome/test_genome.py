"""The genome."""

import torch

from learngene_hub.genome.genome import Genome


def test_the_hash_of_a_genome_depends_on_its_tensors_and_not_on_their_order():
    first, second = torch.arange(4.0), torch.ones(2, 3)
    genome = Genome({"a": first, "b": second}, {})
    assert genome.sha256 == Genome({"b": second.clone(), "a": first}, {}).sha256
    assert genome.sha256 != Genome({"a": second, "b": first}, {}).sha256
