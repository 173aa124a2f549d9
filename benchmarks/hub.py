"""What it costs to load a gene that is in the cache, and to import the package.

    python benchmarks/hub.py [RUN]

RUN: a gene folder or the folder of a run; without it the first gene of the package. The Hub is the server of the tests,
in another process, so that only the client's work is counted. CPU time of one thread, median of the rounds; ratios are
against `timm.create_model` of the same network, in the same process.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SERVER = Path(__file__).parent.parent / "tests" / "hub_server.py"
ROUNDS = 15
REPO = "owner/gene"
IMPORTS = {
    "python": "pass",
    "learngene_hub": "import learngene_hub",
    "learngene_hub, a name of it used": "from learngene_hub import from_learngene",
    "torch, timm, huggingface_hub": "import torch, timm, huggingface_hub",
}


def main() -> None:
    """Both tables."""
    command = [sys.executable, str(SERVER)]
    with tempfile.TemporaryDirectory() as home, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        os.environ |= {
            "HF_ENDPOINT": server.stdout.readline().strip(),
            "HF_HOME": home,
            "HF_TOKEN": "hf_owner",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        try:
            report(loads(*sys.argv[1:]), "loading a cached gene")
        finally:
            server.terminate()
    report({name: median(lambda code=code: run(code), 5) for name, code in IMPORTS.items()}, "imports")


def loads(run: str | None = None) -> dict[str, float]:
    """Seconds of every way to a network that has the gene."""
    import timm
    import torch

    from learngene_hub import Learngene, from_learngene, list_learngenes

    torch.set_num_threads(1)
    gene = Learngene.from_pretrained(run or list_learngenes()[0].name)
    commit, config = gene.push_to_hub(REPO).commit, gene.config
    ways: dict[str, Callable[[], object]] = {
        "timm.create_model": lambda: timm.create_model(
            config.network, num_classes=5, width=config.width, depth=config.depth
        ),
        "from_learngene of a folder": lambda: from_learngene(gene.place.folder, num_classes=5),
        "from_learngene, offline": lambda: from_learngene(REPO, num_classes=5, local_files_only=True),
        "from_learngene, a commit": lambda: from_learngene(f"{REPO}@{commit}", num_classes=5),
        "from_learngene, a branch": lambda: from_learngene(REPO, num_classes=5),
    }
    for name in reversed(ways):  # the first one fetches
        ways[name]()
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(one[name] for one in rounds) for name in ways}


def seconds(work: Callable[[], object]) -> float:
    """CPU time of `work`, this process and finished children."""
    began = spent()
    work()
    return spent() - began


def spent() -> float:
    """CPU time so far, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def median(work: Callable[[], object], rounds: int) -> float:
    """CPU time of `work`, in seconds."""
    return statistics.median(seconds(work) for _ in range(rounds))


def run(code: str) -> None:
    """Python code in a process of its own."""
    subprocess.run([sys.executable, "-c", code], check=True)


def report(found: dict[str, float], title: str) -> None:
    """A table with ratios to its first row."""
    first = next(iter(found.values()))
    sys.stdout.write(f"\n| {title} | CPU milliseconds | ratio |\n|---|---|---|\n")
    for name, value in found.items():
        sys.stdout.write(f"| {name} | {value * 1e3:.0f} | {value / first:.2f} |\n")


if __name__ == "__main__":
    main()
