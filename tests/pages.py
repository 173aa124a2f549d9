"""Pages read by a parser, and shown by a browser where there is one."""

import html
import os
import shutil
import subprocess
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "link", "img", "br", "path"}


class Page(HTMLParser):
    """What a browser would find in a page: balanced tags, addresses, tables as lists of rows, all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.tables, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"style", "script"} & set(self.open):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip().replace("\N{NO-BREAK SPACE}", " ")

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def pictures(page):
    """The roots of the SVG pictures of a `Page`."""
    start = "data:image/svg+xml;base64,"
    found = [one.removeprefix(start) for one in page.addresses if one.startswith(start)]
    return [ElementTree.fromstring(b64decode(one)) for one in found]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><title>frame</title>
<body style="margin:0"><iframe style="border:0" width="{width}" height="{height}" srcdoc="{page}"></iframe>
<script>onload = () => {{ const root = document.querySelector("iframe").contentDocument.documentElement;
document.title = `width ${{root.scrollWidth}} of ${{root.clientWidth}}`; {then} }};</script>"""


def browse(folder, page, width, scheme, *options, then=""):
    """Stderr and stdout of a browser that shows `page` in a frame: its own windows cannot be as narrow as a phone."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, height=900, page=html.escape(page), then=then), encoding="utf-8")
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
    ]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--window-size=1300,900"]
    command += [f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", *options, frame.as_uri()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env=os.environ | {"TZ": "UTC"}
    )
    return done.stderr, done.stdout
