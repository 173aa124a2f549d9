"""What docs/experiments.md says of selection is what the individuals of last generations did."""

import pytest
import torch

from docs.individuals import write_individuals
from docs.selection import DIFFERENCES, Generation, correlation, read_generation, report, spread
from learngene_hub import Learngene, evaluate
from learngene_hub.evaluation.protocols import find_protocol
from learngene_hub.evolution.run import evolve
from learngene_hub.recipe import Recipe

TASKS = [0.5, 0.7, 0.6]


def generation(fitness, levels, average=0.9):
    """Individuals that differ by their level alone, the same on every task."""
    return Generation(fitness, [[task + level for task in TASKS] for level in levels], [average] * len(TASKS))


def difference(name, one):
    return pytest.approx(DIFFERENCES[name](one))


def test_differences_are_those_of_winner_loser_mean_and_average():
    one = generation([0.2, 0.3, 0.1], [0.0, 0.03, 0.06])
    assert difference("winner of the generation minus mean", one) == [0.0] * 3
    # pairs, winner minus loser: 0.03 - 0.0, 0.03 - 0.06, 0.0 - 0.06
    assert difference("winner minus loser of two", one) == [-0.02] * 3
    assert [0.9 - task - 0.03 for task in TASKS] == difference("average minus mean", one)
    assert [0.9 - task - 0.03 for task in TASKS] == difference("average minus winner", one)


def test_pairs_of_equal_fitness_have_no_winner():
    one = generation([0.2, 0.2, 0.1], [0.0, 0.04, 0.06])
    assert difference("winner minus loser of two", one) == [((0.0 - 0.06) + (0.04 - 0.06)) / 2] * 3


def test_the_best_is_chosen_by_other_tasks_than_it_is_judged_by():
    accuracies = [[0.5, 0.9, 0.5, 0.9], [0.7, 0.6, 0.7, 0.6]]  # the first is best on odd tasks, the second on even ones
    one = Generation([0.1, 0.2], accuracies, [0.0] * 4)
    assert difference("best on half of the tasks minus mean, on the others", one) == [-0.1, -0.15, -0.1, -0.15]


def test_the_spread_is_that_of_levels_and_not_of_tasks():
    assert spread([generation([0.1, 0.2], [0.0, 0.02])]) == pytest.approx(0.02 / 2**0.5)
    alike = Generation([0.1, 0.2], [[0.5, 0.7], [0.7, 0.5]], [0.6, 0.6])
    assert spread([alike]) == 0


def test_fitness_and_accuracy_are_correlated_within_generations_only():
    low, high = generation([0.1, 0.2], [0.0, 0.02]), generation([0.8, 0.9], [0.22, 0.2])
    assert correlation([low]) == pytest.approx(1)
    assert correlation([low, high]) == pytest.approx(0)


@pytest.fixture(scope="module")
def run(tiny_file, tmp_path_factory):
    """A tiny run whose gene pool holds the whole last generation."""
    out = tmp_path_factory.mktemp("selection") / "many"
    evolve(Recipe.from_file(tiny_file, ["evolution.tournament_size=1"]), out=out)
    return out


def test_every_individual_becomes_a_gene_of_its_own(run, tmp_path):
    folders = write_individuals(run, tmp_path)
    assert [folder.name for folder in folders] == [f"many-{name}" for name in (8, 9, 10, 11, "average")]
    genes = [Learngene.from_pretrained(folder) for folder in folders]
    *each, average = genes
    for name, tensor in average.tensors.items():
        assert torch.equal(tensor, torch.stack([one.tensors[name] for one in each]).mean(dim=0))
    best = max(each, key=lambda one: one.config.origin.fitness)
    assert best.config == Learngene.from_pretrained(run).config
    assert [one.config.origin.lineage[0].id for one in each] == [8, 9, 10, 11]


def test_individuals_that_left_the_gene_pool_are_missed(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="the whole last generation in the gene pool, found no individual"):
        write_individuals(tiny_run, tmp_path)


def test_the_individuals_of_a_run_are_judged(run, tmp_path):
    folders = write_individuals(run, tmp_path / "individuals")
    short = {"ways": 3, "shots": 2, "queries": 5, "tasks": 2, "steps": 2, "lr": 0.05}
    results = evaluate(folders, protocol=find_protocol("held-out").with_changes(short), seeds=[0])
    found = read_generation(results, run)
    assert (len(found.fitness), len(found.accuracies), len(found.average)) == (4, 4, 2)
    assert report([found])[0] == "individuals: 4"
    assert report([found])[-1].startswith("average minus winner: ")
