import copy
import json
import math
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from populations import RESNET, VGG, assert_alike, batches, tensors, trainees, training
from torch.utils._python_dispatch import TorchDispatchMode

from learngene_hub.backends import graph, train_each
from learngene_hub.backends.choice import CANDIDATES
from learngene_hub.backends.graph import Branch, Dials, captured, train_branches, uncaptured
from learngene_hub.errors import LearngeneError, NetworkError, RecipeError
from learngene_hub.evolution.run import evolve
from learngene_hub.progress import SilentReporter
from learngene_hub.training import CHECK_EVERY

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def loop(made, job):
    return list(train_each(made, job, backend="loop"))


def alongside(made, job):
    return train_branches(made, job, join=uncaptured)


def branch(job=None, number=0, dtype=torch.float64, **kwargs):
    one = trainees(count=number + 1, dtype=dtype, **kwargs)[number]
    dials = Dials.like(next(one.network.parameters()))
    return Branch(one, job or training(), dials, torch.zeros((), dtype=dtype)), dials


@pytest.mark.parametrize("body", [VGG, RESNET], ids=["vgg", "resnet"])
@pytest.mark.parametrize(
    ("constants", "changes"),
    [
        ({}, {}),
        ({"optimizer": "adamw", "lr": 0.003}, {}),
        ({"label_smoothing": 0.2, "weight_decay": 0.1}, {"circuit_loss": 0.0}),
        ({"clip_norm": None, "momentum": 0.0}, {"gene_rate": None}),
    ],
    ids=["sgd", "adamw", "without a circuit loss", "unclipped, without momentum, all at one rate"],
)
def test_a_replayed_step_is_the_step_of_the_loop(body, constants, changes):
    job = replace(training(6, **constants), **changes)
    assert_alike(loop(trainees(body), job), alongside(trainees(body), job), tolerance=1e-12)


def test_networks_that_inherit_nothing_and_have_no_circuit_are_the_same_too():
    made = [[replace(one, thin=None, inherited={}) for one in trainees()] for _ in range(2)]
    for one, other in zip(loop(made[0], training()), alongside(made[1], training()), strict=True):
        torch.testing.assert_close(
            one.trainee.network.state_dict(), other.trainee.network.state_dict(), rtol=1e-12, atol=1e-12
        )


def test_in_bfloat16_the_losses_are_near_those_of_the_loop():
    job = replace(training(), precision="bfloat16")
    ends = [train(trainees(dtype=torch.float32), job) for train in (loop, alongside)]
    assert [one.loss for one in ends[1]] == pytest.approx([one.loss for one in ends[0]], abs=1e-6)


def test_batches_go_on_where_the_training_left_them_and_all_images_are_reported():
    seen = [[], [], []]
    made = [replace(one, on_step=steps.append) for one, steps in zip(trainees(), seen, strict=True)]
    for number, one in enumerate(alongside(made, training())):
        own = batches(number)
        expected = [next(own) for _ in range(5)][-1]
        assert torch.equal(next(one.batches)[0], expected[0])
    assert seen == [[6] * 4] * 3


def test_warming_up_leaves_weights_statistics_and_the_first_step_as_they_were():
    one, dials = branch()
    before = copy.deepcopy(tensors(one.trainee))
    dials.turn(training(), 1)
    one.warm_up()
    torch.testing.assert_close(tensors(one.trainee), before, rtol=0, atol=0)
    state = [tensor for tensors in one._optimizer.state.values() for tensor in tensors.values()]
    assert state
    assert not any(tensor.any() for tensor in state)
    assert all(weight.grad is None for weight in one.trainee.network.parameters())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_is_written_into_the_dials_and_the_batch_takes_effect(optimizer):
    ends = {}
    for lr, part, skipped in [(0.01, 1.0, 0), (0.02, 1.0, 0), (0.01, 0.5, 0), (0.01, 1.0, 1), (0.0, 1.0, 0)]:
        one, dials = branch(training(optimizer=optimizer, weight_decay=0.0))
        step = uncaptured([one])
        before = tensors(one.trainee)["network.stages.1.0.conv.weight"].clone()
        for _ in range(1 + skipped):
            one.load()
        dials.lr.fill_(lr)
        dials.part.fill_(part)
        step()
        ends[lr, part, skipped] = tensors(one.trainee)["network.stages.1.0.conv.weight"] - before
    first = ends[0.01, 1.0, 0]
    torch.testing.assert_close(ends[0.02, 1.0, 0], 2 * first)
    torch.testing.assert_close(ends[0.01, 0.5, 0][:2, :2], 0.5 * first[:2, :2])
    assert torch.equal(ends[0.01, 0.5, 0][-1], first[-1])
    assert not torch.allclose(ends[0.01, 1.0, 1], first, rtol=0.01, atol=0)
    assert not ends[0.0, 1.0, 0].any()


