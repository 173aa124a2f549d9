"""The ancestor of a search on disk: what takes it again, what does not, and damage."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from filelock import FileLock, Timeout

from learngene_hub.core.errors import SelectionError
from learngene_hub.core.progress import SilentReporter
from learngene_hub.evolution.ancestry import AncestryTask, Outcome
from learngene_hub.evolution.kept_ancestor import GENE_NAME, MOST_GENE, RECORD_NAME, trained_ancestor
from learngene_hub.evolution.plan import plan_generation
from learngene_hub.genome.birth import Body
from learngene_hub.genome.genome import Genome
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.workers import no_step

GENOME = Genome({"a": torch.ones(2)}, {})
RECIPE = Recipe.from_mapping({"name": "x", "data": {"preset": "glyphs"}})


def task(generation=0, *, precision="float32", threads=1, change="seed=0"):
    plan = plan_generation(RECIPE.changed(change), generation, precision=precision, threads=threads)
    return AncestryTask(plan, 0, None, {})


@dataclass
class Pretending:
    """A pool whose network has this `fitness`; meanwhile it calls `make`, and counts."""

    fitness: float
    make: Callable[[], None]
    genome: Genome | None
    count: int = 0

    def run(self, tasks, step):
        self.make()
        self.count += 1
        yield 0, Outcome(self.genome, 0.1, self.fitness)


@pytest.fixture
def get(tmp_path):
    """Asks for the ancestor of a task; gives whether it was kept."""

    def get(task, fitness=0.5, make=lambda: None, images="images", genome=GENOME):
        pool = Pretending(fitness, make, genome)
        trained_ancestor(task, pool, no_step, folder=tmp_path / "kept", images=images, reporter=SilentReporter())
        return pool.count == 0

    return get


def edited(content):
    return re.sub(rb'"seconds": [\d.e-]+', b'"seconds": 99', content)


def truncated(content):
    return content[:-5]


def altered(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("name", "damage"), [(GENE_NAME, truncated), (GENE_NAME, altered), (RECORD_NAME, truncated), (RECORD_NAME, edited)]
)
def test_a_damaged_ancestor_is_trained_again_and_replaced(get, tmp_path, name, damage):
    assert not get(task())
    (file,) = (tmp_path / "kept").glob(f"*/{name}")
    content = file.read_bytes()
    file.write_bytes(damage(content))
    assert file.read_bytes() != content
    assert [get(task()), get(task())] == [False, True]
    assert file.read_bytes() != damage(content)


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 1},
        {"threads": 2},
        {"precision": "bfloat16"},
        {"change": "ancestry.lr=0.3"},
        {"change": "critic.shots=7"},
        {"change": "seed=1"},
    ],
)
def test_an_ancestor_trained_otherwise_is_another_one(get, change):
    assert [get(task()), get(task(**change)), get(task())] == [False, False, True]


def test_an_ancestor_of_other_images_is_not_taken(get):
    assert [get(task()), get(task(), images="others"), get(task())] == [False, False, True]


def test_an_ancestor_that_failed_is_not_kept(get):
    with pytest.raises(SelectionError, match="failed"):
        get(task(), genome=None)
    assert [get(task()), get(task())] == [False, True]


def test_an_ancestor_whose_critics_diverged_is_kept(get):
    assert [get(task(), fitness=math.nan), get(task())] == [False, True]


def test_an_ancestor_as_large_as_a_recipe_may_ask_for_can_be_read():
    numbers = Body("lg_resnet12_wide", 4.0, 60).structure.parameters(in_chans=3)
    assert MOST_GENE > 4 * numbers > 10**9


def test_an_ancestor_that_another_process_is_training_is_waited_for(get, tmp_path):
    def tried():
        (lock,) = (tmp_path / "kept").glob("*.lock")
        with pytest.raises(Timeout), FileLock(lock, timeout=0):
            pass

    assert not get(task(), make=tried)
