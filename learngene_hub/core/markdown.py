"""Markdown with escaped values: any name is shown literally, on one line."""

import html
import re
import shlex
from collections.abc import Callable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from learngene_hub.core.plain_text import one_line, printable

# An underscore inside a word means nothing to Markdown; a sign of a list or heading does at the beginning only.
_ACTIVE = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^[#+=-]+(?=\s|$)|(?<=^\d)[.)](?=\s|$)")
_LINK = re.compile(r":(?=//)|(?<=www)\.|@", re.IGNORECASE)  # without it, no address in the text becomes a link


def escaped(text: str) -> Markup:
    r"""Text that Markdown shows as it is, in one line; it is not escaped again.

    >>> print(escaped("<b>two\nlines</b> of *lg_vgg11*"))
    &lt;b&gt;two lines&lt;/b&gt; of \*lg_vgg11\*
    """
    shown = html.escape(" ".join(printable(text).split()), quote=False)
    return Markup(_LINK.sub(lambda sign: f"&#{ord(sign[0])};", _ACTIVE.sub(r"\\\g<0>", shown)))


def code(text: str) -> Markup:
    """Text for between backticks, or for one line of a block of code."""
    return Markup(one_line(text).replace("`", "'"))


@cache
def markdown_template(package: str, name: str, *filters: Callable[..., str], is_trimmed: bool = False) -> Template:
    """A template of `package` whose values are `escaped`, numbers and Markup aside.

    Filters, beside `filters`, each called as its function: `code`, `escaped`, and `quote`, which makes one word of a
    shell's command. `is_trimmed` leaves out the line of a tag, and what stands before it.
    """
    environment = Environment(
        loader=PackageLoader(package, ""),
        undefined=StrictUndefined,
        finalize=lambda value: escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=is_trimmed,
        lstrip_blocks=is_trimmed,
    )
    environment.filters |= {"code": code, "quote": shlex.quote, "escaped": escaped}
    environment.filters |= {words.__name__: words for words in filters}
    return environment.get_template(name)
