"""How many channels of every layer are gene."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learngene_hub import Learngene, evolve
from learngene_hub.genome.birth import Body, body_channels, gene_channels, gene_network

BODIES = [Body("lg_vgg11", 0.25), Body("lg_vgg11", 0.25, 16), Body("lg_resnet12", 0.25), Body("lg_resnet12_wide", 0.25)]
every_body = pytest.mark.parametrize("body", BODIES, ids=str)


def size(body, channels):
    """Parameters of the gene."""
    return sum(tensor.numel() for tensor in gene_network(body, channels, num_classes=0).parameters())


@every_body
def test_without_a_taper_every_layer_gives_the_same_fraction(body):
    expected = {group: max(1, round(0.45 * count)) for group, count in body_channels(body).items()}
    assert gene_channels(body, 0.45) == gene_channels(body, 0.45, 1.0) == expected


@every_body
@pytest.mark.parametrize("taper", [0.5, 0.1, 0.02])
def test_a_tapering_gene_has_as_many_parameters_and_falling_fractions(body, taper):
    channels, full = gene_channels(body, 0.45, taper), body_channels(body)
    even = size(body, gene_channels(body, 0.45))
    assert 0.97 * even < size(body, channels) <= 1.001 * even
    shares = [channels[group] / count for group, count in full.items()]
    assert shares[0] > 0.6 > 0.45 > shares[-1]
    assert all(
        later <= earlier + 1 / full[group] for group, earlier, later in zip(full, shares, shares[1:], strict=False)
    )


@given(st.sampled_from(BODIES), st.floats(0.01, 1), st.floats(0.001, 1))
def test_a_gene_is_never_empty_nor_larger_than_its_network(body, fraction, taper):
    channels, full = gene_channels(body, fraction, taper), body_channels(body)
    assert channels.keys() == full.keys()
    assert all(1 <= channels[group] <= count for group, count in full.items())


def test_a_tapering_gene_says_so(tiny, tmp_path):
    gene = evolve(tiny("gene.taper=0.1", "evolution.generations=1"), out=tmp_path / "run")
    assert gene.config.share_words.endswith(" of the last's")
    assert " ".join(gene.config.share_words.split()) in " ".join((tmp_path / "run/gene/README.md").read_text().split())
    assert Learngene.from_pretrained(tmp_path / "run").config.channels == gene.config.channels


def test_a_gene_of_a_network_that_is_not_known_yet_still_says_what_it_holds(tiny_run):
    config = Learngene.from_pretrained(tiny_run).config
    for change in ({"network": "lg_later"}, {"channels": {}}):
        assert config.model_copy(update=change).share_words == config.share_words
