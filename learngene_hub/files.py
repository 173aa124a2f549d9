"""Files that are either there in full or not there at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from learngene_hub.errors import RunError

LOCK_NAME = ".lock"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; what was written there takes the place of `target` when the block succeeds.

    Works for one file or a whole folder. When the block raises, `target` is as it was and nothing is left over.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield staging / target.name
        _replace(staging / target.name, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(new: Path, target: Path) -> None:
    if new.is_dir() and target.exists():
        os.replace(target, new.parent / "replaced")
    os.replace(new, target)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, atomically."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


@contextmanager
def claim(out: Path) -> Iterator[None]:
    """Hold the run folder `out` against other processes; a holder that crashed does not block.

    Raises:
        RunError: another process holds it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be made a folder ({error.strerror}); give another --out") from None
    try:
        with FileLock(out / LOCK_NAME, timeout=0):
            yield
    except Timeout:
        raise RunError(f"{out}: another process is running here; wait for it, or give another --out") from None
