"""Every way a Hub can fail, tried by a process of its own; prints the table of docs/hub-trials.md.

    python tests/campaigns/hub_faults.py [--lane LANE] [--rows WORDS] [RUN]

RUN: folder of a finished evolution; without it a tiny one is made. WORDS: only rows with these in their name. LANE:
`xet`, as large files travel by default, or `plain`, with HF_HUB_DISABLE_XET=1; without it both, and a row for each
where they differ. Each row says what was broken, what the user sees, after how many seconds (imports not counted), and
what is left in the cache: whole files and half-written ones. The row of the full disk mounts a small tmpfs, which takes
root; elsewhere it is left out.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from hub_server import Fault, HubServer

REPO = "owner/gene"
LANES = {"xet": "0", "plain": "1"}  # with their HF_HUB_DISABLE_XET
SHOWN = "https://huggingface.co"  # stands in the table for the address of the server
SHOWN_CACHE = "~/.cache/huggingface/hub"  # stands in the table for the cache of the case
LOAD = """
import sys, time, warnings
import torch, timm, huggingface_hub
from learngene_hub import LearngeneError, from_learngene
began = time.monotonic()
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    try:
        model = from_learngene(sys.argv[1], num_classes=3)
        said = "loads" if not warned else f"loads, with a warning: {warned[0].message}"
    except LearngeneError as error:
        said = f"“{error}”"
print(f"{time.monotonic() - began:.1f}\\n{said}")
"""
PUSH = """
import sys, time
from pathlib import Path
from learngene_hub import LearngeneError
from learngene_hub.gene.sharing import push_gene
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import PushTerms
began = time.monotonic()
try:
    pushed = push_gene(Path(sys.argv[2]), Address(sys.argv[1]), terms=PushTerms(), options=HubOptions())
    said = f"pushed, {len(pushed.changed)} files in one commit"
except LearngeneError as error:
    said = f"“{error}”"
print(f"{time.monotonic() - began:.1f}\\n{said}")
"""

LIST = """
import sys, time
from learngene_hub import LearngeneError, list_learngenes
began = time.monotonic()
try:
    said = f"{len(list_learngenes(hub=True))} genes"
except LearngeneError as error:
    said = f"“{error}”"
