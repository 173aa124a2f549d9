"""Attacks on files that strangers send, counted; prints the table of docs/reliability.md.

    python tests/campaigns/fuzz.py [CASES] [SEED] [WORDS]

CASES: 100,000 by default, about 15 minutes of one core. WORDS: only targets with these in their name. Each case damages
something sound, or makes something hostile, and lets the package read it. Ends with status 1 if a defect was found, and
tells the first few of each kind, each with the seed that makes it again.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LEARNGENE_CACHE": tempfile.mkdtemp(prefix="attack-cache-"),
    "HF_HOME": tempfile.mkdtemp(prefix="attack-home-"),
}
sys.path.insert(0, str(Path(__file__).parent.parent))

from attacks import engine, genes, images, networks, recipes, results
from huggingface_hub import logging

from learngene_hub import Recipe, evolve

TINY = {
    "name": "tiny",
    "network": {"name": "lg_vgg11", "width": 0.06},
    "data": {
        "preset": "glyphs",
        "image_size": 28,
        "images_per_class": 12,
        "classes": {"base": 4, "held_out": 3, "novel": 3},
    },
    "evolution": {"generations": 2, "population": 2},
    "ancestry": {"ways": 4, "steps": 1, "batch_size": 8, "warmup": 0, "statistics_batches": 1},
    "critic": {"ways": 3, "shots": 4, "queries": 6, "steps": 1, "tasks": 1, "batch_size": 8, "warmup": 0},
    "precision": "float32",
}


def main() -> int:
    """Run the campaign; the number of defects, at most 1."""
    cases, seed = int(sys.argv[1]) if sys.argv[1:] else 100_000, int(sys.argv[2]) if sys.argv[2:] else 0
    words = sys.argv[3] if sys.argv[3:] else ""
    logging.set_verbosity_error()  # cards without metadata are no news here
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        evolve(Recipe.from_mapping(TINY), out=run)
        modules = [
            genes.targets(run),
            recipes.targets(),
            results.targets(),
            networks.targets(run),
            images.targets(),
        ]
        chosen = [one for targets in modules for one in targets if words in one.name]
        rows = []
        sys.stdout.write(engine.HEAD)
        for row in engine.campaign(chosen, cases, seed):
            rows.append(row[2])
            sys.stdout.write(engine.line(*row))
            sys.stdout.flush()
            for fault, count in row[2].defects.items():
                sys.stderr.write(f"{row[0]}, {row[1]}: {count} x {fault}\n")
    sys.stdout.write(engine.line("**all**", "", total := engine.added(rows)))
    return min(1, total.defects.total())


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        for name in ("LEARNGENE_CACHE", "HF_HOME"):
            shutil.rmtree(os.environ[name])
