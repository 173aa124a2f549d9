"""The search for the shape of a gene: what it finds, that it goes on where it was, and what it leaves behind."""

import json
import math
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from listener import Listener
from quick_evaluation import ONE, start

from learngene_hub import Learngene, evaluate, evolve
from learngene_hub.core.errors import SelectionError
from learngene_hub.evolution import critics, search
from learngene_hub.evolution.dry_run import evolution_flops, forecast
from learngene_hub.evolution.operators import mean_shape
from learngene_hub.evolution.page import write_page
from learngene_hub.evolution.plan import network_body, recipe_channels
from learngene_hub.genome.shape import ShapeSpace
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.evolution import render_evolution
from learngene_hub.workers import EngineOptions

SEARCH = (
    "gene.shape=evolve",
    "evolution.generations=1",
    "evolution.population=2",
    "search.width=0.05",
    "search.ancestor_steps=3",
    "search.life_steps=1",
    "search.population=6",
    "search.tasks=1",
    "search.steps=1",
    "search.parents=2",
    "search.final_tasks=2",
    "ancestry.statistics_batches=1",
)
FEW = ("search.population=2", "search.parents=1")
WEIGHTS = "gene/learngene.safetensors"
ENDS = ("", " task", " batches")  # of the addresses of what a critic draws: its weights, and these


@pytest.fixture
def recipe(tiny):
    """A tiny recipe that searches for its gene's shape, with overrides."""
    return lambda *overrides: tiny(*SEARCH, *overrides)


@pytest.fixture(scope="module")
def run(tiny_file, tmp_path_factory):
    """The folder of a finished evolution with a search; read it, do not change it."""
    out = tmp_path_factory.mktemp("runs") / "searched"
    evolve(Recipe.from_file(tiny_file, SEARCH), out=out)
    return out