class Recorded(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_step_is_the_same_sequence_of_operations_and_none_asks_for_a_value(optimizer):
    one, dials = branch(training(optimizer=optimizer))
    one.warm_up()
    sequences = []
    for number in range(3):
        one.load()
        dials.turn(training(), number)
        with Recorded() as recorded:
            one.step()
        sequences.append(recorded.operations)
    assert sequences[0] == sequences[1] == sequences[2]
    assert not [name for name in sequences[0] if "_local_scalar_dense" in name or "nonzero" in name]


def test_a_step_writes_in_place_what_a_graph_would_hold():
    one, dials = branch()
    step = uncaptured([one])
    held = [one._images, one._labels, one._loss, dials.lr, dials.part, *one._before, *tensors(one.trainee).values()]
    held += [tensor for tensors in one._optimizer.state.values() for tensor in tensors.values()]
    places = [tensor.data_ptr() for tensor in held]
    for number in range(3):
        one.load()
        dials.turn(training(), number)
        step()
    held = [one._images, one._labels, one._loss, dials.lr, dials.part, *one._before, *tensors(one.trainee).values()]
    held += [tensor for tensors in one._optimizer.state.values() for tensor in tensors.values()]
    assert [tensor.data_ptr() for tensor in held] == places


@pytest.mark.parametrize("body", [VGG, RESNET], ids=["vgg", "resnet"])
def test_gradients_are_laid_out_like_the_weights_that_a_fused_optimiser_reads_beside_them(body):
    one, _ = branch(body=body)
    one.step()
    for weight in one.trainee.network.parameters():
        assert weight.grad.stride() == weight.stride()


def test_a_branch_that_diverges_is_nan_stops_drawing_and_leaves_the_others_as_they_would_be():
    ends, drawn = [], []
    for broken in (False, True):
        made, seen = trainees(), []
        made[1] = replace(made[1], on_step=seen.append)
        if broken:
            with torch.no_grad():
                made[1].network.stages[0][0].conv.weight.fill_(math.nan)
        ends.append(alongside(made, training(CHECK_EVERY + 2)))
        drawn.append(len(seen))
    assert [math.isnan(one.loss) for one in ends[1]] == [False, True, False]
    for place in (0, 2):
        torch.testing.assert_close(*(tensors(end[place].trainee) for end in ends), rtol=0, atol=0)
    assert drawn == [CHECK_EVERY + 2, CHECK_EVERY]


def test_the_work_ends_when_all_have_diverged():
    made, seen = trainees(count=1), []
    made[0] = replace(made[0], on_step=seen.append)
    with torch.no_grad():
        made[0].network.head.fc.weight.fill_(math.nan)
    assert math.isnan(alongside(made, training(1000))[0].loss)
    assert len(seen) == CHECK_EVERY


def test_batches_of_another_size_are_refused():
    def shrinking():
        yield next(batches(0))
        images, labels = next(batches(0))
        yield images[:1], labels[:1]

    made = [replace(trainees(count=1)[0], batches=shrinking)]
    with pytest.raises(NetworkError, match=r"expected \(6, 3, 32, 32\), found \(1, 3, 32, 32\).*backend=loop"):
        alongside(made, training())


def test_networks_on_a_cpu_are_refused():
    with pytest.raises(LearngeneError, match=r"expected networks on a CUDA device, found them on cpu; train on cuda"):
        list(train_each(trainees(), training(), backend="graph"))


def test_a_recipe_that_wants_the_graph_is_refused_where_there_is_no_cuda(tiny, tmp_path):
    with pytest.raises(RecipeError, match=r"backend: expected auto, loop or grouped .* on cpu, found graph.*--device"):
        evolve(tiny("backend=graph"), out=tmp_path, device="cpu")


def test_auto_does_not_take_the_graph():
    assert CANDIDATES == ("loop", "grouped")


@pytest.fixture
def pretended(monkeypatch):
    """What `captured` asks of CUDA, in order, from streams and a graph that do nothing."""
    said, numbers = [], iter(range(100))

    class Stream:
        def __init__(self, device):
            self.name = f"stream {next(numbers)}"

        def wait_stream(self, other):
            said.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def inside(stream):
        said.append(f"on {stream.name}")
        yield
        said.append(f"off {stream.name}")

    @contextmanager
    def recording(recorded, stream):
        said.append(f"record on {stream.name}")
        yield
        said.append("recorded")

    cuda = SimpleNamespace(
        Stream=Stream,
        stream=inside,
        graph=recording,
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: said.append("replay")),
        synchronize=lambda device: said.append(f"wait for all of {device}"),
    )
    monkeypatch.setattr(graph.torch, "cuda", cuda)
    return said


