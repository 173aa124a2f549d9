"""What a state says of its individuals comes back, whatever their sizes."""

import torch

from learngene_hub.evolution.checkpoint import load_state, save_state
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.evolution.plan import network_body, recipe_channels
from learngene_hub.genome.genome import Genome
from learngene_hub.networks import plan_structure


def individual(number, recipe, channels):
    body = network_body(recipe)
    shapes = plan_structure(body.network, depth=body.depth, channels=channels).shapes(in_chans=body.in_chans)
    generator = torch.Generator().manual_seed(number)
    tensors = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    return Individual(number, 0, (), {number: 0}, fitness=0.5, score=1.0, genome=Genome(tensors, channels))


def test_individuals_of_different_sizes_come_back_each_with_its_own(tiny, tmp_path):
    recipe = tiny("network.width=0.25")
    thin = recipe_channels(recipe)
    whole = network_body(recipe).structure.channels
    assert thin != whole
    pool = (individual(0, recipe, thin), individual(1, recipe, whole))
    state = EvolutionState(
        generation=0, next_id=2, images=10, seconds=1.5, precision="float32", pool=pool, rows=({"best": 0.1},)
    )
    around = {"classes": {"base": ["a"]}, "threads": 1}
    save_state(tmp_path, state, recipe.model_dump(mode="json"), around)
    found = load_state(tmp_path)
    assert found.inputs == around
    assert found.state.rows == state.rows
    assert [one.genome.sizes for one in found.state.pool] == [thin, whole]
    for saved, loaded in zip(pool, found.state.pool, strict=True):
        assert saved.genome.tensors.keys() == loaded.genome.tensors.keys()
        assert all(torch.equal(tensor, loaded.genome.tensors[name]) for name, tensor in saved.genome.tensors.items())
