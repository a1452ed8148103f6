"""Object code made in a thread of its own while others go on: LLVM without llvmlite's lock.

llvmlite lets one thread at a time into LLVM.  LLVM itself asks only that a context, and what is in
it, belongs to one thread at a time; so a context of its own, and the raw library, let one thread
compile while others link, or compile what an eager call needs.

Invariant: a fork waits until nobody is inside (`INSIDE`), and nothing here takes another lock.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from ....core.errors import BackendError

__all__ = ["Beside", "Cancelled", "INSIDE", "THREAD"]

INSIDE = threading.Lock()  # held around each stay in LLVM; a fork waits for it


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
