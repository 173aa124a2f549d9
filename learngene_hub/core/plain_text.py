"""Text of anybody as a person may see it: the one door for terminals, pages, cards and pictures.

A class name, say, can hold an escape sequence that clears the screen or sets its title, or a control that turns the
order of what follows round. They are spelt out; letters of all languages stay, and so does emoji.
"""

import unicodedata

# Nothing that acts: lines, tabs, and the joiners that Persian, Hindi and emoji are written with.
_KEPT = frozenset("\n\t\u200c\u200d")


def printable(text: str) -> str:
    r"""`text` with what would steer a terminal, or cannot be encoded, spelt out; its lines and tabs stay.

    That is all of Unicode's categories C (controls, formats, halves of pairs, private and unassigned ones), Zl and Zp.

    >>> printable("name \x1b[2J")
    'name \\x1b[2J'
    """
    return text if text.isprintable() else "".join(char if _is_shown(char) else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    r"""Likewise, with ends of lines and tabs spelt out too: for names, and cells of tables.

    >>> one_line("cat\nall is well")
    'cat\\nall is well'
    """
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def _is_shown(letter: str) -> bool:
    category = unicodedata.category(letter)
    return letter in _KEPT or not (category[0] == "C" or category in {"Zl", "Zp"})
