import hashlib
import math
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from engine_faults import WEIGHTS, calling, rows, wait_for
from filelock import FileLock
from listener import Listener
from photo_folders import write_photos
from small_genes import even_shape, gene_of

from learngene_hub import Learngene
from learngene_hub.core.errors import DataError, GeneFileError, RunError, SelectionError
from learngene_hub.data.glyphs import glyph_classes
from learngene_hub.data.image_set import measure_normalisation
from learngene_hub.data.loading import load_classes
from learngene_hub.data.splits import ClassSplit
from learngene_hub.evolution import ancestry, critics, generation, run
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.checkpoint import load_state, save_state
from learngene_hub.evolution.environment import data_source
from learngene_hub.evolution.individual import EvolutionState, Individual
from learngene_hub.evolution.plan import plan_generation, plan_line
from learngene_hub.evolution.run import evolve
from learngene_hub.genome.birth import Body, gene_network, newborn
from learngene_hub.genome.genome import Genome
from learngene_hub.training.rates import Falling
from learngene_hub.workers import EngineOptions

STEPS = ("ancestry.steps=1", "ancestry.statistics_batches=1", "critic.steps=1")
TWO = ("evolution.population=2", *STEPS)
SMALL = ("evolution.generations=1", *TWO)


def generation_images(recipe, number):
    return plan_generation(recipe, number, precision="float32", threads=1).images


def untimed(row):
    return {key: value for key, value in row.items() if key not in {"seconds", "engine"}}


