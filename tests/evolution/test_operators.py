import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_genes import adult, even_shape, float64_images
from small_networks import every_network

from learngene_hub.core.errors import SelectionError
from learngene_hub.core.rng import generator
from learngene_hub.evolution.operators import mutate, tournament, update_scores
from learngene_hub.genome.birth import Body
from learngene_hub.genome.surgery import extract
from learngene_hub.networks import family


@every_network
@pytest.mark.parametrize("step", [0, 2])
def test_mutation_leaves_the_function_and_changes_the_gene(network, step):
    body = Body(network, 0.1, family(network).depths[: step + 1][-1])
    network, channels = adult(body), even_shape(body, 0.45)
    state, specs = network.state_dict(), network.structure
    before, logits = extract(state, specs, channels).tensors, network(float64_images())
    mutant = mutate(state, specs, channels, rate=0.5, generator=generator(0, "m"))
    network.load_state_dict(mutant)
    torch.testing.assert_close(network(float64_images()), logits, rtol=1e-9, atol=1e-9)
    after = extract(mutant, specs, channels).tensors
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_mutation_is_replayable_and_keeps_one_channel_of_every_group():
    body = Body("lg_vgg11", 0.1)
    network, channels = adult(body), even_shape(body, 0.45)
    args = (network.state_dict(), network.structure, channels)
    first, second = (mutate(*args, rate=1.0, generator=generator(0, "m")) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    kernel, old = first["stages.0.0.conv.weight"], network.state_dict()["stages.0.0.conv.weight"]
    count = channels["stages.0.0"]
    stayed = [i for i in range(count) if torch.equal(kernel[i], old[i])]
    assert len(stayed) == max(1, count - (len(old) - count))


def test_mutation_without_rate_or_without_other_channels_changes_nothing():
    network = adult(Body("lg_vgg11", 0.1))
    for channels, rate in ((even_shape(Body("lg_vgg11", 0.1), 0.45), 0.0), (network.channel_counts(), 1.0)):
        after = mutate(
            network.state_dict(),
            network.structure,
            channels,
            rate=rate,
            generator=generator(0),
        )
        assert all(torch.equal(after[name], tensor) for name, tensor in network.state_dict().items())


@given(
    fitness=st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), min_size=1, max_size=20),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_winners_are_the_best_of_disjoint_groups_and_never_failed(fitness, data):
    size = data.draw(st.integers(1, len(fitness)))
    scores = torch.tensor(fitness)
    if scores.isnan().all():
        with pytest.raises(SelectionError, match=r"all \d+ individuals of the generation failed"):
            tournament(scores, size=size, generator=generator(0, "t"))
        return
    winners = tournament(scores, size=size, generator=generator(0, "t"))
    assert winners.unique().tolist() == winners.tolist()
    assert not scores[winners].isnan().any()
    groups = torch.randperm(len(fitness), generator=generator(0, "t")).split(size)
    alive = [[float(scores[one]) for one in group if not scores[one].isnan()] for group in groups]
    assert sorted(scores[winners].tolist()) == sorted(max(group) for group in alive if group)


def test_scores_fade_and_survivors_credit_their_lineage():
    scores = update_scores({1: 1.0, 2: 0.5}, {7: 0.8}, {7: {2: 1, 1: 2, 99: 3}}, decay=0.5, credit=0.1)
    assert scores == pytest.approx({1: 0.5 + 0.01 * 0.8, 2: 0.25 + 0.1 * 0.8, 7: 0.8})
