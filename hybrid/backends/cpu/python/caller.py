"""From Python straight into kernels: C functions over ndarray objects, the fast door of every eager
op.

Invariant: a caller runs its steps with the floating-point control word at its default, owns
everything the native side points to, and returns fresh arrays, or what its fallback returns when an
argument is not what the steps were made for or a step fails.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ....core.aval import Aval
from ....core.errors import BackendError
from ..machine.asm import UNLIKELY, Fn
from ..machine.host import INTRINSICS
from ..machine.jit import Code
from . import abi
from .method import (
    ARRAY_TYPE,
    DECREF,
    INCREF,
    NEW_ARRAY,
    RESTORE,
    SAVE,
    TUPLE_NEW,
    TUPLE_SET,
    Method,
    call_fallback,
    function_table,
    table_of,
    words_array,
)

__all__ = ["Step", "make_caller", "step_table", "MAX_SLOTS"]

MAX_SLOTS = 72
_MAX_OUTS = 16
_STEP = 48  # bytes of a step descriptor

# words of a caller's own table
(
    STEPS,
    NSTEPS,
    NARGS,
    NOUTS,
    CHECKED,
    TEMP,
    RESULT,
    SHARED,
    SCRATCH,
    CONTROL,
    PLAN,
    FALLBACK,
    FUNCTIONS,
    OUTPUTS,
) = range(0, 112, 8)


class Step(NamedTuple):
    """One kernel over all its items: code, argument words, and what its generator says about it."""

    code: Code
    words: Sequence[int]
    items: int
    grain: int
    scratch: int


# ---- the native function
def _gather(f: Fn, table: str, nargs: str, bufs: str) -> None:
    """Data pointers of the arguments into bufs; to the fallback when an argument does not fit."""
    data, flags = abi.array_data(), abi.array_flags()
    f.go_if(f.cmp("ne", "%count", nargs), "fallback")
    checked = f.op(f"trunc i64 {f.ld(table, CHECKED, 'i64')} to i32")
    with f.each(nargs) as i:
        a = f.ld(f.nth("%args", i))
        f.st("ptr", f.ld(a, data), f.nth(bufs, i))
        clear = f.op(f"xor i32 {f.ld(a, flags, 'i32')}, -1")
        missing = f.op(f"and i32 {checked}, {clear}")
        f.go_if(f.cmp("ne", missing, 0, "i32"), "fallback")


def _allocate(
    f: Fn, table: str, functions: str, nargs: str, nouts: str, bufs: str, outs: str
) -> None:
    data = abi.array_data()
    f.st("ptr", f.ld(table, TEMP), f.nth(bufs, f.add(nargs, nouts)))
    with f.each(nouts) as j:
        spec = f.at(table, f.add(f.op(f"mul i64 {j}, 24"), OUTPUTS))
        descr = f.ld(spec, 0)
        f.call("void", f.ld(functions, INCREF), f"ptr {descr}")
        nd = f.op(f"trunc i64 {f.ld(spec, 8, 'i64')} to i32")
        out = f.call(
            "ptr",
            f.ld(functions, NEW_ARRAY),
            f"ptr {f.ld(functions, ARRAY_TYPE)}",
            f"ptr {descr}",
            f"i32 {nd}",
            f"ptr {f.ld(spec, 16)}",
            "ptr null",
            "ptr null",
            "i32 0",
            "ptr null",
        )
        f.st("ptr", out, f.nth(outs, j))
        f.st("i64", j, "%made")
        f.go_if(f.op(f"icmp eq ptr {out}, null"), "nomemory")
        f.st("ptr", f.ld(out, data), f.nth(bufs, f.add(nargs, j)))


def _run(f: Fn, table: str, functions: str, bufs: str, status: str) -> None:
    steps, count = f.ld(table, STEPS), f.ld(table, NSTEPS, "i64")
    f.branch(f.cmp("ne", f.ld(table, SHARED, "i64"), 0), "shared", "serial")
    f.label("shared")
    thread = f.call("ptr", f.ld(functions, SAVE))
    failed = f.var("i64")
    got = f.call(
        "i64",
        f.ld(table, PLAN),
        f"ptr {f.ld(table, CONTROL)}",
        f"ptr {steps}",
        f"i64 {count}",
        f"ptr {bufs}",
        f"i64 {f.ld(table, SCRATCH, 'i64')}",
        f"ptr {failed}",
    )
    f.st("i64", got, status)
    f.call("void", f.ld(functions, RESTORE), f"ptr {thread}")
    f.go("ran")
    f.label("serial")
    csr = f.op("call i32 @hy_fp_enter()")
    scratch = f.ld(table, SCRATCH)
    f.st("i64", 0, status)
    with f.each(count) as k:
        step = f.nth(steps, k, _STEP)
        got = f.call(
            "i64",
            f.ld(step),
            f"ptr {bufs}",
            f"ptr {f.ld(step, 8)}",
            "i64 0",
            f"i64 {f.ld(step, 16, 'i64')}",
            f"ptr {scratch}",
        )
        f.st("i64", got, status)
        f.go_if(f.cmp("ne", got, 0), "stopped")
    f.label("stopped")
    f.do(f"call void @hy_fp_leave(i32 {csr})")
    f.label("ran")


def _return(f: Fn, table: str, functions: str, nouts: str, outs: str) -> None:
    f.go_if(f.cmp("ne", nouts, 1), "other", unlikely=False)
    f.ret(f.ld(outs))
    f.label("other")
    f.go_if(f.cmp("eq", nouts, 0), "given", unlikely=False)
    pack = f.call("ptr", f.ld(functions, TUPLE_NEW), f"i64 {nouts}")
    f.st("i64", nouts, "%made")
    f.go_if(f.op(f"icmp eq ptr {pack}, null"), "nomemory")
    with f.each(nouts) as j:
        f.call(
            "i32",
            f.ld(functions, TUPLE_SET),
            f"ptr {pack}",
            f"i64 {j}",
            f"ptr {f.ld(f.nth(outs, j))}",
        )
    f.ret(pack)
    f.label("given")
    last = f.ld(f.nth("%args", f.ld(table, RESULT, "i64")))
    f.call("void", f.ld(functions, INCREF), f"ptr {last}")
    f.ret(last)


def _drop_outputs(f: Fn, functions: str, outs: str, count: str) -> None:
    with f.each(count) as j:
        f.call("void", f.ld(functions, DECREF), f"ptr {f.ld(f.nth(outs, j))}")


def _text() -> str:
    f = Fn("hy_eager", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    f.head.append("  %made = alloca i64, align 8")
    bufs, outs, status = f.var("ptr", MAX_SLOTS), f.var("ptr", _MAX_OUTS), f.var("i64")
    table = table_of(f)
    functions, nargs, nouts = (
        f.ld(table, FUNCTIONS),
        f.ld(table, NARGS, "i64"),
        f.ld(table, NOUTS, "i64"),
    )
    _gather(f, table, nargs, bufs)
    _allocate(f, table, functions, nargs, nouts, bufs, outs)
    _run(f, table, functions, bufs, status)
    f.go_if(f.cmp("ne", f.ld(status, 0, "i64"), 0), "failed")
    _return(f, table, functions, nouts, outs)
    f.label("failed")
    _drop_outputs(f, functions, outs, nouts)
    f.go("fallback")
    f.label("fallback")
    call_fallback(f, functions, f.ld(table, FALLBACK))
    f.label("nomemory")
    _drop_outputs(f, functions, outs, f.ld("%made", 0, "i64"))
    f.ret("null")
    return INTRINSICS + f.text() + UNLIKELY


# ---- making callers
@lru_cache(None)
def _eager() -> Method:
    return Method("hy_eager", _text())


_SCRATCH: Any = b""


def _scratch(nbytes: int, shared: Any) -> tuple[int, Any]:
    """(scratch word, its owner): the bytes that the pool has to find, or the address of memory that
    serial callers share: they hold the GIL, so one runs at a time.  Who was made for a smaller
    block keeps that one."""
    global _SCRATCH
    if shared is not None:
        return nbytes, None
    block = _SCRATCH
    if len(block) < nbytes + 64:
        block = _SCRATCH = ctypes.create_string_buffer(max(1 << 16, nbytes + 64))
    return _aligned(block), block


def _aligned(block: Any) -> int:
    """The first address in a block that begins a cache line."""
    return -(-ctypes.addressof(block) // 64) * 64


def step_table(steps: Sequence[Step]) -> tuple[Any, list[Any]]:
    """Descriptors of steps as the engine reads them, and the argument words they point to."""
    args = [words_array(step.words) for step in steps]
    words = [
        word
        for step, given in zip(steps, args)
        for word in (
            step.code.address,
            ctypes.addressof(given),
            step.items,
            max(step.grain, 1),
            step.scratch,
            0,
        )
    ]
    return words_array(words), args


def _layout(outs: Sequence[Aval]) -> tuple[list[int], list[Any]]:
    """Words (dtype object, rank, address of the sizes) for each output, and what they point to."""
    words: list[int] = []
    kept: list[Any] = []
    for a in outs:
        dims = (ctypes.c_int64 * max(a.ndim, 1))(*a.shape)
        words += [id(a.dtype), a.ndim, ctypes.addressof(dims)]
        kept += [a.dtype, dims]
    return words, kept


def _pool_words(shared: Any) -> dict[int, int]:
    if shared is None:
        return {SHARED: 0, CONTROL: 0, PLAN: 0}
    return {SHARED: 1, CONTROL: shared.ctl, PLAN: shared.address("hy_plan")}


def _check_size(nargs: int, nouts: int) -> None:
    if nargs + nouts + 1 > MAX_SLOTS or nouts > _MAX_OUTS:
        raise BackendError(
            f"a kernel with {nargs} inputs and {nouts} outputs is too large; split the op"
        )


def make_caller(
    steps: Sequence[Step],
    nargs: int,
    outs: Sequence[Aval] = (),
    *,
    temp: int = 0,
    result: int = -1,
    contiguous: bool = False,
    fallback: Callable[..., Any] | None = None,
    shared: Any = None,
) -> Callable[..., Any]:
    """A C function f(*arrays) over slots (arguments, outputs, workspace); checks no shape or dtype.

    outs        outputs that f allocates (NumPy's allocator) and returns: an array or a tuple
    result      with no `outs`: number of the argument to return
    temp        bytes of workspace (serial callers only)
    contiguous  arguments must be C-contiguous, else `fallback(*arrays)` is the result
    fallback    also called when a step fails; without it f returns None then
    shared      the pool: run on all threads without the GIL; None: on this thread, with it
    """
    _check_size(nargs, len(outs))
    table, args = step_table(steps)
    scratch, block = _scratch(max((step.scratch for step in steps), default=0), shared)
    work = ctypes.create_string_buffer(temp + 64) if temp else None
    functions, (layout, kept) = function_table(), _layout(outs)
    words = {
        STEPS: ctypes.addressof(table),
        NSTEPS: len(steps),
        NARGS: nargs,
        NOUTS: len(outs),
        CHECKED: abi.C_CONTIGUOUS if contiguous else 0,
        TEMP: _aligned(work) if work is not None else 0,
        RESULT: result % max(nargs, 1),
        **_pool_words(shared),
        SCRATCH: scratch,
        FALLBACK: id(fallback) if fallback is not None else 0,
        FUNCTIONS: ctypes.addressof(functions),
    }
    kept += [*(step.code for step in steps), args, table, block, work, fallback, shared, functions]
    return _eager().make([*(words[offset] for offset in sorted(words)), *layout], kept)
