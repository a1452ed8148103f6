"""C functions that bring a small value of a device to the host: what `.item()` runs.

Invariant: a reader gives a fresh host array after all that was started on its device is done; where
the driver refuses, a check has failed or another thread reads, its fallback's result is the call's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ....core.aval import Aval
from ...cpu.machine.asm import UNLIKELY, Fn
from ...cpu.python import abi, method
from ...cpu.python.caller import gather
from ...cpu.python.method import Method, call_fallback, table_of
from ..machine import transfer
from ..machine.blocks import functions_of
from ..machine.transfer import Transfer

__all__ = ["make_reader"]

# words of a reader
COUNT, CHECKED, DTYPE, RANK, SIZES, NBYTES, TRANSFER, FUNCTIONS, FALLBACK = range(0, 72, 8)


def _array(writer: Fn, table: str, functions: str) -> str:
    """A fresh array of the host; null with Python's error set."""
    dtype = writer.ld(table, DTYPE)
    rank = writer.op(f"trunc i64 {writer.ld(table, RANK, 'i64')} to i32")
    writer.call("void", writer.ld(functions, method.INCREF), f"ptr {dtype}")
    return writer.call(
        "ptr",
        writer.ld(functions, method.NEW_ARRAY),
        f"ptr {writer.ld(functions, method.ARRAY_TYPE)}",
        f"ptr {dtype}",
        f"i32 {rank}",
        f"ptr {writer.ld(table, SIZES)}",
        "ptr null",
        "ptr null",
        "i32 0",
        "ptr null",
    )


def _copy(writer: Fn, words: str, source: str, nbytes: str) -> str:
    """Copy to the words' pinned memory and wait, in the thread's context: whether all went well."""
    bad = writer.var("i32")
    stream = writer.ld(writer.ld(words, transfer.STREAM))
    entered = writer.call(
        "i32", writer.ld(words, transfer.USE), f"ptr {writer.ld(words, transfer.CONTEXT)}"
    )
    writer.st("i32", entered, bad)
    with writer.when(writer.cmp("eq", entered, 0, "i32")):
        to = writer.ld(words, transfer.OWN)
        given = f"ptr {to}", f"ptr {source}", f"i64 {nbytes}", f"ptr {stream}"
        copied = writer.call("i32", writer.ld(words, transfer.READ), *given)
        writer.st("i32", copied, bad)
        with writer.when(writer.cmp("eq", copied, 0, "i32")):
            waited = writer.call("i32", writer.ld(words, transfer.WAIT), f"ptr {stream}")
            writer.st("i32", waited, bad)
    failed = writer.ld(writer.ld(words, transfer.FAILED), 0, "i64")
    fine = writer.cmp("eq", writer.ld(bad, 0, "i32"), 0, "i32")
    return writer.both(fine, writer.cmp("eq", failed, 0))


def _text() -> str:
    writer = Fn("hy_fetch", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    table, source = table_of(writer), writer.var("ptr")
    functions, words = writer.ld(table, FUNCTIONS), writer.ld(table, TRANSFER)
    gather(writer, writer.ld(table, CHECKED, "i64"), writer.ld(table, COUNT, "i64"), source)
    busy = writer.at(words, transfer.BUSY)
    writer.go_if(writer.cmp("ne", writer.ld(busy, 0, "i64"), 0), "fallback")
    made = _array(writer, table, functions)
    writer.go_if(writer.op(f"icmp eq ptr {made}, null"), "nothing_made")
    nbytes = writer.ld(table, NBYTES, "i64")
    writer.st("i64", 1, busy)  # from here on other threads may run
    thread = writer.call("ptr", writer.ld(functions, method.SAVE))
    fine = _copy(writer, words, writer.ld(source), nbytes)
    writer.call("void", writer.ld(functions, method.RESTORE), f"ptr {thread}")
    own, target = writer.ld(words, transfer.OWN), writer.ld(made, abi.array_data())
    given = f"ptr {target}", f"ptr {own}", f"i64 {nbytes}"
    writer.call("ptr", writer.ld(words, transfer.MEMCPY), *given)
    writer.st("i64", 0, busy)
    with writer.when(fine):
        writer.ret(made)
    writer.label(writer.fresh())
    writer.call("void", writer.ld(functions, method.DECREF), f"ptr {made}")
    writer.go("fallback")
    writer.label("nothing_made")
    writer.ret("null")
    writer.label("fallback")
    call_fallback(writer, functions, writer.ld(table, FALLBACK))
    return writer.text() + UNLIKELY


@lru_cache(1)
def _method() -> Method:
    return Method("hy_fetch", _text())


def make_reader(
    aval: Aval, door: Transfer, fallback: Callable[..., np.ndarray]
) -> Callable[[Any], np.ndarray]:
    """A C function from a value of that record, of 1 to transfer.LARGEST bytes, to a host array;
    values that are not C-contiguous take the fallback."""
    sizes = (ctypes.c_int64 * max(aval.ndim, 1))(*aval.shape)
    functions = functions_of(np.ndarray)
    words = {
        COUNT: 1,
        CHECKED: abi.C_CONTIGUOUS,
        DTYPE: id(aval.dtype),
        RANK: aval.ndim,
        SIZES: ctypes.addressof(sizes),
        NBYTES: aval.nbytes,
        TRANSFER: door.table_address,
        FUNCTIONS: ctypes.addressof(functions),
        FALLBACK: id(fallback),
    }
    kept = aval.dtype, sizes, functions, door, fallback
    return _method().make([words[offset] for offset in sorted(words)], kept)
