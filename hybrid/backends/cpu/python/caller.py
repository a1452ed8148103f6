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
from ..machine.control import GANG_SHIFT
from ..machine.target import control_text
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

__all__ = ["NativeStep", "GangPiece", "gather", "make_caller", "step_table", "MAX_SLOTS"]

MAX_SLOTS = 256
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

# the word SHARED of those that run on a pool
RELEASED, HELD = 1, 2


class GangPiece(NamedTuple):
    """Items of a step; `member`: its number among those of a gang."""

    member: int
    begin: int
    end: int


class NativeStep(NamedTuple):
    """One kernel over all its items: code, argument words, and what its generator says about it.
    `gang`: instead of words the pieces of each item, of so many `members` that follow."""

    code: Any  # Code, or what has an address
    words: Sequence[int]
    items: int
    grain: int
    scratch: int
    temp: int = 0
    gang: tuple[tuple[GangPiece, ...], ...] = ()
    members: int = 0


# ---- the native function
def gather(writer: Fn, required: str, count: str, slots: str) -> None:
    """Data pointers of the arguments into slots; to the fallback when there are not `count` of them
    or one lacks a `required` flag (a word)."""
    data, flags = abi.array_data(), abi.array_flags()
    writer.go_if(writer.cmp("ne", "%count", count), "fallback")
    checked = writer.op(f"trunc i64 {required} to i32")
    with writer.each(count) as index:
        array = writer.ld(writer.nth("%args", index))
        writer.st("ptr", writer.ld(array, data), writer.nth(slots, index))
        clear = writer.op(f"xor i32 {writer.ld(array, flags, 'i32')}, -1")
        missing = writer.op(f"and i32 {checked}, {clear}")
        writer.go_if(writer.cmp("ne", missing, 0, "i32"), "fallback")


def _allocate(
    writer: Fn, table: str, functions: str, nargs: str, nouts: str, buffers: str, outputs: str
) -> None:
    data = abi.array_data()
    writer.st("ptr", writer.ld(table, TEMP), writer.nth(buffers, writer.add(nargs, nouts)))
    with writer.each(nouts) as index:
        spec = writer.at(table, writer.add(writer.op(f"mul i64 {index}, 24"), OUTPUTS))
        dtype = writer.ld(spec, 0)
        writer.call("void", writer.ld(functions, INCREF), f"ptr {dtype}")
        rank = writer.op(f"trunc i64 {writer.ld(spec, 8, 'i64')} to i32")
        made = writer.call(
            "ptr",
            writer.ld(functions, NEW_ARRAY),
            f"ptr {writer.ld(functions, ARRAY_TYPE)}",
            f"ptr {dtype}",
            f"i32 {rank}",
            f"ptr {writer.ld(spec, 16)}",
            "ptr null",
            "ptr null",
            "i32 0",
            "ptr null",
        )
        writer.st("ptr", made, writer.nth(outputs, index))
        writer.st("i64", index, "%made")
        writer.go_if(writer.op(f"icmp eq ptr {made}, null"), "nomemory")
        writer.st("ptr", writer.ld(made, data), writer.nth(buffers, writer.add(nargs, index)))


def _on_pool(writer: Fn, table: str, functions: str, buffers: str, status: str) -> None:
    """The steps on all threads, without the GIL unless it is to be kept."""
    failed, thread = writer.var("i64"), writer.var("ptr")
    lets_go = writer.cmp("eq", writer.ld(table, SHARED, "i64"), RELEASED)
    with writer.when(lets_go):
        writer.st("ptr", writer.call("ptr", writer.ld(functions, SAVE)), thread)
    returned = writer.call(
        "i64",
        writer.ld(table, PLAN),
        f"ptr {writer.ld(table, CONTROL)}",
        f"ptr {writer.ld(table, STEPS)}",
        f"i64 {writer.ld(table, NSTEPS, 'i64')}",
        f"ptr {buffers}",
        f"i64 {writer.ld(table, SCRATCH, 'i64')}",
        f"ptr {failed}",
    )
    writer.st("i64", returned, status)
    with writer.when(lets_go):
        writer.call("void", writer.ld(functions, RESTORE), f"ptr {writer.ld(thread)}")