def test_the_same_recipe_gives_the_same_bytes_whatever_torchs_default_device_and_another_seed_others(
    tiny, tiny_run, tmp_path
):
    for more in ({}, {"resume": True}):  # resumed when it is finished
        with torch.device("meta"):
            gene = evolve(tiny(), out=tmp_path / "same", **more)
        assert gene.place.folder == tmp_path / "same/gene"
        assert (tmp_path / "same" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
        assert len(rows(tmp_path / "same")) == 3
    evolve(tiny("seed=1", "evolution.generations=1"), out=tmp_path / "other")
    assert rows(tmp_path / "other")[0]["individuals"] != rows(tiny_run)[0]["individuals"]


def test_a_run_stopped_twice_and_resumed_ends_with_the_same_bytes_and_metrics(tiny, tiny_run, tmp_path):
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
            evolve(tiny(), out=tmp_path, reporter=Listener(stop_after=1), resume=resume)
    assert len(rows(tmp_path)) == 2
    evolve(tiny(), out=tmp_path, resume=True)
    assert (tmp_path / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
    assert [untimed(row) for row in rows(tmp_path)] == [untimed(row) for row in rows(tiny_run)]


def test_a_finished_run_that_is_resumed_is_returned_as_it_is(tiny, tiny_copy, monkeypatch):
    monkeypatch.setattr(run, "load_environment", lambda *args, **kwargs: pytest.fail("images were read"))
    (tiny_copy / "gene/README.md").write_text("my own words")
    before = {path: path.stat().st_mtime_ns for path in tiny_copy.rglob("*") if path.name != ".lock"}
    gene = evolve(tiny(), out=tiny_copy, resume=True)
    assert gene.config == Learngene.from_pretrained(tiny_copy).config
    assert {path: path.stat().st_mtime_ns for path in tiny_copy.rglob("*") if path.name != ".lock"} == before


def test_a_gene_that_is_gone_is_written_again_and_one_that_is_damaged_is_told(tiny, tiny_run, tiny_copy):
    (tiny_copy / WEIGHTS).unlink()
    with pytest.raises(GeneFileError, match=r"learngene\.safetensors is missing"):
        evolve(tiny(), out=tiny_copy, resume=True)
    shutil.rmtree(tiny_copy / "gene")
    evolve(tiny(), out=tiny_copy, resume=True)
    assert (tiny_copy / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_run_killed_at_several_moments_ends_with_the_same_bytes(tiny, tiny_run, tmp_path):
    moments = [
        lambda: (tmp_path / ".lock").exists(),  # before the first generation ends
        lambda: (tmp_path / "state.safetensors").exists(),  # the metrics perhaps not
        lambda: (tmp_path / "metrics.jsonl").exists() and len(rows(tmp_path)) == 2,
        lambda: (tmp_path / "evolution.png").exists(),  # all but the gene folder
    ]
    for moment in moments:
        process = calling(evolve, tiny(), out=tmp_path, resume=True)
        wait_for(moment, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    evolve(tiny(), out=tmp_path, resume=True)
    assert (tmp_path / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()
    assert len(rows(tmp_path)) == 3
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_gene_records_the_hash_of_the_recipe_beside_it(tiny_run):
    origin = Learngene.from_pretrained(tiny_run).config.origin
    assert origin.recipe_sha256 == hashlib.sha256((tiny_run / "gene/recipe.yaml").read_bytes()).hexdigest()


def test_a_changed_recipe_is_refused_with_the_keys_that_differ(tiny, tiny_run):
    with pytest.raises(RunError, match=r"evolution\.decay: 0\.2 in the run, 0\.9 now\n  seed: 0 in the run, 5 now"):
        evolve(tiny("seed=5", "evolution.decay=0.9"), out=tiny_run, resume=True)
    with pytest.raises(RunError, match=r"evolution\.ancestor=\S+\):\n  evolution\.generations: 3 in the run, 4 now"):
        evolve(tiny("evolution.generations=4"), out=tiny_run, resume=True)


def test_an_occupied_folder_is_refused_and_left_alone(tiny, tiny_run):
    before = (tiny_run / WEIGHTS).stat().st_mtime_ns
    with pytest.raises(RunError, match="holds a finished evolution; give another --out"):
        evolve(tiny(), out=tiny_run)
    assert (tiny_run / WEIGHTS).stat().st_mtime_ns == before


def test_a_folder_in_use_is_refused(tiny, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match="another process is running here"):
        evolve(tiny(), out=tmp_path)


def test_a_folder_with_other_files_is_refused_and_left_alone(tiny, tmp_path):
    (tmp_path / "gene").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / ".DS_Store").write_text("Finder's")
    with pytest.raises(RunError, match=r"expected an empty folder, found gene, thesis\.txt"):
        evolve(tiny(), out=tmp_path)
    with pytest.raises(RunError, match=r"expected a run with its state\.safetensors, found gene, thesis\.txt"):
        evolve(tiny(), out=tmp_path, resume=True, reporter=(notes := Listener()))
    assert not notes.lines  # not that it begins
    assert {path.name for path in tmp_path.iterdir()} == {"gene", "thesis.txt", ".DS_Store", ".lock"}
    (tmp_path / "gene").rmdir()
    (tmp_path / "thesis.txt").unlink()
    assert evolve(tiny(*SMALL), out=tmp_path).config.channels


def test_what_users_keep_in_a_folder_is_not_overwritten_by_a_run_that_begins_there(tiny, tiny_run, tmp_path):
    for name in ("recipe.yaml", "metrics.jsonl"):
        shutil.copy(tiny_run / name, tmp_path)
        with pytest.raises(RunError, match=rf"expected a run with its state\.safetensors, found {name}; give another"):
            evolve(tiny(), out=tmp_path, resume=True)
        (tmp_path / name).unlink()


@pytest.mark.slow
def test_a_resume_on_data_whose_classes_changed_is_refused(tiny, tiny_copy, monkeypatch):
    other = ClassSplit(*(tuple(chr(start + n) for n in range(8)) for start in (65, 75, 85)))
    shutil.rmtree(tiny_copy / "gene")
    real = run.load_environment

    def load_environment(*args, **kwargs):
        setting = real(*args, **kwargs)
        return replace(setting, split=other)

    monkeypatch.setattr(run, "load_environment", load_environment)
    with pytest.raises(RunError, match="was begun with other classes"):
        evolve(tiny(), out=tiny_copy, resume=True)


def test_a_resume_on_other_images_is_refused_and_one_by_other_threads_is_told(tiny, tmp_path):
    places = [
        "data.preset=null",
        f"data.path={write_photos(tmp_path / 'photos', 12, classes=glyph_classes()[:6])}",
        "data.images_per_class=null",
        "evolution.generations=2",
        *TWO,
    ]
    classes = ["data.classes.base=2", "data.classes.held_out=2", "data.classes.novel=2"]
    recipe = tiny(*places, *classes, "ancestry.ways=2", "critic.ways=2")
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=tmp_path / "run", reporter=Listener(stop_after=1))
    saved = load_state(tmp_path / "run")
    elsewhere = {**saved.inputs, "threads": 5, "version": "learngene-hub 0.0.9"}
    save_state(tmp_path / "run", saved.state, saved.recipe, elsewhere)
    notes = Listener()
    evolve(recipe, out=tmp_path / "run", resume=True, reporter=notes)
    assert any("was run with threads 5, continues with 1: the gene may" in one for one in notes.warnings)
    assert any("run with version learngene-hub 0.0.9, continues with learngene-hub" in one for one in notes.warnings)
    shutil.rmtree(tmp_path / "run/gene")
    write_photos(tmp_path / "photos", 12, classes=glyph_classes()[:6], seed=1)
    with pytest.raises(RunError, match="was begun with other images"):
        evolve(recipe, out=tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "photos" / glyph_classes()[0])
    with pytest.raises(DataError, match=r"not there as they were; restore them, or give another --out \(Cannot draw"):
        evolve(recipe, out=tmp_path / "run", resume=True)


def test_the_line_of_founders_does_not_break_whatever_their_elders_scored(tiny, tmp_path):
    founders = ["evolution.generations=4", "evolution.founder_generations=4", *TWO]
    evolve(
        tiny(*founders, "evolution.decay=1", "evolution.credit=0.9", "evolution.pool_size=1"),
        out=tmp_path,
        reporter=(notes := Listener()),
    )
    assert any("each of the 4 generations trains one individual, so none is selected" in one for one in notes.warnings)
    assert [row["individuals"][0]["parents"] for row in rows(tmp_path)] == [[], [0], [1], [2]]


def test_the_statistics_of_every_gene_are_measured_alone(tiny, tmp_path, monkeypatch):
    calls, real = [], critics.measure_statistics
    monkeypatch.setattr(critics, "measure_statistics", lambda *args: calls.append(1) or real(*args))
    recipe = tiny(*SMALL)
    listener = Listener()
    evolve(recipe, out=tmp_path, reporter=listener)
    assert len(calls) == len(rows(tmp_path)[0]["individuals"])
    (bar,) = [bar for bar in listener.bars if bar["total"]]  # other phases have no total
    assert bar["done"] == bar["total"] == generation_images(recipe, 0)


def test_statistics_measured_alone_are_those_of_the_images(tiny):
    body = Body("lg_vgg11", 0.1)
    channels, images = even_shape(body, 0.45), torch.rand(8, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    gene = gene_of(newborn(body, num_classes=0, gene=None, seed=0), channels)
    found = critics.measured_alone(gene, body, [images], "float32", torch.device("cpu"))
    thin, seen = gene_network(body, channels, num_classes=0), []
    thin.load_state_dict(thin.state_dict() | dict(gene.tensors))
    thin.get_submodule("stages.1.0.norm").register_forward_hook(lambda _, given, __: seen.append(given[0]))
    thin.train()(images)
    torch.testing.assert_close(found.tensors["stages.1.0.norm.running_mean"], seen[0].mean(dim=(0, 2, 3)))
    kernels = [name for name, tensor in gene.tensors.items() if tensor.ndim > 1]
    assert all(torch.equal(found.tensors[name], gene.tensors[name]) for name in kernels)


@pytest.mark.parametrize(("size", "winners"), [(2, 2), (4, 1)])
def test_as_many_survive_as_there_are_tournaments(tiny, tmp_path, size, winners):
    evolve(tiny("evolution.generations=1", f"evolution.tournament_size={size}", *STEPS), out=tmp_path)
    assert sum(one["survived"] for one in rows(tmp_path)[0]["individuals"]) == winners


def test_parents_are_drawn_in_proportion_to_their_scores(tiny):
    pool = [Individual(id_, 0, (), {}, 0.5, score, Genome({}, {})) for id_, score in ((0, 1.0), (1, 3.0))]
    plan = replace(plan_generation(tiny(), 1, precision="float32", threads=1), individuals=1000)
    assert sum(parent.id for parent in generation._parents(pool, plan)) == pytest.approx(750, abs=50)


def test_scores_follow_decay_and_credit_of_the_recipe(tiny, tmp_path):
    evolve(tiny("evolution.decay=0.5", "evolution.credit=0.1", "evolution.generations=2", *STEPS), out=tmp_path)
    first, second = rows(tmp_path)
    scores = {one["id"]: one["fitness"] for one in first["individuals"] if one["survived"]}
    scores = {id_: 0.5 * fitness for id_, fitness in scores.items()}
    for one in second["individuals"]:
        if one["survived"]:
            scores[one["parents"][0]] += 0.1 * one["fitness"]
            scores[one["id"]] = one["fitness"]
    assert {one.id: one.score for one in load_state(tmp_path).state.pool} == pytest.approx(scores)


def test_inherited_weights_have_a_rate_of_their_own_which_falls_over_all_generations(tiny, tmp_path, monkeypatch):
    training = plan_generation(tiny(), 1, precision="float32", threads=1).ancestry.training
    assert training.gene_rate == Falling(1 / 3, 2 / 3)
    seen, real = [], ancestry.train

    def spy(*args, inherited, **more):
        seen.append(len(inherited))
        return real(*args, inherited=inherited, **more)

    monkeypatch.setattr(ancestry, "train", spy)
    evolve(tiny("evolution.generations=2", *TWO), out=tmp_path)
    assert [count > 0 for count in seen] == [False, False, True, True]


def test_images_are_normalised_by_the_base_classes(tiny, tiny_run):
    config = Learngene.from_pretrained(tiny_run).config
    base = load_classes(data_source(tiny()), config.origin.data.base).images
    assert (config.mean, config.std) == (measure_normalisation(base).mean, measure_normalisation(base).std)


def fail(numbers):
    """Lives that diverge for these individuals of every generation."""

    def live(task, shared, step):
        return Outcome(None, math.nan, math.nan) if task.number in numbers else real(task, shared, step)

    real = AncestryTask.__call__
    return live


def test_a_failed_individual_is_counted_and_never_wins(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(AncestryTask, "__call__", fail({0, 2}))
    notes = Listener()
    evolve(tiny("evolution.generations=2", *STEPS), out=tmp_path, reporter=notes)
    for row in rows(tmp_path):
        assert row["failed"] == 2
        assert [one["fitness"] is None for one in row["individuals"]] == [True, False, True, False]
        assert not any(one["survived"] for one in row["individuals"][::2])
    assert "2 failed" in notes.lines[0]


def test_a_gene_with_values_that_cannot_be_saved_has_failed(tiny, tmp_path):
    wild = ("ancestry.optimizer=adamw", "ancestry.lr=10", "ancestry.weight_decay=1", "ancestry.steps=15")
    with pytest.raises(SelectionError, match=r"all 2 individuals .* lower `ancestry\.lr`"):
        evolve(tiny(*TWO, *wild, "evolution.generations=1"), out=tmp_path)


def test_a_generation_in_which_all_fail_stops_with_the_reason_and_keeps_the_state(tiny, tmp_path, monkeypatch):
    recipe = tiny(*TWO)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=tmp_path, reporter=Listener(stop_after=1))
    monkeypatch.setattr(AncestryTask, "__call__", fail({0, 1}))
    with pytest.raises(SelectionError, match="all 2 individuals of the generation failed"):
        evolve(recipe, out=tmp_path, resume=True)
    assert load_state(tmp_path).state.generation == 1


def test_novel_classes_are_never_loaded(tiny, tmp_path, monkeypatch):
    loaded = []

    def spy(source, names, **kwargs):
        loaded.extend(names)
        return load_classes(source, names, **kwargs)

    monkeypatch.setattr("learngene_hub.evolution.environment.load_classes", spy)
    gene = evolve(tiny(*SMALL), out=tmp_path)
    data = gene.config.origin.data
    assert set(loaded) == {*data.base, *data.held_out}
    assert not set(loaded) & set(data.novel)


def test_individuals_learn_base_classes_and_critics_held_out_ones(tiny, tmp_path, monkeypatch):
    seen, real = {ancestry: set(), critics: set()}, ancestry.support_batches
    for module, classes in seen.items():

        def spy(images, *more, classes=classes):
            classes.add(len(images.labels.unique()))
            return real(images, *more)

        monkeypatch.setattr(module, "support_batches", spy)
    data = evolve(tiny(*SMALL), out=tmp_path).config.origin.data
    assert seen == {ancestry: {len(data.base)}, critics: {len(data.held_out)}}
    assert len(data.base) != len(data.held_out)


def test_without_selection_all_survive_with_equal_scores_whatever_their_fitness(tiny, tmp_path):
    evolve(tiny("evolution.selection=none", "evolution.generations=1", *STEPS), out=tmp_path)
    (row,) = rows(tmp_path)
    assert len({one["fitness"] for one in row["individuals"]}) > 1
    assert all(one["survived"] for one in row["individuals"])
    assert {one.score for one in load_state(tmp_path).state.pool} == {1.0}


@pytest.mark.parametrize(("selection", "chosen"), [("none", {0, 1}), ("tournament", {1})])
def test_the_gene_is_the_fittest_or_without_selection_any(tiny, selection, chosen):
    pool = tuple(Individual(id_, 0, (), {}, float(id_), 1.0, Genome({}, {})) for id_ in range(2))
    recipes = [tiny(f"evolution.selection={selection}", f"seed={seed}") for seed in range(9)]
    assert {run._chosen(EvolutionState(pool=pool), recipe).id for recipe in recipes} == chosen


@pytest.mark.parametrize("rate", [0, 1])
def test_channels_are_exchanged_at_the_rate_of_the_recipe(tiny, tmp_path, monkeypatch, rate):
    exchanged, real = set(), ancestry.mutate

    def spy(state, *more, **rest):
        after = real(state, *more, **rest)
        exchanged.add(any(not torch.equal(after[name], tensor) for name, tensor in state.items()))
        return after

    monkeypatch.setattr(ancestry, "mutate", spy)
    evolve(tiny("evolution.generations=1", f"evolution.mutation_rate={rate}", *TWO), out=tmp_path)
    assert exchanged == {bool(rate)}


def test_fitness_is_a_function_of_the_gene_in_every_generation(tiny, tmp_path, monkeypatch):
    def clone(task, shared, on_step):
        if task.parent is None:
            return real(task, shared, on_step)
        return Genome({name: tensor.clone() for name, tensor in task.parent.tensors.items()}, task.parent.sizes), 1.0

    real = AncestryTask.live
    monkeypatch.setattr(AncestryTask, "live", clone)
    evolve(tiny("evolution.generations=2", "critic.steps=1"), out=tmp_path)
    fitness = {}
    for row in rows(tmp_path):
        for one in row["individuals"]:
            fitness[one["id"]] = one["fitness"]
            assert all(one["fitness"] == fitness[parent] for parent in one["parents"])
    assert len(set(fitness.values())) > 1


def test_a_founder_takes_the_steps_of_a_whole_population(tiny, tmp_path):
    recipe = tiny("evolution.founder_generations=2", *STEPS)
    evolve(recipe, out=tmp_path)
    assert [len(row["individuals"]) for row in rows(tmp_path)] == [1, 1, 4]
    assert [[one["parents"] for one in row["individuals"]] for row in rows(tmp_path)] == [[[]], [[0]], [[1]] * 4]
    assert rows(tmp_path)[-1]["images"] == sum(generation_images(recipe, one) for one in range(3))


def test_a_lone_individual_is_not_mutated(tiny, tmp_path):
    founders = ("evolution.founder_generations=2", "evolution.generations=2", *TWO)
    for rate in (0, 1):
        evolve(tiny(*founders, f"evolution.mutation_rate={rate}"), out=tmp_path / str(rate))
    assert (tmp_path / "0" / WEIGHTS).read_bytes() == (tmp_path / "1" / WEIGHTS).read_bytes()


def test_a_gene_kept_in_float16_is_the_one_that_evolved_rounded(tiny, tmp_path):
    whole = evolve(tiny(*SMALL), out=tmp_path / "whole")
    half = evolve(tiny(*SMALL, "gene.dtype=float16"), out=tmp_path / "half")
    kept = Learngene.from_pretrained(tmp_path / "half")
    assert kept.config == half.config
    for name, tensor in whole.tensors.items():
        assert torch.equal(half.tensors[name], kept.tensors[name])
        assert torch.equal(half.tensors[name], tensor.half().float() if tensor.ndim > 1 else tensor)


def test_over_the_generations_files_do_not_pile_up_and_the_pool_is_bounded(tiny, tmp_path):
    evolve(tiny("evolution.generations=5", "evolution.pool_size=3", *TWO), out=tmp_path)
    names = {"state.safetensors", "metrics.jsonl", "recipe.yaml", "evolution.html", "evolution.png", "gene", ".lock"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert not list(tmp_path.rglob("*.tmp"))
    state = load_state(tmp_path).state
    assert len(state.pool) == 3
    ids = {one.id for one in state.pool}
    assert all(set(one.ancestors) <= ids for one in state.pool)


def test_a_pool_of_old_heroes_still_gives_a_gene(tiny, tmp_path):
    old = ("evolution.pool_size=1", "evolution.decay=1", "evolution.credit=0.9", *TWO)
    gene = evolve(tiny(*old), out=tmp_path)
    assert gene.config.origin.lineage[0].generation == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_evolution_runs_on_cuda(tiny, tmp_path):
    gene = evolve(tiny("precision=bfloat16"), out=tmp_path, device="cuda", engine=EngineOptions(workers=1))
    assert gene.config.origin.cost.device == torch.cuda.get_device_name()


def test_networks_without_batch_norms_see_no_images_for_their_statistics(tiny):
    recipes = (tiny(f"network.name={name}") for name in ("vit_tiny_patch4_32", "lg_vgg11"))
    plans = [plan_line(recipe, precision="float32")[0] for recipe in recipes]
    assert [plan.ancestry.statistics_batches for plan in plans] == [0, 3]
