"""Files that are written completely or not at all."""

import difflib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from huggingface_hub import constants
from safetensors import SafetensorError

from learngene_hub.core.errors import BusyError, LearngeneError, RunError, StorageError, suggestion

LOCK_NAME = ".lock"
LEFTOVERS = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what macOS puts into zip files, and Windows into folders
STAGED = ".tmp"  # ends the names of folders in which files are made
RANDOM = "?" * 8  # what `mkdtemp` puts before that
ADVICE = {  # error of a disk -> what to do; EEXIST to ENOTEMPTY: a file where a folder should be, or a full folder
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EFBIG), "choose another place"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable, or choose another place"),
}
_HUB_NAME = re.compile(r"(hf-hub:)?[\w-][\w.-]*(/[\w-][\w.-]*)?(@\S+)?")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in what safetensors says, whose errors are no `OSError`


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder at `path`, which may be any text."""
    return os.path.exists(path)


def expanded(path: str | Path) -> Path:
    """`path` with `~` replaced; as it is where nobody knows that home, as in a container without a user."""
    return Path(os.path.expanduser(path))


def near_paths(path: str | Path, suits: Callable[[Path], bool] = Path.is_dir) -> list[str]:
    """The existing path that `suits` and has the name closest to that of the missing `path`; empty if none is close.

    It lies beside `path` or, if that folder is missing too, in the one with the closest name.
    """
    path = Path(path)
    if path.parent != path and not is_there(path.parent):
        homes = [Path(near) for near in near_paths(path.parent)]
    else:
        homes = [path.parent]
    try:
        beside = {entry.name: str(entry) for home in homes for entry in home.iterdir() if suits(entry)}
    except (OSError, ValueError):  # it may not be read, and a hint must not hide what it is for
        return []
    return [beside[name] for name in difflib.get_close_matches(path.name, beside, n=1)]


def refuse_missing(path: str | Path, expected: str, suits: Callable[[Path], bool] = Path.is_dir) -> None:
    """Raise an error if `path` does not exist.

    Raises:
        LearngeneError: it does not; a path like it that `suits` is named, or else what is `expected` there.
    """
    if not is_there(expanded(path)):
        near = suggestion(near_paths(expanded(path), suits))
        raise LearngeneError(f"{path!s:.200}: no such file or folder{near or f'; expected {expected}'}")


def public_name(path: str | Path) -> str:
    """The public part of `path`: the whole text if it may be a name on the Hub, otherwise its last part."""
    full, text = expanded(path), str(path)
    if is_there(full):
        return Path(os.path.abspath(full)).name
    return text if _HUB_NAME.fullmatch(text) else re.split(r"[/\\]", text.rstrip("/\\"))[-1]


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether the name of `path`, or of a folder between it and `folder`, begins with a dot or is in `LEFTOVERS`."""
    return any(part.startswith(".") or part in LEFTOVERS for part in path.relative_to(folder).parts)


def visible_files(folder: Path) -> list[Path]:
    """The files in `folder` and below that are not hidden, in a fixed order."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and not is_hidden(file, folder))


def leads_out(path: Path, folder: Path) -> bool:
    """Whether `path` is, or lies behind, a link out of `folder`, or a link to nothing; see `homes_of`."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # a link to itself, for instance
        return True
    return not any(target.is_relative_to(home) for home in homes_of(folder))


def homes_of(folder: Path) -> list[Path]:
    """Where the files of `folder` may lie: there; of a folder in the cache of huggingface_hub, anywhere in that."""
    home, cache = folder.resolve(), expanded(constants.HF_HUB_CACHE).resolve()
    return [home, cache] if cache in home.parents else [home]


def read_file(path: Path, *, most: int) -> bytes:
    """Content of a regular file of at most `most` bytes.

    Raises:
        OSError: it cannot be read, is a folder, pipe or device, or larger.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "expected a file, found a folder, pipe or device", str(path))
    larger = OSError(errno.EFBIG, f"larger than {most / 1e6:g} MB", str(path))
    if status.st_size > most:
        raise larger
    with path.open("rb") as file:
        room = min(most, 2 * status.st_size + 10**6)  # the file may grow meanwhile; `read` takes this much memory
        content = file.read(room + 1)
    if len(content) > room:
        raise larger
    return content


def read_inside(path: Path, homes: Sequence[Path], *, most: int) -> bytes:
    """Content of a regular file that lies in one of `homes`, behind links too.

    Raises:
        OSError: it does not, or see `read_file`.
    """
    try:
        target = path.resolve(strict=True)
    except (RuntimeError, ValueError) as error:  # a link to itself; a name that no file can have
        raise OSError(str(error)) from None
    if not any(target.is_relative_to(home) for home in homes):
        raise OSError(f"{path.name} lies outside its folder, by a link or by its path; put the file itself in it")
    return read_file(target, most=most)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, *, most: int) -> Any:  # noqa: ANN401 - JSON holds anything
    """What the JSON in a regular file of at most `most` bytes says.

    Raises:
        OSError: see `read_file`.
        ValueError: it is not JSON in UTF-8, or nested too deeply.
    """
    return parse_json(read_file(path, most=most).decode("utf-8"))


def parse_json(text: str) -> Any:  # noqa: ANN401
    """What `text` says.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; what was written there takes the place of `target` when the block succeeds.

    Works for one file or a whole folder; a folder takes the place of an empty one only. When the block raises, `target`
    is as it was and nothing is left over. After a kill a folder `.NAME.*.tmp` may be left beside it; see `sweep`.

    Raises:
        StorageError: no space, no permission, a file where a folder should be, or a folder that is not empty.
    """
    with explain_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=STAGED, dir=target.parent))
        try:
            yield staging / target.name
            if (staging / target.name).is_dir():
                with suppress(OSError):  # Windows takes the place of no folder, not even an empty one
                    target.rmdir()
            os.replace(staging / target.name, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def explain_write_errors(target: Path) -> Iterator[None]:
    """Say in words why `target` cannot be written; of nested blocks, the outermost names its own.

    Raises:
        StorageError: no space, no permission, or a file where a folder should be.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _error_number(error)
        if number not in ADVICE and number is not None and isinstance(error, SafetensorError):
            raise OSError(number, os.strerror(number), str(target)) from None
        if number not in ADVICE:
            raise
        left = f", {free_bytes(target) / 1e6:.1f} MB are left" if number == errno.ENOSPC else ""
        refused = StorageError(
            f"{target}: cannot be written ({os.strerror(number)}{left}): {ADVICE[number]}; existing files are unchanged"
        )
        refused.errno = number
        raise refused from None


