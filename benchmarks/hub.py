"""What it costs to load a gene that is in the cache, and to import the package.

    python -m benchmarks.hub [RUN]

RUN: a gene folder or the folder of a run; without it one of the package. The Hub is the server of the tests,
in another process, so that only the client's work is counted. Ratios are against `timm.create_model` of the same
network, and against torch, timm and huggingface_hub.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure, interleaved, ratio, table, typical

SERVER = Path(__file__).parent.parent / "tests" / "hub_server.py"
GENE = "gtl/vgg11-cifar-fs-half"
REPO = "owner/gene"
SCRATCH = "timm.create_model"
OTHERS = "torch, timm, huggingface_hub"
IMPORTS = {
    "python": "pass",
    "learngene_hub": "import learngene_hub",
    "learngene_hub, a name of it used": "from learngene_hub import from_learngene",
    OTHERS: "import torch, timm, huggingface_hub",
}


def figures(run: str | None = None) -> list[Figure]:
    """Ways to a network that has the gene, and ways to import."""
    with server():
        loading = _loads(run)
    return loading + _imports()


@contextmanager
def server() -> Iterator[None]:
    """A Hub of our own that `huggingface_hub` takes for the real one, if nothing has imported it before."""
    command = [sys.executable, str(SERVER)]
    with tempfile.TemporaryDirectory() as home, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        os.environ |= {
            "HF_ENDPOINT": hub.stdout.readline().strip(),
            "HF_HOME": home,
            "HF_TOKEN": "hf_owner",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        try:
            yield
        finally:
            hub.terminate()


def _loads(run: str | None) -> list[Figure]:
    import timm
    import torch

    from learngene_hub import Learngene, from_learngene

    torch.set_num_threads(1)
    gene = Learngene.from_pretrained(run or GENE)
    commit, config = gene.push_to_hub(REPO).commit, gene.config
    assert gene.place is not None
    folder = gene.place.folder
    from_learngene(REPO, num_classes=5)  # into the cache
    ways: dict[str, Callable[[], object]] = {
        SCRATCH: lambda: timm.create_model(config.network, num_classes=5, width=config.width, depth=config.depth),
        "from_learngene of a folder": lambda: from_learngene(folder, num_classes=5),
        "from_learngene, offline": lambda: from_learngene(REPO, num_classes=5, local_files_only=True),
        "from_learngene, a commit": lambda: from_learngene(f"{REPO}@{commit}", num_classes=5),
        "from_learngene, a branch": lambda: from_learngene(REPO, num_classes=5),
    }
    return _against(SCRATCH, ways, rounds=15)


def _imports() -> list[Figure]:
    ways = {name: partial(subprocess.run, [sys.executable, "-c", code], check=True) for name, code in IMPORTS.items()}
    return _against(OTHERS, ways, rounds=5)


def _against(first: str, ways: Mapping[str, Callable[[], object]], *, rounds: int) -> list[Figure]:
    times = interleaved(ways, rounds)
    return [
        Figure(
            "hub",
            f"{name} / {first}",
            ratio(times, name, first),
            f"{typical(times, name) * 1e3:.0f} against {typical(times, first) * 1e3:.0f} ms",
        )
        for name in ways
        if name != first
    ]


if __name__ == "__main__":
    print(table(figures(*sys.argv[1:])))
