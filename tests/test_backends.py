"""Several networks trained as one end as each would alone."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from populations import RESNET, VGG, assert_alike, batches, tensors, trainees, training

from learngene_hub.backends import Training, memory, train_each
from learngene_hub.backends.grouped import clip_each, side_by_side, train_together
from learngene_hub.birth import Body
from learngene_hub.errors import LearngeneError, NetworkError
from learngene_hub.rng import generator
from learngene_hub.sections import AncestrySection


@pytest.mark.parametrize("body", [VGG, RESNET], ids=["vgg", "resnet"])
@pytest.mark.parametrize(
    "constants",
    [{}, {"optimizer": "adamw", "lr": 0.003}, {"label_smoothing": 0.2, "weight_decay": 0.1}, {"clip_norm": None}],
    ids=["sgd", "adamw", "smoothing", "unclipped"],
)
def test_both_back_ends_end_with_the_same_weights_and_statistics(body, constants):
    job = training(**constants)
    ends = [list(train_each(trainees(body), job, backend=backend)) for backend in ("loop", "grouped")]
    assert_alike(*ends)
    counts = [t for name, t in ends[1][0].trainee.network.state_dict().items() if name.endswith("batches_tracked")]
    assert all(count == 4 for count in counts)


def test_a_job_without_slow_weights_and_circuits_is_the_same_too():
    job = Training(AncestrySection(lr=0.05), 3, "float32")
    assert_alike(*(list(train_each(trainees(slow=False), job, backend=backend)) for backend in ("loop", "grouped")))


@pytest.mark.parametrize("backend", ["loop", "grouped"])
def test_batches_go_on_where_the_training_left_them_and_all_images_are_reported(backend):
    seen = [[], [], []]
    made = [replace(one, on_step=steps.append) for one, steps in zip(trainees(), seen, strict=True)]
    ended = list(train_each(made, training(), backend=backend))
    for number, one in enumerate(ended):
        own = batches(number)
        expected = [next(own) for _ in range(5)][-1]
        assert torch.equal(next(one.batches)[0], expected[0])
    assert seen == [[6] * 4] * 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_that_diverges_leaves_the_others_as_the_loop_would(dtype, precision):
    ends = []
    for broken in (False, True):
        made = trainees(dtype=dtype)
        if broken:
            with torch.no_grad():
                made[1].network.stages[0][0].conv.weight.fill_(math.nan)
        signs = []
        made = [replace(one, on_step=signs.append) for one in made]
        job = replace(training(), precision=precision)
        ends.append(list(train_each(made, job, backend="grouped" if broken else "loop")))
    assert signs.count(0) == 3 * job.steps  # all were trained once more, with signs of life, and counted once
    assert [math.isnan(one.loss) for one in ends[1]] == [False, True, False]
    for place in (0, 2):
        sound, beside = (tensors(end[place].trainee) for end in ends)
        torch.testing.assert_close(beside, sound, rtol=0, atol=0)
        assert torch.equal(next(ends[0][place].batches)[0], next(ends[1][place].batches)[0])


@pytest.mark.parametrize(("steps", "rate"), [(40, 1e30), (1, math.inf)], ids=["in a loss", "in the last step"])
def test_a_group_that_is_given_up_is_as_it_was(steps, rate):
    made = trainees()
    before = copy.deepcopy([tensors(one) for one in made])
    losses = train_together(
        [one.network for one in made],
        [one.batches() for one in made],
        AncestrySection(clip_norm=None, warmup=0),
        steps=steps,
        precision="float32",
        rate=lambda progress: rate,
    )
    assert losses is None
    torch.testing.assert_close([tensors(one) for one in made], before, rtol=0, atol=0)


def test_gradients_are_clipped_network_by_network_as_torch_clips_one():
    networks = [one.network for one in trainees(RESNET)]
    joined = side_by_side(networks)
    for weight in joined.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator(0, "gradient"), dtype=torch.float64)
    alone = [[g.clone() for g in weight.grad.unflatten(0, (3, -1))] for weight in joined.parameters()]
    clip_each(list(joined.parameters()), 0.5, 3)
    for number in range(3):
        weights = [torch.nn.Parameter(torch.zeros_like(parts[number])) for parts in alone]
        for weight, parts in zip(weights, alone, strict=True):
            weight.grad = parts[number]
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        own = [weight.grad.unflatten(0, (3, -1))[number] for weight in joined.parameters()]
        torch.testing.assert_close(own, [weight.grad for weight in weights], rtol=1e-12, atol=1e-12)


def test_networks_side_by_side_compute_what_each_computes():
    networks = [one.network.eval() for one in trainees()]
    images = [next(batches(number))[0] for number in range(3)]
    joined = side_by_side(networks)(torch.cat(images, dim=1))
    torch.testing.assert_close(joined, torch.cat([net(x) for net, x in zip(networks, images, strict=True)], dim=1))


def test_joining_networks_leaves_them_and_the_global_generator_alone():
    networks = [one.network for one in trainees()]
    before, drawn = copy.deepcopy([net.state_dict() for net in networks]), torch.get_rng_state()
    with torch.no_grad():
        for weight in side_by_side(networks).parameters():
            weight.zero_()
    torch.testing.assert_close([net.state_dict() for net in networks], before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_networks_of_different_shapes_are_not_joined():
    with pytest.raises(
        NetworkError, match=r"must be of one shape; stages\.\S+ is \(.*\) in the first and \(.*number 2"
    ):
        side_by_side([trainees(VGG, 1)[0].network, trainees(Body("lg_vgg11", 0.1), 1)[0].network])


def test_layers_that_cannot_be_joined_are_named():
    with pytest.raises(NetworkError, match=r"found LayerNorm\. Train them one after another: backend=loop"):
        side_by_side([torch.nn.Sequential(torch.nn.LayerNorm(3))] * 2)


def test_trainees_of_which_only_some_inherit_are_refused():
    made = [trainees(count=1)[0], trainees(count=1, slow=False)[0]]
    with pytest.raises(NetworkError, match="must inherit alike"):
        list(train_each(made, training(), backend="grouped"))


def test_an_unknown_back_end_is_refused():
    with pytest.raises(LearngeneError, match="backend 'vmap': expected loop, grouped or graph"):
        train_each([], training(), backend="vmap")


def test_large_groups_are_trained_in_parts(monkeypatch):
    whole = list(train_each(trainees(count=3), training(), backend="grouped"))
    monkeypatch.setattr(memory, "TOGETHER", 2)
    assert_alike(whole, list(train_each(trainees(count=3), training(), backend="grouped")))


def test_the_loop_holds_one_network_at_a_time():
    born = []

    def births():
        for one in trainees():
            born.append(one)
            yield one

    for number, _ in enumerate(train_each(births(), training(1), backend="loop"), start=1):
        assert len(born) == number


def test_as_many_are_trained_at_once_as_the_budget_holds_and_at_least_one(monkeypatch):
    example, job = trainees(count=1)[0], training()
    one = memory.training_bytes(example, job, 32)
    for budget, count in [(one // 2, 1), (2 * one - 1, 1), (2 * one, 2), (1000 * one, memory.TOGETHER)]:
        monkeypatch.setitem(memory.BUDGETS, "cpu", budget)
        assert memory.networks_at_once(example, job, 32) == count


def test_no_more_networks_are_alive_than_fit(monkeypatch):
    alive = []

    def births():
        for one in trainees(count=5):
            alive.append(len(born) - len(ended))
            born.append(one)
            yield one

    born, ended = [], []
    monkeypatch.setitem(memory.BUDGETS, "cpu", 2 * memory.training_bytes(trainees(count=1)[0], training(1), 32))
    for one in train_each(births(), training(1), backend="grouped"):
        ended.append(one)
    assert len(ended) == len(born) == 5
    assert max(alive) == 1


def test_memory_is_that_of_the_weights_and_grows_with_the_batch():
    def needs(**constants):
        return memory.training_bytes(trainees(count=1, dtype=torch.float32)[0], training(**constants), 32)

    eight, sixteen, twenty_four = (needs(batch_size=size) for size in (8, 16, 24))
    weights = 4 * sum(weight.numel() for weight in trainees(count=1)[0].network.parameters())
    assert twenty_four - sixteen == sixteen - eight > 0
    assert needs(batch_size=8, optimizer="adamw") - eight == weights
    assert eight > 3 * weights


def test_measuring_memory_touches_no_weight():
    example, twin = trainees(count=1)[0], trainees(count=1)[0]
    memory.networks_at_once(example, training(), 32)
    torch.testing.assert_close(tensors(example), tensors(twin), rtol=0, atol=0)
