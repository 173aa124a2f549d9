from importlib import import_module
from itertools import count

import pytest

from benchmarks import generation, measure
from benchmarks.measure import Figure, Goal, interleaved, ratio, table, typical
from benchmarks.topics import TOPICS


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_can_be_imported_and_has_figures(topic):
    assert callable(import_module(f"benchmarks.{topic}").figures)


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    times = {"slow": [2.0, 9.0, 40.0], "fast": [1.0, 3.0, 4.0]}
    assert ratio(times, "slow", "fast") == 3.0
    assert ratio(times, "fast", "slow") == pytest.approx(1 / 3)
    assert typical(times, "slow") == 9.0
    assert typical(times, "fast") == 3.0


def test_the_rounds_interleave_and_the_first_is_not_counted(monkeypatch):
    calls, numbers = [], count(1)
    monkeypatch.setattr(measure, "cpu_seconds", lambda work: (work(), float(next(numbers)))[1])
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert times == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}


@pytest.mark.parametrize(
    ("goal", "met", "missed"), [(Goal("at least", 3), 3.0, 2.99), (Goal("at most", 1.2), 1.2, 1.21)]
)
def test_a_goal_includes_its_bound(goal, met, missed):
    assert goal.is_met(met)
    assert not goal.is_met(missed)


def test_the_table_says_which_goals_are_missed():
    rows = table(
        [
            Figure("topic", "a / b", 2.5, "5 of 2 ms", Goal("at least", 3)),
            Figure("topic", "c / d", 1.0, "1 of 1 ms"),
        ]
    ).splitlines()
    assert rows[2] == "| topic | a / b | 2.5 | at least 3 | **no** | 5 of 2 ms |"
    assert rows[3] == "| topic | c / d | 1 |  |  | 1 of 1 ms |"


@pytest.mark.parametrize("place", [place for places in generation.PHASES.values() for place in places])
def test_every_function_that_is_clocked_exists(place):
    module, name = place.rsplit(".", 1)
    assert callable(getattr(import_module(f"learngene_hub.{module}"), name))


def test_a_phase_inside_another_counts_as_itself_and_all_is_put_back(monkeypatch):

    from learngene_hub.evolution import ancestry, critics

    clock = iter([0.0, 10.0, 13.0, 20.0])
    monkeypatch.setattr(generation.time, "process_time", lambda: next(clock))
    monkeypatch.setattr(critics, "train", lambda: None)
    monkeypatch.setattr(ancestry, "critic_accuracies", lambda: critics.train())
    before = ancestry.critic_accuracies
    with generation.clocked() as spent:
        ancestry.critic_accuracies()
    assert spent == {generation.TRAINING: 3.0, generation.CRITICS: 17.0}
    assert ancestry.critic_accuracies is before
