"""The thread pool as Python sees it: its control block, number of threads, and plans run through
ctypes.

Invariant: the engine and its control block are immortal (parked native threads execute in them),
and results never depend on how many threads take part.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ....core.errors import BackendError
from ....core.signals import critical, held, protected
from ....ir.door.busy import close_gate, open_gate
from ..machine import engine
from ..machine import host as m
from ..machine.control import C_FUNCTIONS, CTL, CTL_BYTES, MAX_WORKERS, OOM, SERIAL
from ..machine.jit import compile_ir
from . import abi
from .launch_ir import KEEP_GIL, MAX_POINTERS
from .native import Native

__all__ = [
    "Pool",
    "pool",
    "launch",
    "kernel_caller",
    "run_steps",
    "set_num_threads",
    "get_num_threads",
    "num_threads",
    "OUT_OF_MEMORY",
    "SERIAL",
    "KEEP_GIL",
]

OUT_OF_MEMORY = OOM
SERIAL = SERIAL  # step flag: always on the calling thread
SPIN_NS = 60_000


class Pool:
    """The engine of this process; made on first use by `pool()`."""

    def __init__(self) -> None:
        m.machine()
        self.module = compile_ir(engine.engine_text(), engine.NAMES)
        # threads outlive every Python object
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.module))
        self.ctl = m.immortal_memory(CTL_BYTES)
        for name in C_FUNCTIONS:
            self._put(name, m.libc_address(name))
        self._put("attr", m.thread_attributes())
        self._put("worker", self.address("hy_worker"))
        self._put("spin_ns", SPIN_NS)
        ctypes.memset(self.ctl + CTL["sigmask"], 0xFF, 128)
        ptr, i64 = ctypes.c_void_p, ctypes.c_int64
        self._set_limit = self._function("hy_limit", None, ptr, i64)
        self._reset = self._function("hy_reset", None, ptr)
        self.plan = self._function("hy_plan", i64, ptr, ptr, i64, ptr, i64, ptr)
        self.native = None
        if abi.available():
            self.native = Native(
                self.ctl, *(self.address(n) for n in ("hy_plan", "hy_block_take", "hy_block_put"))
            )
        self.resize(m.usable_cores())

    def address(self, name: str) -> int:
        """Address of one of the engine's functions (engine.NAMES)."""
        return self.module.address(name)

    def _function(self, name: str, result: Any, *args: Any) -> Any:
        return ctypes.CFUNCTYPE(result, *args)(self.address(name))

    def _put(self, name: str, value: int) -> None:
        ctypes.c_uint64.from_address(self.ctl + CTL[name]).value = value

    def word(self, name: str) -> int:
        """A word of the control block, for tests and diagnosis."""
        wide = name not in ("seq", "asleep", "limit", "waiting", "owner")
        return (ctypes.c_int64 if wide else ctypes.c_int32).from_address(self.ctl + CTL[name]).value

    def resize(self, n: int) -> None:
        """Let n threads (the caller and n - 1 workers) run each step; workers start when needed."""
        self._set_limit(self.ctl, min(n - 1, MAX_WORKERS))

    def threads(self) -> int:
        """The number in force: less than asked for where the system refused more threads."""
        return self.word("limit") + 1

    def after_fork(self) -> None:
        self._reset(self.ctl)


_POOL: list[Pool] = []
_LOCK = threading.Lock()


def pool() -> Pool:
    """The process's pool."""
    if not _POOL:
        _start()
    return _POOL[0]


@protected
def _start() -> None:
    with _LOCK:
        if not _POOL:
            _POOL.append(Pool())


@critical
def _before_fork() -> None:
    """No replay starts until the fork is over, and those that write tensors in place have ended:
    the child has no thread to finish them."""
    held.__enter__()
    close_gate()
    for p in _POOL:
        while p.native is not None and p.native.inflight().value > 0:
            time.sleep(1e-4)


def _after_fork() -> None:
    open_gate()
    held.__exit__()  # last: what was held back arrives where the fork was called


@critical
def _in_child() -> None:
    global _LOCK
    _LOCK = threading.Lock()
    for p in _POOL:
        p.after_fork()
        if p.native is not None:
            p.native.inflight().value = 0
    open_gate()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def set_num_threads(n: int) -> None:
    """Use n threads from now on, the calling one included."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"the number of threads must be a positive int, not {n!r}")
    if n > MAX_WORKERS + 1:
        raise BackendError(
            f"at most {MAX_WORKERS + 1} threads can work together; {n} were asked for"
        )
    pool().resize(n)


def get_num_threads() -> int:
    """How many threads a large kernel is spread over."""
    return pool().threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use n threads inside the block (in the whole process, not only in this Python thread).

    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


@lru_cache(None)
def _array(n: int) -> Any:
    return ctypes.c_uint64 * n


def _address(words: Any) -> int:
    """Address of kernel args: an int, a ctypes array or a NumPy array."""
    if isinstance(words, int):
        return words
    return ctypes.addressof(words) if isinstance(words, ctypes.Array) else words.ctypes.data


def _base(pointer: Any) -> int:
    return pointer if isinstance(pointer, int) else pointer.ctypes.data


def run_steps(steps: Sequence[Sequence[int]], bufs: Sequence[int]) -> tuple[int, int]:
    """Run step descriptors (function, args, items, grain, scratch, flags) over base pointers,
    through ctypes.

    Returns (0, 0), or the number of the step that failed and its smallest nonzero status."""
    p, failed = pool(), ctypes.c_int64(0)
    flat = [w for s in steps for w in s]
    table = _array(max(len(flat), 1))(*flat)
    status = p.plan(
        p.ctl,
        table,
        len(steps),
        _array(max(len(bufs), 1))(*bufs),
        max((s[4] for s in steps), default=0),
        ctypes.byref(failed),
    )
    return (failed.value, status) if status else (0, 0)


def launch(
    code: int, words: Any, items: int, grain: int, scratch: int, pointers: Sequence[Any]
) -> int:
    """Run one kernel over [0, items) on the pool; 0 or the smallest nonzero status of its chunks.

    `words` (kernel args) is an address, a ctypes array or an ndarray; `pointers` holds addresses or
    ndarrays.
    """
    p = pool()
    if (
        p.native is not None
        and type(pointers) in (tuple, list)
        and not isinstance(words, ctypes.Array)
    ):
        return p.native.launch(code, words, items, grain, scratch, pointers)
    step = (code, _address(words), items, max(grain, 1), scratch, 0)
    return run_steps([step], [_base(b) for b in pointers])[1]


def kernel_caller(
    code: int,
    words: Any,
    items: int,
    grain: int,
    scratch: int,
    pointers: int,
    flags: int = 0,
    keep: Any = None,
) -> Callable[..., int]:
    """A callable (*arrays or addresses) -> status that runs one kernel: `launch` with everything
    fixed but the `pointers` base pointers.  It keeps `words` and `keep` (the owner of the code)
    alive."""
    p = pool()
    step = (code, _address(words), items, max(grain, 1), scratch, flags)
    if p.native is not None and pointers <= MAX_POINTERS:
        return p.native.kernel(step, pointers, (words, keep))

    def call(*bases: Any, owners: Any = (words, keep)) -> int:
        if len(bases) != pointers:
            raise TypeError(f"this kernel takes {pointers} pointers; {len(bases)} were given")
        return run_steps([step], [_base(b) for b in bases])[1]

    return call
