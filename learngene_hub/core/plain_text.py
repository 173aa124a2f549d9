"""Make any text safe to show: used for terminals, pages, cards and pictures.

A class name, say, can hold an escape sequence that clears the screen or sets its title, or a control that turns the
order of what follows round. They are spelt out; letters of all languages stay, and so does emoji.
"""

import unicodedata

# Nothing that acts: lines, tabs, and the joiners that Persian, Hindi and emoji are written with.
_KEPT = frozenset("\n\t\u200c\u200d")


def printable(text: str) -> str:
    r"""`text` with control and unencodable characters written as escapes; line ends and tabs stay.

    That is all of Unicode's categories C (controls, formats, halves of pairs, private and unassigned ones), Zl and Zp.

    >>> printable("name \x1b[2J")
    'name \\x1b[2J'
    """
    return text if text.isprintable() else "".join(char if _is_shown(char) else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    r"""Like `printable`, with line ends and tabs written as escapes too: for names and table cells.

    >>> one_line("cat\nall is well")
    'cat\\nall is well'
    """
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def folded(name: str) -> str:
    """A class name without what people write in different ways.

    >>> folded("Golden_Retriever")
    'golden retriever'
    """
    return name.casefold().replace("_", " ").replace("-", " ")


def _is_shown(letter: str) -> bool:
    category = unicodedata.category(letter)
    return letter in _KEPT or not (category[0] == "C" or category in {"Zl", "Zp"})
