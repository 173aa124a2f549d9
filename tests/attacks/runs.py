"""The folder of a run: the saved state, its pool of tensors, the rows of its metrics; and what caches hold."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from attacks.engine import Kind, Target
from attacks.genes import hostile_header, lay
from attacks.mutate import altered, scrambled, text_of
from learngene_hub.core.progress import SilentReporter
from learngene_hub.data.loading import load_classes
from learngene_hub.data.source import DataSource
from learngene_hub.evaluation.cache import ResultsCache
from learngene_hub.evaluation.measuring import Unit
from learngene_hub.evaluation.starts import scratch
from learngene_hub.evolution.checkpoint import STATE_NAME, load_state, save_state
from learngene_hub.evolution.origin import lineage
from learngene_hub.evolution.page import write_page
from learngene_hub.genome.birth import Body
from learngene_hub.recipe.recipe import Recipe

UNIT = Unit("novel", 0, 0, 0.1)


def targets(run: Path) -> list[Target]:
    """Those of this module, on copies of the folder `run` of a finished evolution."""
    names = (STATE_NAME, "recipe.yaml", "gene/config.json", "gene/metrics.jsonl")
    files = {name: (run / name).read_bytes() for name in names}
    kinds = [
        Kind("state", _state, 4),
        Kind("links, folders and pipes", _links, 0.5),
        Kind("page of the gene", _page, 2),
    ]
    caches = [
        Kind("decoded images", _images),
        Kind("lines of results", _lines),
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
    best = max(saved.state.pool, key=lambda one: one.fitness)
    found = lineage(best.id, saved.state.rows)
    save_state(out, saved.state, saved.recipe, saved.inputs)
    again = load_state(out)
    return found[0].id == best.id and [one.id for one in again.state.pool] == [one.id for one in saved.state.pool]


def _state(rng: random.Random, out: Path) -> Callable[[], object]:
    """Whatever says something else must be refused: nobody has signed it."""
    path = out / STATE_NAME
    before = path.read_bytes()
    path.write_bytes(rng.choice((hostile_header, scrambled))(rng, before))
    return lambda: _resume(out) and path.read_bytes() == before


def _page(rng: random.Random, out: Path) -> Callable[[], object]:
    path = out / "gene/metrics.jsonl"
    if rng.random() < 0.4:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        rows = altered(rng, [json.loads(line) for line in path.read_text().splitlines()])
        rows = rows if isinstance(rows, list) else [rows]
        path.write_text("".join(text_of(rng, row) + "\n" for row in rows))
    page = out / "page.html"
    return lambda: write_page(str(out / "gene"), page).read_text(encoding="utf-8").rstrip().endswith("</html>")


def _links(rng: random.Random, out: Path) -> Callable[[], object]:
    path = out / STATE_NAME
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
    """Whatever is damaged, the pixels are those of a fresh decoding."""
    photos = folder / "photos"
    for name, colour in (("a", (200, 40, 90)), ("b", (10, 250, 3))):
        (photos / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), colour).save(photos / name / "0.png")
    fresh = _load(photos, folder / "fresh")
    _load(photos, folder / "cache")
    target = rng.choice(sorted((folder / "cache").glob("images/*/*")))
    content = target.read_bytes()
    target.unlink()  # it is mapped into memory
    target.write_bytes(content)
    if target.suffix == ".safetensors" and rng.random() < 0.7:
        change = rng.choice((hostile_header, scrambled, _other_pixels))
        target.write_bytes(change(rng, content))
    else:
        _damage(rng, target)
    return lambda: torch.equal(_load(photos, folder / "cache"), fresh)


def _load(photos: Path, cache: Path) -> torch.Tensor:
    os.environ["LEARNGENE_CACHE"] = str(cache)
    return load_classes(DataSource(None, str(photos), 8), ["a", "b"]).images


def _other_pixels(rng: random.Random, content: bytes) -> bytes:
    """The same header, other pixels behind it."""
    at = rng.randrange(len(content) - 100, len(content) - 20)
    return content[:at] + rng.randbytes(20) + content[at + 20 :]


def _lines(rng: random.Random, folder: Path) -> Callable[[], object]:
    """A line that is believed says what was measured."""
    known = _known(folder)
    known.enter(UNIT, {"60": 0.5})
    known.enter(replace(UNIT, number=1), {"60": 0.25})
    path = next((folder / "tasks").iterdir())
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        lines = [text_of(rng, altered(rng, json.loads(line))) for line in path.read_text().splitlines()]
        path.write_text("".join(line + "\n" for line in lines))
    return lambda: UNIT not in (found := _known(folder)) or found[UNIT] == {"60": 0.5}


def _known(folder: Path) -> ResultsCache:
    body = Body("lg_vgg11", 0.1, 11)
    return ResultsCache(folder, scratch(), body, {}, {}, reporter=SilentReporter())
