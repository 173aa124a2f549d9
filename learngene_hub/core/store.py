"""Results stored on disk, with checksums, under a key that describes everything they depend on.

A checksum guards against damage and careless edits, not against a forger, who can compute a new one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError

from learngene_hub.core.errors import LearngeneError, RunError, StorageError
from learngene_hub.core.files import (
    alone,
    append_line,
    atomic_path,
    explain_write_errors,
    file_sha256,
    parse_json,
    read_file,
    read_json,
    sweep,
    write_text,
)
from learngene_hub.core.progress import Reporter

ENTRY_NAME = "entry.json"
CHECKSUM = "sha256"
MOST_ENTRY, MOST_LINES = 10**8, 10**9  # bytes of `entry.json`, and of a file of results
UNREADABLE = (OSError, ValueError, LookupError, TypeError, SafetensorError, LearngeneError)  # what damage leads to
Key = Mapping[str, Any]
"""Everything that shapes a value, in JSON types."""
Value = TypeVar("Value")


def sealed(content: Key, salt: str = "") -> dict[str, Any]:
    """`content`, in JSON types, with its checksum; one with another `salt` is another."""
    return {**content, CHECKSUM: _checksum(content, salt)}


def is_sealed(content: Key, salt: str = "") -> bool:
    """Whether `content`, read from JSON, carries its own checksum."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    with suppress(RecursionError):  # nested too deeply: not ours
        return CHECKSUM in content and content[CHECKSUM] == _checksum(rest, salt)
    return False


def _checksum(content: Key, salt: str = "") -> str:
    return hashlib.sha256((salt + _canonical(content)).encode()).hexdigest()


def _canonical(content: Key) -> str:
    return json.dumps(content, sort_keys=True)


@dataclass(frozen=True)
class KeyedStore(Generic[Value]):
    """Values on disk, each in its own folder; if a value cannot be saved, there is only a warning.

    Attributes:
        folder: where the values are stored; created with the first value.
        title: name of a value in messages.
        write: puts a value into an empty folder, as files.
        read: gives it back, from files whose checksums were found right.
        reporter: reports damage, waiting for another process, and values that cannot be saved.
        advice: what to do when a value cannot be saved.
    """

    folder: Path
    title: str
    write: Callable[[Path, Value], object]
    read: Callable[[Path], Value]
    reporter: Reporter
    advice: str = ""

    def path(self, key: Key) -> Path:
        """The folder of the value of `key`."""
        return self.folder / _checksum(key)[:24]

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of `key`, made now unless it is kept, or made by another process meanwhile."""
        if (kept := self.peek(key)) is not None:
            return kept
        with self.held(key):
            if (kept := self.find(key)) is not None:
                return kept
            made = make()
            self.keep(key, made)
            return made

    def peek(self, key: Key) -> Value | None:
        """The value of `key`; None unless it is kept, every file of it as it was written."""
        path = self.path(key)
        try:
            files = list(path.iterdir())
            if not all(file.is_file() for file in files):
                return None
            entry = read_json(path / ENTRY_NAME, most=MOST_ENTRY)
            if entry["key"] != parse_json(_canonical(key)):
                return None
            if entry[CHECKSUM] != {file.name: file_sha256(file) for file in files if file.name != ENTRY_NAME}:
                return None
            return self.read(path)
        except UNREADABLE:
            return None

    def find(self, key: Key) -> Value | None:
        """The value of a locked `key`; None if there is none. A damaged one is removed, with a warning."""
        kept, path = self.peek(key), self.path(key)
        if kept is None and path.exists():
            self.reporter.warn(f"{self.title}: created again, since {path} is damaged or was edited")
            _remove(path)
        return kept

    def keep(self, key: Key, value: Value) -> None:
        """Save `value` under `key`; only warn if that fails."""
        try:
            self.put(key, value)
        except StorageError as error:
            self.reporter.warn(f"{self.title}: cannot be saved: {error}{self.advice}")

    def put(self, key: Key, value: Value) -> None:
        """Save `value` under `key`, in the place of an older one.

        Raises:
            StorageError: that fails.
        """
        path = self.path(key)
        try:
            with atomic_path(path) as folder:
                folder.mkdir()
                self.write(folder, value)
                checksums = {file.name: file_sha256(file) for file in folder.iterdir()}
                write_text(folder / ENTRY_NAME, json.dumps({"key": key, CHECKSUM: checksums}, indent=1))
                for name in checksums:  # safetensors lets nobody else read what it writes
                    shutil.copymode(folder / ENTRY_NAME, folder / name)
                with suppress(OSError):
                    os.replace(path, _older(path))
        finally:
            _restore(path)

    @contextmanager
    def held(self, key: Key) -> Iterator[None]:
        """Lock the entry of `key`; waits for another process. A folder that cannot be written is not locked.

        What a kill left there is removed.
        """
        path = self.path(key)
        with ExitStack() as stack:
            with suppress(StorageError), explain_write_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(alone(path.with_suffix(".lock"), self.title, self.reporter.line))
                sweep(self.folder, path.name)
                _restore(path)
            yield


def _older(path: Path) -> Path:
    """Where the value at `path` is kept until another has taken its place."""
    return path.with_name(f"{path.name}.older")


def _restore(path: Path) -> None:
    """Put the older value back where none has taken its place, as after a kill; else remove it."""
    with suppress(OSError):
        os.replace(_older(path), path)
    shutil.rmtree(_older(path), ignore_errors=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()  # a link, whose target stays, or a file


class KeyedLines:
    """Results appended one by one to the file of their key, each line with its own checksum.

    The file name begins with `name`; without a `folder` nothing is stored.
    """

    def __init__(self, folder: Path | None, name: str, key: Key, reporter: Reporter) -> None:
        self._salt = _checksum(key)[:24]
        self._file = None if folder is None else folder / f"{name}-{self._salt}.jsonl"
        self._reporter = reporter

    def read(self) -> list[dict[str, Any]]:
        """The undamaged lines. Damaged lines are removed with a warning, an unfinished last line without one.

        Raises:
            RunError: what is there is no file, or too large.
        """
        if self._file is None or not self._file.exists():
            return []
        try:
            *whole, torn = read_file(self._file, most=MOST_LINES).split(b"\n")
        except OSError as error:
            raise RunError(f"{self._file}: cannot be read ({error}); remove it, or restore it") from None
        kept = [(line, content) for line in whole if (content := self._content(line)) is not None]
        if damaged := len(whole) - len(kept):
            lines = "1 line is" if damaged == 1 else f"{damaged} lines are"
            self._reporter.warn(f"{self._file}: {lines} damaged or edited; these results are measured again")
        if damaged or torn:
            write_text(self._file, "".join(f"{line.decode()}\n" for line, _ in kept))
        return [content for _, content in kept]

    def append(self, content: Mapping[str, Any]) -> None:
        """Keep one more.

        Raises:
            StorageError: no space, or no permission.
        """
        if self._file is None:
            return
        with explain_write_errors(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
        append_line(self._file, json.dumps(sealed(content, self._salt)))

    def _content(self, line: bytes) -> dict[str, Any] | None:
        try:
            content = parse_json(line.decode())
        except ValueError:
            return None
        if not isinstance(content, dict) or not is_sealed(content, self._salt):
            return None
        return {key: value for key, value in content.items() if key != CHECKSUM}
