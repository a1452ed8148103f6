"""The product of any shape without tiles: one thread per output, factors read where they lie.

Invariant: each block of 256 k is one chain in increasing order; this is the kernel for shapes that
have nothing to share between outputs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...emit.code import Code
from ...plan import GemmKernel
from ..function import GpuFunction
from .finish import finish_sums, load_factor
from .forms import (
    Accumulator,
    FinishForm,
    GemmOperand,
    element_of,
    factor_form,
    finish_of,
    numbers_of,
)
from .words import GemmText, GemmWriter, with_status

__all__ = ["direct"]

THREADS, BLOCK = 256, 256


class DirectForm(NamedTuple):
    """`across` threads lie along the columns, the others along the rows."""

    a: GemmOperand
    b: GemmOperand
    finish: FinishForm
    across: int
    guarded: bool


def multiply_add(code: Code, element: Accumulator, left: str, right: str, total: str) -> str:
    """total + left * right, rounded once."""
    kind = element.scalar
    if element.is_float:
        operands = [f"{kind} {x}" for x in (left, right, total)]
        return code.call(f"llvm.fma.{element.name}", kind, *operands)
    return code.op(f"add {kind} {total}, {code.op(f'mul {kind} {left}, {right}')}")


def add(code: Code, element: Accumulator, left: str, right: str) -> str:
    return code.op(f"{'fadd' if element.is_float else 'add'} {element.scalar} {left}, {right}")


def load_at(
    writer: GemmWriter, factor: GemmOperand, start: str, k: str, element: Accumulator
) -> str:
    """The element at an index of k of a line of a factor that begins at `start`."""
    walk, part = (factor.cols, "cols") if factor.is_left else (factor.rows, "rows")
    pointer = writer.at(start, writer.offset(f"{factor.name}.{part}", walk, k))
    return load_factor(writer, factor, pointer, element)


class _Sum:
    """The sum of one output."""

    def __init__(self, writer: GemmWriter, form: DirectForm, starts: tuple[str, str]) -> None:
        self.writer, self.form, self.starts = writer, form, starts
        self.element = form.finish.element
        self.k = writer.word("k")

    def chain(self, start: str, stop: str) -> str:
        """One fma chain from +0.0."""
        writer, code, element = self.writer, self.writer.code, self.element

        def one(k: str, totals: list[str]) -> list[str]:
            index = code.op(f"trunc i64 {k} to i32")
            pairs = zip((self.form.a, self.form.b), self.starts)
            left, right = (load_at(writer, f, begin, index, element) for f, begin in pairs)
            return [multiply_add(code, element, left, right, totals[0])]

        first = [(element.scalar, element.zero)]
        return code.loop(start, stop, "1", first, one)[1][0]

    def block(self, start: str) -> str:
        """The sum of one block of k."""
        code = self.writer.code
        stop = code.smin(code.add(start, str(BLOCK)), self.k)
        return self.chain(start, stop)

    def total(self) -> str:
        """Block sums added in order; the first is taken as it is."""
        code, element = self.writer.code, self.element

        def one(start: str, totals: list[str]) -> list[str]:
            return [add(code, element, totals[0], self.block(start))]

        first = [(element.scalar, self.block("0"))]
        return code.loop(str(BLOCK), self.k, str(BLOCK), first, one)[1][0]


@lru_cache(256)
def _text(form: DirectForm) -> GemmText:
    writer = GemmWriter()
    code = writer.code
    if form.guarded:
        writer.guard()
    down = THREADS // form.across
    block, thread = writer.register("ctaid.x"), writer.register("tid.x")
    block, col_block = writer.divide(block, writer.count("col_blocks"))
    batch, row_block = writer.divide(block, writer.count("row_blocks"))
    thread_row, thread_col = writer.divide(thread, str(form.across))
    row = writer.integer("add", writer.integer("mul", row_block, str(down)), thread_row)
    col = writer.integer("add", writer.integer("mul", col_block, str(form.across)), thread_col)
    row_inside = code.op(f"icmp ult i32 {row}, {writer.count('m')}")
    col_inside = code.op(f"icmp ult i32 {col}, {writer.count('n')}")
    inside = code.op(f"and i1 {row_inside}, {col_inside}")

    def one() -> None:
        starts = writer.pointer(form.a, batch, row, "0"), writer.pointer(form.b, batch, "0", col)
        total = _Sum(writer, form, starts).total()
        finish_sums(writer, form.finish, [total], batch, row, col)

    code.when(inside, one)
    return writer.finish("product", THREADS)


def direct(kernel: GemmKernel, guarded: bool) -> GpuFunction:
    """The function of a kernel none of whose sizes but k is 0."""
    element = element_of(kernel.acc)
    across = THREADS
    while across > 1 and across >= 2 * kernel.n:
        across //= 2
    form = DirectForm(
        factor_form("a", kernel.a, element),
        factor_form("b", kernel.b, element),
        finish_of(kernel)._replace(width=1),
        across,
        guarded,
    )
    rows, cols = -(-kernel.m // (THREADS // across)), -(-kernel.n // across)
    text = _text(form)
    numbers = with_status(numbers_of(kernel)) | {"col_blocks": cols, "row_blocks": rows}
    blocks = kernel.batch * rows * cols
    words, slots = text.words(numbers), text.slots()
    return GpuFunction(text.text, text.symbol, words, slots, blocks, THREADS)
