"""Every way a worker can be lost, for real; prints the table of docs/log/campaigns.md.

    OMP_NUM_THREADS=1 python tests/campaigns/engine_table.py

Each row is one tiny evolution of three generations, with two workers unless it says otherwise. In the second generation
something goes wrong in the middle of a shard. The gene is compared with that of a run in one process.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

from engine_faults import faulty_tasks
from listener import Listener

from learngene_hub.evolution import generation
from learngene_hub.evolution.run import evolve
from learngene_hub.recipe.recipe import Recipe
from learngene_hub.workers import EngineOptions
from learngene_hub.workers.on_ray import import_ray

TESTS = Path(__file__).parent.parent
RECIPE = """\
name: tiny
network: {name: lg_vgg11, width: 0.06}
data: {preset: glyphs, image_size: 28, images_per_class: 12, classes: {base: 8, held_out: 6, novel: 6}}
evolution: {generations: 3, population: 4, founder_generations: 0, mutation_rate: 0.2}
ancestry: {ways: 4, steps: 3, batch_size: 8, warmup: 1}
critic: {ways: 3, shots: 4, queries: 6, steps: 2, tasks: 1, batch_size: 8, warmup: 0}
precision: float32
"""
FAULTS = {
    "killed": "a worker gets SIGKILL",
    "memory": "a worker runs out of memory (RLIMIT_AS)",
}


def main() -> None:
    """Print the table, a row as soon as it is known."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "tiny.yaml").write_text(RECIPE)
        recipe = Recipe.from_file(scratch / "tiny.yaml")
        evolve(recipe, out=scratch / "whole", engine=EngineOptions(workers=1))
        whole = gene_hash(scratch / "whole")
        sys.stdout.write(f"Nothing goes wrong, one process: {whole}\n\n")
        sys.stdout.write("| what | engine | the log | gene |\n|---|---|---|---|\n")
        rows(recipe, scratch, whole, "local", None)
        with two_nodes() as (cluster, lost):
            rows(recipe, scratch, whole, "ray", cluster.address)
            node_is_lost(recipe, scratch, whole, cluster, lost)


def rows(recipe: Recipe, scratch: Path, whole: str, engine: str, address: str | None) -> None:
    for workers in (1, 2, 4):
        out = scratch / f"{engine}-{workers}"
        evolve(recipe, out=out, engine=EngineOptions(engine, workers, address))
        tell(f"nothing, workers: {workers}", engine, "", out, whole)
    for fault, what in FAULTS.items():
        options = EngineOptions(engine, 2, address)
        tell(what, engine, *faulty(recipe, scratch / f"{engine}-{fault}", {1: fault}, options), whole)
    driver_is_killed(scratch, engine, address, whole)


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A Ray cluster of two nodes on this machine, and the second node."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent)])  # for actors
    import_ray(is_local=True)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=3)
    yield cluster, lost
    cluster.shutdown()


def tell(what: str, engine: str, said: str, out: Path, whole: str) -> None:
    found = gene_hash(out)
    sys.stdout.write(f"| {what} | {engine} | {said} | {'the same' if found == whole else found} |\n")
    sys.stdout.flush()


def faulty(
    recipe: Recipe, out: Path, faults: dict[int, str], options: EngineOptions, node: str = ""
) -> tuple[str, Path]:
    """What the run said, and its folder."""
    notes = Listener()
    with patch.object(generation, "AncestryTask", faulty_tasks(out.parent / f"{out.name}-", faults, node)):
        evolve(recipe, out=out, engine=options, reporter=notes)
    return "<br>".join(f"“{one}”" for one in notes.warnings), out


def driver_is_killed(scratch: Path, engine: str, address: str | None, whole: str) -> None:
    out = scratch / f"{engine}-driver"
    command = [sys.executable, "-m", "learngene_hub", "evolve", str(scratch / "tiny.yaml"), "--out", str(out)]
    command += ["--engine", engine, "--workers", "2", *(["--address", address] if address else [])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as driver:
        any("generation 1/3" in line for line in iter(driver.stderr.readline, ""))
        driver.kill()
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    first = again.stderr.splitlines()[0].partition(":")[0]
    tell("the driver gets SIGKILL", engine, f"the same command with `--resume` goes on with {first}", out, whole)


def node_is_lost(recipe: Recipe, scratch: Path, whole: str, cluster: Any, lost: Any) -> None:
    for name in ("begun", "never"):
        os.mkfifo(scratch / f"node-1.{name}")

    def lose() -> None:
        (scratch / "node-1.begun").read_text()
        cluster.remove_node(lost, allow_graceful=False)

    threading.Thread(target=lose, daemon=True).start()
    options = EngineOptions("ray", 4, cluster.address)
    said, out = faulty(recipe, scratch / "node", {1: "waits"}, options, lost.node_id)
    tell("a node with three of four workers is killed", "ray", said, out, whole)


def gene_hash(out: Path) -> str:
    return hashlib.sha256((out / "gene/learngene.safetensors").read_bytes()).hexdigest()[:12]


if __name__ == "__main__":
    main()