def _run(writer: Fn, table: str, functions: str, buffers: str, status: str) -> None:
    writer.branch(writer.cmp("ne", writer.ld(table, SHARED, "i64"), 0), "shared", "serial")
    writer.label("shared")
    _on_pool(writer, table, functions, buffers, status)
    writer.go("ran")
    writer.label("serial")
    steps, count = writer.ld(table, STEPS), writer.ld(table, NSTEPS, "i64")
    control_word = writer.op("call i32 @hy_fp_enter()")
    scratch = writer.ld(table, SCRATCH)
    writer.st("i64", 0, status)
    with writer.each(count) as number:
        step = writer.nth(steps, number, _STEP)
        returned = writer.call(
            "i64",
            writer.ld(step),
            f"ptr {buffers}",
            f"ptr {writer.ld(step, 8)}",
            "i64 0",
            f"i64 {writer.ld(step, 16, 'i64')}",
            f"ptr {scratch}",
        )
        writer.st("i64", returned, status)
        writer.go_if(writer.cmp("ne", returned, 0), "stopped")
    writer.label("stopped")
    writer.do(f"call void @hy_fp_leave(i32 {control_word})")
    writer.label("ran")


def _return(writer: Fn, table: str, functions: str, nouts: str, outputs: str) -> None:
    writer.go_if(writer.cmp("ne", nouts, 1), "other", unlikely=False)
    writer.ret(writer.ld(outputs))
    writer.label("other")
    writer.go_if(writer.cmp("eq", nouts, 0), "given", unlikely=False)
    result = writer.call("ptr", writer.ld(functions, TUPLE_NEW), f"i64 {nouts}")
    writer.st("i64", nouts, "%made")
    writer.go_if(writer.op(f"icmp eq ptr {result}, null"), "nomemory")
    with writer.each(nouts) as index:
        writer.call(
            "i32",
            writer.ld(functions, TUPLE_SET),
            f"ptr {result}",
            f"i64 {index}",
            f"ptr {writer.ld(writer.nth(outputs, index))}",
        )
    writer.ret(result)
    writer.label("given")
    given = writer.ld(writer.nth("%args", writer.ld(table, RESULT, "i64")))
    writer.call("void", writer.ld(functions, INCREF), f"ptr {given}")
    writer.ret(given)


def _drop_outputs(writer: Fn, functions: str, outputs: str, count: str) -> None:
    with writer.each(count) as index:
        writer.call(
            "void", writer.ld(functions, DECREF), f"ptr {writer.ld(writer.nth(outputs, index))}"
        )


