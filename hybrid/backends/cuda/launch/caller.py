"""C functions over arrays of a device that start kernels: the fast door of every eager op.

Invariant: a caller takes results and workspace from their sources, writes their addresses and its
arguments' into the kernels' words and starts the kernels in order, all while it holds the GIL; it
returns fresh arrays, or what its fallback returns when an argument is not what it was made for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ....core.aval import Aval
from ...cpu.machine.asm import UNLIKELY, Fn
from ...cpu.python import abi, method
from ...cpu.python.caller import gather
from ...cpu.python.method import Method, call_fallback, table_of, words_array
from ..machine import blocks
from ..machine.blocks import BlockSource, functions_of
from ..machine.record import CONTEXT, FAILED, LAUNCH, STREAM, USE_CONTEXT, Record

__all__ = ["Start", "FreshResult", "Fallback", "make_caller"]

_ARRAY_FLAGS = abi.C_CONTIGUOUS | abi.ALIGNED | abi.WRITEABLE
# words of a caller's table, then four for each result: dtype, rank, sizes, source
(
    ARGUMENTS,
    RESULTS,
    CHECKED,
    STARTS,
    START_COUNT,
    PATCHES,
    PATCH_COUNT,
    TEMP,
    RECORD,
    FALLBACK,
    REFUSED,
    FUNCTIONS,
    STRIDES,
    CODE,
    OUTPUTS,
) = range(0, 120, 8)
_RESULT, _START = 32, 48  # bytes
# words of a start: function, blocks, threads, dynamic shared bytes, the list of parameters
FUNCTION, BLOCKS, THREADS, SHARED, PARAMETERS = range(0, 40, 8)


class Start(NamedTuple):
    """One kernel launch: a function of the driver, its size, and its words; those at `slots` are
    numbers of slots (arguments, results, workspace, then the code of the call) whose contents
    replace them in every call."""

    function: int
    blocks: int
    threads: int
    shared: int
    words: tuple[int, ...]
    slots: tuple[int, ...]


class FreshResult(NamedTuple):
    """A fresh contiguous result and where its memory comes from."""

    aval: Aval
    source: BlockSource


# ---- the native function
def _compare_strides(writer: Fn, table: str, count: str) -> None:
    """To the fallback when an argument has other strides than this function was made for."""
    offset, wanted = abi.array_strides(), writer.ld(table, STRIDES)
    with writer.each(count) as index:
        strides = writer.ld(writer.ld(writer.nth("%args", index)), offset)
        pair = writer.nth(wanted, index, 16)
        words = writer.ld(pair, 8)
        with writer.each(writer.ld(pair, 0, "i64")) as axis:
            found = writer.ld(writer.nth(strides, axis), 0, "i64")
            right = writer.ld(writer.nth(words, axis), 0, "i64")
            writer.go_if(writer.cmp("ne", found, right), "fallback")


def _workspace(writer: Fn, table: str, slots: str, slot: str) -> None:
    source = writer.ld(table, TEMP)
    with writer.when(writer.op(f"icmp ne ptr {source}, null")):
        taken = blocks.write_take(writer, source)
        writer.go_if(writer.op(f"icmp eq ptr {taken}, null"), "nothing_made")
        writer.st("ptr", taken, writer.nth(slots, slot))


def _allocate(
    writer: Fn, table: str, functions: str, counts: tuple[str, str], slots: str, made: str
) -> None:
    """Results, each with its block as its base."""
    arguments, results = counts
    with writer.each(results) as index:
        spec = writer.at(table, writer.add(writer.op(f"mul i64 {index}, {_RESULT}"), OUTPUTS))
        writer.st("i64", index, "%done")
        source = writer.ld(spec, 24)
        address = blocks.write_take(writer, source)
        writer.go_if(writer.op(f"icmp eq ptr {address}, null"), "stopped")
        block = blocks.write_block(writer, source, address)
        writer.go_if(writer.op(f"icmp eq ptr {block}, null"), "stopped")
        dtype = writer.ld(spec, 0)
        writer.call("void", writer.ld(functions, method.INCREF), f"ptr {dtype}")
        rank = writer.op(f"trunc i64 {writer.ld(spec, 8, 'i64')} to i32")
        array = writer.call(
            "ptr",
            writer.ld(functions, method.NEW_ARRAY),
            f"ptr {writer.ld(functions, method.ARRAY_TYPE)}",
            f"ptr {dtype}",
            f"i32 {rank}",
            f"ptr {writer.ld(spec, 16)}",
            "ptr null",
            f"ptr {address}",
            f"i32 {_ARRAY_FLAGS}",
            "ptr null",
        )
        with writer.when(writer.op(f"icmp eq ptr {array}, null"), unlikely=True):
            writer.call("void", writer.ld(functions, method.DECREF), f"ptr {block}")
            writer.go("stopped")
        set_base = writer.ld(functions, method.SET_BASE)
        writer.call("i32", set_base, f"ptr {array}", f"ptr {block}")
        writer.st("ptr", array, writer.nth(made, index))
        writer.st("ptr", address, writer.nth(slots, writer.add(arguments, index)))


def _patch(writer: Fn, table: str, slots: str) -> None:
    """Contents of slots into the words: pairs (address of a word, number of a slot)."""
    patches = writer.ld(table, PATCHES)
    with writer.each(writer.ld(table, PATCH_COUNT, "i64")) as index:
        pair = writer.nth(patches, index, 16)
        content = writer.ld(writer.nth(slots, writer.ld(pair, 8, "i64")))
        writer.st("ptr", content, writer.ld(pair))


def _start(writer: Fn, table: str, record: str) -> None:
    use = writer.ld(record, USE_CONTEXT)
    with writer.when(writer.op(f"icmp ne ptr {use}, null")):
        writer.call("i32", use, f"ptr {writer.ld(record, CONTEXT)}")
    launch, stream, starts = (
        writer.ld(record, LAUNCH),
        writer.ld(writer.ld(record, STREAM)),
        writer.ld(table, STARTS),
    )
    with writer.each(writer.ld(table, START_COUNT, "i64")) as index:
        start = writer.nth(starts, index, _START)
        grid, block, shared = (
            writer.op(f"trunc i64 {writer.ld(start, offset, 'i64')} to i32")
            for offset in (BLOCKS, THREADS, SHARED)
        )
        status = writer.call(
            "i32",
            launch,
            f"ptr {writer.ld(start, FUNCTION)}",
            *(f"i32 {grid}", "i32 1", "i32 1", f"i32 {block}", "i32 1", "i32 1", f"i32 {shared}"),
            f"ptr {stream}",
            f"ptr {writer.at(start, PARAMETERS)}",
            "ptr null",
        )
        with writer.when(writer.cmp("ne", status, 0, "i32"), unlikely=True):
            writer.st("i64", writer.op(f"zext i32 {status} to i64"), record, FAILED)
            writer.go("refused")


def _give_workspace(writer: Fn, table: str, slots: str, slot: str) -> None:
    """The workspace is free for kernels that start after these."""
    source = writer.ld(table, TEMP)
    with writer.when(writer.op(f"icmp ne ptr {source}, null")):
        blocks.write_give(writer, source, writer.ld(writer.nth(slots, slot)))


def _return(writer: Fn, functions: str, results: str, made: str) -> None:
    writer.go_if(writer.cmp("ne", results, 1), "several", unlikely=False)
    writer.ret(writer.ld(made))
    writer.label("several")
    bundle = writer.call("ptr", writer.ld(functions, method.TUPLE_NEW), f"i64 {results}")
    writer.go_if(writer.op(f"icmp eq ptr {bundle}, null"), "dropped")
    with writer.each(results) as index:
        pointer = writer.at(writer.nth(bundle, index), abi.TUPLE_ITEMS)
        writer.st("ptr", writer.ld(writer.nth(made, index)), pointer)
    writer.ret(bundle)


def _drop(writer: Fn, functions: str, made: str, count: str) -> None:
    with writer.each(count) as index:
        array = writer.ld(writer.nth(made, index))
        writer.call("void", writer.ld(functions, method.DECREF), f"ptr {array}")


def _text(strided: bool) -> str:
    writer = Fn("hy_start", "ptr", "nounwind", me="ptr", args="ptr", count="i64")
    writer.head.append("  %done = alloca i64, align 8")
    table = table_of(writer)
    functions, record = writer.ld(table, FUNCTIONS), writer.ld(table, RECORD)
    arguments, results = writer.ld(table, ARGUMENTS, "i64"), writer.ld(table, RESULTS, "i64")
    workspace = writer.add(arguments, results)
    slots = writer.op(f"alloca ptr, i64 {writer.add(workspace, 2)}, align 16")
    made = writer.op(f"alloca ptr, i64 {writer.add(results, 1)}, align 16")
    gather(writer, writer.ld(table, CHECKED, "i64"), arguments, slots)
    if strided:
        _compare_strides(writer, table, arguments)
    _workspace(writer, table, slots, workspace)
    _allocate(writer, table, functions, (arguments, results), slots, made)
    writer.st("ptr", writer.ld(writer.ld(table, CODE)), writer.nth(slots, writer.add(workspace, 1)))
    _patch(writer, table, slots)
    _start(writer, table, record)
    _give_workspace(writer, table, slots, workspace)
    _return(writer, functions, results, made)
    writer.label("refused")
    _drop(writer, functions, made, results)
    _give_workspace(writer, table, slots, workspace)
    handler = writer.ld(table, REFUSED)
    call = writer.ld(functions, method.VECTORCALL)
    writer.ret(writer.call("ptr", call, f"ptr {handler}", "ptr %args", "i64 %count", "ptr null"))
    writer.label("stopped")
    _drop(writer, functions, made, writer.ld("%done", 0, "i64"))
    _give_workspace(writer, table, slots, workspace)
    writer.go("nothing_made")
    writer.label("dropped")
    _drop(writer, functions, made, results)
    writer.go("nothing_made")
    writer.label("nothing_made")
    writer.ret("null")
    writer.label("fallback")
    call_fallback(writer, functions, writer.ld(writer.ld(table, FALLBACK)))
    return blocks.native_text() + writer.text() + UNLIKELY


@lru_cache(None)
def _starter(strided: bool) -> Method:
    return Method("hy_start", _text(strided))


# ---- making callers
class Fallback:
    """What serves arguments that a function was not made for; another may take its place."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self.word = (ctypes.c_uint64 * 1)(id(call) if call is not None else 0)
        self.call = call
        self._kept = [call]  # one that was replaced may be at work

    def put(self, call: Callable[..., Any]) -> None:
        """Let a function serve them from now on."""
        self._kept.append(call)
        self.call = call
        self.word[0] = id(call)


