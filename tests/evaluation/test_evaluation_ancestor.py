"""A gene that began from another one beside alternatives that did, too."""

import shutil
from dataclasses import replace

import pytest
import torch
from listener import Listener
from PIL import Image
from quick_evaluation import ONE, start

from learngene_hub import Learngene, evaluate
from learngene_hub.core.errors import LearngeneError
from learngene_hub.evaluation import pretraining
from learngene_hub.evaluation.candidates import ancestor_of, load_candidates
from learngene_hub.evolution.run import evolve
from learngene_hub.genome.surgery import extract
from learngene_hub.recipe.recipe import Recipe

SHORT = ("evolution.generations=1", "evolution.population=2", "ancestry.statistics_batches=1")


@pytest.fixture(scope="module")
def begun_run(tiny_file, tiny_run, tmp_path_factory):
    """The folder of a short evolution that began from the tiny run; read it, do not change it."""
    out = tmp_path_factory.mktemp("begun") / "run"
    evolve(Recipe.from_file(tiny_file, [f"evolution.ancestor={tiny_run}", *SHORT]), out=out)
    return out


@pytest.fixture
def beside(tiny_run, tmp_path, monkeypatch):
    """Works where the folder of the ancestor lies, with a cache of its own."""
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tiny_run.parent)
    return tmp_path / "cache" / "pretrained"


@pytest.fixture
def begins(monkeypatch):
    """The newborn networks of the first parts of all pre-training from now on: structure and tensors."""
    seen, real = [], pretraining.train

    def watched(network, *args, **kwargs):
        seen.append((network.structure, {name: one.clone() for name, one in network.state_dict().items()}))
        return real(network, *args, **kwargs)

    monkeypatch.setattr(pretraining, "train", watched)
    return seen


def test_networks_that_are_trained_as_usual_begin_from_the_same_gene(begun_run, tiny_run, beside, begins):
    names = ("narrow", "pretrained")
    results = evaluate(begun_run, protocol=ONE, baselines=names, seeds=(0,))
    gene = Learngene.from_pretrained(tiny_run)
    assert len(begins) == 2 * pretraining.PARTS
    images = f"{gene.config.origin.cost.images:,}"
    assert f"; it began from tiny, whose {images} images are not counted" in start(results, "learngene").description
    for (structure, tensors), name in zip(begins[:: pretraining.PARTS], names, strict=True):
        born = extract(tensors, structure, gene.config.channels).tensors
        assert all(torch.equal(born[name], tensor) for name, tensor in gene.tensors.items())
        assert start(results, name).cost.images == start(results, "learngene").cost.images
        assert start(results, name).description.endswith("; it began from the same gene")


def test_a_network_that_began_from_nothing_has_the_key_it_always_had_and_is_another_in_the_cache(
    begun_run, tiny, tmp_path, beside, monkeypatch
):
    keys, real = [], pretraining.pretrain
    monkeypatch.setattr(
        "learngene_hub.evaluation.starts.pretrain", lambda plan, *a, **k: keys.append(plan.key) or real(plan, *a, **k)
    )
    evolve(tiny(*SHORT), out=tmp_path / "from nothing")
    for run in (begun_run, tmp_path / "from nothing", begun_run):
        evaluate(run, protocol=ONE, baselines=["narrow"], seeds=(0,))
    assert len(list(beside.glob("*/network.safetensors"))) == 2
    assert [key.keys() & {"ancestor", "cross"} for key in keys] == [{"ancestor", "cross"}, set(), {"ancestor", "cross"}]


def test_a_baseline_of_another_shape_is_left_out(begun_run, beside):
    listener = Listener()
    results = evaluate(begun_run, protocol=ONE, baselines=["narrow-even"], seeds=(0,), reporter=listener)
    assert [one.start for one in results.descendants[0].starts] == ["scratch", "learngene"]
    told = "narrow-even is left out: the gene began from tiny, and a baseline of another shape cannot begin from it"
    assert told in listener.warnings


@pytest.mark.slow
def test_a_wider_network_and_a_slice_can_begin_from_it(begun_run, beside):
    names = ["weight-selection", "bn-slice"]
    results = evaluate(begun_run, protocol=ONE, baselines=names, seeds=(0,))
    assert [one.start for one in results.descendants[0].starts] == ["scratch", "learngene", *names]


def test_an_ancestor_that_is_not_there_is_asked_for(begun_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        LearngeneError, match=r"the baselines need tiny \(sha256 \w+\), the gene that this .* from: tiny: no such f"
    ):
        evaluate(begun_run, protocol=ONE, baselines=["narrow"], seeds=(0,))


def test_another_gene_in_its_place_is_refused(begun_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(begun_run, tmp_path / "tiny")
    (candidate,) = load_candidates([begun_run])
    with pytest.raises(LearngeneError, match="put the right gene into a folder tiny here"):
        ancestor_of(candidate)


def test_without_baselines_it_needs_no_ancestor(begun_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start(evaluate(begun_run, protocol=ONE, seeds=(0,)), "learngene").inherited > 0


def with_ancestor_of(run, **data):
    """The gene of `run`, whose ancestor says other classes."""
    gene = Learngene.from_pretrained(run)
    origin = gene.config.origin
    before = origin.ancestor.origin.model_copy(
        update={"data": origin.ancestor.origin.data.model_copy(update={"base": (), "held_out": (), "novel": ()} | data)}
    )
    ancestor = origin.ancestor.model_copy(update={"origin": before})
    config = gene.config.model_copy(update={"origin": origin.model_copy(update={"ancestor": ancestor})})
    return replace(gene, config=config, place=None)


@pytest.mark.parametrize("role", ["base", "held_out"])
def test_a_target_whose_classes_the_ancestor_has_seen_is_refused(begun_run, tmp_path, role):
    (tmp_path / "ant").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "ant" / "1.png")
    with pytest.raises(LearngeneError, match="all its classes have the names of classes that the gene has seen"):
        evaluate(with_ancestor_of(begun_run, **{role: ("ant",)}), protocol="transfer", target=tmp_path)


def test_a_gene_whose_ancestor_knew_what_is_novel_to_another_is_not_compared_with_it(begun_run, tiny_run):
    novel = Learngene.from_pretrained(tiny_run).config.origin.data.novel
    with pytest.raises(LearngeneError, match="has seen 6 of the classes that are novel"):
        load_candidates([tiny_run, with_ancestor_of(begun_run, base=novel)])
