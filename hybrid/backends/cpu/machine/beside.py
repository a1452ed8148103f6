"""Object code made by several threads at a time: LLVM without llvmlite's lock.

llvmlite lets one thread at a time into LLVM.  LLVM itself asks only that a context, and what is in
it, belongs to one thread at a time; so a context of its own, and the raw library, let one thread
compile while others link or compile.

Invariant: a fork waits until nobody is inside (`INSIDE`), and nothing here takes another lock.
"""

from __future__ import annotations

import _thread
import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from ....core.errors import BackendError

__all__ = ["Beside", "Cancelled", "INSIDE", "THREAD", "emit_each"]


class Stays:
    """Threads inside of LLVM: any number may `enter`; while one holds it (`acquire`) there are
    none."""

    def __init__(self) -> None:
        self._changed, self._count = threading.Condition(), 0

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def acquire(self) -> None:
        """Wait until nobody is inside, and let nobody in."""
        self._changed.acquire()
        while self._count:
            self._changed.wait()

    def release(self) -> None:
        self._changed.release()


INSIDE = Stays()


class Cancelled(Exception):
    """Nobody waits for what this thread compiles."""


class _Thread(threading.local):
    """`beside`: what this thread compiles with, None for all that have not asked."""

    beside: Beside | None = None


THREAD = _Thread()


@lru_cache(1)
def _library() -> Any:
    """LLVM's functions, not llvmlite's wrappers of them."""
    known: Any = llvm.ffi.lib
    library = ctypes.CDLL(known._name, handle=known._handle)
    pointer, text = ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p)
    for name, result, *arguments in (
        ("ContextCreate", pointer),
        ("ContextDispose", None, pointer),
        ("ParseAssembly", pointer, pointer, ctypes.c_char_p, text),
        ("VerifyModule", ctypes.c_bool, pointer, text),
        ("SetTarget", None, pointer, ctypes.c_char_p),
        ("DisposeModule", None, pointer),
        ("TargetMachineEmitToMemory", pointer, pointer, pointer, ctypes.c_int, text),
        ("GetBufferStart", pointer, pointer),
        ("GetBufferSize", ctypes.c_size_t, pointer),
        ("DisposeMemoryBuffer", None, pointer),
    ):
        function = getattr(library, f"LLVMPY_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Beside:
    """Compiles texts for the thread that made it.

    `machine(level)` makes a target machine; `cancelled()` is asked before each text."""

    def __init__(self, machine: Callable[[int], Any], cancelled: Callable[[], bool]) -> None:
        self._machine, self._cancelled = machine, cancelled
        self._machines: dict[int, Any] = {}

    def emit(self, source: str, triple: str, level: int) -> bytes:
        """Object code of a text."""
        if self._cancelled():
            raise Cancelled
        machine = self._machines.get(level)
        if machine is None:
            machine = self._machines[level] = self._machine(level)
        with INSIDE:
            return _emit(ctypes.cast(machine._ptr, ctypes.c_void_p), source, triple)


def emit_each(
    texts: Sequence[str], threads: int, start: Callable[[], Callable[[str], bytes]]
) -> list[bytes | Exception]:
    """Object code of each text, or the error that it gave.

    This thread and `threads - 1` others take them in turns, the longest first; `start()` gives
    each of them a compiler of its own.
    """
    results: list[Any] = [None] * len(texts)
    waiting = sorted(range(len(texts)), key=lambda index: len(texts[index]))

    def work(emit: Callable[[str], bytes]) -> None:
        while True:
            try:
                index = waiting.pop()
            except IndexError:
                return
            try:
                results[index] = emit(texts[index])
            except Exception as error:
                results[index] = error

    mine = start()
    others = _helpers(min(threads, len(texts)) - 1, lambda: work(start()))
    work(mine)
    for done in others:
        done.acquire()
    return results


def _helpers(count: int, work: Callable[[], None]) -> list[Any]:
    """Up to so many threads that work; of each a lock that is free when it is done."""

    def run(done: Any) -> None:
        try:
            work()
        except Exception:  # the thread that asked does it all then
            pass
        finally:
            done.release()

    ends = list[Any]()
    for _ in range(count):
        done = _thread.allocate_lock()
        done.acquire()
        try:
            # no threading.Thread: the hooks of a user's threads have no business in it
            _thread.start_new_thread(run, (done,))
        except RuntimeError:  # no more threads
            break
        ends.append(done)
    return ends


def _emit(machine: Any, source: str, triple: str) -> bytes:
    library, problem = _library(), ctypes.c_char_p()
    context = library.LLVMPY_ContextCreate()
    module = buffer = None
    try:
        module = library.LLVMPY_ParseAssembly(context, source.encode(), ctypes.byref(problem))
        if problem or not module or library.LLVMPY_VerifyModule(module, ctypes.byref(problem)):
            told = (problem.value or b"").decode(errors="replace")
            raise BackendError(f"generated code is not valid LLVM IR: {told}")
        library.LLVMPY_SetTarget(module, triple.encode())
        buffer = library.LLVMPY_TargetMachineEmitToMemory(machine, module, 1, ctypes.byref(problem))
        if not buffer:
            raise BackendError(f"LLVM makes no code: {(problem.value or b'').decode()}")
        size = library.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(library.LLVMPY_GetBufferStart(buffer), size)
    finally:
        if buffer:
            library.LLVMPY_DisposeMemoryBuffer(buffer)
        if module:
            library.LLVMPY_DisposeModule(module)
        library.LLVMPY_ContextDispose(context)
