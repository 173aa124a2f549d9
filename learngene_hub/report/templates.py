"""The templates of the pages, and how numbers stand in them."""

from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from learngene_hub.core.plain_text import printable
from learngene_hub.report import numbers

_NO_BREAK = "\N{NO-BREAK SPACE}"
_NUMBERS = (numbers.percent, numbers.accuracy, numbers.points, numbers.rate, numbers.count, numbers.flops)


def page_template(name: str, filters: Mapping[str, Callable[..., str]] | None = None) -> Template:
    """The template of a page; whatever is put in is text, not markup.

    Args:
        name: of the file.
        filters: more of them than `keep` and those for numbers.
    """
    environment = Environment(
        loader=PackageLoader("learngene_hub", "report"),
        autoescape=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {one.__name__: one for one in (*_NUMBERS, numbers.seconds)}
    environment.filters |= {"keep": _kept_together, **(filters or {})}
    return environment.get_template(name)


def _kept_together(sentence: str) -> str:
    """The sentence with no line break inside a number and its interval."""
    return sentence.replace(" ± ", f"{_NO_BREAK}±{_NO_BREAK}").replace(" %", f"{_NO_BREAK}%")
