"""What must not happen while a file is read: other files opened, code run, memory taken without bound.

Python's audit hooks see every file that Python opens, every piece of code that is compiled or run, and every process
and connection; they cannot be removed, so ours is told when to listen. What libraries open in C or Rust is not seen.
"""

import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CPU_SECONDS = 10  # of one case
WAIT_SECONDS = 600  # of one case: nothing may wait for what never comes
MEMORY = 3 * 2**30  # address space beyond what the process has when it begins
CODE = {"exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class"}
WORLD = {"socket.connect", "socket.getaddrinfo", "ctypes.dlopen"}
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "shutil.rmtree", "os.chmod"}
TEMPLATES = {"<template>", "<unknown>"}  # what jinja2 makes of our own templates

_roots: tuple[str, ...] = ()
_seen: list[str] = []
_is_on = False


class TooLongError(BaseException):
    """One case took more time than any file may."""


def install() -> None:
    """Begin to listen, as far as `watched` says; once a process."""
    sys.addaudithook(_hear)
    signal.signal(signal.SIGPROF, _stop)
    signal.signal(signal.SIGALRM, _stop)


def limit_memory() -> int:
    """Bound the address space of this process, and give the bound in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    bound = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    return bound


def peak_memory() -> int:
    """Most bytes of memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def watched(*roots: Path) -> Iterator[list[str]]:
    """What is done inside that must not be, in words: files opened outside `roots`, code run, too much time taken."""
    global _roots, _is_on
    _roots, _is_on = tuple(os.path.realpath(root) + os.sep for root in roots), True
    _seen.clear()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAIT_SECONDS)
    try:
        yield _seen
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _is_on = False


def _stop(number: int, frame: object) -> None:
    if _is_on:
        spent = f"{CPU_SECONDS} s of CPU time" if number == signal.SIGPROF else f"{WAIT_SECONDS} s of waiting"
        raise TooLongError(f"more than {spent}")


def _hear(event: str, arguments: tuple) -> None:
    if not _is_on:
        return
    if event == "open":
        _hear_open(*arguments)
    elif event in CHANGES and not _is_inside(_place(arguments)):
        _seen.append(f"{event} {_place(arguments)}")
    elif event in WORLD or (event in CODE and _code_of(event, arguments) not in TEMPLATES):
        _seen.append(f"{event} {arguments!r:.120}")


def _place(arguments: tuple) -> str:
    """The path of an event, which may be told from the descriptor of a folder, or be a descriptor itself."""
    if isinstance(arguments[0], int):
        return os.readlink(f"/proc/self/fd/{arguments[0]}")
    name, folder = os.fsdecode(arguments[0]), arguments[-1]
    if os.path.isabs(name) or not isinstance(folder, int) or folder < 0:
        return name
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)


def _code_of(event: str, arguments: tuple) -> str:
    """The file name of a piece of code; our own modules and those of libraries count as templates."""
    name = getattr(arguments[0], "co_filename", None) if event == "exec" else str(arguments[1])
    return "<template>" if name and name.startswith(_LIBRARIES) else str(name)


def _hear_open(path: object, mode: object, flags: int) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return  # a descriptor that is open already
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    if not _is_inside(path) and (writes or not os.path.realpath(os.fsdecode(path)).startswith(_LIBRARIES)):
        _seen.append(f"{'wrote' if writes else 'read'} {os.fsdecode(path)}")


def _is_inside(path: str | bytes | os.PathLike) -> bool:
    return (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(_roots)


_LIBRARIES = tuple(
    {
        os.path.realpath(place) + os.sep
        for place in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, Path(__file__).parents[2])
    }
    | {"<frozen", "/proc/", "/sys/", "/dev/null", "/dev/urandom"}
)
