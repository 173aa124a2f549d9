"""Means, their confidence intervals, and differences paired by task."""

import math
import statistics
from collections.abc import Sequence

from learngene_hub.data.extras import optional_module
from learngene_hub.report.results import Summary


def summarise(values: Sequence[float]) -> Summary:
    """Mean of `values` and half the width of its 95 % confidence interval."""
    return Summary(mean=statistics.fmean(values), ci95=confidence(values))


def paired(values: Sequence[float], others: Sequence[float]) -> Summary:
    """Mean of `values` minus `others`, pair by pair, with its interval.

    Raises:
        ValueError: the numbers of values differ.
    """
    return summarise([value - other for value, other in zip(values, others, strict=True)])


def confidence(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean of `values`, by Student's t; None for one value."""
    if len(values) < 2:
        return None
    return student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with `freedom` >= 1 degrees.

    >>> round(student_quantile(10), 3)
    2.228
    """
    return float(optional_module("scipy.special").stdtrit(freedom, 0.975))
