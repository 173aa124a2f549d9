"""A family is one file and one line of the registry: a toy one goes through all the package."""

import json

import pytest
import torch

from learngene_hub import Learngene, evaluate, evolve, from_learngene
from learngene_hub.core.errors import InheritanceError
from learngene_hub.families import FAMILIES


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
