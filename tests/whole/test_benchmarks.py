from importlib import import_module
from itertools import count

import pytest

from benchmarks import generation, measure
from benchmarks.measure import interleaved
from benchmarks.topics import TOPICS


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_can_be_imported_and_has_figures(topic):
    assert callable(import_module(f"benchmarks.{topic}").figures)


def test_the_rounds_interleave_and_the_first_is_not_counted(monkeypatch):
    calls, numbers = [], count(1)
    monkeypatch.setattr(measure, "cpu_seconds", lambda work: (work(), float(next(numbers)))[1])
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert times == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}


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