def _error_number(error: OSError | SafetensorError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    match = _OS_ERROR.search(str(error))
    return int(match[1]) if match else None


def free_bytes(path: Path) -> int:
    """Bytes that may still be written where `path` is, or will be."""
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def check_room(path: Path, needed: int, what: str) -> None:
    """Raise an error if there is no room for `what`, about `needed` bytes, at `path`.

    Raises:
        StorageError: there is not.
    """
    if (free := free_bytes(path)) < needed:
        raise StorageError(
            f"{path}: expected {needed / 1e6:.1f} MB of free space for {what}, found {free / 1e6:.1f} MB: free some "
            "space, or give a folder on another disk"
        )


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, atomically, with the ends of lines it has."""
    with atomic_path(target) as path:
        path.write_bytes(text.encode())


def append_line(target: Path, line: str) -> None:
    """Add a line to `target`; a kill may tear it, so readers must leave out a last line without an end."""
    with explain_write_errors(target), target.open("ab") as file:
        file.write(f"{line}\n".encode())


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left half-written in `folder`, of the file or folder `name` or of all."""
    for leftover in folder.glob(f".{'*' if name is None else glob.escape(name)}.{RANDOM}{STAGED}"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def claim(out: Path) -> Iterator[None]:
    """Hold the run folder `out` against other processes; a holder that crashed does not block.

    When the block leaves nothing in the folder, the lock goes too, and so do the folders that were made for it (not on
    Windows, where no open file is removed).

    Raises:
        BusyError: another process holds it.
        RunError: it cannot be made a folder.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: the folder cannot be created ({error.strerror}); give another --out") from None
    with _held(out / LOCK_NAME, out):
        try:
            yield
        finally:
            _leave_nothing_empty(out, made)


@contextmanager
def alone(lock: Path, title: str, tell: Callable[[str], None], *, asked: Path | None = None) -> Iterator[None]:
    """Lock the file `lock`. If another process has it, `tell` that it is making `title`, and wait.

    What `tell` raises ends the wait. Errors name the path that was `asked` for; None: the folder of `lock`.

    Raises:
        StorageError: there can be no such file.
    """
    held = FileLock(lock)
    try:
        with explain_write_errors(asked or lock.parent):
            held.acquire(timeout=0)
    except Timeout:
        if not lock.exists():
            raise StorageError(f"{title}: {lock.parent} takes no file; choose another place") from None
        tell(f"waiting for another process that is creating {title}")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _leave_nothing_empty(out: Path, made: Sequence[Path]) -> None:
    """Remove the lock where there is nothing else in `out`, then the folders `made`, as long as they are empty."""
    with suppress(OSError):  # another process came meanwhile, or somebody removed it all
        if [path.name for path in out.iterdir()] != [LOCK_NAME]:
            return
        (out / LOCK_NAME).unlink()
        for folder in made:
            folder.rmdir()


def refuse_unmakeable(out: Path) -> None:
    """Raise an error if no folder that was made elsewhere can take the place of `out`.

    Raises:
        RunError: it is the current folder, a link or a mount.
    """
    if out.is_symlink() or os.path.ismount(out) or out.resolve() == Path.cwd():
        raise RunError(
            f"{out}: expected a folder that can be created, found the current folder, a link or a mount; "
            "give another --out"
        )


def refuse_occupied(out: Path) -> None:
    """Raise an error if something would be overwritten.

    Raises:
        RunError: `out` is a file, or a folder with something in it.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        found = "a file" if out.is_file() else "existing content"
        raise RunError(f"{out}: expected a new or empty folder, found {found}; give another --out")


@contextmanager
def claim_new(out: Path) -> Iterator[None]:
    """Hold the name `out` of a folder to come against other processes; a holder that crashed does not block.

    Raises:
        BusyError: another process holds it.
    """
    lock = out.parent / f".{out.name}{LOCK_NAME}"
    with explain_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with _held(lock, out):
        sweep(out.parent, out.name)
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows removes no open file
                lock.unlink(missing_ok=True)


@contextmanager
def _held(lock: Path, out: Path) -> Iterator[None]:
    def refuse(_: str) -> None:
        raise BusyError(f"{out}: another process is running here; wait for it, or give another --out") from None

    with alone(lock, str(out), refuse, asked=out):
        yield
