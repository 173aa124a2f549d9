"""Cases counted: what every attack came to, in a table.

A case ends well in two ways: the package refuses with an exception of its own, or it accepts and the result is
right. All else is a defect: another exception, a wrong result, a file opened elsewhere, code run, too much time or
memory, a process that dies. Every target is attacked in a process of its own.
"""

import multiprocessing
import random
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from attacks import watch
from learngene_hub import LearngeneError

KEPT = 5  # defects told in full, of each target and kind

Attack = Callable[[random.Random, Path], Callable[[], object]]
"""Prepares a case in a folder, and gives what the package is to do with it; `False` from that is a wrong result."""


@dataclass(frozen=True)
class Kind:
    """One kind of attack; `share` of the target's cases."""

    name: str
    attack: Attack
    share: float = 1.0


@dataclass(frozen=True)
class Target:
    """Something that is read; `fresh` puts a sound one into a folder."""

    name: str
    share: float
    kinds: Sequence[Kind]
    fresh: Callable[[Path], None] = lambda folder: None


@dataclass
class Counts:
    """What the cases of one kind came to."""

    refused: int = 0
    accepted: int = 0
    defects: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    megabytes: int = 0

    @property
    def cases(self) -> int:
        return self.refused + self.accepted + self.defects.total()


def campaign(targets: Sequence[Target], cases: int, seed: int) -> Iterator[tuple[str, str, Counts]]:
    """(target, kind, counts) of everything; processes are forked, so import torch and timm before."""
    whole = sum(target.share for target in targets)
    for target in targets:
        shares = sum(kind.share for kind in target.kinds)
        for kind in target.kinds:
            count = max(2, round(cases * target.share / whole * kind.share / shares))
            yield target.name, kind.name, _in_child(target, kind, count, seed)


HEAD = """\
| target | kind | cases | refused by us | accepted and right | defects | CPU s | MB gained |
|---|---|---|---|---|---|---|---|
"""


def line(target: str, kind: str, one: Counts) -> str:
    """One line of the table, in Markdown."""
    counts = f"{one.cases:,} | {one.refused:,} | {one.accepted:,} | {one.defects.total():,}"
    return f"| {target} | {kind} | {counts} | {one.seconds:.0f} | {one.megabytes} |\n"


def added(tallies: Sequence[Counts]) -> Counts:
    """All of them together; of memory, the most."""
    total = Counts()
    for one in tallies:
        total.refused, total.accepted = total.refused + one.refused, total.accepted + one.accepted
        total.defects += one.defects
        total.seconds, total.megabytes = total.seconds + one.seconds, max(total.megabytes, one.megabytes)
    return total


def _in_child(target: Target, kind: Kind, count: int, seed: int) -> Counts:
    """The counts of a process of its own; one that dies leaves what it had told, and a defect."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_attack_all, args=(theirs, target, kind, count, seed))
    child.start()
    theirs.close()
    counts = Counts()
    try:
        while True:
            counts = ours.recv()
    except EOFError:
        child.join()
    if child.exitcode != 0:
        counts.defects[f"the process died ({child.exitcode}) after case {counts.cases}"] += 1
    return counts


def _attack_all(pipe: Any, target: Target, kind: Kind, count: int, seed: int) -> None:
    watch.install()
    watch.limit_memory()
    warnings.simplefilter("ignore")
    counts, base = Counts(), Path(tempfile.mkdtemp(prefix="attack-"))
    tempfile.tempdir = str(base)
    before = watch.peak_memory()
    try:
        _warm(target, kind, base)
        for case in _cases(target, kind, count, seed, base):
            case(counts)
            if counts.cases % 50 == 0:
                pipe.send(counts)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    counts.seconds, counts.megabytes = time.process_time(), (watch.peak_memory() - before) // 2**20
    pipe.send(counts)


def _warm(target: Target, kind: Kind, base: Path) -> None:
    """A few cases that do not count: libraries import, and compile, what they need the first time."""
    for case in _cases(target, kind, 8, -1, base):
        case(Counts(), listening=False)


def _cases(target: Target, kind: Kind, count: int, seed: int, base: Path) -> Iterator[Callable[[Counts], None]]:
    for number in range(count):
        address = f"{seed} {target.name} {kind.name} {number}"
        yield partial(_one, target, kind, random.Random(address), address, base)


def _one(
    target: Target, kind: Kind, rng: random.Random, address: str, base: Path, counts: Counts, listening: bool = True
) -> None:
    """One case, in a folder that is made anew."""
    folder = base / "case"
    target.fresh(folder)
    act = kind.attack(rng, folder)
    with watch.watched(base) as seen:
        outcome = _outcome(act)
    if seen and listening:
        outcome = f"did: {seen[0]}"
    match outcome:
        case "refused":
            counts.refused += 1
        case "accepted":
            counts.accepted += 1
        case fault:
            counts.defects[f"{fault} [{address}]" if counts.defects.total() < KEPT else "more"] += 1


def _outcome(act: Callable[[], object]) -> str:
    """`refused`, `accepted`, or what went wrong."""
    try:
        return "accepted" if act() is not False else "wrong result"
    except LearngeneError:
        return "refused"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [one for one in traceback.extract_tb(error.__traceback__) if "learngene_hub" in one.filename]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "-"
        return f"{type(error).__name__}: {error!s:.120} at {where} ({Path(place.filename).name}:{place.lineno})"
