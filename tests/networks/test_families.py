"""Every family gives the same gene again; a toy one, of one file and one line, goes through all the package."""

import json

import pytest
import torch
from listener import Listener

from learngene_hub import Learngene, evaluate, evolve, from_learngene
from learngene_hub.core.errors import InheritanceError
from learngene_hub.families import FAMILIES
from learngene_hub.workers import EngineOptions


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(FAMILIES, "toy", "toy_family:FAMILY")


def test_a_toy_family_is_evolved_loaded_and_judged(toy, tiny, tmp_path):
    from quick_evaluation import QUICK, start

    recipe = tiny("network.name=toy", "network.width=1", "network.depth=2", "evolution.generations=2")
    gene = evolve(recipe, out=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [len(row["individuals"]) for row in rows] == [4, 4]
    assert gene.tensors["second.weight"].shape == (gene.config.channels["second"], gene.config.channels["first"])
    model = from_learngene(tmp_path / "run", num_classes=5, width=2, freeze_gene=True)
    assert model.inheritance.layers[1].kind == "gene"
    kept = gene.tensors["second.weight"]
    with torch.no_grad():
        model.second.weight.add_(1.0)
    model(torch.zeros(1, 3, 28, 28))
    assert torch.equal(model.second.weight[: len(kept), : kept.shape[1]], kept)
    with pytest.raises(InheritanceError, match=r"give width=0\.\d+ or more"):
        from_learngene(tmp_path / "run", num_classes=5, width=0.1)
    results = evaluate(tmp_path / "run", protocol=QUICK, baselines=["narrow", "magnitude-slice"], seeds=(0,))
    assert start(results, "narrow").cost.images == gene.config.origin.cost.images
    assert Learngene.from_pretrained(tmp_path / "run").config == gene.config


# Those of lg_vgg11, the network of the tiny recipe, are compared in test_evolution.py and test_engine_runs.py.


VIT = "vit_tiny_patch4_32"


def residual(tiny, name):
    size = ("network.width=0.4", "network.depth=4") if name == VIT else ("network.width=0.06",)  # room for two heads
    return tiny(f"network.name={name}", *size, "evolution.generations=2", "evolution.population=2")


def weights(run):
    return (run / "gene/learngene.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["lg_resnet12", VIT])
def test_a_residual_gene_has_the_same_bytes_after_a_stop(tiny, tmp_path, name):
    recipe = residual(tiny, name)
    evolve(recipe, out=tmp_path / "once")
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=tmp_path / "stopped", reporter=Listener(stop_after=1))
    evolve(recipe, out=tmp_path / "stopped", resume=True)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "once")


@pytest.mark.slow
def test_a_residual_gene_has_the_same_bytes_by_two_workers(tiny, tmp_path):
    recipe = residual(tiny, VIT)
    evolve(recipe, out=tmp_path / "once")
    evolve(recipe, out=tmp_path / "shared", engine=EngineOptions(workers=2))
    assert weights(tmp_path / "shared") == weights(tmp_path / "once")
