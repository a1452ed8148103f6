"""The machine: CPU facts, usable cores, and every OS call of the CPU backend.

Invariant: no other file of the backend names a system call or a file of the operating system;
addresses of C functions leave here as integers for a native table.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from ....core.errors import BackendError

__all__ = [
    "Cache",
    "Machine",
    "machine",
    "usable_cores",
    "libc_address",
    "python_address",
    "trim_heap",
    "immortal_memory",
    "keep_forever",
    "free_memory",
    "thread_attributes",
    "SIG_SETMASK",
    "SYS_FUTEX",
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "CLOCK_MONOTONIC",
    "MADV_HUGEPAGE",
]

SYS_FUTEX = 202
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # with FUTEX_PRIVATE_FLAG
CLOCK_MONOTONIC = 1
SIG_SETMASK = 2
MADV_HUGEPAGE = 14
PTHREAD_CREATE_DETACHED = 1


class Cache(NamedTuple):
    """A cache as one core sees it."""

    size: int  # bytes
    ways: int


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
    if (
        sys.platform != "linux"
        or platform.machine() not in ("x86_64", "AMD64")
        or sys.maxsize < 2**32
    ):
        raise BackendError(
            f"the native CPU backend runs on 64-bit Linux on x86-64; this is {sys.platform} on "
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
        *_caches(),
    )


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _caches(root: str = "/sys/devices/system/cpu/cpu0/cache") -> tuple[Cache, Cache, Cache]:
    """The three levels of data caches; ordinary ones where the system does not tell."""
    found = {1: Cache(32 << 10, 8), 2: Cache(512 << 10, 8), 3: Cache(8 << 20, 16)}
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


def _cgroup_quota(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> float:
    """The CPU quota, in cores, of this process's control groups (1 and 2); inf if unlimited."""
    quota = math.inf
    for line in _read(membership).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers == "" or "cpu" in controllers.split(","):
            quota = min(quota, _group_quota(Path(root), controllers, path))
    return quota


def _group_quota(root: Path, controllers: str, path: str) -> float:
    """The smallest quota along one group's path: a parent's limit holds for its children."""
    base = root if controllers == "" else root / controllers
    if controllers and not base.exists():
        base = root / "cpu"
    quota, parts = math.inf, [p for p in path.split("/") if p]
    for depth in range(len(parts) + 1):
        group = base.joinpath(*parts[:depth])
        if controllers == "":
            words = _read(group / "cpu.max").split()
        else:
            words = [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quota = min(quota, int(words[0]) / int(words[1]))
    return quota


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
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cores if math.isinf(quota) else min(cores, math.ceil(quota)))


# ---- addresses and memory for native tables
@lru_cache(None)
def _libc() -> ctypes.CDLL:
    _require_platform()
    return ctypes.CDLL(None)


def trim_heap() -> None:
    """Return free pages of the C heap to the system, where the C library can."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def libc_address(name: str) -> int:
    """Address of a function of the C library."""
    return _address(_libc(), name)


def python_address(name: str) -> int:
    """Address of a function (or, with a leading '&', a data object) of the Python C API."""
    if name.startswith("&"):
        return ctypes.addressof(ctypes.c_void_p.in_dll(ctypes.pythonapi, name[1:]))
    return _address(ctypes.pythonapi, name)


def _address(library: ctypes.CDLL, name: str) -> int:
    try:
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
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
    block = mmap.mmap(-1, -(-nbytes // page) * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = (ctypes.c_char * nbytes).from_buffer(block)
    keep_forever(block)
    keep_forever(view)
    return ctypes.addressof(view)


def free_memory(address: int, library: Any = _libc, pointer: Any = ctypes.c_void_p) -> None:
    """free() of the C library, for memory of native code (also while Python shuts down)."""
    library().free(pointer(address))


def thread_attributes(stack_bytes: int = 1 << 20) -> int:
    """Address of an immortal pthread_attr_t: detached threads with that much stack."""
    libc = _libc()
    attributes = ctypes.c_void_p(immortal_memory(256))
    accepted = libc.pthread_attr_init(attributes) == 0
    accepted = (
        accepted and libc.pthread_attr_setdetachstate(attributes, PTHREAD_CREATE_DETACHED) == 0
    )
    accepted = (
        accepted and libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(stack_bytes)) == 0
    )
    if not accepted or not attributes.value:
        raise BackendError("the C library refused the attributes of a worker thread")
    return attributes.value
