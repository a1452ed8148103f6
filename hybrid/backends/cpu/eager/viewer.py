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
    data, flags = abi.array_data(), abi.array_flags()
    f = Fn("hy_view", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    table = table_of(f)
    functions = f.ld(table, FUNCTIONS)
    f.go_if(f.cmp("ne", "%count", 1), "fallback")
    x = f.ld("%args")
    has = f.ld(x, flags, "i32")
    checked = f.op(f"trunc i64 {f.ld(table, CHECKED, 'i64')} to i32")
    missing = f.op(f"and i32 {checked}, {f.op(f'xor i32 {has}, -1')}")
    f.go_if(f.cmp("ne", missing, 0, "i32"), "fallback")
    descr = f.ld(table, DESCR)
    f.call("void", f.ld(functions, INCREF), f"ptr {descr}")
    rank = f.op(f"trunc i64 {f.ld(table, RANK, 'i64')} to i32")
    writeable = f.op(f"and i32 {has}, {abi.WRITEABLE}")
    memory = f.at(f.ld(x, data), f.ld(table, OFFSET, "i64"))
    out = f.call(
        "ptr",
        f.ld(functions, NEW_ARRAY),
        f"ptr {f.ld(functions, ARRAY_TYPE)}",
        f"ptr {descr}",
        f"i32 {rank}",
        f"ptr {f.ld(table, SIZES)}",
        f"ptr {f.ld(table, STEPS)}",
        f"ptr {memory}",
        f"i32 {writeable}",
        "ptr null",
    )
    f.go_if(f.op(f"icmp eq ptr {out}, null"), "done")
    f.call("void", f.ld(functions, INCREF), f"ptr {x}")
    bad = f.call("i32", f.ld(functions, SET_BASE), f"ptr {out}", f"ptr {x}")
    f.go_if(f.cmp("ne", bad, 0, "i32"), "lost")
    f.label("done")
    f.ret(out)
    f.label("lost")
    f.call("void", f.ld(functions, DECREF), f"ptr {out}")
    f.ret("null")
    f.label("fallback")
    call_fallback(f, functions, f.ld(table, FALLBACK))
    return f.text() + UNLIKELY


@lru_cache(None)
def _view() -> Method:
    return Method("hy_view", _text())


def make_viewer(
    out: Aval, offset: int, strides: tuple[int, ...], fallback: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """A C function x -> array of out's shape and dtype at byte `offset` from x's first element.

    With a fallback, x must be C-contiguous or fallback(x) is the result; without one nothing is
    checked.
    """
    n = max(out.ndim, 1)
    sizes, steps = (ctypes.c_int64 * n)(*out.shape), (ctypes.c_int64 * n)(*strides)
    functions = function_table()
    words = (
        abi.C_CONTIGUOUS if fallback is not None else 0,
        offset,
        id(out.dtype),
        out.ndim,
        ctypes.addressof(sizes),
        ctypes.addressof(steps),
        id(fallback) if fallback is not None else 0,
        ctypes.addressof(functions),
    )
    return _view().make(words, (out.dtype, sizes, steps, fallback, functions))