print(f"{time.monotonic() - began:.1f}\\n{said}")
"""


@dataclass
class Case:
    """One row: what is broken, how, in what surroundings, and which of the three scripts meets it."""

    name: str
    faults: tuple[Fault, ...] = ()
    source: str = REPO
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[HubServer], object] = lambda hub: None
    cached: bool = False
    damaged: bool = False
    script: str = LOAD


def digest(hub: HubServer) -> str:
    tree = hub.repo(REPO).at("main").tree
    return next(file.sha256 for path, file in tree.items() if path.endswith(".safetensors"))


def cases(hub: HubServer, scratch: Path, hole: str) -> Iterator[Case]:
    weights = digest(hub)
    (scratch / "file").write_text("not a folder")
    newer = json.dumps(json.loads(hub.files(REPO)["config.json"]) | {"schema_version": 99}).encode()
    yield Case("nothing")
    yield Case("connection refused", environment={"HF_ENDPOINT": "http://127.0.0.1:9"})
    yield Case("no network: the name is not found", environment={"HF_ENDPOINT": "http://hub.invalid"})
    yield Case("no network: packets vanish", environment={"HF_ENDPOINT": hole})
    yield Case("connection refused, gene in the cache", environment={"HF_ENDPOINT": "http://127.0.0.1:9"}, cached=True)
    yield Case("`HF_HUB_OFFLINE=1`", environment={"HF_HUB_OFFLINE": "1"})
    yield Case("`HF_HUB_OFFLINE=1`, gene in the cache", environment={"HF_HUB_OFFLINE": "1"}, cached=True)
    yield Case("no such repository", source="owner/gane")
    yield Case("no such revision", source=f"{REPO}@v9")
    yield Case("a repository of another kind, with a pickle", source="owner/bert")
    yield Case("a private repository of somebody else", source="owner/secret", environment={"HF_TOKEN": "hf_other"})
    yield Case("a gated repository", source="owner/gated", environment={"HF_TOKEN": "hf_other"})
    yield Case("a token that is none", environment={"HF_TOKEN": "hf_wrong"})
    yield Case("server in trouble (503) on the first request", (Fault("HEAD", "/resolve/", times=9),))
    yield Case("the same, gene in the cache", (Fault("HEAD", "/resolve/", times=9),), cached=True)
    yield Case("server in trouble (503) on the listing", (Fault("GET", "/api/models", times=9),))
    yield Case("server that never answers", (Fault("HEAD", "/resolve/", "delay", seconds=60),))
    yield Case("slow server: weights in pieces over 4 s", (Fault("GET", weights, "drip", seconds=4),))
    yield Case(
        "slower than `LEARNGENE_MAX_DOWNLOAD_SECONDS=5` allows",
        (Fault("GET", weights, "drip", seconds=600),),
        environment={"LEARNGENE_MAX_DOWNLOAD_SECONDS": "5"},
    )
    yield Case("server in trouble (503) on the first request, once", (Fault("HEAD", "/resolve/"),))
    yield Case("weights corrupted once", (Fault("GET", weights, "corrupt", size=4),))
    yield Case("weights corrupted always", (Fault("GET", weights, "corrupt", size=4, times=99),))
    yield Case("config corrupted always", (Fault("GET", "config.json", "corrupt", size=4, times=99),))
    yield Case("an answer cut in the middle of its JSON", (Fault("GET", "/api/models", "corrupt", size=60),))
    yield Case("gene in the cache, its weights damaged there", cached=True, damaged=True)
    yield Case("the same, `HF_HUB_OFFLINE=1`", environment={"HF_HUB_OFFLINE": "1"}, cached=True, damaged=True)
    yield Case("weights cut short once", (Fault("GET", weights, "cut", size=1000),))
    yield Case("weights cut short always", (Fault("GET", weights, "cut", size=1000, times=99),))
    yield Case(
        "a newer schema",
        prepare=lambda hub: hub.put("owner/newer", {**gene_files(hub), "config.json": newer}),
        source="owner/newer",
    )
    yield Case("larger than allowed", environment={"LEARNGENE_MAX_DOWNLOAD_MB": "0.001"})
    yield Case("cache cannot be made", environment={"HF_HUB_CACHE": str(scratch / "file")})
    if os.geteuid() == 0:
        yield Case("disk full", environment={"HF_HUB_CACHE": "tmpfs"})
    yield Case("push: server in trouble (500) on the commit", (Fault("POST", "/commit/", status=500),), script=PUSH)
    yield Case("push: commit made, its answer lost", (Fault("POST", "/commit/", "close", after=True),), script=PUSH)
    yield Case("push: upload of the weights fails once", uploads(status=500), script=PUSH)
    yield Case("push: upload of the weights hangs up once", uploads(kind="close"), script=PUSH)
    yield Case("push: upload of the weights fails always", uploads(status=500, times=99), script=PUSH)
    yield Case("push: upload of the weights is refused", uploads(status=403, times=99), script=PUSH)
    yield Case("push: no token for Xet", (Fault("GET", "/xet-write-token/", status=403, times=99),), script=PUSH)
    yield Case("push: Xet does not take the token", (Fault("POST", "/v1/", status=401, times=99),), script=PUSH)
    yield Case("push: Xet loses the list of chunks", (Fault("POST", "/v1/shards", status=400, times=99),), script=PUSH)
    yield Case("push: connection refused", environment={"HF_ENDPOINT": "http://127.0.0.1:9"}, script=PUSH)
    yield Case("push: packets vanish", environment={"HF_ENDPOINT": hole}, script=PUSH)
    yield Case("push: no token", environment={"HF_TOKEN": ""}, script=PUSH)
    yield Case("push: into the account of somebody else", source="other/gene", script=PUSH)
    yield Case("push: a token that may only read", (Fault("POST", "/api/repos/create", status=403),), script=PUSH)
    yield Case("`list --hub`: connection refused", environment={"HF_ENDPOINT": "http://127.0.0.1:9"}, script=LIST)
    yield Case("`list --hub`: packets vanish", environment={"HF_ENDPOINT": hole}, script=LIST)
    yield Case("`list --hub`: `HF_HUB_OFFLINE=1`", environment={"HF_HUB_OFFLINE": "1"}, script=LIST)


def uploads(**what: Any) -> tuple[Fault, ...]:
    """A fault of the upload of a large file, by plain LFS or by Xet."""
    return (Fault("PUT", "/lfs/", **what), Fault("POST", "/v1/xorbs/", **what))


@contextmanager
def black_hole() -> Iterator[str]:
    """An address that never takes a connection: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for caller in callers:
            caller.close()


def gene_files(hub: HubServer) -> dict[str, bytes]:
    return {path: content for path, content in hub.files(REPO).items() if path != ".gitattributes"}


