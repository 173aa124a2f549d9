"""Commands killed at random moments, resumed, and compared with undisturbed ones; the table of docs/reliability.md.

    python tests/campaigns/kill.py [MINUTES] [KILLS] [COMMANDS]

Ends after so many minutes (20) or kills (240), whichever comes first. COMMANDS: by commas, instead of all five. A
case is killed up to three times, each time at a random moment and by another signal, and then finished. The Hub is the
server of the tests, a process of its own. Ends with status 1 if there was a defect.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from hub_story import server

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
AT_MOST = 3  # kills of one case
RECIPE = """\
name: tiny
network: {name: lg_vgg11, width: 0.06}
data: {preset: glyphs, image_size: 28, images_per_class: 12, classes: {base: 8, held_out: 4, novel: 4}}
gene: {shape: evolve}
search:
  {width: 0.05, ancestor_steps: 2, life_steps: 2, population: 3, generations: 2, steps: 1, parents: 1, final_tasks: 1}
evolution: {generations: 3, population: 2, founder_generations: 0}
ancestry: {ways: 4, steps: 2, batch_size: 8, warmup: 0, statistics_batches: 1}
critic: {ways: 3, shots: 4, queries: 6, steps: 1, tasks: 1, batch_size: 8, warmup: 0}
precision: float32
"""


def main() -> int:
    """Run the campaign; 1 if there was a defect."""
    minutes, kills = float(sys.argv[1]) if sys.argv[1:] else 20.0, int(sys.argv[2]) if sys.argv[2:] else 240
    chosen = sys.argv[3].split(",") if sys.argv[3:] else ["evolve", "evaluate", "finetune", "pull", "push"]
    with tempfile.TemporaryDirectory() as folder, server() as url:
        _prepare(url)
        commands = [one for one in _commands(Path(folder)) if one.name in chosen]
        rows = _campaign(commands, Path(folder), time.monotonic() + 60 * minutes, kills)
    sys.stdout.write(_table(rows))
    return int(any(row["defects"] for row in rows.values()))


def _prepare(url: str) -> None:
    """Import all that a command may need, once."""
    os.environ |= {
        "HF_ENDPOINT": url,
        "HF_TOKEN": "hf_owner",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    import datasets  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch

    import learngene_hub.cli.main
    import learngene_hub.evaluation.run
    import learngene_hub.evolution.plan
    import learngene_hub.finetuning.folder
    import learngene_hub.finetuning.run
    import learngene_hub.gene.sharing  # noqa: F401

    torch.set_num_threads(1)


def _commands(folder: Path) -> Iterator:
    """Evolve, evaluate, finetune, push and pull, on what is made here first."""
    from moments import Command, digest, run, without_times

    recipe, photos, made = folder / "tiny.yaml", _photos(folder / "photos"), folder / "made"
    recipe.write_text(RECIPE)

    def evolved(place: Path) -> dict[str, str]:
        gene = place / "run/gene"
        more = {name: without_times((gene / name).read_text()) for name in ("config.json", "metrics.jsonl")}
        return more | {"learngene.safetensors": digest(gene / "learngene.safetensors")}

    def evaluated(place: Path) -> dict[str, str]:
        assert (place / "out/report.html").stat().st_size
        return {"results.json": digest(place / "out/results.json")}

    def tuned(place: Path) -> dict[str, str]:
        return {name: digest(place / "out" / name) for name in ("model.safetensors", "config.json")}

    def pulled(place: Path) -> dict[str, str]:
        return {path.name: digest(path) for path in (place / "out").iterdir()}

    def pushed(place: Path) -> dict[str, str]:
        """What somebody else gets, once the push says that there is nothing left to do."""
        if "pushed to a " not in (place / "log").read_text():
            raise OSError("not finished")
        other = place / "other"
        shutil.rmtree(other, ignore_errors=True)
        pull = Command("pull", lambda _: ["pull", f"owner/{place.name}", "--out", "out"], pulled)
        assert run(pull, other)[0] == 0, (other / "log").read_text()
        text = (other / "out/README.md").read_text().replace(place.name, "NAME").rpartition("<!-- pushed by")[0]
        return {name: one for name, one in pulled(other).items() if name != "README.md"} | {"README.md": text}

    evolve = Command(
        "evolve",
        lambda _: ["evolve", str(recipe), "--out", "run", "--resume"],
        evolved,
        [],
        "run/.lock",
    )
    assert run(evolve, made)[0] == 0, (made / "log").read_text()
    gene = str(made / "run")
    assert run(Command("push", lambda _: ["push", gene, "owner/gene"], pushed), folder / "first")[0] == 0
    small = ["--ways", "3", "--shots", "4", "--queries", "4", "--steps", "3", "--tasks", "4", "--seeds", "2"]
    yield evolve
    yield Command("evaluate", lambda _: ["evaluate", gene, "--out", "out", *small], evaluated, [], "out/.lock")
    yield Command(
        "finetune",
        lambda _: ["finetune", gene, "--data", str(photos), "--out", "out", "--epochs", "4", "--lr", "0.05"],
        tuned,
        ["--epochs", "5000", "--patience", "5000"],
        ".out.lock",
    )
    yield Command("pull", lambda _: ["pull", "owner/gene", "--out", "out"], pulled, [], ".out.lock")
    yield Command("push", lambda place: ["push", gene, f"owner/{place.name}"], pushed)


def _photos(folder: Path) -> Path:
    """Noisy pictures in three colours."""
    from PIL import Image

    rng = random.Random(0)
    for number, name in enumerate(("cat", "dog", "emu")):
        (folder / name).mkdir(parents=True)
        for shade in range(8):
            picture = Image.new("RGB", (32, 32))
            picture.putdata([(90 * number, rng.randrange(256), 20 * shade) for _ in range(32 * 32)])
            picture.save(folder / name / f"{shade}.png")
    return folder


def _campaign(commands: Sequence, folder: Path, end: float, kills: int) -> dict[tuple[str, str], Counter]:
    """(command, signal) -> kills, survived, defects; commands in turn, until the time or the number is up."""
    from moments import check_two_at_once, run

    rows: dict[tuple[str, str], Counter] = defaultdict(Counter)
    known = {}
    for command in commands:
        place = folder / f"whole-{command.name}"
        status, seconds = run(command, place)
        assert status == 0, (place / "log").read_text()
        known[command.name] = (command.final(place), seconds)
        if command.lock:
            wanted, row = known[command.name][0], rows[command.name, "two at once"]
            _count(row, partial(check_two_at_once, command, folder / f"two-{command.name}", wanted))
    for case, command in zip(range(10_000), cycle(commands), strict=False):
        if time.monotonic() > end or sum(row["kills"] for row in rows.values()) >= kills:
            return rows
        _kill(command, folder / f"case-{case}", *known[command.name], random.Random(case), rows)
    return rows


def _kill(command, place: Path, wanted, seconds: float, rng: random.Random, rows) -> None:
    """Up to three kills of one case, then its end; the end counts for all of them."""
    from moments import check_end, kill_once, left, moment

    done = []
    try:
        for _ in range(rng.randint(1, AT_MOST)):
            if left(command, place) is not None:
                break  # killed when all was done: there is nothing to be called again for
            name = rng.choice(list(SIGNALS))
            done.append(name)
            if not kill_once(command, place, SIGNALS[name], moment(rng, seconds)):
                done.pop()  # it had finished
                break
        check_end(command, place, wanted)
    except (AssertionError, TimeoutError, OSError) as fault:
        for name in done or ["SIGKILL"]:
            _tell(rows[command.name, name], f"{command.name}, {', '.join(done)}: {fault}")
        shutil.copytree(place, Path(tempfile.mkdtemp(prefix="killed-")) / place.name, symlinks=True)
    else:
        for name in done:
            rows[command.name, name] += Counter(kills=1, survived=1)
    shutil.rmtree(place, ignore_errors=True)


def _count(row: Counter, check) -> None:
    try:
        check()
        row.update(kills=1, survived=1)
    except (AssertionError, TimeoutError, OSError) as fault:
        _tell(row, str(fault))


def _tell(row: Counter, fault: str) -> None:
    row.update(kills=1, defects=1)
    sys.stderr.write(f"{fault}\n")


def _table(rows: dict[tuple[str, str], Counter]) -> str:
    lines = ["| command | signal | kills | survived | defects |", "|---|---|---|---|---|"]
    total = sum(rows.values(), Counter())
    for (command, name), row in [*sorted(rows.items()), (("**all**", ""), total)]:
        lines.append(f"| {command} | {name} | {row['kills']} | {row['survived']} | {row['defects']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
