"""How large the package and its tests are: `make size`.

Code lines are those that hold neither blanks, comments nor docstrings alone. A function's length is its lines from
`def` to its end, docstring included, and its code lines without.
"""

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("learngene_hub", "tests")
_BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Size:
    """Counts of one folder; `median` and `longest` are code lines of a function."""

    folder: str
    files: int
    lines: int
    code: int
    functions: int
    median: float
    longest: int


def measure(folder: Path) -> Size:
    """The size of all Python files in `folder` and below."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))]
    code = [code_lines(text) for text in texts]
    lengths = [
        len([line for line in lines if first <= line <= last])
        for text, lines in zip(texts, code, strict=True)
        for first, last in _functions(text)
    ]
    return Size(
        folder.name,
        len(texts),
        sum(len(text.splitlines()) for text in texts),
        sum(len(lines) for lines in code),
        len(lengths),
        statistics.median(lengths or [0]),
        max(lengths, default=0),
    )


def code_lines(text: str) -> set[int]:
    """Numbers of the lines of `text` that hold code, from 1."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = {line for token in tokens if token.type not in _BLANK for line in range(token.start[0], token.end[0] + 1)}
    return held - _docstrings(text)


def _docstrings(text: str) -> set[int]:
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, _Definition | ast.ClassDef | ast.Module))
    first = [node.body[0] for node in nodes if node.body and ast.get_docstring(node, clean=False) is not None]
    return {line for node in first for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def _functions(text: str) -> Iterator[tuple[int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _Definition):
            yield node.lineno, node.end_lineno or node.lineno


def main() -> None:
    """Print one row a folder."""
    print(f"{'folder':14}{'files':>7}{'lines':>8}{'code':>8}{'functions':>11}{'median':>8}{'longest':>9}")
    for name in FOLDERS:
        size = measure(ROOT / name)
        print(
            f"{size.folder:14}{size.files:7}{size.lines:8,}{size.code:8,}{size.functions:11,}{size.median:8g}"
            f"{size.longest:9}"
        )


if __name__ == "__main__":
    main()
