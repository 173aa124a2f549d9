"""What docs/log says of selection is what the individuals of last generations did."""

import re

import pytest
import torch

from docs.individuals import write_individuals
from docs.selection import DIFFERENCES, Generation, correlation, read_generation, report, spread
from docs.tables import RESULTS, ROOT
from learngene_hub import Learngene, evaluate
from learngene_hub.evaluation.protocols import find_protocol
from learngene_hub.evolution.checkpoint import read_metrics
from learngene_hub.evolution.run import evolve
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.report.numbers import MINUS
from learngene_hub.report.results import Results

INDIVIDUALS = RESULTS / "individuals"
TASKS = torch.tensor([0.5, 0.7, 0.6, 0.4], dtype=torch.float64)


def made(fitness, accuracies, average=0.9):
    accuracies = torch.tensor(accuracies, dtype=torch.float64)
    average = torch.full(accuracies.shape[1:], average, dtype=torch.float64)
    return Generation(torch.tensor(fitness, dtype=torch.float64), accuracies, average)


def levelled(fitness, levels):
    """Individuals that differ by their level alone, the same on every task."""
    return made(fitness, [(TASKS + level).tolist() for level in levels])


def difference(name, one):
    take, _ = DIFFERENCES[name]
    return pytest.approx(take(one).tolist())


def test_differences_are_those_of_fittest_loser_mean_best_and_average():
    one = levelled([0.2, 0.3, 0.1], [0.0, 0.05, 0.07])
    assert difference("fittest of all minus mean", one) == [0.01] * 4
    # pairs, winner minus loser: 0.05 - 0, 0.05 - 0.07, 0 - 0.07
    assert difference("winner minus loser of two", one) == [-0.04 / 3] * 4
    assert difference("best on half of the tasks minus mean, on the others", one) == [0.03] * 4
    assert difference("average minus mean", one) == [0.9 - task - 0.04 for task in TASKS.tolist()]
    assert difference("average minus fittest", one) == [0.9 - task - 0.05 for task in TASKS.tolist()]
    assert difference("average minus best on half of the tasks, on the others", one) == [
        0.9 - task - 0.07 for task in TASKS.tolist()
    ]


def test_a_pair_of_equal_fitness_counts_as_no_difference():
    one = levelled([0.2, 0.2, 0.1], [0.0, 0.04, 0.06])
    assert difference("winner minus loser of two", one) == [((0.0 - 0.06) + (0.04 - 0.06)) / 3] * 4


def test_the_best_is_chosen_by_other_tasks_than_it_is_judged_by():
    # the first is best on odd tasks, the second on even ones
    one = made([0.1, 0.2], [[0.5, 0.9, 0.5, 0.9], [0.7, 0.6, 0.7, 0.6]])
    assert difference("best on half of the tasks minus mean, on the others", one) == [-0.1, -0.15, -0.1, -0.15]


def test_the_spread_is_that_of_levels_and_not_of_tasks():
    assert spread(levelled([0.1, 0.2], [0.0, 0.02])) == pytest.approx(0.02**2 / 2)


def test_residual_noise_is_taken_off_the_spread():
    # means 0.6 and 0.7; residuals 0.05 and -0.05 on the two tasks: noise 0.01, half of it in each mean
    one = made([0.1, 0.2], [[0.5, 0.7], [0.7, 0.7]])
    assert spread(one) == pytest.approx(0.1**2 / 2 - 0.01 / 2)


def test_fitness_and_accuracy_are_correlated_within_generations_only():
    low, high = levelled([0.1, 0.2], [0.0, 0.02]), levelled([0.8, 0.9], [0.22, 0.2])
    assert correlation([low]) == pytest.approx(1)
    assert correlation([low, high]) == pytest.approx(0)
    assert correlation([levelled([0.1, 0.1], [0.0, 0.02])]) == 0


def test_what_fitness_tells_has_a_small_p_and_what_it_does_not_a_large_one(monkeypatch):
    monkeypatch.setattr("docs.selection.SHUFFLES", 1000)
    levels = [0.01 * number for number in range(8)]
    told = report([levelled(levels, levels)])
    untold = report([levelled(levels[::-1], levels)])
    assert told[0] == "accuracy of individuals: 58.5 %"
    assert told[2] == "fitness and accuracy correlate by +1.00, p = 0.001"
    assert untold[2] == "fitness and accuracy correlate by -1.00, p = 1"
    assert told[3].startswith("fittest of all minus mean: +3.50 ± 0.00, p = 0.1")  # one shuffle in eight


