import math
from itertools import islice, repeat

import numpy as np
import pytest
import torch
from torch import nn

from learngene_hub import LearngeneError
from learngene_hub.core.device import pick_device
from learngene_hub.core.rng import derive_seed, generator
from learngene_hub.genome.birth import Body, newborn
from learngene_hub.recipe.sections import AncestrySection
from learngene_hub.training.loop import (
    CHECK_EVERY,
    Training,
    accuracy,
    epochs,
    make_optimizer,
    measure_statistics,
    train,
)
from learngene_hub.training.rates import Falling, Restarting

BODY = Body("lg_vgg11", 0.1)


def network(seed=0):
    return newborn(BODY, num_classes=4, gene=None, seed=seed)


def batch(count=16):
    labels = torch.arange(count) % 4
    noise = torch.rand(count, 3, 32, 32, generator=generator(0, "images"))
    return noise * 0.5 + labels[:, None, None, None] / 4, labels


def run(net, steps=12, **kwargs):
    optimisation = AncestrySection(steps=steps, **{"lr": 0.05, "warmup": 2} | kwargs.pop("optimisation", {}))
    training = Training(optimisation, steps, "float32", gene_rate=kwargs.pop("gene_rate", None))
    return train(net, repeat(batch()), training, **kwargs)


@pytest.mark.parametrize("optimizer", [{"optimizer": "sgd"}, {"optimizer": "adamw", "lr": 0.003}])
def test_training_lowers_the_loss(optimizer):
    net = network()
    assert run(net, steps=25, optimisation=optimizer) < 0.7 * math.log(4)
    assert accuracy(net, [batch()], "float32") > 0.5


def test_the_same_training_gives_the_same_weights():
    first, second = network(), network()
    run(first)
    run(second)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_training_that_diverged_gives_nan_and_stops_early():
    net, seen = network(), []
    with torch.no_grad():
        net.head.fc.weight.fill_(math.nan)
    assert math.isnan(run(net, steps=100, on_step=seen.append))
    assert len(seen) == CHECK_EVERY


def test_the_halves_of_a_fall_make_the_whole():
    whole = [Falling()(step / 10) for step in range(10)]
    halves = [rate(step / 5) for rate in (Falling(0, 0.5), Falling(0.5, 1)) for step in range(5)]
    assert halves == pytest.approx(whole)
    assert whole == sorted(whole, reverse=True)


def test_a_restarting_rate_is_never_below_the_falling_one_that_it_ends_with():
    for generation in range(5):
        begin, end = generation / 5, (generation + 1) / 5
        pairs = [(Restarting(begin, end)(p / 20), Falling(begin, end)(p / 20)) for p in range(20)]
        assert all(newborn >= inherited - 1e-9 for newborn, inherited in pairs)
        assert Restarting(begin, end)(1.0) == pytest.approx(Falling(begin, end)(1.0))


def test_the_warm_up_bounds_the_first_steps():
    moved = {}
    for warmup in (0, 99):
        net, before = network(), network()
        run(net, steps=1, optimisation={"warmup": warmup, "weight_decay": 0, "clip_norm": None})
        moved[warmup] = (net.head.fc.weight - before.head.fc.weight).detach()
    torch.testing.assert_close(moved[99] * 100, moved[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_slow_weights_take_their_part_of_every_step_and_the_others_all_of_it(optimizer):
    start, quick, slowed = network(), network(), network()
    settings = {"optimizer": optimizer, "warmup": 0, "lr": 0.01}
    run(quick, steps=1, optimisation=settings)
    name = "stages.1.0.conv.weight"
    part = dict(slowed.named_parameters())[name][:3, :2].detach()
    run(slowed, steps=1, optimisation=settings, gene_rate=lambda progress: 0.25, inherited=[part])
    before, after, own = (dict(net.named_parameters())[name].detach() for net in (start, quick, slowed))
    torch.testing.assert_close(own[:3, :2] - before[:3, :2], 0.25 * (after - before)[:3, :2])
    assert torch.equal(own[3:], after[3:])
    assert torch.equal(own[:3, 2:], after[:3, 2:])


def test_clipping_bounds_the_step():
    moved = {}
    for clip in (None, 1e-6):
        net, before = network(), network()
        run(net, steps=1, optimisation={"clip_norm": clip, "weight_decay": 0, "warmup": 0})
        pairs = zip(net.parameters(), before.parameters(), strict=True)
        moved[clip] = max(float((a - b).detach().abs().max()) for a, b in pairs)
    assert moved[1e-6] < 1e-6 < moved[None]


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_momentum_repeats_a_part_of_the_step_before(momentum):
    layer = nn.Linear(1, 1, bias=False)
    constants, before = AncestrySection(lr=0.1, momentum=momentum, weight_decay=0), layer.weight.item()
    optimizer = make_optimizer(layer, constants)
    for _ in range(2):
        layer.weight.grad = torch.ones(1, 1)
        optimizer.step()
    assert before - layer.weight.item() == pytest.approx(0.1 * (2 + momentum))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_and_nothing_else(name):
    net, before = network(), network()
    optimizer = make_optimizer(net, AncestrySection(optimizer=name, lr=0.1, weight_decay=0.5))
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, old in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(weight, old * 0.95 if old.ndim > 1 else old)


def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes():
    images, labels = batch()
    with torch.no_grad():
        surprise = -network().train()(images).log_softmax(dim=1)
    right, every = surprise[torch.arange(len(labels)), labels].mean(), surprise.mean()
    assert run(network(), steps=1, optimisation={"label_smoothing": 0.3}) == pytest.approx(0.7 * right + 0.3 * every)
    assert abs(right - every) > 0.001


def test_measured_statistics_are_those_of_the_images():
    net = network()
    x = batch(32)[0]
    measure_statistics(net, [x[:16], x[16:]], "float32")
    first = net.stages[0][0]
    maps = torch.stack([first.conv(half).mean(dim=(0, 2, 3)) for half in (x[:16], x[16:])]).mean(dim=0)
    torch.testing.assert_close(first.norm.running_mean, maps.detach(), rtol=1e-4, atol=1e-5)
    assert first.norm.momentum == 0.1


def test_epochs_show_every_index_once_before_any_twice():
    drawn = torch.cat(list(islice(epochs(10, 4, generator(0, "e")), 5)))
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))


def test_batches_larger_than_the_task_repeat_images():
    assert len(next(epochs(3, 8, generator(0, "e")))) == 8


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(LearngeneError, match="device 'cuda:2': expected cuda:0 to cuda:1"):
        pick_device("cuda:2")


def test_seeds_of_numpy_are_what_they_equal():
    assert derive_seed(np.int64(3), "x", np.int32(1)) == derive_seed(3, "x", 1)
