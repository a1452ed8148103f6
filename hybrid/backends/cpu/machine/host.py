"""The machine: CPU facts, usable cores, addresses and memory for native tables.

Invariant: no file of the backend but those of systems/ names a system call or a file of the
operating system; addresses of C functions leave here as integers for a native table.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import platform
from functools import lru_cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from ....core.errors import BackendError
from .systems import Cache, kind_of_system, system

__all__ = [
    "Cache",
    "Machine",
    "machine",
    "usable_cores",
    "granted_cores",
    "libc_address",
    "python_address",
    "trim_heap",
    "immortal_memory",
    "keep_forever",
    "free_memory",
    "stack_end",
    "system",
]


class Machine(NamedTuple):
    """What code generators and the pool need to know about this computer."""

    name: str  # LLVM's name of the CPU
    features: str  # LLVM's feature string
    vector_bytes: int  # 64 with AVX-512, else 32
    vector_registers: int  # 32 with AVX-512, else 16
    cores: int  # CPUs this process may use
    first: Cache  # of data
    second: Cache
    third: Cache


def _require_platform() -> None:
    kind = kind_of_system()
    if platform.machine() not in ("x86_64", "AMD64"):
        raise BackendError(
            f"the native CPU backend runs on x86-64; this is {kind.name} on "
            f"{platform.machine()}. Select the reference backend instead"
        )


@lru_cache(None)
def machine() -> Machine:
    """Facts about this machine; raises BackendError where native code cannot run."""
    _require_platform()
    have = {k for k, on in llvm.get_host_cpu_features().items() if on}
    missing = [f for f in ("avx2", "fma", "f16c", "bmi2") if f not in have]
    if missing:
        raise BackendError(
            f"this CPU lacks {', '.join(missing)}; the native CPU backend needs AVX2 and FMA "
            "(any x86-64 CPU since 2013). Select the reference backend instead"
        )
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= have
    return Machine(
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        64 if wide else 32,
        32 if wide else 16,
        usable_cores(),
        *system().caches(),
    )


def usable_cores() -> int:
    """Threads worth running: HYBRID_NUM_THREADS, else the CPUs of affinity mask and quota."""
    asked = os.environ.get("HYBRID_NUM_THREADS", "").strip()
    if asked:
        if not asked.isdigit() or int(asked) < 1:
            raise BackendError(
                f"HYBRID_NUM_THREADS={asked!r} is not a positive whole number; "
                "unset it or give e.g. 4"
            )
        return int(asked)
    return max(1, math.ceil(min(system().cores(), system().quota())))


def granted_cores() -> float:
    """How many cores threads of this process can have at once, by mask and quota; above 0."""
    return max(min(system().present(), system().quota()), 0.01)


# ---- addresses and memory for native tables
def trim_heap() -> None:
    """Return free pages of the C heap to the system, where the C library can."""
    system().trim()


def libc_address(name: str) -> int:
    """Address of a function of the C library."""
    return system().address(name)


def stack_end() -> int:
    """The lowest address of this thread's stack; 0 where that is not known."""
    return system().stack_end()


def python_address(name: str) -> int:
    """Address of a function (or, with a leading '&', a data object) of the Python C API."""
    if name.startswith("&"):
        return ctypes.addressof(ctypes.c_void_p.in_dll(ctypes.pythonapi, name[1:]))
    try:
        address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    except AttributeError:
        address = None
    if not address:
        raise BackendError(
            f"the C function {name} is not available in this process; native code cannot run"
        )
    return address


def keep_forever(obj: object) -> None:
    """One more reference that nobody gives back.  Parked threads execute code and read memory until
    the process ends, after the interpreter has torn modules down: what they use must not go."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))


def immortal_memory(nbytes: int) -> int:
    """Address of zeroed, page-aligned memory that lives as long as the process."""
    page = mmap.PAGESIZE
    block = system().pages(-(-nbytes // page) * page)
    view = (ctypes.c_char * nbytes).from_buffer(block)
    keep_forever(block)
    keep_forever(view)
    return ctypes.addressof(view)


def free_memory(address: int, here: Any = system) -> None:
    """Give back memory of native code (also while Python shuts down)."""
    here().free(address)
