"""The thread pool as Python sees it: its control block, number of threads, and plans run through
ctypes.

Invariant: the engine and its control block are immortal (parked native threads execute in them),
and results never depend on how many threads take part.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ....core.errors import BackendError
from ....core.signals import critical, protected
from . import engine
from . import host as m
from .control import (
    CTL,
    CTL_BYTES,
    MAX_WORKERS,
    OOM,
    SERIAL,
    W_MASK,
    WORKER_BYTES,
)
from .jit import compile_ir
from .systems import System
from .systems.base import MASK_BYTES

__all__ = [
    "Pool",
    "pool",
    "run_steps",
    "base_pointer",
    "set_num_threads",
    "get_num_threads",
    "num_threads",
    "OUT_OF_MEMORY",
    "SERIAL",
]

OUT_OF_MEMORY = OOM
SPIN_NS = 60_000
BRIEF_SPIN_NS = 2_000  # where another thread may be waiting for the core


class Pool:
    """The engine of this process; made on first use by `pool()`."""

    def __init__(self, system: System | None = None) -> None:
        m.machine()
        self.system = m.system() if system is None else system
        self.module = compile_ir(engine.engine_text(self.system), engine.NAMES)
        m.keep_forever(self.module)
        self.ctl = m.immortal_memory(CTL_BYTES)
        for name in self.system.functions:
            self._put(name, self.system.address(name))
        self._put("attr", self.system.thread_attributes(m.immortal_memory(256)))
        self._put("worker", self.address("hy_worker"))
        self._put("status", (1 << 64) - 1)  # of no failure
        ctypes.memset(self.ctl + CTL["sigmask"], 0xFF, 128)
        address, integer = ctypes.c_void_p, ctypes.c_int64
        self._set_limit = self._function("hy_limit", None, address, integer)
        self._finished = self._function("hy_finished", integer, address)
        self._reset = self._function("hy_reset", None, address)
        self.plan = self._function(
            "hy_plan", integer, address, address, integer, address, integer, address
        )
        self._granted = m.granted_cores()
        self._asked = self._most = m.usable_cores()
        self._bind(self.system.nodes())
        self.resize(self._asked)

    def address(self, name: str) -> int:
        """Address of one of the engine's functions (engine.NAMES)."""
        return self.module.address(name)

    def _function(self, name: str, result: Any, *args: Any) -> Any:
        return ctypes.CFUNCTYPE(result, *args)(self.address(name))

    def _put(self, name: str, value: int) -> None:
        place = CTL[name] if name in CTL else self.system.place(name)
        ctypes.c_uint64.from_address(self.ctl + place).value = value

    def _bind(self, nodes: Sequence[frozenset[int]]) -> None:
        """Say to each worker on which node of memory it belongs: a thread has the same run of each
        step that is cut alike, and neighbours in the order of runs share a node.  Of more threads
        than the usual ones each takes the place of one of these."""
        if len(nodes) < 2:
            return
        owners = [node for node, cpus in enumerate(nodes) for _ in cpus]
        masks = m.immortal_memory(MASK_BYTES * len(nodes))
        for node, cpus in enumerate(nodes):
            mask = sum(1 << cpu for cpu in cpus).to_bytes(MASK_BYTES, "little")
            ctypes.memmove(masks + MASK_BYTES * node, mask, MASK_BYTES)
        for worker in range(MAX_WORKERS):
            place = (worker + 1) % self._asked * len(owners) // self._asked
            record = self.ctl + CTL["workers"] + WORKER_BYTES * worker
            word = ctypes.c_uint64.from_address(record + W_MASK)
            word.value = masks + MASK_BYTES * owners[place]

    def word(self, name: str) -> int:
        """A word of the control block, for tests and diagnosis."""
        wide = name not in ("seq", "asleep", "limit", "waiting", "owner")
        return (ctypes.c_int64 if wide else ctypes.c_int32).from_address(self.ctl + CTL[name]).value

    def finished(self) -> int:
        """How many chunks all workers have done so far."""
        return self._finished(self.ctl)  # type: ignore[no-any-return]

    def resize(self, threads: int) -> None:
        """Let that many threads, the caller included, run each step; workers start when needed.
        Where the system grants fewer cores, so many run: more would wait for one another."""
        if threads > self._granted:
            self._granted = m.granted_cores()  # may have changed
        self._asked, self._most = threads, min(threads, math.ceil(self._granted), MAX_WORKERS + 1)
        self._put("spin_ns", SPIN_NS if self._most <= self._granted else BRIEF_SPIN_NS)
        self._set_limit(self.ctl, self._most - 1)

    def running(self) -> int:
        """Threads that run a large step."""
        return self.word("limit") + 1

    def threads(self) -> int:
        """The number asked for; less where the pool or the system has no more threads."""
        refused = self.running() < self._most
        return self.running() if refused else min(self._asked, MAX_WORKERS + 1)

    def after_fork(self) -> None:
        self._reset(self.ctl)


_POOL: Pool | None = None
_LOCK = threading.Lock()


def pool() -> Pool:
    """The process's pool."""
    return _POOL if _POOL is not None else _start()


@protected
def _start() -> Pool:
    global _POOL
    with _LOCK:
        if _POOL is None:
            _POOL = Pool()
        return _POOL


@critical
def _in_child() -> None:
    global _LOCK
    _LOCK = threading.Lock()
    if _POOL is not None:
        _POOL.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def set_num_threads(threads: int) -> None:
    """Use that many threads from now on, the calling one included."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"the number of threads must be a positive int, not {threads!r}")
    if threads > MAX_WORKERS + 1:
        raise BackendError(
            f"at most {MAX_WORKERS + 1} threads can work together; {threads} were asked for"
        )
    pool().resize(threads)


def get_num_threads() -> int:
    """How many threads a large kernel is spread over."""
    return pool().threads()


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Use that many threads inside the block, in the whole process, not only in this Python thread.

    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(threads)
    try:
        yield
    finally:
        set_num_threads(before)


@lru_cache(None)
def _array(length: int) -> Any:
    return ctypes.c_uint64 * length


def base_pointer(pointer: Any) -> int:
    """An address as it is, or that of an array's data."""
    return pointer if isinstance(pointer, int) else pointer.ctypes.data


def run_steps(steps: Sequence[Sequence[int]], bufs: Sequence[int]) -> tuple[int, int]:
    """Run step descriptors (function, args, items, grain, scratch, flags) over base pointers,
    through ctypes.

    Returns (0, 0), or the number of the step that failed and its smallest nonzero status."""
    workers, failed = pool(), ctypes.c_int64(0)
    words = [w for s in steps for w in s]
    table = _array(max(len(words), 1))(*words)
    status = workers.plan(
        workers.ctl,
        table,
        len(steps),
        _array(max(len(bufs), 1))(*bufs),
        max((s[4] for s in steps), default=0),
        ctypes.byref(failed),
    )
    return (failed.value, status) if status else (0, 0)
