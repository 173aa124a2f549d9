"""Means, intervals and paired differences."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learngene_hub.evaluation.statistics import confidence, paired


def test_the_interval_is_students():
    values = [0.5, 0.6, 0.7, 0.4, 0.8]
    assert confidence(values) == pytest.approx(2.776 * statistics.stdev(values) / math.sqrt(5), rel=1e-3)
    assert confidence([0.5]) is None


def test_paired_differences_are_those_worked_out_by_hand():
    found = paired([0.9, 0.8, 0.7], [0.5, 0.6, 0.6])  # 0.4, 0.2, 0.1: mean 7/30, standard deviation sqrt(7/300)
    assert found.mean == pytest.approx(7 / 30)
    assert found.ci95 == pytest.approx(4.3027 * math.sqrt(7 / 300) / math.sqrt(3), rel=1e-3)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired([0.5], [0.5, 0.6])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(-1, 1))
def test_a_shift_of_all_values_shifts_the_mean_and_not_the_interval(values, shift):
    moved = [value + shift for value in values]
    assert paired(moved, values).mean == pytest.approx(shift, abs=1e-9)
    assert confidence(moved) == pytest.approx(confidence(values), abs=1e-9)
