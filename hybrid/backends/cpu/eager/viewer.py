"""Views made by a C function: a new ndarray header on the same memory.

Invariant: a viewer's result addresses only elements of its argument, provided that the argument has
the strides (or the contiguity) that the viewer was made for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ....core.aval import Aval
from ..machine.asm import UNLIKELY, Fn
from ..python import abi
from ..python.method import (
    ARRAY_TYPE,
    DECREF,
    INCREF,
    NEW_ARRAY,
    SET_BASE,
    Method,
    call_fallback,
    function_table,
    table_of,
)

__all__ = ["make_viewer"]

CHECKED, OFFSET, DESCR, RANK, SIZES, STEPS, FALLBACK, FUNCTIONS = range(0, 64, 8)


def _text() -> str:
    data_offset, flags = abi.array_data(), abi.array_flags()
    writer = Fn("hy_view", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    table = table_of(writer)
    functions = writer.ld(table, FUNCTIONS)
    writer.go_if(writer.cmp("ne", "%count", 1), "fallback")
    array = writer.ld("%args")
    present = writer.ld(array, flags, "i32")
    checked = writer.op(f"trunc i64 {writer.ld(table, CHECKED, 'i64')} to i32")
    missing = writer.op(f"and i32 {checked}, {writer.op(f'xor i32 {present}, -1')}")
    writer.go_if(writer.cmp("ne", missing, 0, "i32"), "fallback")
    descr = writer.ld(table, DESCR)
    writer.call("void", writer.ld(functions, INCREF), f"ptr {descr}")
    rank = writer.op(f"trunc i64 {writer.ld(table, RANK, 'i64')} to i32")
    writeable = writer.op(f"and i32 {present}, {abi.WRITEABLE}")
    memory = writer.at(writer.ld(array, data_offset), writer.ld(table, OFFSET, "i64"))
    result = writer.call(
        "ptr",
        writer.ld(functions, NEW_ARRAY),
        f"ptr {writer.ld(functions, ARRAY_TYPE)}",
        f"ptr {descr}",
        f"i32 {rank}",
        f"ptr {writer.ld(table, SIZES)}",
        f"ptr {writer.ld(table, STEPS)}",
        f"ptr {memory}",
        f"i32 {writeable}",
        "ptr null",
    )
    writer.go_if(writer.op(f"icmp eq ptr {result}, null"), "done")
    writer.call("void", writer.ld(functions, INCREF), f"ptr {array}")
    refused = writer.call("i32", writer.ld(functions, SET_BASE), f"ptr {result}", f"ptr {array}")
    writer.go_if(writer.cmp("ne", refused, 0, "i32"), "lost")
    writer.label("done")
    writer.ret(result)
    writer.label("lost")
    writer.call("void", writer.ld(functions, DECREF), f"ptr {result}")
    writer.ret("null")
    writer.label("fallback")
    call_fallback(writer, functions, writer.ld(table, FALLBACK))
    return writer.text() + UNLIKELY


@lru_cache(None)
def _view() -> Method:
    return Method("hy_view", _text())


def make_viewer(
    aval: Aval,
    offset: int,
    strides: tuple[int, ...],
    fallback: Callable[..., Any] | None = None,
    functions: Any = None,
) -> Callable[..., Any]:
    """A C function x -> array of out's shape and dtype at byte `offset` from x's first element.

    With a fallback, x must be C-contiguous or fallback(x) is the result; without one nothing is
    checked.  `functions`: the table of functions, which says of what type the array is.
    """
    rank = max(aval.ndim, 1)
    sizes, steps = (ctypes.c_int64 * rank)(*aval.shape), (ctypes.c_int64 * rank)(*strides)
    functions = functions or function_table()
    words = (
        abi.C_CONTIGUOUS if fallback is not None else 0,
        offset,
        id(aval.dtype),
        aval.ndim,
        ctypes.addressof(sizes),
        ctypes.addressof(steps),
        id(fallback) if fallback is not None else 0,
        ctypes.addressof(functions),
    )
    return _view().make(words, (aval.dtype, sizes, steps, fallback, functions))
