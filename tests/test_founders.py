"""Founders that were raised before: what shares them, and that it changes nothing."""

import json

import pytest
from quick_evaluation import QUICK, start

from learngene_hub import evaluate, evolve
from learngene_hub.evolution import generation as generation_module
from learngene_hub.evolution.founders import GENE_NAME, RECORD_NAME, Founders

LINE = ("evolution.founder_generations=2", "evolution.population=2")


@pytest.fixture
def raised(monkeypatch):
    """Individuals of every generation that is really raised from now on."""
    counts, real = [], generation_module._Work.raise_all

    def counting(self, shards):
        counts.append(sum(len(shard.parents) for shard in shards))
        return real(self, shards)

    monkeypatch.setattr(generation_module._Work, "raise_all", counting)
    return counts


def test_a_recipe_without_selection_takes_the_founders_of_one_with_it_and_gives_the_same_gene(tiny, tmp_path, raised):
    other, founders = tiny(*LINE, "evolution.selection=none"), Founders(tmp_path / "founders", "images")
    alone = evolve(other, out=tmp_path / "alone")
    evolve(tiny(*LINE), out=tmp_path / "first", founders=founders)
    assert raised == [1, 1, 2] * 2
    assert evolve(other, out=tmp_path / "second", founders=founders).config.sha256 == alone.config.sha256
    assert raised == [1, 1, 2] * 2 + [2]


def test_founders_taken_over_cost_what_they_cost(tiny, tmp_path):
    founders = Founders(tmp_path / "founders", "images")
    first = evolve(tiny(*LINE), out=tmp_path / "first", founders=founders)
    for file in founders.folder.glob(f"*/{RECORD_NAME}"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 500.0}))
    second = evolve(tiny(*LINE, "evolution.mutation_rate=0"), out=tmp_path / "second", founders=founders)
    assert second.config.origin.cost.images == first.config.origin.cost.images
    assert second.config.origin.cost.seconds > 1000


@pytest.mark.parametrize("change", ["ancestry.lr=0.3", "seed=1", "critic.steps=3", "evolution.generations=4"])
def test_a_founder_that_would_differ_is_raised(tiny, tmp_path, raised, change):
    founders = Founders(tmp_path / "founders", "images")
    evolve(tiny(*LINE), out=tmp_path / "first", founders=founders)
    evolve(tiny(*LINE, change), out=tmp_path / "second", founders=founders)
    assert raised[3:5] == [1, 1]


def test_founders_of_other_images_are_not_taken(tiny, tmp_path, raised):
    for images in ("some", "others"):
        evolve(tiny(*LINE), out=tmp_path / images, founders=Founders(tmp_path / "founders", images))
    assert raised == [1, 1, 2] * 2


@pytest.mark.parametrize("file", [GENE_NAME, RECORD_NAME])
def test_a_damaged_founder_is_raised_again(tiny, tmp_path, raised, file):
    founders = Founders(tmp_path / "founders", "images")
    first = evolve(tiny(*LINE), out=tmp_path / "first", founders=founders)
    for damaged in founders.folder.glob(f"*/{file}"):
        damaged.write_bytes(damaged.read_bytes()[:-5])
    assert evolve(tiny(*LINE), out=tmp_path / "second", founders=founders).config.sha256 == first.config.sha256
    assert raised == [1, 1, 2] * 2


def test_the_ablations_of_an_evaluation_raise_their_founders_once(tiny, tmp_path, monkeypatch, raised):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))
    gene = evolve(tiny(*LINE), out=tmp_path / "run")
    raised.clear()
    ablations = ("gtl-no-selection", "gtl-no-mutation")
    results = evaluate(tmp_path / "run", protocol=QUICK, baselines=ablations, seeds=(0,))
    assert raised == [1, 1, 2, 2]
    assert {start(results, name).cost.images for name in ablations} == {gene.config.origin.cost.images}
