"""Rows of a table replaced by rows of updates, the last of those that go to one row.

Invariant: each update marks its row with its number, and the largest number stays, so the order in
which they come is no matter; only that update is written.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from ....ir.algorithm import Assign
from ...op_kernels import copy_kernel
from ...plan import Access, HostStep
from .. import emit
from ..function import Card, GpuFunction
from .writer import AlgorithmWriter, Memory, Text, Workspace, blocks_for

__all__ = ["generate"]

_FEW = 32  # updates that each looks for later ones among
_SHORT = 1 << 31  # updates whose numbers fit 32 bits


class _Assign(AlgorithmWriter):
    """Writes the kernels for rows whose numbers of updates are of a type."""

    def __init__(self, kind: str, element: str) -> None:
        super().__init__(True)
        self.kind, self.element = kind, element

    def narrow(self, number: str) -> str:
        return self.code.op(f"trunc i64 {number} to i32") if self.kind == "i32" else number

    def put(self, row: str, column: str, element: str) -> None:
        """An element of an update in its row."""
        code = self.code
        spot = code.add(code.op(f"mul i64 {row}, {self.number('inner')}"), column)
        self.store(self.element, "out", spot, self.load(self.element, "update", element))

    def few(self) -> None:
        """Elements of those updates that no later one of the same row follows."""
        code, inner, count = self.code, self.number("inner"), self.number("count")

        def element(number: str) -> None:
            update, column = self.split(number, inner)
            row = self.load("i64", "index", update)

            def look(other: str, before: list[str]) -> list[str]:
                same = code.op(f"icmp eq i64 {self.load('i64', 'index', other)}, {row}")
                return [code.op(f"or i1 {before[0]}, {same}")]

            start = code.op(f"add i64 {update}, 1")
            _, (lost,) = code.loop(start, count, "1", [("i1", "false")], look)

            code.when(code.op(f"xor i1 {lost}, true"), lambda: self.put(row, column, number))

        self.each(self.number("elements"), element)

    def clear(self) -> None:
        """Rows that updates go to have none yet."""
        self.each(
            self.number("count"),
            lambda update: self.store(self.kind, "last", self.load("i64", "index", update), "-1"),
        )

    def mark(self) -> None:
        """The largest number of an update of each row."""

        def update(number: str) -> None:
            row = self.load("i64", "index", number)
            spot = self.code.at(self.kind, self.base("last"), row)
            self.code.op(
                f"atomicrmw max ptr {spot}, {self.kind} {self.narrow(number)} "
                f'syncscope("device") monotonic, align {int(self.kind[1:]) // 8}'
            )

        self.each(self.number("count"), update)

    def write(self) -> None:
        """Elements of the updates that stay."""
        code, inner = self.code, self.number("inner")

        def element(number: str) -> None:
            update, column = self.split(number, inner)
            row = self.load("i64", "index", update)
            last = self.load(self.kind, "last", row)

            mine = code.op(f"icmp eq {self.kind} {last}, {self.narrow(update)}")
            code.when(mine, lambda: self.put(row, column, number))

        self.each(self.number("elements"), element)


@lru_cache(None)
def _text(step: str, kind: str, element: str) -> Text:
    writer = _Assign(kind, element)
    getattr(writer, step)()
    return writer.finish(f"assign_{step}")


def generate(
    assign: Assign, step: HostStep, card: Card, temp_slot: int, guarded: bool
) -> list[GpuFunction]:
    """Functions that are an assignment; they do nothing after a failed check."""
    base, index, update, out = step.avals
    if not out.size:
        return []
    slots = (*step.inputs, *step.outputs)
    source, target = (Access(slots[n], out.dtype, 0, (1,)) for n in (0, 3))
    copied = emit.generate(copy_kernel((out.size,), source, target), card, temp_slot, guarded)
    if not update.size:
        return copied
    kind = "i32" if index.size < _SHORT else "i64"
    few, space = index.size <= _FEW, Workspace(temp_slot)
    last = space.take(0 if few else base.shape[0] * int(kind[1:]) // 8)
    element = f"i{8 * out.dtype.itemsize}"

    def launch(name: str, items: int) -> GpuFunction:
        return _text(name, kind, element).launch(
            blocks_for(items),
            space.size,
            index=Memory(slots[1]),
            update=Memory(slots[2]),
            out=Memory(slots[3]),
            last=last,
            count=index.size,
            inner=prod(out.shape[1:]),
            elements=update.size,
        )

    if few:
        return [*copied, launch("few", update.size)]
    steps = [("clear", index.size), ("mark", index.size), ("write", update.size)]
    return [*copied, *(launch(name, items) for name, items in steps)]
