"""What long work says: bars in a terminal, a line now and then in a log file."""

import io

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
    with TerminalReporter().task("loading", 10, "img") as bar:
        for _ in range(10):
            clock.now += SILENCE / 11
            bar.advance()
    assert file.getvalue() == ""


def test_long_work_says_how_far_it_is_and_what_is_left(clock, monkeypatch):
    file = said(monkeypatch)
    with TerminalReporter().task("evolving", 10_000, "img") as bar:
        clock.now += 2 * SILENCE  # before the first step
        bar.advance(4_000)  # resumed there
        for _ in range(5):
            clock.now += SILENCE / 2
            bar.advance(300, loss="1.2")
    assert file.getvalue().splitlines() == [
        "evolving: 4,600 of 10,000 img at 20 img/s (4 min left)",
        "evolving: 5,200 of 10,000 img at 20 img/s (4 min left)",
    ]


def test_slow_work_of_unknown_length_tells_its_speed(clock, monkeypatch):
    file = said(monkeypatch)
    with TerminalReporter().task("evaluating", None, "net") as bar:
        bar.advance()
        clock.now += 40
        bar.advance()
    assert file.getvalue() == "evaluating: 2 net at 0.025 net/s\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file = said(monkeypatch, terminal=True)
    with TerminalReporter().task("evolving", 2, "img") as bar:
        bar.advance(1, loss="1.2")
    assert "evolving" in file.getvalue()
    assert "50%" in file.getvalue()


def test_what_is_printed_beside_a_bar_goes_where_results_go(monkeypatch, capsys):
    file = said(monkeypatch, terminal=True)
    with TerminalReporter().task("predicting", 2, "img"):
        print("a result")  # noqa: T201
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in file.getvalue()
