"""Generated GPU kernels run by the PTX interpreter, and compared with the CPU's bits."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from emit_harness import run_kernel

from hybrid.backends.cuda.function import Card, GpuFunction
from hybrid.backends.cuda.kernels import generate as generate_any
from hybrid.backends.cuda.machine.assemble import ptx_of
from hybrid.core import dtypes as dt

from .driver import SimulatedDriver

__all__ = ["check", "run", "run_all", "to_ptx"]


@lru_cache(4096)
def to_ptx(text: str, arch: str = "sm_90") -> str:
    """PTX of LLVM IR, as the backend makes it."""
    return ptx_of(text, arch)


def run(
    function: GpuFunction,
    buffers: Sequence[np.ndarray],
    order: int = 0,
    arch: str = "sm_90",
    driver: SimulatedDriver | None = None,
    races: bool = False,
) -> int:
    """Run one kernel with copies of the arrays as its slots and write them back; the result is the
    status word.  Slots that the buffers do not reach are workspace (`function.temp` bytes)."""
    return run_all([function], buffers, order, arch, driver, races)


def run_all(
    functions: Sequence[GpuFunction],
    buffers: Sequence[np.ndarray],
    order: int = 0,
    arch: str = "sm_90",
    driver: SimulatedDriver | None = None,
    races: bool = False,
) -> int:
    """Run kernels after each other over the same slots; see `run`."""
    card = driver or SimulatedDriver(_room(functions, buffers), order=order)
    card.order, card.races = order, races
    addresses = [_placed(card, buffer) for buffer in buffers]
    temp = max((f.temp for f in functions), default=0)
    addresses.append(card.allocate(max(temp, 1)))
    mirror = card.allocate_host(8)
    card.fill(mirror, 0, 8)
    status = np.array([0, mirror], np.uint64)
    addresses.append(_placed(card, status))
    card.status = [(mirror, mirror + 8), (addresses[-1], addresses[-1] + 16)]
    for function in functions:
        last = max((function.words[p] for p in function.slots), default=0)
        assert last <= len(buffers), f"{function.symbol} uses slot {last} of {len(buffers)} buffers"
        words = function.addressed(addresses) or (0,)
        module = card.load(to_ptx(function.text, arch).encode())
        handle = card.function(module, function.symbol, function.shared)
        content = (ctypes.c_uint64 * len(words))(*[w & 0xFFFFFFFFFFFFFFFF for w in words])
        card.launch(handle, function.blocks, function.threads, function.shared, 0, content)
    for buffer, address in zip([*buffers, None, status], addresses):
        if buffer is not None and buffer.size and buffer.flags.writeable:
            card.to_host(buffer.ctypes.data, address, buffer.nbytes)
    told = int.from_bytes(card.arena.host(mirror, 8, "the status").tobytes(), "little")
    assert told in (0, int(status[0])), "the host's copy of the status is another one"
    for address in addresses:
        card.free(address)
    card.free_host(mirror)
    return int(status[0])


def _room(functions: Sequence[GpuFunction], buffers: Sequence[np.ndarray]) -> int:
    need = sum(b.nbytes + 2048 for b in buffers) + sum(f.temp + 2048 for f in functions)
    return -(-(need + (1 << 20)) // 4096) * 4096


def _placed(card: SimulatedDriver, buffer: np.ndarray) -> int:
    address = card.allocate(max(buffer.nbytes, 1))
    assert buffer.flags.c_contiguous, "buffers are contiguous"
    card.to_device(address, buffer.ctypes.data, buffer.nbytes)
    return address


def check(
    kernel: Any,
    buffers: Sequence[np.ndarray],
    generate: Callable[..., list[GpuFunction]] = generate_any,
    orders: Sequence[int] = (0, 1),
    on_cpu: Callable[[Any, list[np.ndarray]], int] = run_kernel,
    guarded: bool = False,
    card: Card = Card(),
    arch: str = "sm_90",
) -> None:
    """The kernel's functions leave the same bits in all buffers, and the same status, as the CPU.

    `generate(kernel, card, temp_slot, guarded)` is that of a room of the backend (default: of
    `cuda/kernels.py`); `on_cpu(kernel, buffers)` runs the CPU's code and gives its result."""
    functions = generate(kernel, card, len(buffers), guarded)
    wanted = [b.copy() for b in buffers]
    result = on_cpu(kernel, wanted)
    for order in orders:
        got = [b.copy() for b in buffers]
        status = run_all(functions, got, order, arch, races=order == 0)
        # which failing position is told is not part of the contract
        assert bool(status) == bool(result), f"order {order}: status {status}, the CPU's {result}"
        if result:
            continue
        for number, (have, want) in enumerate(zip(got, wanted)):
            off = differing(have, want)
            assert not off.any(), different(number, have, want, off, order)


def differing(have: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Where bits differ, except that any NaN equals any other."""
    unsigned = f"u{want.itemsize}"
    have, want = have.reshape(-1), want.reshape(-1)
    off = have.view(unsigned) != want.view(unsigned)
    if dt.is_float(want.dtype):
        with np.errstate(invalid="ignore"):
            nan = np.isnan(have.astype(np.float64)) & np.isnan(want.astype(np.float64))
        off &= ~nan
    return np.asarray(off)


def different(number: int, have: np.ndarray, want: np.ndarray, off: np.ndarray, order: int) -> str:
    """Words about the first difference."""
    at = int(np.flatnonzero(off)[0])
    return (
        f"order {order}, buffer {number}: {int(off.sum())} of {off.size} differ, first at {at}: "
        f"{have.reshape(-1)[at]!r} for {want.reshape(-1)[at]!r}"
    )
