"""Linux: futexes, transparent huge pages, control groups, /sys.

Invariant: figures that the kernel does not give are replaced by ordinary ones, never guessed from
others.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from ..asm import Fn
from .base import MASK_BYTES, ORDINARY_CACHES, Cache
from .posix import Posix

__all__ = ["Linux"]

SYS_FUTEX = {"aarch64": 98}.get(platform.machine(), 202)
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # with FUTEX_PRIVATE_FLAG
CLOCK_MONOTONIC = 1
MADV_HUGEPAGE = 14
HUGE_FROM, HUGE_PAGE = 4 << 20, 2 << 20


class Linux(Posix):
    """glibc and musl."""

    name = "Linux"
    tested = True
    functions = (
        "syscall",
        "clock_gettime",
        "aligned_alloc",
        "free",
        "pthread_create",
        "pthread_sigmask",
        "madvise",
        "sched_setaffinity",
    )
    unused = ("_GLOBAL_OFFSET_TABLE_",)
    set_mask, detached = 2, 1

    def now_text(self, writer: Fn) -> None:
        timespec = writer.var("i64", 2)
        self.call(writer, "i32", "clock_gettime", f"i32 {CLOCK_MONOTONIC}", f"ptr {timespec}")
        seconds = writer.op(f"mul i64 {writer.ld(timespec, 0, 'i64')}, 1000000000")
        writer.ret(writer.add(seconds, writer.ld(timespec, 8, "i64")))

    def wait_text(self, writer: Fn) -> None:
        self._futex(writer, FUTEX_WAIT, writer.op("zext i32 %seen to i64"))

    def wake_text(self, writer: Fn) -> None:
        self._futex(writer, FUTEX_WAKE, "%count")

    def _futex(self, writer: Fn, operation: int, value: str) -> None:
        numbers = f"i64 {SYS_FUTEX}", "ptr %word", f"i64 {operation}", f"i64 {value}"
        rest = "ptr null", "ptr null", "i64 0"
        self.call(writer, "i64", "syscall", *numbers, *rest, variadic="i64 (i64, ...)")
        writer.ret()

    def bind_text(self, writer: Fn) -> None:
        self.call(writer, "i32", "sched_setaffinity", "i32 0", f"i64 {MASK_BYTES}", "ptr %mask")
        writer.ret()

    def take_text(self, writer: Fn) -> None:
        huge = writer.cmp("uge", "%bytes", HUGE_FROM)
        align = writer.pick(huge, HUGE_PAGE, 64)
        memory = self.call(writer, "ptr", "aligned_alloc", f"i64 {align}", "i64 %bytes")
        writer.go_if(writer.cmp("eq", memory, "null", "ptr"), "out")
        with writer.when(huge):
            advice = f"i32 {MADV_HUGEPAGE}"
            self.call(writer, "i32", "madvise", f"ptr {memory}", "i64 %bytes", advice)
        writer.label("out")
        writer.ret(memory)

    def dressed(self, source: str, layout: Callable[[], str]) -> str:
        return source

    def trim(self) -> None:
        trim = self.found("malloc_trim")
        if trim is not None:  # musl has none
            trim(ctypes.c_size_t(0))

    def stack_end(self) -> int:
        library, attributes = self.loaded[0], (ctypes.c_char * 256)()
        lowest, size = ctypes.c_uint64(), ctypes.c_uint64()
        try:
            library.pthread_self.restype = ctypes.c_void_p
            itself = ctypes.c_void_p(library.pthread_self())
            if library.pthread_getattr_np(itself, attributes):
                return 0
            references = ctypes.byref(lowest), ctypes.byref(size)
            failed = library.pthread_attr_getstack(attributes, *references)
            library.pthread_attr_destroy(attributes)
        except AttributeError:
            return 0
        return 0 if failed else lowest.value

    def cores(self) -> int:
        try:
            return len(os.sched_getaffinity(0))
        except (AttributeError, OSError):
            return os.cpu_count() or 1

    def nodes(self) -> tuple[frozenset[int], ...]:
        try:
            return nodes_in(frozenset(os.sched_getaffinity(0)))
        except (AttributeError, OSError):
            return ()

    def quota(self) -> float:
        return control_group_quota()

    def memory(self) -> int:
        try:
            installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return 0
        return min(installed, control_group_memory() or installed)

    def caches(self) -> tuple[Cache, Cache, Cache]:
        return caches_in()


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def nodes_in(
    allowed: frozenset[int], root: str = "/sys/devices/system/node"
) -> tuple[frozenset[int], ...]:
    """The allowed CPUs of each node that a folder of /sys describes; nothing unless these are
    several nodes which hold all of them."""
    folders = [f for f in Path(root).glob("node*") if f.name[4:].isdigit()]
    folders.sort(key=lambda folder: int(folder.name[4:]))
    nodes = [allowed & _cpus(_read(folder / "cpulist")) for folder in folders]
    nodes = [node for node in nodes if node]
    whole = sum(map(len, nodes)) == len(allowed) and frozenset().union(*nodes) == allowed
    return tuple(nodes) if whole and len(nodes) > 1 else ()


def _cpus(text: str) -> frozenset[int]:
    """The numbers of a list like 0-3,8: none where it is no such list."""
    found = set[int]()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return frozenset()
        found.update(range(int(first), min(int(last or first), 8 * MASK_BYTES - 1) + 1))
    return frozenset(found)


def caches_in(root: str = "/sys/devices/system/cpu/cpu0/cache") -> tuple[Cache, Cache, Cache]:
    """The data caches that a folder of /sys describes."""
    found = dict(enumerate(ORDINARY_CACHES, 1))
    for index in Path(root).glob("index*"):
        level, size = _read(index / "level"), _read(index / "size")
        if level not in ("1", "2", "3") or _read(index / "type") == "Instruction":
            continue
        scale = {"K": 1 << 10, "M": 1 << 20}.get(size[-1:], 1)
        digits, ways = size.rstrip("KM"), _read(index / "ways_of_associativity")
        if digits.isdigit() and int(digits):
            known = found[int(level)].ways
            found[int(level)] = Cache(
                int(digits) * scale, int(ways) if ways.isdigit() and int(ways) else known
            )
    return found[1], found[2], found[3]


def control_group_quota(
    root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup"
) -> float:
    """The CPU quota, in cores, of this process's control groups (1 and 2); inf if unlimited."""
    quota = math.inf
    for unified, group in _groups("cpu", root, membership):
        if unified:
            words = _read(group / "cpu.max").split()
        else:
            words = [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quota = min(quota, int(words[0]) / int(words[1]))
    return quota


def control_group_memory(
    root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup"
) -> int:
    """The bytes that this process's control groups (1 and 2) may use; 0 if unlimited."""
    limits = [
        _read(group / ("memory.max" if unified else "memory.limit_in_bytes"))
        for unified, group in _groups("memory", root, membership)
    ]
    return min([int(limit) for limit in limits if limit.isdigit()], default=0)


def _groups(controller: str, root: str, membership: str) -> Iterator[tuple[bool, Path]]:
    """(of version 2, folder) of the groups of this process and those around them, whose limits hold
    for it too."""
    for line in _read(membership).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        unified = controllers == ""
        if not unified and controller not in controllers.split(","):
            continue
        base = Path(root) if unified else Path(root) / controllers
        if not base.exists():
            base = Path(root) / controller
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            yield unified, base.joinpath(*parts[:depth])