def _text() -> str:
    writer = Fn("hy_eager", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    writer.head.append("  %made = alloca i64, align 8")
    buffers, outputs, status = (
        writer.var("ptr", MAX_SLOTS),
        writer.var("ptr", _MAX_OUTS),
        writer.var("i64"),
    )
    table = table_of(writer)
    functions, nargs, nouts = (
        writer.ld(table, FUNCTIONS),
        writer.ld(table, NARGS, "i64"),
        writer.ld(table, NOUTS, "i64"),
    )
    gather(writer, writer.ld(table, CHECKED, "i64"), nargs, buffers)
    _allocate(writer, table, functions, nargs, nouts, buffers, outputs)
    _run(writer, table, functions, buffers, status)
    writer.go_if(writer.cmp("ne", writer.ld(status, 0, "i64"), 0), "failed")
    _return(writer, table, functions, nouts, outputs)
    writer.label("failed")
    _drop_outputs(writer, functions, outputs, nouts)
    writer.go("fallback")
    writer.label("fallback")
    call_fallback(writer, functions, writer.ld(table, FALLBACK))
    writer.label("nomemory")
    _drop_outputs(writer, functions, outputs, writer.ld("%made", 0, "i64"))
    writer.ret("null")
    return control_text() + writer.text() + UNLIKELY


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


def step_table(steps: Sequence[NativeStep]) -> tuple[Any, list[Any]]:
    """Descriptors of steps as the engine reads them, and what owns the memory they point to."""
    arguments = [words_array(step.words) for step in steps]
    for number, step in enumerate(steps):
        if step.members:
            members = slice(number + 1, number + 1 + step.members)
            arguments[number] = words_array(_gang_words(step, steps[members], arguments[members]))
    words = [
        word
        for step, given in zip(steps, arguments)
        for word in (
            step.code.address,
            ctypes.addressof(given),
            step.items,
            max(step.grain, 1),
            step.scratch,
            step.members << GANG_SHIFT,
        )
    ]
    return words_array(words), [*arguments, *(step.code for step in steps)]


def _check_size(nargs: int, nouts: int) -> None:
    if nargs + nouts + 1 > MAX_SLOTS or nouts > _MAX_OUTS:
        raise BackendError(
            f"a kernel with {nargs} inputs and {nouts} outputs is too large; split the op"
        )


def _gang_words(
    gang: NativeStep, steps: Sequence[NativeStep], arguments: Sequence[Any]
) -> list[int]:
    """The words of a gang (`machine/plans.py`); `arguments`: those of its members."""
    starts, pieces = [0], list[int]()
    for chunk in gang.gang:
        for piece in chunk:
            code = steps[piece.member].code.address
            pieces += [code, ctypes.addressof(arguments[piece.member]), piece.begin, piece.end]
        starts.append(len(pieces) // 4)
    return [len(gang.gang), *starts, *pieces]


def _layout(nargs: int, outputs: Sequence[Aval]) -> tuple[list[int], list[Any]]:
    """Words (dtype object, rank, address of the sizes) for each output, and what they point to."""
    _check_size(nargs, len(outputs))
    words: list[int] = []
    owners: list[Any] = []
    for aval in outputs:
        sizes = (ctypes.c_int64 * max(aval.ndim, 1))(*aval.shape)
        words += [id(aval.dtype), aval.ndim, ctypes.addressof(sizes)]
        owners += [aval.dtype, sizes]
    return words, owners


def _pool_words(shared: Any, gil: bool) -> dict[int, int]:
    if shared is None:
        return {SHARED: 0, CONTROL: 0, PLAN: 0}
    kind = HELD if gil else RELEASED
    return {SHARED: kind, CONTROL: shared.ctl, PLAN: shared.address("hy_plan")}


def make_caller(
    steps: Sequence[NativeStep],
    nargs: int,
    outputs: Sequence[Aval] = (),
    *,
    temp: int = 0,
    result: int = -1,
    contiguous: bool = False,
    fallback: Callable[..., Any] | None = None,
    shared: Any = None,
    gil: bool = False,
) -> Callable[..., Any]:
    """A C function f(*arrays) over slots (arguments, outputs, workspace); checks no shape or dtype.

    outputs     those that f allocates (NumPy's allocator) and returns: an array or a tuple
    result      with no `outputs`: number of the argument to return
    temp        bytes of workspace (serial callers only)
    contiguous  arguments must be C-contiguous, else `fallback(*arrays)` is the result
    fallback    also called when a step fails; without it f returns None then
    shared      the pool: run on all threads without the GIL; None: on this thread, with it
    gil         keep it with a pool, too: no thread of Python reads what is being written"""
    table, owned = step_table(steps)
    scratch, block = _scratch(max((step.scratch for step in steps), default=0), shared)
    work = ctypes.create_string_buffer(temp + 64) if temp else None
    (layout, owners), functions = _layout(nargs, outputs), function_table()
    words = {
        STEPS: ctypes.addressof(table),
        NSTEPS: len(steps),
        NARGS: nargs,
        NOUTS: len(outputs),
        CHECKED: abi.C_CONTIGUOUS if contiguous else 0,
        TEMP: _aligned(work) if work is not None else 0,
        RESULT: result % max(nargs, 1),
        **_pool_words(shared, gil),
        SCRATCH: scratch,
        FALLBACK: id(fallback) if fallback is not None else 0,
        FUNCTIONS: ctypes.addressof(functions),
    }
    held = [*owners, owned, table, block, work, fallback, shared, functions]
    return _eager().make([*(words[offset] for offset in sorted(words)), *layout], held)
