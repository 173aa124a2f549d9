"""Results of evaluations, on their way onto a page and into a card."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from results_examples import example

from attacks.engine import Kind, Target
from attacks.genes import lay
from attacks.mutate import altered, scrambled, text_of
from learngene_hub.evaluation import card as judged
from learngene_hub.report.page import render_report
from learngene_hub.report.results import Results

NAME = "results.json"


def targets(run: Path) -> list[Target]:
    """Those of this module; the card is that of the gene in the folder `run`."""
    gene = {name: (run / "gene" / name).read_bytes() for name in ("config.json", "README.md")}
    sha256 = json.loads(gene["config.json"])["sha256"]
    tree = json.loads(example(("learngene", "scratch", "narrow"), steps=(20, 60), tasks=4).model_dump_json())
    tree["genes"][0]["sha256"] = sha256
    files = gene | {NAME: json.dumps(tree).encode()}
    kinds = [Kind("fields", _fields, 3), Kind("text", _text), Kind("into a card", _card)]
    return [Target("results", 12, kinds, lambda folder: lay(folder, files))]


def _fields(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / NAME
    path.write_text(json.dumps(altered(rng, json.loads(path.read_text()))))
    return lambda: _page(folder)


def _text(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / NAME
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        path.write_text(text_of(rng, json.loads(path.read_text())))
    return lambda: _page(folder)


def _card(rng: random.Random, folder: Path) -> Callable[[], object]:
    _fields(rng, folder)
    return lambda: _judge(folder)


def _page(folder: Path) -> bool:
    """The page of the results: whole, with no script of theirs in it."""
    results = Results.load(folder)
    page = render_report(results, samples=None)
    results.save(folder / "again.json")
    return "<script" not in page.lower() and Results.load(folder / "again.json") == results


def _judge(folder: Path) -> bool:
    with (
        patch.object(judged, "draw_starts"),
        patch.object(judged, "write_png"),
    ):  # matplotlib would take most of the time
        card = judged.write_evaluation(folder, [folder / NAME])
    return judged.read_evaluation(folder) in card.read_text(encoding="utf-8")
