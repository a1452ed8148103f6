"""C functions over ndarray objects as Python callables: what callers and viewers are made of.

Invariant: a callable finds its words as the bytes of the first item of its tuple `self`, which also
keeps alive everything that the words point to.
"""

from __future__ import annotations

import ctypes
import functools
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
    "counted",
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

METH_KEYWORDS = 0x2  # its fourth argument: names of the last arguments
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
    """A C function of the METH_FASTCALL kind, with `keywords` if it takes these; `make(words,
    kept)` gives callables that find `words` as the bytes of the first item of their tuple `self`
    and keep `kept` alive."""

    def __init__(self, name: str, text: str, keywords: bool = False) -> None:
        if sys.byteorder != "little" or not getattr(sys, "_is_gil_enabled", lambda: True)():
            raise BackendError(
                "the native CPU backend needs a Python build with the GIL; use the default build"
            )
        self._module = compile_ir(text, [name])
        self._definition = abi.MethodDef("kernel", self._module.address(name))
        self._definition.flags |= METH_KEYWORDS if keywords else 0

    def make(self, words: Sequence[int], kept: Any) -> Callable[..., Any]:
        packed = b"".join((w & WORD).to_bytes(8, "little") for w in words)
        return abi.new_method(self._definition, (packed, kept, self))


def table_of(writer: Fn) -> str:
    """In a method with parameters (me, args, count): the address of its words."""
    return writer.at(writer.ld("%me", abi.TUPLE_ITEMS), abi.BYTES_DATA)


def call_fallback(writer: Fn, functions: str, fallback: str) -> None:
    """Return fallback(*args), or None when there is no fallback."""
    writer.go_if(writer.op(f"icmp eq ptr {fallback}, null"), "nothing", unlikely=False)
    writer.ret(
        writer.call(
            "ptr",
            writer.ld(functions, VECTORCALL),
            f"ptr {fallback}",
            "ptr %args",
            "i64 %count",
            "ptr null",
        )
    )
    writer.label("nothing")
    none = writer.ld(functions, NONE)
    writer.call("void", writer.ld(functions, INCREF), f"ptr {none}")
    writer.ret(none)


@lru_cache(None)
def _counted() -> Method:
    """Calls one function so many times, then another one, with the arguments it gets."""
    writer = Fn("hy_counted", "ptr", me="ptr", args="ptr", count="i64", names="ptr")
    words = table_of(writer)
    functions, left = writer.ld(words), writer.ld(words, 8)
    number = writer.ld(left, 0, "i64")
    ended = writer.cmp("eq", number, 0)
    less = writer.pick(ended, 0, writer.add(number, -1))
    writer.st("i64", less, left)
    target = writer.pick(ended, writer.ld(words, 24), writer.ld(words, 16), "ptr")
    given = "ptr %args", "i64 %count", "ptr %names"
    writer.ret(writer.call("ptr", writer.ld(functions, VECTORCALL), f"ptr {target}", *given))
    return Method("hy_counted", writer.text(), keywords=True)


def counted(function: Any, calls: int, last: Any) -> tuple[Callable[..., Any], Callable[[], int]]:
    """A callable that calls a function so many times and `last` from then on, and how many times
    are left."""
    left = ctypes.c_int64(calls)
    table = function_table()
    words = [ctypes.addressof(table), ctypes.addressof(left), id(function), id(last)]
    call = _counted().make(words, (table, left, function, last))
    return call, functools.partial(getattr, left, "value")


def words_array(words: Sequence[int]) -> Any:
    """64-bit words as a C array that native code may read."""
    return (ctypes.c_uint64 * max(len(words), 1))(*[w & WORD for w in words])
