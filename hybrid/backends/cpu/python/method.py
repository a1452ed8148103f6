"""C functions over ndarray objects as Python callables: what callers and viewers are made of.

Invariant: a callable finds its words as the bytes of the first item of its tuple `self`, which also
keeps alive everything that the words point to.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ....core.errors import BackendError
from ..machine.asm import Fn
from ..machine.host import python_address
from ..machine.jit import compile_ir
from . import abi

__all__ = [
    "Method",
    "function_table",
    "table_of",
    "call_fallback",
    "words_array",
    "INCREF",
    "DECREF",
    "VECTORCALL",
    "TUPLE_NEW",
    "TUPLE_SET",
    "SAVE",
    "RESTORE",
    "NEW_ARRAY",
    "ARRAY_TYPE",
    "SET_BASE",
    "NONE",
]

WORD = 0xFFFFFFFFFFFFFFFF
# words of the table of Python's and NumPy's functions
_NAMES = (
    "Py_IncRef",
    "Py_DecRef",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)
(
    INCREF,
    DECREF,
    VECTORCALL,
    TUPLE_NEW,
    TUPLE_SET,
    SAVE,
    RESTORE,
    NEW_ARRAY,
    ARRAY_TYPE,
    SET_BASE,
    NONE,
) = range(0, 88, 8)
_NUMPY = (abi.NEW_FROM_DESCR, abi.ARRAY_TYPE, abi.SET_BASE_OBJECT)


@lru_cache(None)
def function_table() -> Any:
    """Addresses of the Python and NumPy functions native code calls (by word: INCREF, ...)."""
    pointers = [*map(python_address, _NAMES), *map(abi.numpy_api, _NUMPY), id(None)]
    return (ctypes.c_void_p * len(pointers))(*pointers)


class Method:
    """A C function of the METH_FASTCALL kind; `make(words, kept)` gives callables that find `words`
    as the bytes of the first item of their tuple `self` and keep `kept` alive."""

    def __init__(self, name: str, text: str) -> None:
        if sys.byteorder != "little" or not getattr(sys, "_is_gil_enabled", lambda: True)():
            raise BackendError(
                "the native CPU backend needs a Python build with the GIL; use the default build"
            )
        self._module = compile_ir(text, [name])
        self._definition = abi.MethodDef("kernel", self._module.address(name))

    def make(self, words: Sequence[int], kept: Any) -> Callable[..., Any]:
        packed = b"".join((w & WORD).to_bytes(8, "little") for w in words)
        return abi.new_method(self._definition, (packed, kept, self))  # type: ignore[no-any-return]


def table_of(f: Fn) -> str:
    """In a method with parameters (me, args, count): the address of its words."""
    return f.at(f.ld("%me", abi.TUPLE_ITEMS), abi.BYTES_DATA)


def call_fallback(f: Fn, functions: str, back: str) -> None:
    """Return fallback(*args), or None when there is no fallback."""
    f.go_if(f.op(f"icmp eq ptr {back}, null"), "nothing", unlikely=False)
    f.ret(
        f.call(
            "ptr", f.ld(functions, VECTORCALL), f"ptr {back}", "ptr %args", "i64 %count", "ptr null"
        )
    )
    f.label("nothing")
    none = f.ld(functions, NONE)
    f.call("void", f.ld(functions, INCREF), f"ptr {none}")
    f.ret(none)


def words_array(words: Sequence[int]) -> Any:
    """64-bit words as a C array that native code may read."""
    return (ctypes.c_uint64 * max(len(words), 1))(*[w & WORD for w in words])
