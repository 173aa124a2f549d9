from importlib import import_module
from itertools import count

import pytest

from benchmarks import measure
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
