"""Object code and plans on disk, one file per key, shared by processes.

Invariant: `get` returns exactly the bytes that this user `put` under that key, or None; whatever
else it finds (a torn or changed file, a file, folder or link of somebody else) counts as a miss.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import tempfile
import time
from typing import Literal, get_args

__all__ = ["DiskCache", "default_cache"]

MAGIC = b"hybrid-object\x00\x01\n"
HEAD = struct.Struct("<16s32sQ32s")  # magic, key, length, sha256 of key and body
LIMIT = 128 << 20
Kept = Literal[".o", ".plan"]  # object code, what is made once for many processes
KINDS = get_args(Kept)
DAY = 86400.0


class DiskCache:
    """Maps 32-byte keys to bytes in one directory, found once; never raises on input/output errors.

    At most about `limit` bytes stay: one put in 64 removes the files longest unused.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int = LIMIT) -> None:
        self.folder, self.limit = str(folder), limit
        self._puts = os.getpid()  # many short processes trim now and then, too
        self.usable = self._prepare()

    def _prepare(self) -> bool:
        try:
            # neither a later change of directory nor of a link may lead elsewhere
            self.folder = os.path.realpath(self.folder)
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            status = os.stat(self.folder, follow_symlinks=False)
        except (OSError, ValueError):  # no such place, or no name for one
            return False
        return stat.S_ISDIR(status.st_mode) and _ours(status)

    def _path(self, digest_key: bytes, what: Kept = ".o") -> str:
        return f"{self.folder}/{digest_key.hex()}{what}"

    def get(self, wanted: bytes, what: Kept = ".o") -> bytes | None:
        """The stored bytes of that kind, or None."""
        if not self.usable:
            return None
        path = self._path(wanted, what)
        try:
            with open(path, "rb", buffering=0, opener=_open) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or not _ours(status):
                    return None
                if not HEAD.size <= status.st_size <= HEAD.size + self.limit:
                    return None
                data = file.readall()
            if len(data) < HEAD.size:
                return None
            magic, stored, length, digest = HEAD.unpack_from(data)
            body = data[HEAD.size :]
            if (
                magic != MAGIC
                or stored != wanted
                or length != len(body)
                or digest != hashlib.sha256(wanted + body).digest()
            ):
                return None
        except (OSError, MemoryError):
            return None
        if time.time() - status.st_mtime > DAY:
            _touch(path)
        return body

    def put(self, digest: bytes, body: bytes, what: Kept = ".o") -> None:
        """Store; readers see the whole file or none."""
        if not self.usable:
            return
        head = HEAD.pack(MAGIC, digest, len(body), hashlib.sha256(digest + body).digest())
        name = None
        try:
            descriptor, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            with os.fdopen(descriptor, "wb") as file:
                file.write(head)
                file.write(body)
            os.replace(name, self._path(digest, what))
            name = None
            if self._puts % 64 == 0:
                self._trim()
            self._puts += 1
        except (OSError, MemoryError):
            pass
        finally:
            if name is not None:
                _remove(name)

    def _trim(self) -> None:
        """Remove stale temporary files and the oldest entries above the limit."""
        files, total, current = [], 0, time.time()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".tmp") and current - status.st_mtime > DAY:
                    _remove(entry.path)
                elif entry.name.endswith(KINDS):
                    files.append((status.st_mtime, status.st_size, entry.path))
                    total += status.st_size
        if total <= self.limit:
            return
        for _, size, path in sorted(files):
            _remove(path)
            total -= size
            if total <= self.limit * 3 // 4:
                break


def _ours(status: os.stat_result) -> bool:
    """Whether what was found belongs to this user and nobody else can write it: it is executed.
    Where a file does not tell whose it is (Windows), nothing is ours."""
    if not hasattr(os, "geteuid"):
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _open(path: str, flags: int) -> int:
    # a pipe must not wait for its writer, and a link is nothing that `put` has made
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _touch(path: str) -> None:
    """Note that a file was used; on a file system that cannot be written it is simply not noted."""
    try:
        os.utime(path, follow_symlinks=False)
    except OSError:
        pass


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def default_cache() -> DiskCache | None:
    """The cache named by HYBRID_CACHE_DIR, else `hybrid` in XDG_CACHE_HOME or ~/.cache; None when
    HYBRID_CACHE=0 or there is no home.  A relative XDG_CACHE_HOME is ignored, as it has to be."""
    if os.environ.get("HYBRID_CACHE", "1") == "0":
        return None
    named, shared = os.environ.get("HYBRID_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME", "")
    if named:
        return DiskCache(os.path.expanduser(named))
    if os.path.isabs(shared):
        return DiskCache(os.path.join(shared, "hybrid"))
    home = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
    return DiskCache(os.path.join(home, ".cache", "hybrid")) if os.path.isabs(home) else None
