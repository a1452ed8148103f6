"""The native entries of this process: made when Python first asks, kept through forks.

Invariant: while a fork is under way no replay has given up the GIL, and the child starts with none
in flight.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ....core.signals import critical, held, protected
from ....ir.door.busy import close_gate, open_gate
from ..machine.pool import base_pointer, pool, run_steps
from . import abi
from .launch_ir import MAX_POINTERS
from .native import Native

__all__ = ["native", "launch", "kernel_caller"]

_NATIVE: Native | None = None
_LOCK = threading.Lock()


def native() -> Native | None:
    """The compiled entries; None where native code cannot read Python objects."""
    return _NATIVE if _NATIVE is not None or not abi.available() else _make()


@protected
def _make() -> Native:
    global _NATIVE
    with _LOCK:
        if _NATIVE is None:
            threads = pool()
            names = "hy_plan", "hy_block_take", "hy_block_put"
            _NATIVE = Native(threads.ctl, *map(threads.address, names))
        return _NATIVE


@critical
def _before_fork() -> None:
    """No replay starts until the fork is over, and those that write tensors in place have ended:
    the child has no thread to finish them."""
    held.__enter__()
    close_gate()
    while _NATIVE is not None and _NATIVE.inflight().value > 0:
        time.sleep(1e-4)


def _after_fork() -> None:
    open_gate()
    held.__exit__()  # last: what was held back arrives where the fork was called


@critical
def _in_child() -> None:
    global _LOCK
    _LOCK = threading.Lock()
    if _NATIVE is not None:
        _NATIVE.inflight().value = 0
    open_gate()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _address(words: Any) -> int:
    """Address of kernel args: an int, a ctypes array or a NumPy array."""
    if isinstance(words, int):
        return words
    return ctypes.addressof(words) if isinstance(words, ctypes.Array) else words.ctypes.data


def launch(
    code: int, words: Any, items: int, grain: int, scratch: int, pointers: Sequence[Any]
) -> int:
    """Run one kernel over [0, items) on the pool; 0 or the smallest nonzero status of its chunks.

    `words` (kernel args) is an address, a ctypes array or an ndarray; `pointers` holds addresses or
    ndarrays.
    """
    entries = native()
    if (
        entries is not None
        and type(pointers) in (tuple, list)
        and not isinstance(words, ctypes.Array)
    ):
        return entries.launch(code, words, items, grain, scratch, pointers)
    step = (code, _address(words), items, max(grain, 1), scratch, 0)
    return run_steps([step], [base_pointer(b) for b in pointers])[1]


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
    entries = native()
    step = (code, _address(words), items, max(grain, 1), scratch, flags)
    if entries is not None and pointers <= MAX_POINTERS:
        return entries.kernel(step, pointers, (words, keep))

    def call(*bases: Any, owners: Any = (words, keep)) -> int:
        if len(bases) != pointers:
            raise TypeError(f"this kernel takes {pointers} pointers; {len(bases)} were given")
        return run_steps([step], [base_pointer(b) for b in bases])[1]

    return call
