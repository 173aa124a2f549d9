"""The shape of a gene: how many channels of every group it holds."""

import math
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learngene_hub import Learngene, evolve
from learngene_hub.core.errors import NetworkError, RecipeError
from learngene_hub.evolution.operators import mean_shape, random_shapes
from learngene_hub.evolution.plan import recipe_channels
from learngene_hub.genome.birth import Body, gene_network
from learngene_hub.genome.shape import ShapeSpace

BODIES = [Body("lg_vgg11", 0.25), Body("lg_vgg11", 0.25, 16), Body("lg_resnet12", 0.25), Body("lg_resnet12_wide", 0.25)]
every_body = pytest.mark.parametrize("body", BODIES, ids=str)


def size(body, channels):
    """Parameters of the gene."""
    return sum(tensor.numel() for tensor in gene_network(body, channels, num_classes=0).parameters())


@every_body
def test_without_a_taper_every_layer_gives_the_same_fraction(body):
    expected = {group: max(1, round(0.45 * count)) for group, count in body.structure.channels.items()}
    space = ShapeSpace(body, 0.45)
    assert space.even() == expected
    assert space.tapering(1.0) == expected


@every_body
@pytest.mark.parametrize("taper", [0.5, 0.1, 0.02])
def test_a_tapering_gene_has_as_many_parameters_and_falling_fractions(body, taper):
    channels, full = ShapeSpace(body, 0.45).tapering(taper), body.structure.channels
    even = size(body, ShapeSpace(body, 0.45).even())
    assert 0.97 * even < size(body, channels) <= 1.001 * even
    shares = [channels[group] / count for group, count in full.items()]
    assert shares[0] > 0.6 > 0.45 > shares[-1]
    assert all(
        later <= earlier + 1 / full[group] for group, earlier, later in zip(full, shares, shares[1:], strict=False)
    )


@given(st.sampled_from(BODIES), st.floats(0.01, 1), st.floats(0.001, 1))
def test_a_gene_is_never_empty_nor_larger_than_its_network(body, fraction, taper):
    channels, full = ShapeSpace(body, fraction).tapering(taper), body.structure.channels
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


def is_full(space, shape):
    """Whether `shape` is within the budget, and would not be with one unit more of any group."""
    groups = space.structure.groups
    larger = [shape | {name: size + groups[name].unit} for name, size in shape.items() if size < groups[name].size]
    return space.numbers(shape) <= space.budget < min((space.numbers(one) for one in larger), default=space.budget + 1)


@given(st.sampled_from(BODIES), st.floats(0.05, 0.9), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_shapes_that_operators_make_use_the_whole_budget_and_no_more(body, fraction, seed):
    space = ShapeSpace(body, fraction)
    first, second = islice(random_shapes(space, seed=seed), 2)
    for shape in (first, second, mean_shape((first, second), space)):
        assert list(shape) == list(space.structure.groups)
        assert all(1 <= shape[name] <= group.size for name, group in space.structure.groups.items())
        assert is_full(space, shape)


@every_body
def test_the_same_draws_make_the_same_shape_and_others_another(body):
    space = ShapeSpace(body, 0.45)
    shapes = [next(random_shapes(space, seed=seed)) for seed in (0, 0, 1)]
    assert shapes[0] == shapes[1] != shapes[2]


GROUPS = [f"group {number}" for number in range(41)]


def test_the_mean_of_shapes_is_geometric_and_nearest_to_the_fittest():
    unfitted = SimpleNamespace(fractions=dict, fitted=dict, structure=SimpleNamespace(groups=("one",)))
    mean = mean_shape([{"one": 0.1}, {"one": 0.2}, {"one": 0.8}], unfitted)["one"]
    ranks = [math.log(3.5) - math.log(rank) for rank in (1, 2, 3)]
    shares = [rank / sum(ranks) for rank in ranks]
    assert mean == pytest.approx(0.1 ** shares[0] * 0.2 ** shares[1] * 0.8 ** shares[2])
    assert mean_shape([{"one": 0.3}], unfitted)["one"] == pytest.approx(0.3)


def test_random_proportions_follow_a_curve_of_two_straight_lines():
    unfitted = SimpleNamespace(fitted=dict, structure=SimpleNamespace(groups=GROUPS))
    drawn = next(random_shapes(unfitted, seed=0))
    assert all(0.001 <= share / drawn[GROUPS[0]] <= 1000 for share in drawn.values())
    steps = torch.tensor(list(drawn.values())).log().diff()
    assert steps[:20].std() < 1e-5
    assert steps[20:].std() < 1e-5
    assert abs(steps[0] - steps[-1]) > 1e-3


def test_any_few_random_shapes_in_a_row_rise_and_fall_alike():
    unfitted = SimpleNamespace(fitted=dict, structure=SimpleNamespace(groups=GROUPS))
    drawn = [list(shape.values()) for shape in islice(random_shapes(unfitted, seed=0), 16)]
    for end in (20, -1):  # the middle, the last
        assert sum(shape[end] > shape[0] for shape in drawn) == 8


def test_a_shape_found_in_small_networks_keeps_its_proportions_in_large_ones():
    small, large = ShapeSpace(Body("lg_vgg11", 0.25), 0.45), ShapeSpace(Body("lg_vgg11", 1.0), 0.45)
    found = small.tapering(0.05)
    scaled = large.fitted(small.fractions(found))
    shares, wanted = large.fractions(scaled), small.fractions(found)
    assert all(abs(shares[name] - wanted[name]) < 0.05 for name in wanted)
    assert is_full(large, scaled)


def test_groups_are_cut_in_whole_units():
    space = ShapeSpace(Body("lg_vgg11", 0.25), 0.45)
    groups = {name: type(group)(group.size, unit=8) for name, group in space.structure.groups.items()}
    vars(space)["structure"] = replace(space.structure, groups=groups)
    for seed in range(5):
        shape = next(random_shapes(space, seed=seed))
        assert all(size % 8 == 0 and size for size in shape.values())
        assert is_full(space, shape)


def test_a_recipe_may_give_the_channels_of_every_group(tiny):
    channels = list(recipe_channels(tiny()).values())
    given_shape = tiny(f"gene.shape={channels}")
    assert recipe_channels(given_shape) == recipe_channels(tiny())
    for wrong in (channels[:-1], [10**4, *channels[1:]]):
        with pytest.raises(
            NetworkError, match=r"gene\.shape: .*expected (8 numbers, for|1 to \d+ channels, found 10000)"
        ):
            recipe_channels(tiny(f"gene.shape={wrong}"))
    for wrong in ("oval", "[]", "[0, 1]", "[1.5]", "7"):
        with pytest.raises(RecipeError, match=r"gene\.shape: expected evolve, taper, or channels of each group"):
            tiny(f"gene.shape={wrong}")
