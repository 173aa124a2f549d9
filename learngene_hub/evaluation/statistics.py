"""Means, their confidence intervals, and differences paired by task."""

import math
import statistics
from collections.abc import Sequence

from learngene_hub.report.results import Measure, Summary


def summarise(values: Sequence[float]) -> Summary:
    """Mean of `values` and half the width of its 95 % confidence interval."""
    return Summary(mean=statistics.fmean(values), ci95=confidence(values))


def measure(values: Sequence[float]) -> Measure:
    """The same, with the values."""
    return Measure(mean=statistics.fmean(values), ci95=confidence(values), accuracies=tuple(values))


def paired(values: Sequence[float], others: Sequence[float]) -> Summary:
    """Mean of `values` minus `others`, pair by pair, with its interval.

    Raises:
        ValueError: there are not as many.
    """
    return summarise([value - other for value, other in zip(values, others, strict=True)])


def confidence(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean of `values`, by Student's t; None for one value."""
    if len(values) < 2:
        return None
    return student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with `freedom` >= 1 degrees.

    Exact for 1 and 2; above from the normal quantile by its Cornish-Fisher series.

    >>> round(student_quantile(10), 3)
    2.228
    """
    if freedom <= 2:
        return math.tan(0.475 * math.pi) if freedom == 1 else 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / float(freedom**power) for power, term in enumerate(terms)), 0.0)
