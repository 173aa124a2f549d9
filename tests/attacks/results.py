"""Results of evaluations, edited or damaged."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from results_examples import example

from attacks.engine import Kind, Target
from attacks.genes import lay
from attacks.mutate import altered, scrambled, text_of
from learngene_hub.report.results import Results

NAME = "results.json"


def targets() -> list[Target]:
    """Those of this module."""
    text = example(("learngene", "scratch", "narrow"), steps=(20, 60), tasks=4).model_dump_json()
    kinds = [Kind("fields", _fields, 3), Kind("text", _text)]
    return [Target("results", 12, kinds, lambda folder: lay(folder, {NAME: text.encode()}))]


def _fields(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / NAME
    path.write_text(json.dumps(altered(rng, json.loads(path.read_text()))))
    return lambda: _load(folder)


def _text(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / NAME
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        path.write_text(text_of(rng, json.loads(path.read_text())))
    return lambda: _load(folder)


def _load(folder: Path) -> bool:
    """The results: whole, each start by its name."""
    return all(one.start(name.start) for one in Results.load(folder).descendants for name in one.starts)
