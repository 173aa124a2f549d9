"""Recipes: tags, anchors, nesting, wrong types, scalars that YAML reads in its own way, huge files, overrides."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import yaml

from attacks.engine import Kind, Target
from attacks.genes import lay
from attacks.mutate import NAMES, altered, odd, scrambled
from learngene_hub.recipe.recipe import Recipe, recipe_fields, shipped_recipes

NAME = "recipe.yaml"
SHIPPED = {name: path.read_bytes() for name, path in shipped_recipes().items()}
TREES = [yaml.safe_load(content) for content in SHIPPED.values()]
TAGS = (
    "!!python/object/apply:os.system ['touch outside']",
    "!!python/object/new:subprocess.Popen [['touch', 'outside']]",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    "!!binary =====",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!int ''",
    "!!int 0b",
    "!!float oops",
    "!!bool maybe",
    "!!timestamp oops",
    "!!null x",
    "!!map [a]",
    "!!str {a: b}",
    "!unknown x",
    "2024-99-99",
    "2024-01-01T99:99:99",
    "190:20:30",
    "1_000",
    ".inf",
    ".nan",
    "0x",
    "9" * 5000,
    "'\\ud800'",
    '"\\ud800"',
    '"\\x1b[2J"',
    '"C:\\data"',
    "C:\\data\\photos",
    "*nowhere",
    "&a [*a]",
    "<<: 1",
    "@x",
    "`x`",
    "%TAG",
    "|\n    text",
    "? x",
)


def targets() -> list[Target]:
    """Those of this module."""
    kinds = [
        Kind("bytes", _bytes, 4),
        Kind("tree", _tree, 4),
        Kind("tags and scalars", _tags, 4),
        Kind("overrides", _overrides, 2),
        Kind("duplicate keys", _duplicates),
        Kind("anchors and nesting", _bombs, 0.5),
        Kind("10 MB", _large, 0.02),
    ]
    return [Target("recipe", 30, kinds, lambda folder: lay(folder, {NAME: SHIPPED["demo"]}))]


def _read(folder: Path, text: str | bytes, overrides: tuple[str, ...] = ()) -> Callable[[], object]:
    content = text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass")
    (folder / NAME).write_bytes(content)
    return lambda: _is_right(Recipe.from_file(folder / NAME, overrides), content)


def _is_right(recipe: Recipe, content: bytes) -> bool:
    """What a recipe promises: its text as it was, its fields the same after a round trip, no key left aside."""
    dumped = recipe.model_dump(mode="json")
    again = Recipe.from_mapping(json.loads(json.dumps(dumped)))
    return again.sha256 == recipe.sha256 and recipe.text.encode() == content.replace(b"\r\n", b"\n").replace(
        b"\r", b"\n"
    )


def _bytes(rng: random.Random, folder: Path) -> Callable[[], object]:
    return _read(folder, scrambled(rng, rng.choice(list(SHIPPED.values()))))


def _tree(rng: random.Random, folder: Path) -> Callable[[], object]:
    return _read(folder, json.dumps(altered(rng, rng.choice(TREES))))


def _tags(rng: random.Random, folder: Path) -> Callable[[], object]:
    lines = rng.choice(list(SHIPPED.values())).decode().splitlines()
    for _ in range(rng.randint(1, 2)):
        place, tag = rng.randrange(len(lines)), rng.choice(TAGS)
        head, colon, _ = lines[place].partition(":")
        lines[place] = f"{head}: {tag}" if colon and rng.random() < 0.8 else tag
    return _read(folder, "\n".join(lines) + "\n")


def _overrides(rng: random.Random, folder: Path) -> Callable[[], object]:
    def one() -> str:
        key = rng.choice((*recipe_fields(), "data", "", "a.b.c", "name.x", ".", *NAMES))
        value = rng.choice((*TAGS, *NAMES, json.dumps(odd(rng)), "[" * 3000, "1", "null"))
        return f"{key}{rng.choice(('=', '=', '=', '', '=='))}{value}"

    text = rng.choice(list(SHIPPED.values()))
    return _read(folder, text, tuple(one() for _ in range(rng.randint(1, 3))))


def _duplicates(rng: random.Random, folder: Path) -> Callable[[], object]:
    """Every case has a key twice, so none may be accepted."""
    lines = rng.choice(list(SHIPPED.values())).decode().splitlines()
    plain = [number for number, line in enumerate(lines) if line and line[0].isalpha()]
    place = rng.choice(plain)
    lines.append(lines[place].partition(":")[0] + ": " + rng.choice(("{}", "1", "again")))
    read = _read(folder, "\n".join(lines) + "\n")
    return lambda: read() is None


def _bombs(rng: random.Random, folder: Path) -> Callable[[], object]:
    wide, deep = rng.choice((2, 10, 30)), rng.choice((9, 30, 100))
    match rng.randrange(5):
        case 0:
            lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, deep)]
            text = "\n".join(lines)
        case 1:
            lines = ["a0: &a0 {x: 1}"]
            lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * wide)}]}}" for n in range(1, min(deep, 30))]
            text = "\n".join(lines)
        case 2:
            text = "a: " + rng.choice(("[", "{a: ", "[[{x: ")) * rng.choice((100, 1000, 20_000))
        case 3:
            text = "".join(f"{' ' * n}a:\n" for n in range(rng.choice((100, 2000))))
        case 4:
            text = "data:\n  path: &p " + "x" * 1000 + "\n  classes: {base: [" + "*p, " * 500 + "]}"
    return _read(folder, rng.choice((text, SHIPPED["demo"].decode() + "\n" + text)))


def _large(rng: random.Random, folder: Path) -> Callable[[], object]:
    line = rng.choice(("# a comment\n", "key: value\n", "- 1\n", "x", " ", "\n", "a: {b: [c, d]}\n", '"', "&a *a "))
    return _read(folder, rng.choice((b"", SHIPPED["demo"])) + (line * (10_000_000 // len(line))).encode())
