"""Founders that were raised before: what shares them, what does not, and that sharing changes nothing."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock, Timeout
from quick_evaluation import QUICK, start

from learngene_hub import evaluate, evolve
from learngene_hub.core.files import file_sha256
from learngene_hub.core.progress import SilentReporter
from learngene_hub.core.store import ENTRY_NAME
from learngene_hub.evolution import founders as founders_module
from learngene_hub.evolution import run as run_module
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.founders import GENE_NAME, RECORD_NAME, Founders
from learngene_hub.evolution.plan import plan_generation
from learngene_hub.genome.genome import Genome
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.workers import EngineOptions, no_step
from learngene_hub.workers.local import OwnProcess
from learngene_hub.workers.pool import WorkerPool

LINE = ("evolution.founder_generations=2", "evolution.population=2")
RECIPE = Recipe.from_mapping({"name": "x", "data": {"preset": "glyphs"}})


def task(generation=0, *, parent=None, precision="float32", threads=1, change="seed=0"):
    return AncestryTask(
        plan_generation(RECIPE.changed(change), generation, precision=precision, threads=threads), 0, parent, {}
    )


@pytest.fixture
def raised(monkeypatch):
    """Individuals of every generation that is really raised from now on."""
    counts = []

    def counting(run):
        def counted(workers, tasks, step=no_step):
            counts.extend([len(tasks)] * isinstance(tasks[0], AncestryTask))
            return run(workers, tasks, step)

        return counted

    for pool in (OwnProcess, WorkerPool):
        monkeypatch.setattr(pool, "run", counting(pool.run))
    return counts


@pytest.mark.slow
def test_a_recipe_without_selection_takes_the_founders_of_one_with_it_and_gives_the_same_gene(tiny, tmp_path, raised):
    recipe, engine = tiny(*LINE, "precision=float32"), EngineOptions(workers=2)
    other = recipe.changed("evolution.selection=none")
    alone = evolve(other, out=tmp_path / "alone")
    evolve(recipe, out=tmp_path / "first", founders=tmp_path / "founders", engine=engine)
    assert raised == [1, 1, 2] * 2
    second = evolve(other, out=tmp_path / "second", founders=tmp_path / "founders", engine=engine)
    assert second.config.sha256 == alone.config.sha256
    assert raised == [1, 1, 2] * 2 + [2]


def test_a_run_of_founders_only_is_taken_over_whole(tiny, tmp_path, raised):
    recipe, founders = tiny(*LINE, "evolution.generations=2", "precision=float32"), tmp_path / "founders"
    first, second = (
        evolve(recipe, out=tmp_path / name, founders=founders, engine=EngineOptions(workers=2)) for name in ("a", "b")
    )
    assert raised == [1, 1]
    assert (second.config.sha256, second.config.origin.cost.device) == (
        first.config.sha256,
        first.config.origin.cost.device,
    )


def test_a_run_stopped_after_a_founder_goes_on_with_the_next_one_that_is_kept(tiny, tmp_path, raised):
    class StopAfterOne(SilentReporter):
        def line(self, text):
            raise KeyboardInterrupt("stopped by the test")

    recipe, founders, out = tiny(*LINE, "precision=float32"), tmp_path / "founders", tmp_path / "second"
    first = evolve(recipe, out=tmp_path / "first", founders=founders)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=out, founders=founders, reporter=StopAfterOne())
    again = evolve(recipe, out=out, resume=True, founders=founders, engine=EngineOptions(workers=2))
    assert again.config.sha256 == first.config.sha256
    assert raised == [1, 1, 2, 2]


def test_founders_taken_over_cost_what_they_cost(tiny, tmp_path):
    recipe, founders = tiny(*LINE, "evolution.generations=2"), tmp_path / "founders"
    first = evolve(recipe, out=tmp_path / "first", founders=founders)
    for file in founders.glob(f"*/{RECORD_NAME}"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 500.0}))
        entry = json.loads((file.parent / ENTRY_NAME).read_text())
        entry["sha256"][RECORD_NAME] = file_sha256(file)
        (file.parent / ENTRY_NAME).write_text(json.dumps(entry))
    second = evolve(recipe.changed("evolution.mutation_rate=0"), out=tmp_path / "second", founders=founders)
    assert second.config.origin.cost.images == first.config.origin.cost.images
    assert second.config.origin.cost.seconds == 1000


def test_a_founder_of_other_images_is_not_taken(tiny, tmp_path, raised, monkeypatch):
    recipe = tiny("evolution.founder_generations=1", "evolution.generations=1", "evolution.population=2")
    evolve(recipe, out=tmp_path / "first", founders=tmp_path / "founders")
    real = run_module.run_inputs
    other = {"base": "other pixels", "held_out": "other pixels"}
    monkeypatch.setattr(run_module, "run_inputs", lambda *setting: replace(real(*setting), fingerprints=other))
    evolve(recipe, out=tmp_path / "second", founders=tmp_path / "founders")
    assert raised == [1, 1]


@dataclass(frozen=True)
class Pretending:
    """A pool whose founder has this `fitness`; meanwhile it calls `make`."""

    fitness: float
    make: Callable[[], None]

    def run(self, tasks, step):
        self.make()
        yield 0, Outcome(Genome({"a": torch.ones(2)}, {}), 0.1, self.fitness)

    def record(self):
        return {}


@pytest.fixture
def get(tiny, tmp_path, monkeypatch):
    """Asks for the founder of a task; gives whether it was kept."""
    monkeypatch.setattr(founders_module, "time", SimpleNamespace(monotonic=lambda: 1.0))
    founders = Founders(tmp_path / "founders", "images", SilentReporter())
    return lambda task, fitness=0.5, make=lambda: None: founders.get(task, Pretending(fitness, make), no_step)[1]


def edited(content):
    return re.sub(rb'"fitness": [\d.]+', b'"fitness": 0.99', content)


def truncated(content):
    return content[:-5]


def altered(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("name", "damage"), [(GENE_NAME, truncated), (GENE_NAME, altered), (RECORD_NAME, truncated), (RECORD_NAME, edited)]
)
def test_a_damaged_founder_is_raised_again_and_replaced(get, tmp_path, name, damage):
    assert not get(task())
    (file,) = (tmp_path / "founders").glob(f"*/{name}")
    content = file.read_bytes()
    file.write_bytes(damage(content))
    assert file.read_bytes() != content
    assert [get(task()), get(task())] == [False, True]
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 1},
        {"parent": Genome({"a": torch.zeros(2)}, {})},
        {"threads": 2},
        {"precision": "bfloat16"},
        {"change": "ancestry.lr=0.3"},
        {"change": "critic.shots=7"},
        {"change": "seed=1"},
        {"change": "evolution.generations=4"},
    ],
)
def test_a_founder_raised_otherwise_is_another_one(get, change):
    assert [get(task()), get(task(**change)), get(task())] == [False, False, True]


@pytest.mark.parametrize("change", ["evolution.selection=none", "evolution.mutation_rate=0", "evolution.pool_size=3"])
def test_a_lone_founder_knows_no_selection(get, change):
    assert [get(task()), get(task(change=change))] == [False, True]


def test_a_founder_that_failed_is_not_kept(get):
    assert [get(task(), fitness=math.nan), get(task()), get(task())] == [False, False, True]


def test_a_founder_that_another_process_is_raising_is_waited_for(get, tmp_path):
    def tried():
        (lock,) = (tmp_path / "founders").glob("*.lock")
        with pytest.raises(Timeout), FileLock(lock, timeout=0):
            pass

    assert not get(task(), make=tried)


@pytest.mark.slow
def test_the_ablations_of_an_evaluation_raise_their_founders_once(tiny, tmp_path, monkeypatch, raised):
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))
    gene = evolve(tiny(*LINE), out=tmp_path / "run")
    raised.clear()
    ablations = ("gtl-no-selection", "gtl-no-mutation")
    results = evaluate(tmp_path / "run", protocol=replace(QUICK, lr=0.05, tasks=1), baselines=ablations, seeds=(0,))
    assert raised == [1, 1, 2, 2]
    assert {start(results, name).cost.images for name in ablations} == {gene.config.origin.cost.images}
