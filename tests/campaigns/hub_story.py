"""A gene's way to the Hub and back, by the commands a user would type; prints the transcript of docs/hub-trials.md.

    python tests/campaigns/hub_story.py [LANE]

The Hub is the server of the tests, a process of its own that is told nothing but its port. Every command of the story
is a process too. LANE: `xet`, as large files travel by default, or `plain`, with HF_HUB_DISABLE_XET=1; without it both,
and the transcript of the first is followed by a table of what the Hub saw in each. A lane takes about three minutes of
one core, most of them for two short evolutions.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

TESTS = Path(__file__).parent.parent
HERE = build_opener(ProxyHandler({}))  # no proxy to 127.0.0.1
SHOWN = "https://huggingface.co"  # stands in the transcript for the address of the server
REPO = "owner/demo"
LANES = {"xet": "0", "plain": "1"}  # with their HF_HUB_DISABLE_XET
LOAD = """\
from learngene_hub import from_learngene
born = from_learngene("{source}", num_classes=5).inheritance
print(f"{{born.share:.1%}} inherited; gene {{born.sha256[:12]}}, commit {{born.revision[:12]}}")"""


def main() -> None:
    seen = {}
    for lane in sys.argv[1:] or LANES:
        with tempfile.TemporaryDirectory() as folder, server() as url:
            teller = Teller(Path(folder), url, lane, is_quiet=bool(seen))
            tell(teller)
            seen[lane] = teller.seen
    sys.stdout.write(f"\n| command | {' | '.join(seen)} |\n|---|{'---|' * len(seen)}\n")
    for rows in zip(*seen.values(), strict=True):
        sys.stdout.write(f"| {rows[0][0]} | {' | '.join(counted for _, counted in rows)} |\n")


def tell(story: "Teller") -> None:
    """The whole story."""
    story.says("evolve a gene on built-in data, and push it")
    story.runs("learngene evolve demo evolution.generations=2")
    pushed = story.runs(f"learngene push runs/demo {REPO} --json")
    first = re.search(r"[0-9a-f]{40}", pushed)[0]
    story.saw()
    story.says("anyone finds it; only config and card are fetched to describe it")
    story.runs("learngene list --hub")
    story.runs(f"learngene info {REPO}")
    story.saw()
    story.says("somebody else, with an empty cache")
    story.forgets()
    story.loads(REPO)
    story.saw()
    story.says("the second time: one request without a body; and with a full commit, or offline, none")
    story.loads(REPO)
    story.saw()
    story.loads(f"{REPO}@{first}")
    story.saw()
    story.loads(REPO, offline=True)
    story.saw()
    story.says("nothing has changed, so there is nothing to push")
    story.runs(f"learngene push runs/demo {REPO}")
    story.saw()
    story.says("another gene under the same name: main moves on, the old commit still loads")
    story.runs("learngene evolve demo seed=1 evolution.generations=1 --out runs/second")
    story.runs(f"learngene push runs/second {REPO}")
    story.saw()
    story.loads(REPO)
    story.loads(f"{REPO}@{first}")


@contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, str(TESTS / "hub_server.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Teller:
    """Runs commands in a folder of their own, and prints each with what it said."""

    def __init__(self, folder: Path, url: str, lane: str, *, is_quiet: bool) -> None:
        self.folder, self.url, self.is_quiet = folder, url, is_quiet
        self.seen: list[tuple[str, str]] = []  # a command, and what the Hub saw of it
        self._last = ""
        self.environment = os.environ | {
            "HF_ENDPOINT": url,
            "HF_HOME": str(folder / "cache"),
            "HF_TOKEN": "hf_owner",
            "HF_HUB_DISABLE_XET": LANES[lane],
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "LEARNGENE_CACHE": str(folder / "images"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "118",
        }

    def says(self, text: str) -> None:
        self._print(f"\n# {text}")

    def runs(self, line: str) -> str:
        self._last = f"`{line}`"
        return self._run(f"$ {line}", [sys.executable, "-m", "learngene_hub", *line.split()[1:]])

    def loads(self, source: str, *, offline: bool = False) -> str:
        code = LOAD.format(source=source)
        told = re.sub("@.*", "@COMMIT", source)
        self._last = f'`from_learngene("{told}")`{", offline" * offline}'
        return self._run(
            f"$ {'HF_HUB_OFFLINE=1 ' * offline}python -c '{code}'", [sys.executable, "-c", code], offline=offline
        )

    def saw(self) -> None:
        """What the Hub was asked since the last time, by the kind of request."""
        with HERE.open(f"{self.url}/_test/requests") as answer:
            asked = [one for one in json.load(answer) if "agent-harnesses" not in one["path"]]
        HERE.open(Request(f"{self.url}/_test/requests", method="DELETE")).close()
        kinds = Counter(one["method"] for one in asked)
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no request"
        counted += f", and sent {sum(one['size'] for one in asked):,} bytes"
        self.seen.append((self._last, counted))
        self._print(f"[the Hub saw {counted}]")

    def forgets(self) -> None:
        shutil.rmtree(self.folder / "cache")

    def _run(self, shown: str, command: list[str], *, offline: bool = False) -> str:
        self._print(shown)
        more = {"HF_HUB_OFFLINE": "1"} if offline else {}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        said = done.stdout.replace(self.url, SHOWN)
        self._print("\n".join(line.rstrip() for line in said.rstrip().splitlines()))
        return said

    def _print(self, text: str) -> None:
        if not self.is_quiet:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
