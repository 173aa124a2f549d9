"""Commands as processes that are forked from one that has imported everything, killed at random moments, and judged.

A process starts in a hundredth of a second instead of six, so hundreds of moments can be tried. The parent must never
train, read tables or speak HTTP itself: threads do not survive a fork.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from safetensors import safe_open

LIMIT = 300.0  # seconds after which a process counts as blocked
HELD = "another process is running here"

Final = Mapping[str, str]
"""What must be the same whatever happened on the way: name -> content, or its hash."""


@dataclass(frozen=True)
class Command:
    """A command under attack, in a folder of its own for each case.

    Attributes:
        name: of the command.
        arguments: what is typed, the same at every try.
        final: what it leaves in the folder; raises `OSError` where it has not finished.
        longer: more arguments, with which it takes long enough to be met by another.
        lock: file it holds, seen from the folder.
    """

    name: str
    arguments: Callable[[Path], Sequence[str]]
    final: Callable[[Path], Final]
    longer: Sequence[str] = ()
    lock: str = ""


def start(arguments: Sequence[str], place: Path) -> int:
    """The id of a new process that runs `learngene ARGUMENTS` in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        _become(arguments, place)
    return pid


def _become(arguments: Sequence[str], place: Path) -> None:
    code = 70
    try:
        log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(place)
        _settle(place)
        sys.argv = ["learngene", *arguments]
        from learngene_hub.cli.main import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:  # before the command began, or as it was ending
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _settle(place: Path) -> None:
    """Caches of its own, and the signals of a fresh process."""
    import huggingface_hub

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["LEARNGENE_CACHE"] = str(place / "cache")
    huggingface_hub.constants.HF_HUB_CACHE = str(place / "hub")


def wait(pid: int, limit: float = LIMIT) -> int:
    """The exit status of a process, negative for a signal.

    Raises:
        TimeoutError: it does not end.
    """
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"blocked for {limit:.0f} s")


def run(command: Command, place: Path, more: Sequence[str] = ()) -> tuple[int, float]:
    """Exit status and seconds of an undisturbed process."""
    began = time.monotonic()
    return wait(start([*command.arguments(place), *more], place)), time.monotonic() - began


def kill_once(command: Command, place: Path, number: int, delay: float) -> bool:
    """Kill a process of `command` after `delay` seconds; whether it was still there.

    Raises:
        AssertionError: it ended in a way of its own, or left something half-written.
    """
    pid = start(command.arguments(place), place)
    time.sleep(delay)
    os.kill(pid, number)
    status, by_hand = wait(pid), number == signal.SIGINT
    # matplotlib, whose callbacks go through C, may make a failure of its own of Ctrl-C: 1 instead of 130.
    assert status in ({0, 1, 130} if by_hand else {0, -number}), f"exit status {status}: {said(place)}"
    check_sound(place)
    return status != 0


def check_end(command: Command, place: Path, wanted: Final) -> None:
    """Finish what was killed by the same command, and compare.

    Raises:
        AssertionError: it does not finish, ends with other bytes, or something is left over.
    """
    if left(command, place) is None:
        status, _ = run(command, place)
        assert status == 0, f"exit status {status} after a kill: {said(place)}"
    found = command.final(place)
    differ = [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
    assert not differ, f"other bytes after a kill: {', '.join(sorted(differ))}"
    check_sound(place)


def left(command: Command, place: Path) -> Final | None:
    """What the finished command has left; None: it has not finished."""
    try:
        return command.final(place)
    except OSError:
        return None


def check_two_at_once(command: Command, place: Path, wanted: Final) -> None:
    """A second process is refused in a line, and one that was killed blocks nobody.

    Raises:
        AssertionError: otherwise.
    """
    first = start([*command.arguments(place), *command.longer], place)
    end = time.monotonic() + LIMIT
    while not (place / command.lock).exists():
        assert time.monotonic() < end, "no lock appears"
        time.sleep(0.005)
    (place / "log").write_text("")
    status, _ = run(command, place)
    told = said(place)
    os.kill(first, signal.SIGKILL)
    if wait(first) == 0 or left(command, place) is not None:
        return  # it was through before it could be killed
    assert status == 1, f"a second process ended with {status}: {told}"
    assert HELD in " ".join(told.split()), f"a second process was told: {told}"
    status, _ = run(command, place)
    assert status == 0, f"a killed holder blocks: {said(place)}"
    assert command.final(place) == wanted, "other bytes after a holder was killed"


def check_sound(place: Path) -> None:
    """Nothing half-written stands under its final name.

    Raises:
        AssertionError: otherwise.
    """
    for path in sorted(place.rglob("*")):
        if path.is_file() and not _is_staged(path, place):
            try:
                _CHECKS.get(path.suffix, _check_blob)(path)
            except Exception as error:
                raise AssertionError(f"{path.relative_to(place)} is not whole: {error}") from None


def _is_staged(path: Path, place: Path) -> bool:
    parts = path.relative_to(place).parts
    if ".no_exist" in parts:  # where the Hub's cache notes what a commit lacks
        return True
    hidden = any((part.startswith(".") and part.endswith((".tmp", ".lock"))) or part == ".lock" for part in parts)
    return hidden or path.suffix in {".incomplete", ".lock"}


def _check_lines(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        json.loads(line)


def _check_picture(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()


def _check_tensors(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)


def _check_page(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), "it has no end"


def _check_blob(path: Path) -> None:
    """A file of the Hub's cache is named by its hash."""
    if path.parent.name != "blobs":
        return
    content = path.read_bytes()
    names = {hashlib.sha256(content).hexdigest(), hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
    assert path.name in names, "its hash is not its name"


_CHECKS: dict[str, Callable[[Path], None]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _check_lines,
    ".png": _check_picture,
    ".safetensors": _check_tensors,
    ".html": _check_page,
}


def said(place: Path) -> str:
    """The end of what processes in `place` printed."""
    return (place / "log").read_text(encoding="utf-8", errors="replace")[-800:]


def digest(path: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_times(text: str) -> str:
    """JSON, or lines of it, without the seconds that things took and who did them."""

    def cut(tree: object) -> object:
        if isinstance(tree, dict):
            return {key: cut(value) for key, value in tree.items() if key not in {"seconds", "milliseconds", "engine"}}
        return [cut(value) for value in tree] if isinstance(tree, list) else tree

    return json.dumps([cut(json.loads(one)) for one in ([text] if text.startswith("{\n") else text.splitlines())])


def moment(rng: random.Random, seconds: float) -> float:
    """A moment of a run that takes so long; a little beyond its end, too."""
    return rng.uniform(0.0, 1.05 * seconds)
