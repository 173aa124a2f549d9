"""The README by copy and paste: its blocks run as they stand, by a wheel in a fresh environment; prints a table.

    python tests/campaigns/readme.py --cifar-fs /data/cifar_fs --mini-imagenet /data/mini_imagenet

Commands are taken out of README.md, and out of the sections `SECTIONS` of other documents. They run one after the
other in a new folder, with a home of their own; the Hub is the server of the tests. What is changed before a command
runs and what is left out, is printed first and stands in `REPLACED`, `APPENDED` and `LEFT_OUT` below; no other text
of theirs is repeated here. Needs the package index that pip is set up for, about 6 GB of disk, and on two cores about
ten minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_server import HubServer

from learngene_hub.data.rows import open_local

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECTIONS = {"docs/evolve.md": "The shipped recipes", "docs/hub.md": "Commands"}
SOMEBODY, TOKEN = "other", "hf_other"  # an account of the test Hub, whose gene is there to be found
REPLACED = {
    '-e ".': '"{wheel}',
    "/data/cifar_fs": "{cifar_fs}",
    "you/": "owner/",
    "somebody/": f"{SOMEBODY}/",
}
APPENDED = {
    "learngene evolve miniimagenet": " data.path={mini_imagenet} network.width=0.1 data.image_size=28",
    "learngene evolve cifar_fs_vgg11 data": " network.width=0.1",
    "learngene evolve": " evolution.generations=1 evolution.population=2 evolution.founder_generations=0 "
    "ancestry.steps=20 critic.steps=5 critic.tasks=1",
    "learngene evaluate": " --tasks 1 --seeds 1 --steps 5 --lr 0.02",
    "learngene finetune": " --epochs 3",
}
LEFT_OUT = {
    "make test": "the suite has a run of its own",
    "hf download uoft-cs/cifar100 --repo-type dataset --local-dir /data/cifar_fs": "the images are given as --cifar-fs",
    "hf auth login": "asks for a token at the keyboard; HF_TOKEN is set instead",
}
KEPT = ("PIP_", "LANG", "SSL_", "REQUESTS_")  # variables without which pip may not find its index
RECIPE = "photos.yaml"  # where the YAML block goes: the next block says so


@dataclass(frozen=True)
class Command:
    """A line of the README, or a whole block of Python or YAML.

    Attributes:
        section: of the README.
        kind: of the block: empty for a shell's.
        text: as it stands there.
    """

    section: str
    kind: str
    text: str

    @property
    def shown(self) -> str:
        """The text in a line of a table."""
        first = next(one for one in self.text.splitlines() if one and not one.startswith(("import ", "from ")))
        return first.partition("  #")[0].strip()


def journeys() -> str:
    """The README and the sections of other documents that users copy from."""
    parts = [(ROOT / "README.md").read_text()]
    for page, title in SECTIONS.items():
        parts += re.findall(rf"^## {title}\n.*?(?=^## )", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return "\n".join(parts)


def commands(readme: str) -> Iterator[Command]:
    """All commands of `readme`, in order."""
    for found in BLOCK.finditer(readme):
        section = re.findall(r"^## (.+)$", readme[: found.start()], re.MULTILINE)[-1]
        kind, text = found.groups()
        for one in [text] if kind else text.replace("\\\n", " ").splitlines():
            yield Command(section, kind, one)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--cifar-fs", "--mini-imagenet"):
        arguments.add_argument(option, type=Path, required=True)
    data = {name: str(path.resolve()) for name, path in vars(arguments.parse_args()).items()}
    with tempfile.TemporaryDirectory() as folder, HubServer() as hub:
        stranger = Stranger(Path(folder), data, hub.url)
        stranger.tells()
        failed = [one for one in sorted_by_need(commands(journeys())) if not stranger.tries(one)]
    sys.exit(1 if failed else 0)


def sorted_by_need(found: Iterator[Command]) -> list[Command]:
    """As they stand, but what installs comes first, as it does for a reader."""
    return sorted(found, key=lambda one: not one.text.startswith("pip "))


class Stranger:
    """Somebody with a new folder, an empty home, photos, and the README."""

    def __init__(self, folder: Path, data: Mapping[str, str], hub: str) -> None:
        self.desk, self.bin, self.hub = folder / "desk", folder / "venv/bin", hub
        self.home = folder / "home"
        for one in (self.desk, self.home):
            one.mkdir()
        self.names = dict(data) | {"wheel": build_wheel(folder / "dist")}
        take_photos(Path(data["cifar_fs"]), self.desk)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)

    def tells(self) -> None:
        """The head of the table, and what is not as it stands in the README."""
        names = self.names | {"wheel": Path(self.names["wheel"]).name, "cifar_fs": "DIR", "mini_imagenet": "DIR"}
        for title, pairs in (("replaced", REPLACED), ("appended", APPENDED), ("left out", LEFT_OUT)):
            for one, other in pairs.items():
                say(f"{title}: `{one}`: `{other.format(**names).strip()}`")
        say("replaced: `make demo`: the lines of its target in the Makefile")
        say("\n| section | command | exit | seconds |\n|---|---|---|---|")

    def tries(self, command: Command) -> bool:
        """Run it, print its row and, where it fails, what it said; whether it went well."""
        if (text := command.text.partition("#")[0].strip()) in LEFT_OUT:
            return True
        began = time.monotonic()
        done = self._run(command, self._changed(text) if not command.kind else command.text)
        seconds = time.monotonic() - began
        say(f"| {command.section} | `{command.shown}` | {done.returncode} | {seconds:.0f} |")
        if done.returncode:
            say(done.stdout[-2000:])
        if "make demo" in command.text:
            self._somebody_pushes()
        return done.returncode == 0

    def _changed(self, line: str) -> str:
        """The line with what is replaced and appended; `make demo` as its lines."""
        for one, other in REPLACED.items():
            line = line.replace(one, other.format(**self.names))
        lines = makefile_lines("demo") if line == "make demo" else [line]
        return "\n".join(self._cheaper(one) for one in lines)

    def _cheaper(self, line: str) -> str:
        if "--dry-run" in line:
            return line
        more = (other.format(**self.names) for one, other in APPENDED.items() if f"{line} ".startswith(one))
        return line + "".join(more)

    def _run(self, command: Command, text: str) -> subprocess.CompletedProcess[str]:
        match command.kind:
            case "yaml":
                (self.desk / RECIPE).write_text(text)
                return subprocess.CompletedProcess([], 0, "")
            case "python":
                return self._in_shell(["python", "-c", text])
            case _:
                return self._in_shell(["bash", "-ec", text])

    def _in_shell(self, words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        environment = kept | {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.home),
            "HF_ENDPOINT": self.hub,
            "HF_TOKEN": "hf_owner",
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            ["/usr/bin/env", *words],
            cwd=self.desk,
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def _somebody_pushes(self) -> None:
        """A gene of somebody else, for the commands that look for one."""
        done = self._in_shell(["learngene", "push", "runs/demo", f"{SOMEBODY}/gene"], HF_TOKEN=TOKEN)
        if done.returncode:
            say(done.stdout)


def build_wheel(out: Path) -> str:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return str(next(out.glob("*.whl")))


def makefile_lines(target: str) -> list[str]:
    """The commands of a target, with the programs of the environment."""
    text = (ROOT / "Makefile").read_text()
    body = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    lines = (line.strip().partition("$(BIN)/")[2] for line in body.splitlines())
    return [line.replace("recipes/demo.yaml", "demo") for line in lines]


def take_photos(data: Path, desk: Path) -> None:
    """Folders of 40 photos of 20 classes, one more photo, and a few more in a folder."""
    left: dict[str, list[bytes]] = {}
    with open_local(data / "test-00000-of-00001.parquet", image_column=None, label_column=None) as parts:
        for name, batch in zip(parts[0].classes(), parts[0].batches("image", 1), strict=True):
            left.setdefault(name, [])
            if len(left[name]) < 44:
                left[name].append(batch.to_pylist()[0]["bytes"])
    for name, images in left.items():
        for number, image in enumerate(images):
            place = desk / ("more-photos" if number >= 40 else f"photos/{name}") / f"{name}-{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(image)
    (desk / "new.jpg").write_bytes(next(iter(left.values()))[-1])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
