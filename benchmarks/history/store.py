"""The file of the history: lines that are appended, and read with care.

Invariant: an append leaves the old file or the old file and one whole line, never anything between,
also when it is interrupted or two of them meet; a line that is no entry is kept, told and skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .entry import Entry, Malformed, dump, parse

__all__ = ["History", "append", "read"]

LARGEST_FILE = 64 << 20
LONGEST_LINE = 1 << 20


class History(NamedTuple):
    """Entries in the order of the file, and what was skipped: 'FILE:LINE: why'."""

    entries: list[Entry]
    problems: list[str]


def read(path: Path) -> History:
    """The history in a file; empty where there is none.  OSError where it cannot be read."""
    if not path.exists():
        return History([], [])
    if not path.is_file():
        raise OSError(f"{path} is no file")
    if path.stat().st_size > LARGEST_FILE:
        raise OSError(f"{path} is larger than {LARGEST_FILE >> 20} MiB: no history of benchmarks")
    history = History([], [])
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise Malformed(f"longer than {LONGEST_LINE >> 20} MiB")
            history.entries.append(parse(line.decode("utf-8")))
        except UnicodeDecodeError:
            history.problems.append(f"{path}:{number}: not UTF-8; skipped")
        except Malformed as problem:
            history.problems.append(f"{path}:{number}: {problem}; skipped")
    return history


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Appends of other processes wait.  The folder is locked, not the file: that is replaced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        with suppress(OSError):  # not every file system can
            os.fsync(descriptor)  # the new name is on the disk before the lock goes
    finally:
        os.close(descriptor)


def append(path: Path, entry: Entry) -> None:
    """Add one line.  OSError, with the file as it was, where that cannot be done; Malformed where
    the entry would not be read back."""
    line = dump(entry)
    parse(line)
    path = path.resolve()  # a link stays a link
    part = path.with_name(f".{path.name}.part")
    with _alone_in(path.parent):
        old = path.read_bytes() if path.exists() else b""
        # whatever an editor or a torn copy left at the end stays a line of its own
        border = b"\n" if old and not old.endswith(b"\n") else b""
        try:
            with part.open("wb") as file:
                file.write(old + border + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, part)
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
