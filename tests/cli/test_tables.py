"""Tables on a terminal."""

import pytest
from rich.console import Console

from learngene_hub.cli.console import print_table

ROW = ("lg_resnet12_wide", "an-organisation/a-data-set", "+20.7 ± 1.5", "12,345")
LEADS = ("start", "accuracy", "gain over scratch", "lead", "rate", "inherited")


@pytest.fixture
def shown(capsys, monkeypatch):
    """A function that prints a table on a terminal of 80 columns, and gives its lines."""
    monkeypatch.setattr("learngene_hub.cli.console.stdout", Console(width=80, soft_wrap=True))

    def lines(*table):
        print_table(*table)
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize("length", [30, 96])
def test_where_there_is_no_room_lines_are_longer_and_nothing_is_broken(shown, length):
    lines = shown("genes", ("name", "network", "data", "gain", "downloads"), [("x" * length, *ROW), ("y", *ROW)])
    (line,) = [line for line in lines if "xx" in line]
    assert all(cell in line for cell in ("x" * length, *ROW[:2], ROW[3]))
    assert max(map(len, lines)) > 80


@pytest.mark.parametrize(("name", "parts"), [("narrow-even", ["+0.1 ± 0.3"]), ("x" * 26, ["+0.1", "0.3"])])
def test_words_are_kept_whole_and_intervals_too_where_there_is_room(shown, name, parts):
    lines = shown("x " * 60, LEADS, [(name, "84.6 ± 2.5", "+20.7 ± 1.5", "+0.1 ± 0.3", "0.01", "20.2%")])
    assert max(map(len, lines)) <= 80
    assert all(any(cell in line for line in lines) for cell in (name, "inherited", *parts))


def test_a_table_of_one_column_may_be_wider_than_the_terminal(shown):
    assert "x" * 96 in "".join(shown("", (), [("x" * 96,)]))
