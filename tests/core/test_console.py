"""What long work says: bars in a terminal, a line now and then in a log file."""

import io
import json
import re

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


def drawn(monkeypatch, width=80):
    """A reporter for a terminal of so many columns, and what its bars look like."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width)
    monkeypatch.setattr(console, "stderr", terminal)
    reporter = TerminalReporter()

    def look():
        with Console(width=width, file=io.StringIO()) as plain, plain.capture() as shown:
            plain.print(reporter._bars.get_renderable())
        return shown.get().splitlines()

    return reporter, look


@pytest.mark.parametrize(
    "title", ["evolving", "training learngene at the learning rate 0.01, the second of three rates"]
)
def test_a_bar_is_one_line_of_a_terminal_that_never_cuts_the_time_left(clock, monkeypatch, title):
    reporter, look = drawn(monkeypatch)
    with reporter.task(title, 100_000, "images") as bar:
        bar.advance(1_000, loss="1.23", now="critics 12/16")
        clock.now += 10
        bar.advance(2_000)
        (shown,) = look()
    assert len(shown) <= 80
    assert shown.startswith("evolving  " if title == "evolving" else "training learngene at the")
    assert "  3% 0:08:05 loss 1.23" in shown
    assert ("200 images/s" in shown) is (title == "evolving")


def test_work_of_unknown_length_tells_how_long_it_takes_so_far(clock, monkeypatch):
    reporter, look = drawn(monkeypatch)
    with reporter.task("reading photos", None, "images"):
        clock.now += 3
        assert re.fullmatch(r"reading photos [ ━]+ 3 s *", look()[0])


def test_a_bar_within_a_bar_has_a_line_below_it(monkeypatch):
    reporter, look = drawn(monkeypatch)
    with reporter.task("reading", None):
        with reporter.task("decoding", 2) as inner:
            inner.advance()
            assert [line.split()[0] for line in look()] == ["reading", "decoding"]
        assert len(look()) == 1
    assert reporter._bars.tasks == []
