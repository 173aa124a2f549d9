"""The folder of a run: the saved state, its pool of tensors, the rows of its metrics; and what caches hold."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import torch

from attacks.engine import Kind, Target
from attacks.genes import hostile_header, lay
from attacks.mutate import altered, scrambled, text_of
from learngene_hub.data.cache import find_cached, store
from learngene_hub.data.image_set import ImageSet
from learngene_hub.evaluation.bench import Unit
from learngene_hub.evaluation.ledger import Ledger
from learngene_hub.evaluation.starts import scratch
from learngene_hub.evolution.checkpoint import load_state, read_metrics, save_state, truncate_metrics
from learngene_hub.evolution.origin import lineage
from learngene_hub.evolution.page import write_page
from learngene_hub.gene.folder import file_sha256
from learngene_hub.genome.birth import Body
from learngene_hub.recipe import Recipe

STATE = "state/state.json"
ORIGIN = {"from": "the test", "size": 8}
UNIT = Unit("novel", 0, 0, 0.1)


def targets(run: Path) -> list[Target]:
    """Those of this module, on copies of the folder `run` of a finished evolution."""
    names = [STATE, *(f"state/{path.name}" for path in (run / "state").glob("pool-*")), "metrics.jsonl", "recipe.yaml"]
    files = {name: (run / name).read_bytes() for name in names}
    kinds = [
        Kind("fields of the state", _fields, 4),
        Kind("text of the state", _text, 2),
        Kind("pool of tensors", _pool, 3),
        Kind("rows of the metrics", _metrics, 2),
        Kind("links, folders and pipes", _links, 0.5),
        Kind("page of the evolution", _page, 1),
    ]
    caches = [
        Kind("decoded images", _images),
        Kind("lines of a ledger", _ledger),
    ]
    return [
        Target("checkpoint", 18, kinds, lambda folder: lay(folder, files)),
        Target("cache", 5, caches, lambda folder: lay(folder, {"here": b""})),
    ]


def _resume(out: Path) -> bool:
    """What a resumed run reads; whether it would save the same again, and can tell where its gene comes from."""
    saved = load_state(out)
    recipe = Recipe.from_file(out / "recipe.yaml")
    recipe.differences(saved.recipe)
    truncate_metrics(out, saved.state.generation, members=[one.id for one in saved.state.pool])
    rows = read_metrics(out)
    best = max(saved.state.pool, key=lambda one: one.fitness)
    found = lineage(best.id, rows)
    save_state(out, saved.state, saved.recipe, saved.around)
    again = load_state(out)
    return found[0].id == best.id and [one.id for one in again.state.pool] == [one.id for one in saved.state.pool]


def _fields(rng: random.Random, out: Path) -> Callable[[], object]:
    path = out / STATE
    path.write_text(json.dumps(altered(rng, json.loads(path.read_text()))))
    return lambda: _resume(out)


def _text(rng: random.Random, out: Path) -> Callable[[], object]:
    path = out / STATE
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        path.write_text(text_of(rng, json.loads(path.read_text())))
    return lambda: _resume(out)


def _pool(rng: random.Random, out: Path) -> Callable[[], object]:
    path = next((out / "state").glob("pool-*"))
    change = rng.choice((hostile_header, scrambled))
    path.write_bytes(change(rng, path.read_bytes()))
    state = out / STATE
    state.write_text(json.dumps(json.loads(state.read_text()) | {"pool_sha256": file_sha256(path)}))
    return lambda: _resume(out)


def _metrics(rng: random.Random, out: Path) -> Callable[[], object]:
    path = out / "metrics.jsonl"
    if rng.random() < 0.4:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        rows = altered(rng, [json.loads(line) for line in path.read_text().splitlines()])
        rows = rows if isinstance(rows, list) else [rows]
        path.write_text("".join(text_of(rng, row) + "\n" for row in rows))
    return lambda: _resume(out)


def _page(rng: random.Random, out: Path) -> Callable[[], object]:
    rng.choice((_fields, _metrics))(rng, out)
    page = out / "page.html"
    return lambda: write_page(str(out), page).read_text(encoding="utf-8").rstrip().endswith("</html>")


def _links(rng: random.Random, out: Path) -> Callable[[], object]:
    path = out / rng.choice((STATE, "metrics.jsonl"))
    path.unlink()
    match rng.randrange(4):
        case 0:
            path.symlink_to(rng.choice(("/etc/passwd", "/proc/self/mem", "/dev/zero")))
        case 1:
            path.symlink_to(path.name)
        case 2:
            path.mkdir()
        case 3:
            os.mkfifo(path)
    return lambda: _resume(out)


def _damage(rng: random.Random, path: Path) -> None:
    try:
        tree = json.loads(path.read_text())
    except ValueError:
        tree = None
    if tree is None or rng.random() < 0.4:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        path.write_text(text_of(rng, altered(rng, tree)))


def _images(rng: random.Random, folder: Path) -> Callable[[], object]:
    images = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
    tensors = store(images, ORIGIN, folder)
    target = rng.choice((tensors, tensors.with_suffix(".json")))
    if target == tensors and rng.random() < 0.5:
        target.write_bytes(hostile_header(rng, target.read_bytes()))
    else:
        _damage(rng, target)
    return lambda: (found := find_cached(ORIGIN, folder)) is None or len(found[0]) <= 2


def _ledger(rng: random.Random, folder: Path) -> Callable[[], object]:
    ledger = Ledger(folder, scratch(), Body("lg_vgg11", 0.1, 11), {}, {})
    ledger.enter(UNIT, {"60": 0.5})
    ledger.enter(Unit("novel", 0, 1, 0.1), {"60": 0.25})
    path = next((folder / "tasks").iterdir())
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        lines = [text_of(rng, altered(rng, json.loads(line))) for line in path.read_text().splitlines()]
        path.write_text("".join(line + "\n" for line in lines))
    return lambda: _measured(folder)


def _measured(folder: Path) -> bool:
    ledger = Ledger(folder, scratch(), Body("lg_vgg11", 0.1, 11), {}, {})
    return UNIT not in ledger or all(0 <= value <= 1 for value in ledger[UNIT].values())
