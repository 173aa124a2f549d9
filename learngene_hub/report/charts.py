"""Where everything of a chart lies, in percent of its width and height from the top left; the page draws it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from learngene_hub.findings import is_learngene, measure_words, ranked, rivals
from learngene_hub.plots import spread
from learngene_hub.report.numbers import accuracy
from learngene_hub.results import SCRATCH, DescendantResult, StartResult, Summary

_TEXT_HEIGHT = 18  # pixels that a line of text takes
_LEAST_HEIGHT = 250  # of a chart with few lines, in pixels
_TICK_GAP = 14.0  # least distance of two ticks of the horizontal axis, percent of its width
_LOGARITHMIC = 8.0  # largest over smallest place from which on the horizontal axis is logarithmic


@dataclass(frozen=True)
class Tick:
    """A mark of an axis and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Bar:
    """A mean with its interval: `low` to `high` is drawn where the interval is known."""

    name: str
    kind: str
    text: str
    length: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BarChart:
    """Bars from zero on, and the ticks below."""

    title: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]

    def summary(self) -> str:
        """All bars in words, for those who cannot see them."""
        return f"{self.title}: " + "; ".join(f"{bar.name} {bar.text} %" for bar in self.bars)


@dataclass(frozen=True)
class Line:
    """A line with its dots, the band of its interval, and the place of its label; paths are SVG's."""

    name: str
    kind: str
    path: str
    dots: str
    band: str
    end: float
    label: float


@dataclass(frozen=True)
class _Scale:
    """A vertical axis: its ends, the step of its ticks, and what they are called."""

    low: float
    high: float
    step: float
    words: Callable[[float], str]

    def ticks(self) -> tuple[Tick, ...]:
        marks = [self.low + self.step * number for number in range(round((self.high - self.low) / self.step) + 1)]
        return tuple(Tick(_height(mark, self.low, self.high), self.words(mark)) for mark in marks)


@dataclass(frozen=True)
class LineChart:
    """Lines over a horizontal axis; `zero` is where the value 0 lies, if it is inside, `height` is in pixels."""

    title: str
    axis: str
    height: int
    lines: tuple[Line, ...]
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    zero: float | None

    def summary(self) -> str:
        """What is drawn, in words; the numbers stand in the tables."""
        return f"{self.title}, over {self.axis}: {', '.join(line.name for line in self.lines)}"


@dataclass(frozen=True)
class Amount:
    """A value of anything, without an interval; an accuracy has a `Summary`."""

    mean: float
    ci95: None = None


def bar_chart(descendant: DescendantResult, measure: str) -> BarChart:
    """Accuracies of all starts that have `measure`, in percent, highest first, from zero."""
    shown = ranked(descendant, measure)
    ends = [one.measures[measure].mean + (one.measures[measure].ci95 or 0.0) for one in shown]
    step = 0.1 if max(ends, default=1.0) <= 0.5 else 0.2
    top = min(1.0, max(1, math.ceil(max(ends, default=1.0) / step - 1e-9)) * step)
    best = best_rival(descendant, measure)
    bars = tuple(_bar(one, kind(one.start, best), one.measures[measure], top) for one in shown)
    marks = [step * number for number in range(int(top / step + 1e-6) + 1)]
    ticks = tuple(Tick(100 * mark / top, f"{100 * mark:.0f}") for mark in marks)
    return BarChart(f"Accuracy {measure_words(measure)}", bars, ticks)


def best_rival(descendant: DescendantResult, measure: str) -> str | None:
    """Name of the best start that is neither scratch nor a learngene."""
    return next((one.start for one in rivals(descendant, measure)), None)


def kind(start: str, best_rival: str | None) -> str:
    """How a start is drawn: as a gene, as scratch, as the best of the others, or as one of these."""
    if is_learngene(start):
        return "gene"
    return "scratch" if start == SCRATCH else "best" if start == best_rival else "other"


def _bar(start: StartResult, drawn_as: str, value: Summary, top: float) -> Bar:
    ends = () if value.ci95 is None else (value.mean - value.ci95, value.mean + value.ci95)
    low, high = (min(100.0, max(0.0, 100 * end / top)) for end in ends) if ends else (None, None)
    return Bar(start.start, drawn_as, accuracy(value), 100 * value.mean / top, low, high)


