"""The calls of macOS and Windows made of those of Linux, so that a pool for them runs here; and a
Linux with several nodes of memory.

Only the convention of calls is that of Linux; arguments, results and what wakes whom are those of
the documentation.
"""

from __future__ import annotations

import functools
import os

from hybrid.backends.cpu.machine import jit
from hybrid.backends.cpu.machine.pool import Pool
from hybrid.backends.cpu.machine.systems.linux import SYS_FUTEX, Linux
from hybrid.backends.cpu.machine.systems.macos import MacOS
from hybrid.backends.cpu.machine.systems.windows import Windows

LINUX = Linux()
# a wait ends early now and then, as it may: every fourth does not begin
FUTEX = """
@waits = internal global i32 0
define internal i32 @sleep(ptr %word, i32 %value) {
  %count = atomicrmw add ptr @waits, i32 1 seq_cst
  %turn = and i32 %count, 3
  %early = icmp eq i32 %turn, 0
  br i1 %early, label %ended, label %begun
ended:
  ret i32 0
begun:
  %wide = zext i32 %value to i64
  %r = call i64 (i64, ...) [syscall](i64 [futex], ptr %word, i64 128, i64 %wide, ptr null, ptr null, i64 0)
  %code = trunc i64 %r to i32
  ret i32 %code
}
define internal i32 @rouse(ptr %word, i64 %count) {
  %r = call i64 (i64, ...) [syscall](i64 [futex], ptr %word, i64 129, i64 %count, ptr null, ptr null, i64 0)
  %code = trunc i64 %r to i32
  ret i32 %code
}
define internal i64 @nanoseconds() {
  %t = alloca [2 x i64]
  %r = call i32 [clock_gettime](i32 1, ptr %t)
  %s = load i64, ptr %t
  %place = getelementptr i64, ptr %t, i64 1
  %n = load i64, ptr %place
  %whole = mul i64 %s, 1000000000
  %sum = add i64 %whole, %n
  ret i64 %sum
}
"""
MACOS = """
define i32 @os_sync_wait_on_address(ptr %word, i64 %value, i64 %size, i32 %flags) {
  %narrow = trunc i64 %value to i32
  %r = call i32 @sleep(ptr %word, i32 %narrow)
  ret i32 %r
}
define i32 @os_sync_wake_by_address_any(ptr %word, i64 %size, i32 %flags) {
  %r = call i32 @rouse(ptr %word, i64 1)
  ret i32 %r
}
define i32 @os_sync_wake_by_address_all(ptr %word, i64 %size, i32 %flags) {
  %r = call i32 @rouse(ptr %word, i64 2147483647)
  ret i32 %r
}
define i64 @clock_gettime_nsec_np(i32 %clock) {
  %r = call i64 @nanoseconds()
  ret i64 %r
}
define i32 @pthread_sigmask(i32 %how, ptr %new, ptr %old) {
  %here = sub i32 %how, 1 ; SIG_SETMASK is 3 there and 2 here
  %r = call i32 [pthread_sigmask](i32 %here, ptr %new, ptr %old)
  ret i32 %r
}
"""
WINDOWS = """
define i32 @WaitOnAddress(ptr %word, ptr %compared, i64 %size, i32 %milliseconds) {
  %value = load i32, ptr %compared
  %r = call i32 @sleep(ptr %word, i32 %value)
  ret i32 1
}
define void @WakeByAddressSingle(ptr %word) {
  %r = call i32 @rouse(ptr %word, i64 1)
  ret void
}
define void @WakeByAddressAll(ptr %word) {
  %r = call i32 @rouse(ptr %word, i64 2147483647)
  ret void
}
define i32 @QueryPerformanceCounter(ptr %place) {
  %n = call i64 @nanoseconds()
  %r = udiv i64 %n, 100
  store i64 %r, ptr %place
  ret i32 1
}
define i32 @QueryPerformanceFrequency(ptr %place) {
  store i64 10000000, ptr %place
  ret i32 1
}
define i64 @_beginthreadex(ptr %security, i32 %stack, ptr %function, ptr %argument, i32 %flag, ptr %id) {
  %thread = alloca i64
  %failed = call i32 [pthread_create](ptr %thread, ptr null, ptr %function, ptr %argument)
  %fine = icmp eq i32 %failed, 0
  %r = select i1 %fine, i64 1, i64 0
  ret i64 %r
}
define i32 @CloseHandle(i64 %handle) {
  ret i32 1
}
define ptr @_aligned_malloc(i64 %size, i64 %align) {
  %r = call ptr [aligned_alloc](i64 %align, i64 %size)
  ret ptr %r
}
define void @_aligned_free(ptr %memory) {
  call void [free](ptr %memory)
  ret void
}
"""


class StandIn:
    """Mixed into a system: its own calls as above, where a text defines them."""

    source = ""

    @functools.cached_property
    def module(self):
        text = (FUTEX + self.source).replace("[futex]", str(SYS_FUTEX))
        for name in LINUX.functions:
            text = text.replace(f"[{name}]", f"inttoptr (i64 {LINUX.address(name)} to ptr)")
        names = [name for name in self.functions if f"@{name}(" in self.source]
        before = jit.set_cache(None)  # addresses are those of this process
        try:
            return jit.compile_ir(text, names)
        finally:
            jit.set_cache(before)

    def address(self, name):
        if f"@{name}(" in self.source:
            return self.module.address(name)
        return LINUX.address(name)

    def thread_attributes(self, memory):
        return LINUX.thread_attributes(memory)


class StandInMacOS(StandIn, MacOS):
    source = MACOS


class StandInWindows(StandIn, Windows):
    source = WINDOWS


class StandInNodes(Linux):
    """As many nodes of memory as CPUs, and one of all that is left."""

    module = None  # nothing is made of other calls

    def nodes(self):
        return (*[frozenset([cpu]) for cpu in sorted(os.sched_getaffinity(0))], EVERY)


EVERY = frozenset(os.sched_getaffinity(0))
_POOLS: dict[type, Pool] = {}


def pool_of(kind):
    """A pool of that kind, one for the process: its threads stay."""
    if kind not in _POOLS:
        made = kind()
        _POOLS[kind] = Pool(made)
        _POOLS[kind].keep = made.module
        os.register_at_fork(after_in_child=_POOLS[kind].after_fork)
    return _POOLS[kind]
