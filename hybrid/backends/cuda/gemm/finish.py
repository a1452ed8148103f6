"""From finished sums to results: the epilogue of one thread over one or several columns.

Invariant: each operand is read at the indices of its sum before any result of it is stored, and
each result is stored once.
"""

from __future__ import annotations

from collections.abc import Callable

from ....ir.scalar.program import ScalarType
from ...emit.lanes import Lanes, llvm_scalar, memory_scalar
from ...emit.programs.whole import emit_program
from .forms import Accumulator, FinishForm, GemmOperand
from .words import GLOBAL, GemmWriter

__all__ = [
    "by_alignment",
    "finish_sums",
    "load_factor",
    "load_reads",
    "memory_type",
    "store_results",
    "widen",
]


def _param(writer: GemmWriter, number: int, type: ScalarType) -> str:
    """A run-time scalar of the program."""
    name = f"param{number}"
    if type == "b1":
        return writer.code.once(f"icmp ne i64 {writer.word(name)}, 0")
    return writer.word(name, llvm_scalar(type))


def _load(
    writer: GemmWriter, stream: GemmOperand, pointer: str, width: int, wide: bool
) -> list[str]:
    """`width` columns of an operand as values of the program, as vectors if they are `wide`."""
    code, scalar = writer.code, memory_scalar(stream.type)
    count = 1 if stream.cols.rank == 0 else width
    step = min(count, 16 // stream.size) if wide else 1
    values = []
    for first in range(0, count, step):
        spot, align = writer.at(pointer, str(first * stream.size)), step * stream.size
        if step == 1:
            values.append(code.op(f"load {scalar}, {GLOBAL} {spot}, align {align}"))
            continue
        vector = f"<{step} x {scalar}>"
        lanes = code.op(f"load {vector}, {GLOBAL} {spot}, align {align}")
        values += [code.op(f"extractelement {vector} {lanes}, i64 {i}") for i in range(step)]
    if stream.type == "b1":
        values = [code.op(f"icmp ne i8 {value}, 0") for value in values]
    return values * width if count == 1 else values


def _store(
    writer: GemmWriter, stream: GemmOperand, pointer: str, values: list[str], wide: bool
) -> None:
    code, scalar, width = writer.code, memory_scalar(stream.type), len(values)
    if stream.type == "b1":
        values = [code.op(f"zext i1 {value} to i8") for value in values]
    step = min(width, 16 // stream.size) if wide else 1
    for first in range(0, width, step):
        spot, align = writer.at(pointer, str(first * stream.size)), step * stream.size
        if step == 1:
            code.do(f"store {scalar} {values[first]}, {GLOBAL} {spot}, align {align}")
            continue
        lanes, vector = "poison", f"<{step} x {scalar}>"
        for lane, value in enumerate(values[first : first + step]):
            lanes = code.op(f"insertelement {vector} {lanes}, {scalar} {value}, i64 {lane}")
        code.do(f"store {vector} {lanes}, {GLOBAL} {spot}, align {align}")


def all_aligned(writer: GemmWriter, finish: FinishForm) -> str:
    """Whether vectors of columns of all operands are aligned, buffers as they are."""
    found = "true"
    for stream in finish.reads + finish.outs:
        if stream.cols.rank and not stream.inner:
            nbytes = min(16, finish.width * stream.size)
            found = writer.code.once(f"and i1 {found}, {writer.aligned(stream.name, nbytes)}")
    return found


def by_alignment(writer: GemmWriter, finish: FinishForm, work: Callable[[bool], None]) -> None:
    """work(wide) for buffers that are aligned as their kernel assumes, and for others."""
    aligned = "true" if finish.width == 1 else all_aligned(writer, finish)
    if aligned == "true":
        work(finish.width > 1)
    else:
        writer.either(aligned, lambda: work(True), lambda: work(False))


def load_reads(
    writer: GemmWriter, finish: FinishForm, pointers: list[str], wide: bool
) -> list[list[str]]:
    """What the epilogue reads at adjacent columns, the first of which are at `pointers`."""
    pairs = zip(finish.reads, pointers, strict=True)
    return [_load(writer, stream, pointer, finish.width, wide) for stream, pointer in pairs]


def store_results(
    writer: GemmWriter,
    finish: FinishForm,
    sums: list[str],
    reads: list[list[str]],
    pointers: list[str],
    wide: bool,
) -> None:
    """Finish the sums of adjacent columns; results go to `pointers`."""
    program = finish.program
    if program is None:
        for stream, pointer in zip(finish.outs, pointers, strict=True):
            _store(writer, stream, pointer, sums, wide)
        return
    params = [_param(writer, i, type) for i, type in enumerate(program.params)]
    results = [
        emit_program(Lanes(1, writer.code), program, [own, *[r[lane] for r in reads]], params)
        for lane, own in enumerate(sums)
    ]
    for number, (stream, pointer) in enumerate(zip(finish.outs, pointers, strict=True)):
        _store(writer, stream, pointer, [result[number] for result in results], wide)


def finish_sums(
    writer: GemmWriter, finish: FinishForm, sums: list[str], batch: str, row: str, col: str
) -> None:
    """Read what the epilogue needs beside sums of adjacent columns, and store its results."""
    reads = [writer.pointer(read, batch, row, col) for read in finish.reads]
    outs = [writer.pointer(out, batch, row, col) for out in finish.outs]

    def work(wide: bool) -> None:
        values = load_reads(writer, finish, reads, wide)
        store_results(writer, finish, sums, values, outs, wide)

    by_alignment(writer, finish, work)


# ---- factors
def memory_type(dtype: str) -> str:
    """The LLVM type of an element of a dtype in memory."""
    known = {"float32": "float", "float64": "double", "bool": "i8"}
    if dtype in ("float16", "bfloat16"):
        return "i16"
    return known.get(dtype) or f"i{dtype.lstrip('uint')}"


def load_factor(writer: GemmWriter, factor: GemmOperand, pointer: str, element: Accumulator) -> str:
    """An element of a factor as an accumulator."""
    scalar = memory_type(factor.dtype)
    value = writer.code.op(f"load {scalar}, {GLOBAL} {pointer}, align {factor.size}")
    return widen(writer, factor.dtype, value, element)


def widen(writer: GemmWriter, dtype: str, value: str, element: Accumulator) -> str:
    """An element as it lies in memory, exactly in the type of the accumulator."""
    code, scalar, target = writer.code, memory_type(dtype), element.scalar
    if dtype == "bfloat16":
        high = code.op(f"shl i32 {code.op(f'zext i16 {value} to i32')}, 16")
        value, scalar = code.op(f"bitcast i32 {high} to float"), "float"
    elif dtype == "float16":
        value = code.op(f"bitcast i16 {value} to half")
        value, scalar = code.op(f"fpext half {value} to float"), "float"
    if scalar == target:
        return value
    if scalar in ("float", "double"):
        opcode = "fpext" if target == "double" else "fptrunc"
    elif element.is_float:
        opcode = "uitofp" if dtype[0] in "ub" else "sitofp"
    elif int(scalar[1:]) > int(target[1:]):
        opcode = "trunc"
    else:
        opcode = "zext" if dtype[0] in "ub" else "sext"
    return code.op(f"{opcode} {scalar} {value} to {target}")