def _stride_table(strides: Sequence[Sequence[int]]) -> tuple[Any, list[Any]]:
    """Pairs (number of axes, their strides) of all arguments, and what owns the memory."""
    lists = [(ctypes.c_int64 * max(len(steps), 1))(*steps) for steps in strides]
    pairs = [
        n for steps, words in zip(strides, lists) for n in (len(steps), ctypes.addressof(words))
    ]
    return words_array(pairs), lists


def _start_table(starts: Sequence[Start]) -> tuple[list[int], list[int], list[Any]]:
    """(words of all starts, pairs of all patches, what owns the memory they point to)."""
    table: list[int] = []
    patches: list[int] = []
    owners: list[Any] = []
    for start in starts:
        words = words_array(start.words)
        address = ctypes.addressof(words)
        table += [start.function, start.blocks, start.threads, start.shared, address, 0]
        for position in start.slots:
            patches += [address + 8 * position, start.words[position]]
        owners.append(words)
    return table, patches, owners


def make_caller(
    starts: Sequence[Start],
    arguments: int,
    results: Sequence[FreshResult],
    record: Record,
    kind: type,
    *,
    temp: BlockSource | None = None,
    contiguous: bool = False,
    strides: Sequence[Sequence[int]] | None = None,
    fallback: Fallback | None = None,
    refused: Callable[..., Any],
    code: Any = None,
    keep: Any = None,
) -> Callable[..., Any]:
    """A C function f(*arrays) over slots (arguments, results, workspace, code of the call); checks
    no shape or dtype.

    kind        the array type of results: one array, or a tuple of all
    contiguous  arguments must be C-contiguous, else the fallback's result is the call's
    strides     arguments must have these, in bytes (or as before)
    code        a word that holds the code of the call (None: 0)
    keep        what must live as long as the function: the kernels
    refused     called with the arguments when the driver refused a launch (`record.failed` says
                with which status); its result is the call's
    """
    table, patches, owners = _start_table(starts)
    fallback, code = fallback or Fallback(), code or words_array([0])
    stride_words, lists = _stride_table(strides or ())
    table_words, patch_words = words_array(table), words_array(patches)
    functions = functions_of(kind)
    layout: list[int] = []
    for aval, source in results:
        sizes = (ctypes.c_int64 * max(aval.ndim, 1))(*aval.shape)
        layout += [id(aval.dtype), aval.ndim, ctypes.addressof(sizes), source.address]
        owners += [aval.dtype, sizes, source]
    words = {
        ARGUMENTS: arguments,
        RESULTS: len(results),
        CHECKED: abi.C_CONTIGUOUS if contiguous else 0,
        STARTS: ctypes.addressof(table_words),
        START_COUNT: len(starts),
        PATCHES: ctypes.addressof(patch_words),
        PATCH_COUNT: len(patches) // 2,
        TEMP: temp.address if temp is not None else 0,
        RECORD: record.address,
        FALLBACK: ctypes.addressof(fallback.word),
        REFUSED: id(refused),
        FUNCTIONS: ctypes.addressof(functions),
        STRIDES: ctypes.addressof(stride_words),
        CODE: ctypes.addressof(code),
    }
    owners += [table_words, patch_words, functions, fallback, refused, record, temp, kind, keep]
    owners += [stride_words, lists, code]
    return _starter(strides is not None).make(
        [*(words[offset] for offset in sorted(words)), *layout], owners
    )
