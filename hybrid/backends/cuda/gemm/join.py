"""Sums of blocks of k in the workspace -> results: the second function of a product whose k is
split.

Invariant: the workspace is [block of k][batch][row][column] of accumulators; blocks are added in
order, starting from the first block's sum, exactly as one block of threads would have done.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from .direct import add
from .finish import finish_sums
from .forms import FinishForm
from .words import GLOBAL, GemmText, GemmWriter

__all__ = ["JOIN_THREADS", "JoinForm", "join_text"]

JOIN_THREADS, AHEAD = 256, 4


class JoinForm(NamedTuple):
    """A thread finishes `finish.width` columns of a row.  `continued`: sums of blocks before these
    are there."""

    finish: FinishForm
    continued: bool
    guarded: bool


class _Join:
    def __init__(self, form: JoinForm) -> None:
        self.writer, self.form = GemmWriter(), form
        self.code, self.element = self.writer.code, form.finish.element
        self.width = form.finish.width

    def load(self, pointer: str) -> list[str]:
        code, scalar = self.code, self.element.scalar
        if self.width == 1:
            return [code.op(f"load {scalar}, {GLOBAL} {pointer}, align {self.element.size}")]
        vector = f"<{self.width} x {scalar}>"
        whole = code.op(f"load {vector}, {GLOBAL} {pointer}, align 16")
        return [
            code.op(f"extractelement {vector} {whole}, i64 {lane}") for lane in range(self.width)
        ]

    def added(self, totals: Sequence[str], more: list[str]) -> list[str]:
        pairs = zip(totals, more, strict=True)
        return [add(self.code, self.element, total, own) for total, own in pairs]

    def total(self, start: str, earlier: str) -> list[str]:
        """The sums of all blocks, several of which are read at a time."""
        writer, code = self.writer, self.code
        step, blocks = writer.word("block_bytes"), writer.word("blocks")

        def pointer(block: str) -> str:
            return writer.at(start, code.mul(block, step))

        def four(block: str, totals: list[str]) -> Sequence[str]:
            parts = [self.load(pointer(code.add(block, str(i)))) for i in range(AHEAD)]
            for part in parts:
                totals = self.added(totals, part)
            return totals

        def one(block: str, totals: list[str]) -> list[str]:
            return self.added(totals, self.load(pointer(block)))

        scalar = self.element.scalar
        before, done = (earlier, "0") if self.form.continued else (start, "1")
        first = [(scalar, value) for value in self.load(before)]
        block, totals = code.loop(done, blocks, str(AHEAD), first, four, full=AHEAD)
        return code.loop(block, blocks, "1", [(scalar, x) for x in totals], one)[1]

    def write(self) -> None:
        writer, code = self.writer, self.code
        thread, block = writer.register("tid.x"), writer.register("ctaid.x")
        unit = writer.integer("add", writer.integer("mul", block, str(JOIN_THREADS)), thread)

        def one() -> None:
            rest, col = writer.divide(unit, writer.count("units"))
            batch, row = writer.divide(rest, writer.count("m"))
            col = writer.integer("mul", col, str(self.width))
            offset = code.mul(writer.wide(unit), str(self.width * self.element.size))
            start = writer.at(writer.base("temp"), offset)
            earlier = writer.at(writer.base("total"), offset) if self.form.continued else ""
            sums = self.total(start, earlier)
            finish_sums(writer, self.form.finish, sums, batch, row, col)

        code.when(code.op(f"icmp ult i32 {unit}, {writer.count('all_units')}"), one)


@lru_cache(256)
def join_text(form: JoinForm) -> GemmText:
    """The text of a form."""
    join = _Join(form)
    if form.guarded:
        join.writer.guard()
    join.write()
    return join.writer.finish("join", JOIN_THREADS)
