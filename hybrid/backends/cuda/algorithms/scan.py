"""Running sums and products: totals of the blocks of a line, what is before each, then the results.

Invariant: a chain (a block of a line) starts from the neutral element, -0.0 or 1, with which a
combination is the other operand bit for bit; nothing but chains and the order of totals decides on
a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod

import numpy as np

from ....core import dtypes as dt
from ....ir.algorithm import SCAN_BLOCK, Scan
from ...plan import HostStep
from ..function import Card, GpuFunction
from .values import converted
from .writer import Memory, Text, Workspace, Writer, blocks_for

__all__ = ["generate"]

_AHEAD = 8  # elements that are asked for together


Visit = Callable[[str, str, str], str]


class _Scan(Writer):
    """Writes the kernels for one operation on elements of one type."""

    def __init__(self, guarded: bool, kind: str, operation: str, neutral: str) -> None:
        super().__init__(guarded)
        self.kind, self.operation, self.neutral = kind, operation, neutral
        self.memory = {"float": "i32", "double": "i64"}.get(kind, kind)

    def get(self, name: str, index: str) -> str:
        value = self.load(self.memory, name, index)
        if self.memory == self.kind:
            return value
        return self.code.op(f"bitcast {self.memory} {value} to {self.kind}")

    def put(self, name: str, index: str, value: str) -> None:
        if self.memory != self.kind:
            value = self.code.op(f"bitcast {self.kind} {value} to {self.memory}")
        self.store(self.memory, name, index, value)

    def combined(self, left: str, right: str) -> str:
        return self.code.op(f"{self.operation} {self.kind} {left}, {right}")

    def walk(self, source: str, first: str, step: str, many: str, visit: Visit) -> str:
        """The total of `many` elements `step` apart; visit(index, total, element) gives it with
        that element."""
        code, number, total = self.code, "0", self.neutral
        for ahead in (_AHEAD, 1):

            def some(number: str, now: list[str], ahead: int = ahead) -> list[str]:
                after = code.add(first, code.mul(number, step))
                spots = [after]
                for _ in range(ahead - 1):
                    spots.append(code.op(f"add i64 {spots[-1]}, {step}"))
                for spot, value in zip(spots, [self.get(source, spot) for spot in spots]):
                    now = [visit(spot, now[0], value)]
                return now

            number, (total,) = code.loop(
                number, many, str(ahead), [(self.kind, total)], some, full=ahead
            )
        return total

    def of_chain(self, chain: str, visit: Visit) -> str:
        """The total of a chain: blocks of the lines, those of adjacent lines side by side."""
        code, extent, inner = self.code, self.number("extent"), self.number("inner")
        rest, column = self.split(chain, inner)
        outer, block = self.split(rest, self.number("blocks"))
        start = code.op(f"mul i64 {block}, {SCAN_BLOCK}")
        many = code.smin(code.op(f"sub i64 {extent}, {start}"), str(SCAN_BLOCK))
        row = code.add(code.op(f"mul i64 {outer}, {extent}"), start)
        first = code.add(code.op(f"mul i64 {row}, {inner}"), column)
        return self.walk("x", first, inner, many, visit)

    def totals(self) -> None:
        """That of each chain."""

        def chain(number: str) -> None:
            total = self.of_chain(number, lambda _, total, value: self.combined(total, value))
            self.put("totals", number, total)

        self.each(self.number("chains"), chain)

    def before(self) -> None:
        """Totals of the chains become what is before them in their line."""
        code, inner = self.code, self.number("inner")

        def line(number: str) -> None:
            outer, column = self.split(number, inner)
            blocks = self.number("blocks")
            row = code.op(f"mul i64 {outer}, {code.op(f'mul i64 {blocks}, {inner}')}")

            def visit(spot: str, total: str, value: str) -> str:
                self.put("totals", spot, total)
                return self.combined(total, value)

            self.walk("totals", code.add(row, column), inner, blocks, visit)

        self.each(self.number("lines"), line)

    def results(self) -> None:
        """Of lines that are one block."""
        self.each(self.number("chains"), lambda chain: self._results(chain, None))

    def behind(self) -> None:
        """Results behind the totals before their chains."""
        self.each(
            self.number("chains"), lambda chain: self._results(chain, self.get("totals", chain))
        )

    def _results(self, chain: str, before: str | None) -> None:
        def visit(spot: str, total: str, value: str) -> str:
            total = self.combined(total, value)
            self.put("out", spot, total if before is None else self.combined(before, total))
            return total

        self.of_chain(chain, visit)


@lru_cache(None)
def _text(step: str, dtype: np.dtype, combine: str, guarded: bool) -> Text:
    sums = combine == "add"
    if dtype is dt.bool_:
        made = ("i8", "or", "0") if sums else ("i8", "and", "1")
    elif dt.is_float(dtype):
        kind = "double" if dtype is dt.float64 else "float"
        made = kind, f"f{combine}", "-0.0" if sums else "1.0"
    else:
        made = f"i{8 * dtype.itemsize}", combine, "0" if sums else "1"
    writer = _Scan(guarded, *made)
    getattr(writer, step)()
    return writer.finish(f"scan_{step}")


def generate(
    scan: Scan, step: HostStep, card: Card, temp_slot: int, guarded: bool
) -> list[GpuFunction]:
    """Functions that are a scan; values of other dtypes than they are combined in are converted
    before, and results after."""
    given, made = step.avals
    if not given.size:
        return []
    dtype, count, space = dt.compute_type(made.dtype), given.size, Workspace(temp_slot)
    source, target = Memory(step.inputs[0]), Memory(step.outputs[0])
    before, after = list[GpuFunction](), list[GpuFunction]()
    if given.dtype is not dtype:
        wide = space.take(count * dtype.itemsize)
        before = converted(count, (source, given.dtype), (wide, dtype), card, guarded)
        source = wide
    if made.dtype is not dtype:
        wide = space.take(count * dtype.itemsize)
        after = converted(count, (wide, dtype), (target, made.dtype), card, guarded)
        target = wide
    parts = _scanned(scan, given.shape, dtype, (source, target), space, guarded)
    return [*before, *parts, *after]


def _scanned(
    scan: Scan,
    shape: Sequence[int],
    dtype: np.dtype,
    places: tuple[Memory, Memory],
    space: Workspace,
    guarded: bool,
) -> list[GpuFunction]:
    """The scan of contiguous values of the dtype that they are combined in."""
    extent = shape[scan.axis]
    blocks, lines = -(-extent // SCAN_BLOCK), prod(shape) // extent
    chains = lines * blocks
    totals = space.take(chains * dtype.itemsize if blocks > 1 else 0)
    values = dict[str, Memory | int](x=places[0], out=places[1], totals=totals)
    values |= dict(extent=extent, inner=prod(shape[scan.axis + 1 :]))
    values |= dict(blocks=blocks, chains=chains, lines=lines)

    def launch(name: str, items: int) -> GpuFunction:
        text = _text(name, dtype, scan.combine, guarded)
        return text.launch(blocks_for(items), space.size, **values)

    if blocks == 1:
        return [launch("results", chains)]
    return [launch("totals", chains), launch("before", lines), launch("behind", chains)]
