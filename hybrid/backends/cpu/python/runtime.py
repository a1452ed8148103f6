"""Native functions as Python callables, bound to tables: made when first asked for, kept through
forks.

Invariant: the code, the method definitions and the API block are immortal; a table and all it
points to are kept alive by the Owner object a callable is bound to, and by nothing else.  While a
fork is under way no replay has given up the GIL, and the child starts with none in flight.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....core.signals import critical, held, protected
from ....ir.door.busy import close_gate, open_gate
from ....ir.tensor import Handle
from ..machine import host as m
from ..machine.jit import compile_ir
from ..machine.pool import base_pointer, pool, run_steps
from . import abi
from .entry_ir import NAMES, entry_text
from .launch_ir import API, API_BYTES, MAX_POINTERS, PY_FUNCTIONS, Slots

__all__ = ["Native", "Owner", "native", "launch", "kernel_caller"]

_TEXTS = {
    "text_arity": b"wrong number of arguments or more than %d pointers in a kernel call"
    % MAX_POINTERS,
    "text_pointer": b"a kernel takes numpy.ndarray objects and integer addresses, "
    b"pointers in a tuple or list",
}


class Owner:
    """What a native callable is bound to: `table` (words it reads), and what they refer to."""

    __slots__ = ("table", "keep")

    def __init__(self, table: np.ndarray, keep: Any) -> None:
        self.table, self.keep = table, keep


class Native:
    """The compiled entry module of this process; needs `abi.available()`."""

    def __init__(self, ctl: int, plan: int, take: int, put: int) -> None:
        layout = abi.layout()
        assert layout is not None
        value, aval, node, extra = (
            abi.slot_offset(Handle, name) for name in ("_v", "_a", "_node", "_x")
        )
        slots = Slots(value, aval, node, extra, abi.slot_offset(Owner, "table"))
        self.module = compile_ir(entry_text(layout, slots), NAMES)
        self.api = m.immortal_memory(API_BYTES)
        words = {
            "ctl": ctl,
            "plan": plan,
            "take": take,
            "put": put,
            "memcpy": m.libc_address("memcpy"),
            "ndarray": id(np.ndarray),
            "new_array": abi.numpy_api(abi.NEW_FROM_DESCR),
            "copy_array": abi.numpy_api(abi.NEW_COPY),
            "none": id(None),
            "notimpl": id(NotImplemented),
            "list": id(list),
            "tuple": id(tuple),
            "int": id(int),
            "type_error": id(TypeError),
            **{f: m.python_address(f) for f in PY_FUNCTIONS},
        }
        for name, text in _TEXTS.items():
            words[name] = m.immortal_memory(len(text) + 1)
            ctypes.memmove(words[name], text, len(text))
        self._fill(self.api, words)
        self._definitions = {n: abi.MethodDef(n, self.module.address(n)) for n in NAMES}
        m.keep_forever((self.module, self._definitions))  # callables may outlive this object
        self.launch = self.function("hy_launch", Owner(np.array([self.api], np.uint64), None))

    def _fill(self, block: int, words: Mapping[str, int]) -> None:
        for name, word in words.items():
            ctypes.c_uint64.from_address(block + API[name]).value = word

    def api_with(self, **words: int) -> int:
        """The address of another API block, with these words in the place of the host's.  It is
        immortal: for one kind of memory there is one."""
        block = m.immortal_memory(API_BYTES)
        ctypes.memmove(block, self.api, API_BYTES)
        self._fill(block, words)
        return block

    def inflight(self) -> Any:
        """The count of replays that have given up the GIL, as a word that can be set."""
        return ctypes.c_int64.from_address(self.api + API["inflight"])

    def function(self, name: str, owner: Owner) -> Callable[..., Any]:
        """A callable that runs native function `name` on the owner's table."""
        return abi.new_method(self._definitions[name], owner)

    def kernel(self, step: tuple[int, ...], pointers: int, keep: Any = None) -> Callable[..., int]:
        """call(*arrays or addresses) -> status, for one step descriptor."""
        table = np.array([self.api, pointers, *step], np.uint64)
        return self.function("hy_call", Owner(table, keep))


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


if hasattr(os, "register_at_fork"):
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
        status: int = entries.launch(code, words, items, grain, scratch, pointers)
        return status
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