def line_chart(
    title: str,
    axis: str,
    places: Sequence[float],
    series: Mapping[str, Sequence[Summary]],
    kinds: Mapping[str, str],
    *,
    include: Sequence[float] = (),
    is_even: bool = False,
) -> LineChart:
    """Lines of means, each with the band of its 95 % intervals.

    Args:
        title: of the chart.
        axis: name of the horizontal axis.
        places: on that axis, rising.
        series: name of a line -> its value at each place, as a fraction; drawn in percent.
        kinds: name of a line -> how it is drawn.
        include: values that the vertical axis must reach.
        is_even: never make the horizontal axis logarithmic, as it is where places are far apart.
    """
    ends = [end for values in series.values() for value in values for end in _ends(value)]
    low, high, step = _range([*ends, *include])
    return _chart(title, axis, places, series, kinds, _Scale(low, high, step, _percent_words), is_even=is_even)


def amount_chart(
    title: str, axis: str, places: Sequence[float], series: Mapping[str, Sequence[float]], kinds: Mapping[str, str]
) -> LineChart:
    """Lines of amounts of anything, such as seconds, from zero on, over an even axis; arguments as of `line_chart`."""
    top = max((value for values in series.values() for value in values), default=0.0) or 1.0
    step = _round_step(top / 5)
    scale = _Scale(0.0, step * math.ceil(top / step - 1e-9), step, _amount_words)
    exact = {name: [Amount(value) for value in values] for name, values in series.items()}
    return _chart(title, axis, places, exact, kinds, scale, is_even=True)


def _chart(
    title: str,
    axis: str,
    places: Sequence[float],
    series: Mapping[str, Sequence[Summary | Amount]],
    kinds: Mapping[str, str],
    scale: _Scale,
    *,
    is_even: bool,
) -> LineChart:
    columns, height = _columns(places, is_even=is_even), max(_LEAST_HEIGHT, round(1.6 * _TEXT_HEIGHT * len(series)))
    low, high = scale.low, scale.high
    heights = {name: [_height(value.mean, low, high) for value in values] for name, values in series.items()}
    labels = spread({name: found[-1] for name, found in heights.items()}, gap=100 * _TEXT_HEIGHT / height, high=100)
    lines = [
        Line(
            name=name,
            kind=kinds[name],
            path=_path(columns, heights[name]),
            dots=" ".join(f"M{x:.2f} {y:.2f}h0" for x, y in zip(columns, heights[name], strict=True)),
            band=_band(columns, values, low, high),
            end=heights[name][-1],
            label=labels[name],
        )
        for name, values in series.items()
    ]
    ordered = tuple(sorted(lines, key=lambda line: line.label))
    zero = _height(0.0, low, high) if low <= 0 <= high else None
    return LineChart(title, axis, height, ordered, _thinned(columns, places), scale.ticks(), zero)


def _columns(places: Sequence[float], *, is_even: bool) -> list[float]:
    """Percent of the width at which each place lies."""
    shown = [math.log(place) for place in places] if not is_even and _is_logarithmic(places) else list(places)
    width = shown[-1] - shown[0]
    return [100 * (place - shown[0]) / width if width else 50.0 for place in shown]


def _is_logarithmic(places: Sequence[float]) -> bool:
    return places[0] > 0 and places[-1] / places[0] > _LOGARITHMIC


def _thinned(columns: Sequence[float], places: Sequence[float]) -> tuple[Tick, ...]:
    """Ticks at the places, the last one always, without those that would touch their right neighbour."""
    ticks: list[Tick] = []
    for column, place in reversed(list(zip(columns, places, strict=True))):
        if not ticks or ticks[-1].place - column >= _TICK_GAP:
            ticks.append(Tick(column, f"{place:g}"))
    return tuple(reversed(ticks))


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    """Lowest and highest value of an axis, and the step of its ticks."""
    low, high = min(values), max(values)
    step = next((step for step in (0.01, 0.02, 0.05, 0.1) if high - low <= 6 * step), 0.2)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return bottom, top if top > bottom else bottom + step, step


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _percent_words(value: float) -> str:
    return f"{100 * value:.0f}".replace("-", "\N{MINUS SIGN}")


def _amount_words(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _ends(value: Summary | Amount) -> tuple[float, float]:
    return value.mean - (value.ci95 or 0.0), value.mean + (value.ci95 or 0.0)


def _height(value: float, low: float, high: float) -> float:
    return 100 * (high - value) / (high - low)


def _path(columns: Sequence[float], heights: Sequence[float]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in zip(columns, heights, strict=True))


def _band(columns: Sequence[float], values: Sequence[Summary | Amount], low: float, high: float) -> str:
    """The area between the ends of the intervals; empty where there are none."""
    if any(value.ci95 is None for value in values):
        return ""
    lower, upper = zip(*(_ends(value) for value in values), strict=True)
    there = _path(columns, [_height(value, low, high) for value in upper])
    back = _path(columns[::-1], [_height(value, low, high) for value in lower[::-1]])
    return f"{there}L{back[1:]}Z"
