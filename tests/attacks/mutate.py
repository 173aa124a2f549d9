"""Changes at random: of bytes, and of trees of JSON."""

import json
import random
from typing import Any

NAMES = (
    "../../outside",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "\x1b[2J\x1b]0;x\a",
    "con",
    "é\u202e",
    "x" * 5000,
    "",
    ".",
    "~",
)
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -1e308, 5e-324, float("nan"), float("inf"), 0.5, True)
INTEGERS = (0, 1, 127, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1)
DEEP = "[" * 50_000


def scrambled(rng: random.Random, content: bytes) -> bytes:
    """`content` after one to four changes: bits flipped, cut, repeated, overwritten, inserted."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(7):
            case 0 if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[place:]
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length] * rng.randint(1, 3)
            case 4:
                data[place : place + 4] = rng.choice(INTEGERS).to_bytes(4, rng.choice(("little", "big")))
            case 5:
                data[place:place] = rng.randbytes(length)
            case 6:
                data[place : place + length] = bytes(length)
    return bytes(data)


def odd(rng: random.Random) -> Any:
    """A value that hardly any field expects."""
    kinds = (rng.choice(NUMBERS), rng.choice(NAMES), None, [], {}, _nested(rng), [rng.choice(NUMBERS)] * 3)
    return rng.choice((*kinds, {rng.choice(NAMES): rng.choice(NUMBERS)}, str(rng.choice(NUMBERS))))


def altered(rng: random.Random, tree: Any) -> Any:
    """`tree` after one to three changes at random places; a copy."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.randint(1, 3)):
        tree = _altered_once(rng, tree)
    return tree


def text_of(rng: random.Random, tree: Any) -> str:
    """JSON of `tree`; now and then with a key that comes twice, or damaged as text."""
    text = json.dumps(tree)
    match rng.randrange(12):
        case 0:
            return text.replace("{", '{"again": 1, "again": 2, ', rng.randint(1, 3))
        case 1:
            return scrambled(rng, text.encode()).decode("utf-8", errors="replace")
        case 2 if rng.random() < 0.2:
            return text.replace(":", f": {DEEP}", 1)
        case 3 if rng.random() < 0.2:
            return text.replace(": ", f": {'9' * rng.choice((300, 4301, 10_000))}", 1)
    return text


def _altered_once(rng: random.Random, tree: Any) -> Any:
    places = list(_places(tree))
    if not places or rng.random() < 0.02:
        return odd(rng)
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice((*NAMES, "extra"))] = holder.pop(key)
        case 2:
            other, place = rng.choice(places)
            holder[key] = json.loads(json.dumps(other.get(place) if isinstance(other, dict) else _at(other, place)))
        case 3 if isinstance(holder[key], int | float):
            holder[key] = rng.choice((holder[key] + 1, -holder[key], holder[key] * 1000, float(holder[key])))
        case _:
            holder[key] = odd(rng)
    return tree


def _at(items: list, place: int) -> Any:
    return items[place] if place < len(items) else None


def _places(tree: Any) -> Any:
    """(holder, key) of every value in the tree."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield tree, key
        yield from _places(value)


def _nested(rng: random.Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice((1, 5, 200))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value
