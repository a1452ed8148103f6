"""Generated GPU kernels run by the PTX interpreter, and compared with the CPU's bits."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from emit_harness import run_kernel, same_bits

from hybrid.backends.cuda.function import STATUS, GpuFunction

from .driver import SimulatedDriver

__all__ = ["check", "run", "run_all", "to_ptx"]

TRIPLE = "nvptx64-nvidia-cuda"


@lru_cache(1)
def _target() -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(TRIPLE)


@lru_cache(4096)
def to_ptx(text: str, arch: str = "sm_90") -> str:
    """PTX of LLVM IR, as the backend makes it."""
    machine = _target().create_target_machine(cpu=arch, opt=3)
    context = llvm.create_context()
    head = "" if "target triple" in text else f'target triple = "{TRIPLE}"\n'
    module = llvm.parse_assembly(head + text, context)
    module.verify()
    return str(machine.emit_assembly(module))


def run(
    function: GpuFunction,
    buffers: Sequence[np.ndarray],
    order: int = 0,
    arch: str = "sm_90",
    driver: SimulatedDriver | None = None,
) -> int:
    """Run one kernel with copies of the arrays as its slots and write them back; the result is the
    status word.  Slots that the buffers do not reach are workspace (`function.temp` bytes)."""
    return run_all([function], buffers, order, arch, driver)


def run_all(
    functions: Sequence[GpuFunction],
    buffers: Sequence[np.ndarray],
    order: int = 0,
    arch: str = "sm_90",
    driver: SimulatedDriver | None = None,
) -> int:
    """Run kernels after each other over the same slots; see `run`."""
    card = driver or SimulatedDriver(_room(functions, buffers), order=order)
    card.order = order
    addresses = [_placed(card, buffer) for buffer in buffers]
    temp = max((f.temp for f in functions), default=0)
    addresses.append(card.allocate(max(temp, 1)))
    status = np.zeros(1, np.int64)
    addresses.append(_placed(card, status))
    for function in functions:
        last = max((function.words[p] for p in function.slots), default=0)
        assert last <= len(buffers), f"{function.symbol} uses slot {last} of {len(buffers)} buffers"
        assert STATUS == -1
        words = function.placed(addresses) or (0,)
        module = card.load(to_ptx(function.text, arch).encode())
        handle = card.function(module, function.symbol, function.shared)
        content = (ctypes.c_uint64 * len(words))(*[w & 0xFFFFFFFFFFFFFFFF for w in words])
        card.launch(handle, function.blocks, function.threads, function.shared, 0, content)
    for buffer, address in zip([*buffers, None, status], addresses):
        if buffer is not None and buffer.size and buffer.flags.writeable:
            content_back = card.arena.host(address, buffer.nbytes, "a result")
            buffer.reshape(-1).view(np.uint8)[:] = content_back
    for address in addresses:
        card.free(address)
    return int(status[0])


def _room(functions: Sequence[GpuFunction], buffers: Sequence[np.ndarray]) -> int:
    need = sum(b.nbytes + 2048 for b in buffers) + sum(f.temp + 2048 for f in functions)
    return -(-(need + (1 << 20)) // 4096) * 4096


def _placed(card: SimulatedDriver, buffer: np.ndarray) -> int:
    address = card.allocate(max(buffer.nbytes, 1))
    if buffer.nbytes:
        given = np.ascontiguousarray(buffer)
        card.arena.host(address, buffer.nbytes, "an operand")[:] = given.reshape(-1).view(np.uint8)
    return address


def check(
    kernel: Any,
    buffers: Sequence[np.ndarray],
    generate: Callable[..., list[GpuFunction]] | None = None,
    orders: Sequence[int] = (0, 1),
    on_cpu: Callable[[Any, list[np.ndarray]], int] = run_kernel,
    guarded: bool = False,
    card: Any = None,
) -> None:
    """The kernel's functions leave the same bits in all buffers, and the same status, as the CPU.

    `generate(kernel, card, temp_slot, guarded)` is that of a room of the backend (default: of
    `cuda/kernels.py`); `on_cpu(kernel, buffers)` runs the CPU's code and gives its result."""
    from hybrid.backends.cuda.function import Card

    if generate is None:
        from hybrid.backends.cuda.kernels import generate as made

        generate = made
    functions = generate(kernel, card or Card(), len(buffers), guarded)
    wanted = [b.copy() for b in buffers]
    result = on_cpu(kernel, wanted)
    for order in orders:
        got = [b.copy() for b in buffers]
        status = run_all(functions, got, order)
        # which failing position is told is not part of the contract
        assert bool(status) == bool(result), f"order {order}: status {status}, the CPU's {result}"
        if result:
            continue
        for number, (have, want) in enumerate(zip(got, wanted)):
            assert same_bits(have, want), different(number, have, want, order)


def different(number: int, have: np.ndarray, want: np.ndarray, order: int) -> str:
    """Words about the first difference."""
    unsigned = f"u{want.itemsize}"
    have, want = have.reshape(-1), want.reshape(-1)
    off = have.view(unsigned) != want.view(unsigned)
    if want.dtype.kind == "f":
        off &= ~(np.isnan(have) & np.isnan(want))
    at = int(np.flatnonzero(off)[0])
    return (
        f"order {order}, buffer {number}: {int(off.sum())} of {off.size} differ, first at {at}: "
        f"{have[at]!r} for {want[at]!r}"
    )
