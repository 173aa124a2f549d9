"""What long work says: bars in a terminal, a line now and then in a log file."""

import io
import json

import pytest
from rich.console import Console

from learngene_hub.cli import console
from learngene_hub.cli.console import SILENCE, TerminalReporter


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(console.time, "monotonic", found)
    return found


def said(monkeypatch, *, terminal=False):
    """What goes to stderr from now on."""
    file = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=file, soft_wrap=True, force_terminal=terminal, width=200))
    return file


def test_short_work_says_nothing_in_a_log(clock, monkeypatch):
    file = said(monkeypatch)
    with TerminalReporter().task("loading", 10, "images") as bar:
        for _ in range(10):
            clock.now += SILENCE / 11
            bar.advance()
    assert file.getvalue() == ""


def test_long_work_says_how_far_it_is_and_what_is_left(clock, monkeypatch):
    file = said(monkeypatch)
    with TerminalReporter().task("evolving", 10_000, "images") as bar:
        clock.now += 2 * SILENCE  # before the first step
        bar.advance(4_000)  # resumed there
        for _ in range(5):
            clock.now += SILENCE / 2
            bar.advance(300, loss="1.2")
    assert file.getvalue().splitlines() == [
        "evolving: 4,600 of 10,000 images at 20 images/s (4 min left)",
        "evolving: 5,200 of 10,000 images at 20 images/s (4 min left)",
    ]


def test_the_last_minute_is_counted_in_seconds(clock, monkeypatch):
    file = said(monkeypatch)
    with TerminalReporter().task("evolving", 1_000, "images") as bar:
        bar.advance(100)
        clock.now += 40
        bar.advance(800)
    assert file.getvalue() == "evolving: 900 of 1,000 images at 20 images/s (5 s left)\n"


def test_json_shows_the_letters_of_names_and_hides_what_would_steer_a_terminal(capsys):
    told = {"Blüte 花": "\x1b\x85\u202e\ud800\U000e0001"}
    console.print_json(told)
    shown = capsys.readouterr().out
    assert "Blüte 花" in shown
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown, strict=False)["Blüte 花"].encode(errors="surrogatepass") == told["Blüte 花"].encode(
        errors="surrogatepass"
    )


def test_slow_work_of_unknown_length_tells_its_speed(clock, monkeypatch):
    file = said(monkeypatch)
    with TerminalReporter().task("evaluating", None, "networks") as bar:
        bar.advance()
        clock.now += 40
        bar.advance()
    assert file.getvalue() == "evaluating: 2 networks at 1.5 networks/min\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file = said(monkeypatch, terminal=True)
    with TerminalReporter().task("evolving", 2, "images") as bar:
        bar.advance(1, loss="1.2")
    assert "evolving" in file.getvalue()
    assert "50%" in file.getvalue()


def test_what_is_printed_beside_a_bar_goes_where_results_go(monkeypatch, capsys):
    file = said(monkeypatch, terminal=True)
    with TerminalReporter().task("predicting", 2, "images"):
        print("a result")  # noqa: T201
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in file.getvalue()


@pytest.mark.parametrize(
    "title", ["evolving", "training learngene at the learning rate 0.01, the second of three rates"]
)
def test_a_bar_is_one_line_of_a_terminal_that_never_cuts_the_time_left(clock, monkeypatch, title):
    monkeypatch.setattr(console, "stderr", Console(file=io.StringIO(), force_terminal=True, width=80))
    bar = console._BarTask(title, 100_000, "images")
    bar.advance(1_000, loss="1.23", now="critics 12/16")
    clock.now += 10
    bar.advance(2_000)
    shown = bar.__rich__().plain
    assert len(shown) <= 79
    assert shown.startswith(
        "evolving ━" if title == "evolving" else "training learngene at the learning rate 0.01, the…"
    )
    assert "3% 0:08:05 left" in shown
    clock.now += 30
    assert "0:07:35 left" in bar.__rich__().plain  # goes on while nothing moves
    assert shown.endswith("  loss 1.23  now critics 12/16" if title == "evolving" else "left")


def test_work_of_unknown_length_tells_how_long_it_takes_so_far(clock, monkeypatch):
    bar = console._BarTask("reading photos", None, "images")
    clock.now += 3
    assert bar.__rich__().plain == "reading photos 3 s"


def test_a_bar_within_a_bar_takes_its_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file = said(monkeypatch, terminal=True)
    reporter = TerminalReporter()
    with reporter.task("reading", None), reporter.task("decoding", 2) as inner:
        inner.advance()
        assert reporter._bars[-1] is inner
    assert reporter._bars == []
    assert file.getvalue().count("\n") == 1
