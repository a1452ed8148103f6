"""Native functions as Python callables: PyCFunction objects over compiled code, bound to tables.

Invariant: the code, the method definitions and the API block are immortal; a table and all it
points to are kept alive by the Owner object a callable is bound to, and by nothing else.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ....ir.tensor import Handle
from ..machine import host as m
from ..machine.jit import compile_ir
from . import abi
from .entry_ir import NAMES, entry_text
from .launch_ir import API, API_BYTES, MAX_POINTERS, PY_FUNCTIONS, Slots

__all__ = ["Native", "Owner"]

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
        for name, word in words.items():
            ctypes.c_uint64.from_address(self.api + API[name]).value = word
        self._definitions = {n: abi.MethodDef(n, self.module.address(n)) for n in NAMES}
        for keep in (self.module, self._definitions):  # callables may outlive this module's globals
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(keep))
        self.launch = self.function("hy_launch", Owner(np.array([self.api], np.uint64), None))

    def inflight(self) -> Any:
        """The count of replays that have given up the GIL, as a word that can be set."""
        return ctypes.c_int64.from_address(self.api + API["inflight"])

    def function(self, name: str, owner: Owner) -> Any:
        """A callable that runs native function `name` on the owner's table."""
        return abi.new_method(self._definitions[name], owner)

    def kernel(self, step: tuple[int, ...], pointers: int, keep: Any = None) -> Any:
        """call(*arrays or addresses) -> status, for one step descriptor."""
        table = np.array([self.api, pointers, *step], np.uint64)
        return self.function("hy_call", Owner(table, keep))
