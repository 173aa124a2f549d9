"""Findings that need no new numbers: ranking, which start is ahead of which, and which descendants form a sweep."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from learngene_hub.report.results import LEARNGENE, PROTOTYPE, SCRATCH, DescendantResult, Results, StartResult, Summary

Standing = Literal["ahead", "level", "behind", "unknown"]
Axis = Literal["width", "depth"]


@dataclass(frozen=True)
class Sweep:
    """Descendants of one kind of network that differ in one dimension only, in rising order."""

    axis: Axis
    fixed: str
    descendants: tuple[DescendantResult, ...]

    def values(self) -> list[float]:
        """Width or depth of each descendant."""
        return [float(getattr(descendant, self.axis)) for descendant in self.descendants]

    def starts(self) -> list[str]:
        """Scratch and the learngenes, as far as every descendant has them."""
        names = [[start.start for start in descendant.starts] for descendant in self.descendants]
        bold = [name for name in names[0] if name == SCRATCH or is_learngene(name)]
        return [name for name in bold if all(name in more for more in names)]


def is_learngene(start: str) -> bool:
    """Whether a start of this name inherits a learngene: `learngene`, `learngene:a`..."""
    return start.partition(":")[0] == LEARNGENE


def measure_words(measure: str) -> str:
    """When a measure was taken, as the end of a sentence.

    >>> measure_words("60")
    'after 60 steps'
    """
    if measure == PROTOTYPE:
        return "before any training, by nearest prototype"
    return f"after {measure} step{'' if measure == '1' else 's'}"


def ranked(descendant: DescendantResult, measure: str) -> list[StartResult]:
    """The starts that have this measure, highest mean first."""
    having = [start for start in descendant.starts if measure in start.measures]
    return sorted(having, key=lambda start: -start.measures[measure].mean)


def rivals(descendant: DescendantResult, gene: str, measure: str) -> list[StartResult]:
    """All starts but scratch and `gene`, highest mean first."""
    return [start for start in ranked(descendant, measure) if start.start not in {SCRATCH, gene}]


def standing(difference: Summary) -> Standing:
    """On which side of zero the whole interval of a difference lies; unknown without an interval."""
    if difference.ci95 is None:
        return "unknown"
    if abs(difference.mean) <= difference.ci95:
        return "level"
    return "ahead" if difference.mean > 0 else "behind"


def lead_over(descendant: DescendantResult, gene: str, other: StartResult, measure: str) -> Summary:
    """How far the learngene called `gene` is ahead of `other`, both of which have this measure.

    Results hold paired leads of the first learngene, and the gains of all over scratch. For another learngene beside a
    baseline this is the difference of the means, which has no interval.
    """
    mine = descendant.start(gene)
    if not mine.lead and measure in other.lead:
        return other.lead[measure]
    if other.start == SCRATCH and measure in mine.gain:
        return mine.gain[measure]
    if not other.lead and (first := mine.lead.get(measure)):
        return Summary(mean=-first.mean, ci95=first.ci95)
    return Summary(mean=mine.measures[measure].mean - other.measures[measure].mean, ci95=None)


def sweeps(results: Results) -> list[Sweep]:
    """Every row of descendants that differ in width alone, then every row that differ in depth alone."""
    return [*_rows(results.descendants, "width", "depth"), *_rows(results.descendants, "depth", "width")]


def _rows(descendants: Iterable[DescendantResult], axis: Axis, other: Axis) -> list[Sweep]:
    rows: dict[str, dict[float, DescendantResult]] = {}
    for descendant in descendants:
        fixed = f"{descendant.network}, {other} {getattr(descendant, other):g}"
        rows.setdefault(fixed, {})[getattr(descendant, axis)] = descendant
    return [
        Sweep(axis, fixed, tuple(row[value] for value in sorted(row))) for fixed, row in rows.items() if len(row) > 1
    ]