@pytest.fixture(scope="module")
def run(tiny_file, tmp_path_factory):
    """A tiny run whose gene pool holds the whole last generation."""
    out = tmp_path_factory.mktemp("selection") / "many"
    evolve(Recipe.from_file(tiny_file, ["evolution.tournament_size=1", "evolution.generations=2"]), out=out)
    return out


@pytest.fixture(scope="module")
def folders(run, tmp_path_factory):
    """The genes of its individuals, and of their average."""
    return write_individuals(run, tmp_path_factory.mktemp("individuals"))


def test_every_individual_becomes_a_gene_of_its_own(run, folders):
    assert [folder.name for folder in folders] == [f"many-{name}" for name in (4, 5, 6, 7, "average")]
    *each, average = [Learngene.from_pretrained(folder) for folder in folders]
    for name, tensor in average.tensors.items():
        assert torch.equal(tensor, torch.stack([one.tensors[name] for one in each]).mean(dim=0))
    best = max(each, key=lambda one: one.config.origin.fitness)
    assert best.config == Learngene.from_pretrained(run).config
    assert [one.config.origin.lineage[0].id for one in each] == [4, 5, 6, 7]


def test_individuals_that_left_the_gene_pool_are_missed(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="the whole last generation in the gene pool, found no individual"):
        write_individuals(tiny_run, tmp_path)


def test_the_individuals_of_a_run_are_judged(run, folders):
    short = {"ways": 3, "shots": 2, "queries": 5, "tasks": 2, "steps": 2, "lr": 0.05}
    results = evaluate(folders, protocol=find_protocol("held-out").with_changes(short), seeds=[0])
    found, (judged,) = read_generation(results, run), results.descendants
    for place, row in enumerate(read_metrics(run)[-1]["individuals"]):
        assert found.fitness[place] == pytest.approx(row["fitness"], abs=1e-6)
        assert found.accuracies[place].tolist() == list(
            judged.start(f"learngene:many-{row['id']}").measures["2"].accuracies
        )
    assert found.average.tolist() == list(judged.start("learngene:many-average").measures["2"].accuracies)


def printed(when):
    """What is printed of the committed generations, name -> number, without p."""
    results = Results.load(INDIVIDUALS / f"{when}.json")
    lines = report([read_generation(results, run) for run in sorted(INDIVIDUALS.glob(f"{when}-*"))])
    found = [
        re.fullmatch(r"(.*?)(?:: | by )([-+\d.]+(?: ± [\d.]+)?)(?: points.*| %)?(?:, p = .*)?", line) for line in lines
    ]
    return {one[1]: one[2].replace("-", MINUS) for one in found}


def test_the_log_says_of_individuals_what_their_results_say(monkeypatch):
    monkeypatch.setattr("docs.selection.SHUFFLES", 1)
    log = (ROOT / "docs/log/23-what-there-is-to-select.md").read_text()
    late, early = printed("late"), printed("early")
    names = {
        "individuals differ": "standard deviation of individuals, points",
        "fitness and accuracy correlate": "correlation of fitness and accuracy",
    }
    told = [name for name in late if not name.startswith(("average minus best", "accuracy of"))]
    assert len(told) == 7
    for name in told:
        row = re.search(rf"^\| {names.get(name, name)} \| (.*?) \|.*?\| (.*?) \|", log, re.MULTILINE)
        assert [cell.split(" (")[0] for cell in row.groups()] == [late[name], early[name]]
    levels = {
        when: [
            report([read_generation(Results.load(INDIVIDUALS / f"{when}.json"), run)])[0].split()[-2]
            for run in sorted(INDIVIDUALS.glob(f"{when}-*"))
        ]
        for when in ("late", "early")
    }
    assert levels == {"late": ["74.8", "74.5", "74.9"], "early": ["67.9", "67.6", "67.7", "67.6", "68.7"]}
    words = " ".join(log.split())
    assert "74.8, 74.5 and 74.9 % (late), and of 67.9, 67.6, 67.7, 67.6 and 68.7 % (early; scratch 54.4)" in words