@pytest.fixture(scope="module")
def stopped_run(tiny_file, tmp_path_factory):
    """The folder of an evolution that was stopped after all shapes were scored; read it, do not change it."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(Recipe.from_file(tiny_file, SEARCH), out=out, reporter=Listener(1))
    return out


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """A copy of that folder, to be changed."""
    return shutil.copytree(stopped_run, tmp_path / "run")


def first_row(out):
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[0])


def untimed(row):
    return {key: value for key, value in row["search"].items() if key not in {"seconds", "engine"}}


def test_the_gene_has_the_shape_that_was_found_scaled_to_the_width_of_its_network(recipe, run):
    row, gene = first_row(run)["search"], Learngene.from_pretrained(run)
    small = ShapeSpace(replace(network_body(recipe()), width=row["width"]), recipe().gene.fraction)
    fractions = small.fractions(dict(zip(row["groups"], row["best"]["channels"], strict=True)))
    space = ShapeSpace(network_body(recipe()), recipe().gene.fraction)
    assert gene.config.channels == space.fitted(fractions)
    assert space.numbers(gene.config.channels) <= space.budget


@pytest.mark.parametrize("width", [0.06, 0.12])
def test_a_line_begins_from_the_slice_of_the_ancestor_though_its_networks_are_wider(
    recipe, tmp_path, monkeypatch, width
):
    lazy = ("ancestry.lr=1e-9", "evolution.mutation_rate=0")
    trained, cut = [], search.cut
    monkeypatch.setattr(search, "cut", lambda state, *rest, **more: trained.append(state) or cut(state, *rest, **more))
    gene = evolve(recipe("search.width=0.06", f"network.width={width}", *FEW, *lazy), out=tmp_path)
    (ancestor,) = trained
    name = next(iter(gene.tensors))
    leading = first_row(tmp_path)["search"]["best"]["channels"][0]
    kernels, whole = gene.tensors[name].flatten(1)[:leading], ancestor[name].flatten(1)
    assert len(gene.tensors[name]) > leading or width == 0.06
    assert torch.cdist(kernels, whole).amin(dim=1).max() < 1e-4
    assert "continued from what the search" in (tmp_path / "gene/README.md").read_text()
    assert "inherits the slice of that shape" in (tmp_path / "evolution.html").read_text()


def test_no_shape_is_scored_twice_and_the_best_have_the_mean(run):
    row = first_row(run)["search"]
    shapes = row["shapes"]
    assert len({tuple(shape["channels"]) for shape in shapes}) == len(shapes) == 6
    assert not any(shape["parents"] for shape in shapes)
    best = sorted(shapes, key=lambda shape: (-shape["fitness"], shape["id"]))[:2]
    assert row["mean"]["parents"] == [shape["id"] for shape in best]
    assert row["best"] == max((row["mean"], row["even"]), key=lambda shape: shape["fitness"])


def test_the_mean_of_the_best_shapes_is_what_the_operator_makes_of_them(recipe, run):
    row = first_row(run)["search"]
    space = ShapeSpace(replace(network_body(recipe()), width=row["width"]), recipe().gene.fraction)
    shapes = {shape["id"]: dict(zip(row["groups"], shape["channels"], strict=True)) for shape in row["shapes"]}
    assert row["mean"]["channels"] == [*mean_shape([shapes[id_] for id_ in row["mean"]["parents"]], space).values()]


def score_shapes_by(score, monkeypatch):
    """From now on, the outcome for a shape is what `score` makes of a function giving the real one, and its task."""
    real = search.AncestryTask.__call__

    def call(task, *rest):
        given = partial(real, task, *rest)
        return score(given, task) if task.plan.generation == -1 else given()

    monkeypatch.setattr(search.AncestryTask, "__call__", call)


@pytest.fixture
def scored(monkeypatch):
    """The sizes of every shape that is scored from now on."""
    sizes = []

    def counted(score, task):
        sizes.append(task.sizes)
        return score()

    score_shapes_by(counted, monkeypatch)
    return sizes


def test_a_search_that_was_stopped_again_and_again_ends_with_the_same_bytes(recipe, run, stopped, scored):
    for line, left in ((2, 0), (3, 2)):  # a resume begins with a line of its own
        with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
            evolve(recipe(), out=stopped, resume=True, reporter=Listener(line))
        assert len(scored) == left
        scored.clear()
    evolve(recipe(), out=stopped, resume=True)
    assert scored == []
    assert (stopped / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()
    assert untimed(first_row(stopped)) == untimed(first_row(run))


def test_a_search_stopped_within_a_generation_keeps_the_shapes_that_were_scored(recipe, tmp_path, monkeypatch):
    scored = []

    def stopping(score, task):
        scored.append(task.sizes)
        if len(scored) == 3:
            raise KeyboardInterrupt("stopped by the test")
        return score()

    score_shapes_by(stopping, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe(), out=tmp_path / "run")
    (kept,) = (tmp_path / "run/search").glob("shape-*.jsonl")
    assert len(kept.read_text().splitlines()) == 2
    kept.write_text(kept.read_text() + '{"channels": [1')  # the line that a kill tore
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe(), out=tmp_path / "run", resume=True, reporter=Listener(2))
    assert len(scored) == 3 + 4


def test_equal_shapes_are_scored_once(recipe, tmp_path, scored):
    heard = Listener()
    evolve(recipe("gene.fraction=1", *FEW), out=tmp_path / "run", reporter=heard)
    assert len(scored) == 1 + 1  # that of all channels, and again in the finals
    (bar,) = (bar for bar in heard.bars if bar["title"] == "evolving")
    assert bar["done"] == bar["total"]
    row = first_row(tmp_path / "run")["search"]
    assert row["mean"]["fitness"] == row["even"]["fitness"]
    assert len({shape["fitness"] for shape in row["shapes"]}) == 1
    evolve(recipe(*FEW), out=tmp_path / "other")
    assert row["images"] < first_row(tmp_path / "other")["search"]["images"]


def test_shapes_and_finals_have_critics_of_other_tasks_weights_and_batches(recipe, tmp_path, monkeypatch):
    addresses, born, drawn = set(), critics.newborn, critics.generator
    monkeypatch.setattr(critics, "newborn", lambda *a, **k: addresses.add(k["path"]) or born(*a, **k))
    monkeypatch.setattr(critics, "generator", lambda seed, *path: addresses.add(path) or drawn(seed, *path))
    evolve(recipe(*FEW), out=tmp_path)
    of_what = {"critic": 1, "shape": 1, "final": 2}  # tasks of each
    kinds = [(f"{purpose}{end}", number) for purpose, many in of_what.items() for number in range(many) for end in ENDS]
    assert addresses == {*kinds}


def test_a_stopped_search_whose_network_comes_out_otherwise_takes_no_kept_fitness(recipe, stopped, scored, monkeypatch):
    real = search.ShapeSearch._ancestor

    def other(*args):
        state, seconds = real(*args)
        return {name: tensor + 1e-6 for name, tensor in state.items()}, seconds

    monkeypatch.setattr(search.ShapeSearch, "_ancestor", other)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe(), out=stopped, resume=True, reporter=Listener(2))
    assert len(scored) == 6


@pytest.mark.slow
def test_two_workers_find_the_same_gene(recipe, run, tmp_path):
    evolve(recipe(), out=tmp_path / "run", engine=EngineOptions(workers=2))
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()
    assert untimed(first_row(tmp_path / "run")) == untimed(first_row(run))


@pytest.mark.parametrize("change", ["data.images_per_class=11", "data.flip=false", "search.steps=2"])
def test_other_images_do_not_take_what_was_kept(recipe, stopped, scored, change):
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe(change), out=stopped, reporter=Listener(1))
    assert len(scored) == 6


def test_the_search_counts_in_images_arithmetic_and_forecast(recipe, tmp_path):
    few = ("search.population=2", "search.parents=1", "search.final_tasks=1")
    changes, heard = (*few, "critic.tasks=2", "search.tasks=2", "search.steps=2"), Listener()
    longer = recipe(*changes)
    gene = evolve(longer, out=tmp_path / "run", reporter=heard)
    assert f"shape of the gene: {', '.join(map(str, gene.config.channels.values()))}" in " ".join(heard.lines)
    (bar,) = (bar for bar in heard.bars if bar["title"] == "evolving")
    assert bar["done"] == bar["total"] == gene.config.origin.cost.images
    cost = forecast(longer, device=torch.device("cpu"))
    assert bar["total"] == cost.images
    line = evolution_flops(recipe(*changes, "gene.shape=taper"))
    assert cost.search_flops == pytest.approx(cost.flops - line)
    ancestor, life = (3 + 1) * 8, (1 + 1) * 8
    shape, final = life + 2 * 2 * 8, life + 2 * 8
    assert first_row(tmp_path / "run")["search"]["images"] == ancestor + 2 * shape + 2 * final


def test_config_and_card_tell_how_the_shape_was_found(run, tiny_run):
    record = Learngene.from_pretrained(run).config.origin.search
    row = first_row(run)["search"]
    assert (record.width, record.shapes, record.images) == (0.05, 6, row["images"])
    assert (record.mean_fitness, record.even_fitness) == (row["mean"]["fitness"], row["even"]["fitness"])
    assert record.is_even == (row["best"] == row["even"])
    assert f"the mean of the best 2 of 6 shapes ({record.mean_fitness:.1%}" in (run / "gene/README.md").read_text()
    table = (run / "gene/README.md").read_text().split("| generations |")[1].split("| seed |")[0].splitlines()
    assert [line[:8] for line in table[1:]] == ["| shape ", "| cost |"]  # no empty line ends the table
    assert Learngene.from_pretrained(tiny_run).config.origin.search is None
    assert "of 6 shapes" not in (tiny_run / "gene/README.md").read_text()


def test_the_page_shows_the_search_where_there_was_one(run, tiny_run, tmp_path):
    assert "<h2>Shape</h2>" in (run / "evolution.html").read_text()
    assert "6 shapes were compared" in write_page(str(run / "gene"), tmp_path / "page.html").read_text()
    assert "<h2>Shape</h2>" not in (tiny_run / "evolution.html").read_text()


def test_a_failed_ancestor_ends_the_run_with_what_to_change(recipe, tmp_path, monkeypatch):
    real = search.AncestryTask.__call__
    failed = lambda task, *rest: replace(real(task, *rest), genome=None, fitness=math.nan)  # noqa: E731
    monkeypatch.setattr(search.AncestryTask, "__call__", failed)
    with pytest.raises(SelectionError, match=r"the network of the search failed \(NaN\); lower `ancestry.lr`"):
        evolve(recipe(), out=tmp_path / "run")


def test_shapes_whose_lives_or_critics_diverge_never_win(recipe, tmp_path, monkeypatch):
    live, lived, calls = search.AncestryTask.live, [], []

    def sometimes_live(task, *rest):
        lived.append(task.plan.generation)
        return (None, math.nan) if lived.count(-1) == 2 else live(task, *rest)

    def sometimes(score, task):
        calls.append(task.sizes)
        return replace(score(), fitness=math.nan) if len(calls) in {5, 7} else score()

    monkeypatch.setattr(search.AncestryTask, "live", sometimes_live)
    score_shapes_by(sometimes, monkeypatch)
    evolve(recipe(), out=tmp_path / "run")
    row = first_row(tmp_path / "run")["search"]
    assert [shape["id"] for shape in row["shapes"] if shape["fitness"] is None] == [1, 4]
    assert not {1, 4} & {parent for shape in row["shapes"] for parent in shape["parents"]}
    assert row["mean"]["fitness"] is None
    assert row["best"] == row["even"]


def test_a_search_in_which_every_shape_fails_says_what_to_change(recipe, tmp_path, monkeypatch):
    score_shapes_by(lambda score, task: replace(score(), fitness=math.nan), monkeypatch)
    with pytest.raises(SelectionError, match=r"all 6 shapes failed \(NaN\); lower `ancestry\.lr` or `critic\.lr`"):
        evolve(recipe(), out=tmp_path / "run")


@pytest.mark.drawn
def test_the_search_of_an_earlier_version_whose_shapes_had_generations_and_parents_is_read_and_drawn(run):
    row = first_row(run)
    for number, shape in enumerate(row["search"]["shapes"]):
        shape.update(generation=number // 4, parents=[0, 1] if number >= 4 else [])
    row["search"]["mean"]["generation"] = row["search"]["even"]["generation"] = 2
    row["search"]["best"] = row["search"]["mean"]
    assert "<h2>Shape</h2>" in render_evolution([row], title="x", chosen=row["best_id"])


@pytest.mark.drawn
def test_names_of_groups_are_drawn_as_they_are(run):
    row = first_row(run)
    row["search"]["groups"][0] = r"$\frac{$"
    assert "<h2>Shape</h2>" in render_evolution([row], title="x", chosen=row["best_id"])


def test_a_gene_whose_shape_was_found_is_evaluated_beside_its_baselines(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path))
    results = evaluate(run, protocol=ONE, seeds=(0,), baselines=("magnitude-slice",))
    assert {start.start for start in results.descendants[0].starts} == {"scratch", "learngene", "magnitude-slice"}


def test_a_thin_network_of_an_even_shape_has_as_many_parameters(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path))
    results = evaluate(run, protocol=ONE, seeds=(0,), baselines=("narrow-even",))
    gene, thin = (start(results, name) for name in ("learngene", "narrow-even"))
    assert thin.cost.images == gene.cost.images
    assert thin.inherited == pytest.approx(gene.inherited, rel=0.05)


def test_a_shape_that_is_to_be_found_counts_as_an_even_one_before(recipe):
    assert recipe_channels(recipe()) == ShapeSpace(network_body(recipe()), recipe().gene.fraction).even()