def test_a_capture_warms_up_every_stream_and_forks_all_before_it_joins_any(pretended):
    branches = [
        SimpleNamespace(
            device=torch.device("cuda", 1),
            warm_up=lambda name=name: pretended.append(f"warm {name}"),
            step=lambda name=name: pretended.append(f"step {name}"),
        )
        for name in "ab"
    ]
    captured(branches)()
    assert pretended == [
        "wait for all of cuda:1",
        *("on stream 1", "warm a", "off stream 1", "on stream 2", "warm b", "off stream 2"),
        "wait for all of cuda:1",
        "record on stream 0",
        *("stream 1 waits for stream 0", "stream 2 waits for stream 0"),
        *("on stream 1", "step a", "off stream 1", "on stream 2", "step b", "off stream 2"),
        *("stream 0 waits for stream 1", "stream 0 waits for stream 2"),
        "recorded",
        "replay",
    ]


@pytest.fixture
def exact(monkeypatch):
    """Convolutions and products on CUDA in full float32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def on_cuda(**kwargs):
    return trainees(dtype=torch.float32, device=torch.device("cuda"), **kwargs)


def moved(fitted):
    return [
        replace(one, trainee=replace(one.trainee, network=one.trainee.network.cpu(), thin=one.trainee.thin.cpu()))
        for one in fitted
    ]


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("backend", ["loop", "grouped", "graph"])
@pytest.mark.parametrize("constants", [{}, {"optimizer": "adamw", "lr": 0.003}, {"clip_norm": None, "lr": 0.005}])
@pytest.mark.parametrize("body", [VGG, RESNET], ids=["vgg", "resnet"])
def test_every_back_end_on_cuda_ends_near_the_loop_on_a_cpu(exact, body, constants, backend):
    job = training(**constants)
    here = loop(trainees(body, dtype=torch.float32), job)
    assert_alike(here, moved(train_each(on_cuda(body=body), job, backend=backend)), tolerance=5e-3)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_graph_replayed_with_other_rates_and_batches_is_the_loop_on_the_same_device(exact, optimizer):
    job = training(3 * CHECK_EVERY, optimizer=optimizer, lr=0.001)
    ends = [list(train_each(on_cuda(), job, backend=backend)) for backend in ("loop", "graph")]
    assert [one.loss for one in ends[1]] == pytest.approx([one.loss for one in ends[0]], abs=5e-3)


@pytest.mark.gpu
@needs_cuda
def test_a_captured_branch_that_diverges_leaves_the_others_as_they_would_be(exact):
    made = on_cuda()
    with torch.no_grad():
        made[1].network.head.fc.weight.fill_(math.nan)
    ended = list(train_each(made, training(), backend="graph"))
    alone = loop(on_cuda(), training())
    assert [math.isnan(one.loss) for one in ended] == [False, True, False]
    assert_alike([alone[0], alone[2]], [ended[0], ended[2]], tolerance=2e-3)


@pytest.mark.gpu
@needs_cuda
def test_an_evolution_as_a_graph_is_near_one_in_a_loop(tiny, tmp_path, exact):
    losses = []
    for backend in ("loop", "graph"):
        evolve(tiny(f"backend={backend}", "critic.tasks=2"), out=tmp_path / backend, device="cuda")
        rows = [json.loads(line) for line in (tmp_path / backend / "metrics.jsonl").read_text().splitlines()]
        losses.append([one["loss"] for one in rows[0]["individuals"]])
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)


class StopAfterOne(SilentReporter):
    def line(self, text):
        raise KeyboardInterrupt("stopped by the test")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("places", [("cuda", "cpu"), ("cpu", "cuda")])
def test_an_evolution_goes_on_on_another_device(tiny, tmp_path, exact, places):
    first, then = places
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(tiny("backend=grouped"), out=tmp_path / "moved", device=first, reporter=StopAfterOne())
    gene = evolve(tiny("backend=grouped"), out=tmp_path / "moved", device=then, resume=True)
    stayed = evolve(tiny("backend=grouped"), out=tmp_path / "stayed", device=first)
    assert gene.config.channels == stayed.config.channels
    rows = [json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[1]) for run in ("moved", "stayed")]
    assert [one["loss"] for one in rows[0]["individuals"]] == pytest.approx(
        [one["loss"] for one in rows[1]["individuals"]], abs=0.02
    )