@contextmanager
def small_disk(place: Path) -> Iterator[str]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(place)], check=True)
    try:
        yield str(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def attempt(case: Case, lane: str, hub: HubServer, run: Path, scratch: Path) -> tuple[str, str, str]:
    """Seconds, what the user sees, and what is left in the cache."""
    home = scratch / f"{lane}-{case.name}".replace("/", "-").replace(" ", "-")
    home.mkdir()
    cache = home / "hub"
    surroundings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN": "hf_owner",
        "HF_HUB_DISABLE_XET": LANES[lane],
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,hub.invalid",
        "OMP_NUM_THREADS": "1",
    }
    where = small_disk(cache) if case.environment.get("HF_HUB_CACHE") == "tmpfs" else nullcontext(None)
    with where as disk:
        more = case.environment | ({"HF_HUB_CACHE": disk} if disk else {})
        source = "owner/pushed" if case.script == PUSH and case.source == REPO else case.source
        hub.store.repos.pop(("models", "owner/pushed"), None)
        case.prepare(hub)
        command = [sys.executable, "-c", case.script, source, str(run)]
        if case.cached:
            subprocess.run(command, env=os.environ | surroundings, check=True, capture_output=True, cwd=scratch)
        if case.damaged:
            weights = next(cache.glob("models--*/snapshots/*/*.safetensors"))
            weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
        hub.faults[:] = [replace(fault) for fault in case.faults]
        done = subprocess.run(
            command, env=os.environ | surroundings | more, check=True, capture_output=True, text=True, cwd=scratch
        )
        hub.faults.clear()
        seconds, said = done.stdout.strip().split("\n", 1)
        return seconds, said.replace(str(cache), SHOWN_CACHE).replace(str(scratch / "file"), SHOWN_CACHE), left(cache)


def left(cache: Path) -> str:
    whole = [path for path in cache.glob("models--*/snapshots/*/*") if path.is_file() and path.name[0] != "."]
    half = [*cache.rglob("*.incomplete"), *cache.rglob("*.tmp")]
    return f"{len(whole)} whole, {len(half)} half-written"


def prepared(hub: HubServer, run: Path) -> None:
    """The gene under four names, and a repository of another kind."""
    files = {path.name: path.read_bytes() for path in (run / "gene").iterdir()}
    hub.put(REPO, files)
    hub.put("owner/secret", files, private=True)
    hub.put("owner/gated", files, gated=True)
    hub.put("owner/bert", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Every way a Hub can fail.")
    parser.add_argument("--lane", choices=LANES, action="append")
    parser.add_argument("--rows", default="")
    parser.add_argument("run", nargs="?", type=Path)
    options = parser.parse_args()
    sys.stdout.write("| what is broken | large files go by | what the user sees | seconds | left in the cache |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder, HubServer() as hub, black_hole() as hole:
        scratch = Path(folder)
        run = options.run.resolve() if options.run else tiny_run(scratch)
        prepared(hub, run)
        for case in cases(hub, scratch, hole):
            if options.rows in case.name:
                show(case, {lane: attempt(case, lane, hub, run, scratch) for lane in options.lane or LANES}, hub.url)


def show(case: Case, outcomes: dict[str, tuple[str, str, str]], url: str) -> None:
    """A row of the table for all lanes that end alike."""
    rows: dict[tuple[str, str], list[str]] = {}
    for lane, (_, said, remains) in outcomes.items():
        rows.setdefault((re.sub(r"\b[0-9a-f]{12,64}\b", "…", said.replace(url, SHOWN)), remains), []).append(lane)
    for (said, remains), lanes in rows.items():
        seconds = ", ".join(outcomes[lane][0] for lane in lanes)
        sys.stdout.write(f"| {case.name} | {', '.join(lanes)} | {said} | {seconds} | {remains} |\n")
        sys.stdout.flush()


def tiny_run(scratch: Path) -> Path:
    (scratch / "tiny.yaml").write_text(
        "name: tiny\nnetwork: {name: lg_vgg11, width: 0.06}\n"
        "data: {preset: glyphs, image_size: 28, images_per_class: 12, classes: {base: 8, held_out: 6, novel: 6}}\n"
        "evolution: {generations: 2, population: 4}\nancestry: {ways: 4, steps: 3, batch_size: 8, warmup: 1}\n"
        "critic: {ways: 3, shots: 4, queries: 6, steps: 2, tasks: 1, batch_size: 8, warmup: 0}\nprecision: float32\n"
    )
    command = [
        sys.executable,
        "-m",
        "learngene_hub",
        "evolve",
        str(scratch / "tiny.yaml"),
        "--out",
        str(scratch / "run"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return scratch / "run"


if __name__ == "__main__":
    main()
