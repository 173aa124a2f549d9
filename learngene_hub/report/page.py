"""Pages from Markdown: one self-contained HTML file without scripts, for phones and wide screens."""

import html
from base64 import b64encode
from collections.abc import Mapping
from importlib.resources import files

from markdown_it import MarkdownIt

from learngene_hub.core.plain_text import printable

_NO_BREAK = "\N{NO-BREAK SPACE}"
_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def render_page(title: str, markdown: str, pictures: Mapping[str, bytes]) -> str:
    """A page that loads no other files, as HTML; HTML in `markdown` is shown as text.

    `pictures` are PNGs, by the address that the picture has in `markdown`.
    """
    body = MarkdownIt("js-default").render(markdown).replace(" ± ", f"{_NO_BREAK}±{_NO_BREAK}")
    for name, content in pictures.items():
        address = f"data:image/png;base64,{b64encode(content).decode('ascii')}"
        body = body.replace(f'<img src="{name}"', f'<img src="{address}"')
    style = files("learngene_hub.report").joinpath("page.css").read_text(encoding="utf-8")
    return _SHELL.format(title=html.escape(printable(title)), style=style, body=body)
