"""macOS from 14.4 on, whose waits on an address are documented (os/os_sync_wait_on_address.h).

Written against Apple's headers, manual pages and "Determining system capabilities".  Earlier
releases have only __ulock_wait, which is not documented and is not used.

Invariant: figures of a core are those of the fastest kind, where workers belong.
"""

from __future__ import annotations

import ctypes
import math
import os

from ..asm import Fn
from .base import ORDINARY_CACHES, Cache
from .posix import Posix

__all__ = ["MacOS"]

CLOCK_UPTIME_RAW = 8  # mach_absolute_time in nanoseconds
WAIT_FLAGS = 0  # OS_SYNC_WAIT_ON_ADDRESS_NONE, OS_SYNC_WAKE_BY_ADDRESS_NONE: of this process


class MacOS(Posix):
    """libSystem."""

    name, needs = "macOS", "macOS 14.4 or later"
    functions = (
        "os_sync_wait_on_address",
        "os_sync_wake_by_address_any",
        "os_sync_wake_by_address_all",
        "clock_gettime_nsec_np",
        "posix_memalign",
        "free",
        "pthread_create",
        "pthread_sigmask",
    )
    set_mask, detached = 3, 2

    def now_text(self, writer: Fn) -> None:
        writer.ret(self.call(writer, "i64", "clock_gettime_nsec_np", f"i32 {CLOCK_UPTIME_RAW}"))

    def wait_text(self, writer: Fn) -> None:
        seen = f"i64 {writer.op('zext i32 %seen to i64')}"
        flags = f"i32 {WAIT_FLAGS}"
        self.call(writer, "i32", "os_sync_wait_on_address", "ptr %word", seen, "i64 4", flags)
        writer.ret()

    def wake_text(self, writer: Fn) -> None:
        one, every = "os_sync_wake_by_address_any", "os_sync_wake_by_address_all"
        self.each_or_all(writer, one, every, "i64 4", f"i32 {WAIT_FLAGS}")

    def take_text(self, writer: Fn) -> None:
        # aligned_alloc wants a size that is a multiple of the alignment, this one does not
        place = writer.var("ptr")
        writer.st("ptr", "null", place)
        given = f"ptr {place}", "i64 64", "i64 %bytes"
        failed = self.call(writer, "i32", "posix_memalign", *given)
        memory = writer.ld(place)
        writer.ret(writer.pick(writer.cmp("eq", failed, 0, "i32"), memory, "null", "ptr"))

    def trim(self) -> None:
        relief = self.found("malloc_zone_pressure_relief")
        if relief is not None:
            relief(ctypes.c_void_p(None), ctypes.c_size_t(0))  # all zones, as much as there is

    def stack_end(self) -> int:
        itself, top = self.find("pthread_self"), self.find("pthread_get_stackaddr_np")
        size = self.find("pthread_get_stacksize_np")
        itself.restype = top.restype = ctypes.c_void_p
        size.restype = ctypes.c_size_t
        thread = ctypes.c_void_p(itself())
        begin: int | None = top(thread)  # stacks grow down
        return begin - int(size(thread)) if begin else 0

    def number(self, name: str) -> int:
        """A figure of the system; 0 where it has none.  Some have 4 bytes, some 8."""
        value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
        references = ctypes.byref(value), ctypes.byref(size)
        nothing = ctypes.c_void_p(None), ctypes.c_size_t(0)
        failed = self.find("sysctlbyname")(name.encode(), *references, *nothing)
        return 0 if failed else value.value

    def cores(self) -> int:
        fast = self.number("hw.perflevel0.logicalcpu")
        return fast or self.present()

    def present(self) -> int:
        return self.number("hw.logicalcpu") or os.cpu_count() or 1

    def quota(self) -> float:
        return math.inf

    def memory(self) -> int:
        return self.number("hw.memsize")

    def caches(self) -> tuple[Cache, Cache, Cache]:
        # without a level, a name stands for the slowest kind of core; ways are not told
        first, second, third = (
            Cache(
                self.number(f"hw.perflevel0.{name}") or self.number(f"hw.{name}") or known.size,
                known.ways,
            )
            for name, known in zip(
                ("l1dcachesize", "l2cachesize", "l3cachesize"), ORDINARY_CACHES, strict=True
            )
        )
        return first, second, third
