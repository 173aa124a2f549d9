"""On a GPU that is not there: no tensor meets one of another device, and results are the CPU's."""

from dataclasses import replace

import pytest
import torch
from listener import Listener
from quick_evaluation import QUICK, accuracies

from learngene_hub import evaluate, evolve, extract, from_learngene, inherit, unfreeze
from learngene_hub.finetuning import Predictor, Settings, finetune
from learngene_hub.workers import EngineOptions

NAME, THERE = "gtl/resnet12-mini-half", "a GPU that is not there"
ALONE = EngineOptions(workers=1)  # in this process, the only one that has such a GPU
SHORT = (
    "precision=float32",
    "evolution.generations=2",
    "evolution.population=2",
    "ancestry.steps=1",
    "ancestry.statistics_batches=1",
)


def test_an_evolution_there_gives_the_gene_of_the_cpu(gpu, tiny, tmp_path):
    recipe = tiny("network.name=lg_resnet12", "evolution.founder_generations=1", *SHORT)
    here = evolve(recipe, out=tmp_path / "here", device="cpu")
    with gpu():
        there = evolve(recipe, out=tmp_path / "there", device="cuda")
    assert there.config.origin.cost.device == THERE
    assert there.config.sha256 == here.config.sha256


def test_a_run_of_the_cpu_that_goes_on_there_is_told(gpu, tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(tiny(*SHORT), out=tmp_path, device="cpu", reporter=Listener(stop_after=1))
    heard = Listener()
    with gpu():
        evolve(tiny(*SHORT), out=tmp_path, resume=True, device="cuda", reporter=heard)
    assert any(f"continues with {THERE}: the gene may differ" in one for one in heard.warnings)


@pytest.mark.slow
def test_an_evaluation_there_finds_what_the_cpu_finds(gpu, tiny, tmp_path, monkeypatch):
    evolve(tiny(*SHORT), out=(run := tmp_path / "run"), device="cpu")
    chosen, wanted, found = replace(QUICK, tasks=1, lr=0.05), ["weight-selection"], {}
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / device))
        with gpu():
            results = evaluate(run, protocol=chosen, baselines=wanted, seeds=(0,), device=device, engine=ALONE)
        assert results.environment["device"] == {"cpu": "CPU, 1 thread", "cuda": THERE}[device]
        assert ("processor" in results.environment) == (device == "cpu")
        found[device] = [accuracies(results, name) for name in ("scratch", "learngene", "weight-selection")]
    assert found["cuda"] == found["cpu"]


def test_a_descendant_trains_and_is_cut_there(gpu):
    with gpu():
        model = from_learngene(NAME, num_classes=5).to("cuda")
        inherit(model, NAME, freeze_gene=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model(torch.zeros(2, 3, 42, 42, device="cuda")).sum().backward()
        optimizer.step()
        unfreeze(model)
        gene = extract(model)
    assert all(tensor.device == torch.device("cpu") for tensor in gene.tensors.values())


@pytest.mark.parametrize(("name", "options"), [(NAME, {}), ("gtl/resnet18-cifar-fs-half", {"width": 1})])
def test_a_seed_gives_the_same_network_there(gpu, name, options):
    here = from_learngene(name, num_classes=5, seed=3, **options)
    with gpu():
        there = from_learngene(name, num_classes=5, seed=3, device="cuda", **options)
        weights = {name: tensor.cpu() for name, tensor in there.state_dict().items()}
    assert all(torch.equal(weights[name], tensor) for name, tensor in here.state_dict().items())


TUNING = Settings(method="full", epochs=1, batch_size=4, lr=0.01)


def test_a_fine_tuning_there_finds_what_the_cpu_finds(gpu, tiny_run, photos, tmp_path):
    found = {}
    for device in ("cpu", "cuda"):
        with gpu():
            found[device] = finetune(tiny_run, photos, out=tmp_path / device, settings=TUNING, device=device)
    assert found["cuda"].record["device"] == "cuda"
    for name, tensor in found["cpu"].network.state_dict().items():
        assert torch.equal(found["cuda"].network.state_dict()[name], tensor), name


def test_a_network_there_predicts_what_it_predicts_here(gpu):
    images = torch.randint(0, 256, (2, 3, 42, 42), dtype=torch.uint8)
    network = from_learngene(NAME, num_classes=2).eval()
    here = Predictor(network, ("ant", "bee"), 42).probabilities(images)
    with gpu():
        there = Predictor(network.to("cuda"), ("ant", "bee"), 42).probabilities(images)
        assert torch.equal(there.cpu(), here)
