"""Windows from 8 on: WaitOnAddress, the universal C runtime, job objects.

Written against Microsoft's reference of each function.  `long` has 32 bits there, BOOL and DWORD
too; LLVM takes the calling convention from the triple.

Invariant: no fork, no signals: what they need is left out.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import struct
from typing import Any

from ..asm import Fn
from ..control import CTL
from .base import ORDINARY_CACHES, STACK_BYTES, Cache, System

__all__ = ["Windows"]

INFINITE = 0xFFFFFFFF
RELATION_CACHE = 2  # of LOGICAL_PROCESSOR_RELATIONSHIP
HOLDS_DATA = (0, 2)  # CacheUnified, CacheData
FULLY_ASSOCIATIVE = 0xFF
MOST_TOLD = 1 << 20  # bytes of records of caches
CPU_RATE_CONTROL = 15  # JobObjectCpuRateControlInformation
RATE_ENABLED, RATE_HARD_CAP, RATE_RANGE = 0x1, 0x4, 0x10
WHOLE_RATE = 10_000  # all processors of the machine
MEMORY_STATUS = struct.Struct("<2I7Q")  # its size, the load, then bytes: of memory, left of it, ...


class Windows(System):
    """kernel32 and ucrtbase."""

    name, needs = "Windows", "Windows 8 or later"
    libraries = "kernel32", "api-ms-win-core-synch-l1-2-0", "ucrtbase", "vcruntime140", "ntdll"
    functions = (
        "WaitOnAddress",
        "WakeByAddressSingle",
        "WakeByAddressAll",
        "QueryPerformanceCounter",
        "QueryPerformanceFrequency",
        "_beginthreadex",
        "CloseHandle",
        "_aligned_malloc",
        "_aligned_free",
    )
    outside = ("__chkstk",)  # touches the pages of a large frame in order
    unused = ("_fltused",)  # says to the linker that there are floating-point numbers

    def now_text(self, writer: Fn) -> None:
        # counts * 10**9 would pass 64 bits in half an hour at 10 MHz
        count, frequency = writer.var("i64"), writer.var("i64")
        self.call(writer, "i32", "QueryPerformanceCounter", f"ptr {count}")
        self.call(writer, "i32", "QueryPerformanceFrequency", f"ptr {frequency}")
        counts, each = writer.ld(count, 0, "i64"), writer.ld(frequency, 0, "i64")
        seconds, rest = (writer.op(f"{how} i64 {counts}, {each}") for how in ("udiv", "urem"))
        whole, part = (writer.op(f"mul i64 {value}, 1000000000") for value in (seconds, rest))
        writer.ret(writer.add(whole, writer.op(f"udiv i64 {part}, {each}")))

    def wait_text(self, writer: Fn) -> None:
        compared = writer.var("i32")
        writer.st("i32", "%seen", compared)
        given = "ptr %word", f"ptr {compared}", "i64 4", f"i32 {INFINITE}"
        self.call(writer, "i32", "WaitOnAddress", *given)
        writer.ret()

    def wake_text(self, writer: Fn) -> None:
        self.each_or_all(writer, "WakeByAddressSingle", "WakeByAddressAll")

    def start_text(self, writer: Fn) -> None:
        # as the stack's size, without a flag, this is what of it is there from the beginning
        function = f"ptr {writer.ld('%ctl', CTL['worker'])}"
        given = "ptr null", f"i32 {STACK_BYTES}", function, "ptr %worker", "i32 0", "ptr null"
        handle = self.call(writer, "i64", "_beginthreadex", *given)
        writer.go_if(writer.cmp("eq", handle, 0), "none")
        self.call(writer, "i32", "CloseHandle", f"i64 {handle}")  # the thread goes on
        writer.ret("true")
        writer.label("none")
        writer.ret("false")

    def block_text(self, writer: Fn) -> None:
        writer.ret()

    def unblock_text(self, writer: Fn) -> None:
        writer.ret()

    def take_text(self, writer: Fn) -> None:
        writer.ret(self.call(writer, "ptr", "_aligned_malloc", "i64 %bytes", "i64 64"))

    def free_text(self, writer: Fn) -> None:
        self.call(writer, "void", "_aligned_free", "ptr %memory")
        writer.ret()

    def pages(self, nbytes: int) -> mmap.mmap:
        return mmap.mmap(-1, nbytes)

    def free(self, address: int) -> None:
        self.find("_aligned_free")(ctypes.c_void_p(address))

    def trim(self) -> None:
        minimize = self.found("_heapmin")
        if minimize is not None:
            minimize()

    def thread_attributes(self, memory: int) -> int:
        return 0

    def stack_end(self) -> int:
        low, high = ctypes.c_size_t(), ctypes.c_size_t()
        self.find("GetCurrentThreadStackLimits")(ctypes.byref(low), ctypes.byref(high))
        return low.value

    def cores(self) -> int:
        allowed, present = ctypes.c_size_t(), ctypes.c_size_t()
        process = self.find("GetCurrentProcess")
        process.restype = ctypes.c_void_p
        references = ctypes.byref(allowed), ctypes.byref(present)
        done = self.find("GetProcessAffinityMask")(ctypes.c_void_p(process()), *references)
        # threads in several groups of processors: both masks are 0
        return allowed.value.bit_count() if done and allowed.value else os.cpu_count() or 1

    def quota(self) -> float:
        told = ctypes.create_string_buffer(8)
        given: tuple[Any, ...] = CPU_RATE_CONTROL, told, 8, ctypes.c_void_p(None)
        if not self.find("QueryInformationJobObject")(ctypes.c_void_p(None), *given):
            return math.inf  # in no job
        flags, rate = map(int, struct.unpack("<II", told.raw))
        if flags & RATE_ENABLED and flags & RATE_RANGE:
            rate >>= 16  # the upper word is the largest rate
        elif not (flags & RATE_ENABLED and flags & RATE_HARD_CAP):
            return math.inf
        return rate / WHOLE_RATE * (os.cpu_count() or 1)

    def memory(self) -> int:
        told = ctypes.create_string_buffer(MEMORY_STATUS.pack(MEMORY_STATUS.size, *[0] * 8))
        done = self.find("GlobalMemoryStatusEx")(told)
        return int(MEMORY_STATUS.unpack_from(told)[2]) if done else 0

    def caches(self) -> tuple[Cache, Cache, Cache]:
        found = dict(enumerate(ORDINARY_CACHES, 1))
        seen: set[int] = set()
        for level, ways, size, kind in self._cache_records():
            if level in found and level not in seen and kind in HOLDS_DATA and size:
                seen.add(level)
                told = ways if 0 < ways < FULLY_ASSOCIATIVE else found[level].ways
                found[level] = Cache(size, told)
        return found[1], found[2], found[3]

    def _cache_records(self) -> list[tuple[int, int, int, int]]:
        """(level, ways, bytes, kind) of each cache, from records that begin with their kind and
        size."""
        size, ask = ctypes.c_uint32(0), self.find("GetLogicalProcessorInformationEx")
        ask(RELATION_CACHE, ctypes.c_void_p(None), ctypes.byref(size))  # how much there is to tell
        if not 0 < size.value <= MOST_TOLD:  # undefined where it failed for another reason
            return []
        told = ctypes.create_string_buffer(size.value)
        if not ask(RELATION_CACHE, told, ctypes.byref(size)):
            return []
        records, start = [], 0
        while start + 20 <= size.value:
            relation, length = struct.unpack_from("<II", told.raw, start)
            if relation == RELATION_CACHE:
                level, ways, _, nbytes, kind = struct.unpack_from("<BBHII", told.raw, start + 8)
                records.append((level, ways, nbytes, kind))
            if length < 20:
                break
            start += length
        return records
