"""Running sums and products: blocks of a line, the totals before them, then the two combined.

Invariant: the order of `Scan` decides on every bit; chains (a block of a line, of one column) are
walked several at a time because each waits for itself, which changes no order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np

from ...core import dtypes as dt
from ...ir.algorithm import SCAN_BLOCK, Scan
from ...ir.scalar.compose import conversion
from ..emit.code import Code, finish_module
from ..emit.loops import SIGNATURE, generate_all
from ..generated import Generated, pack_words
from ..plan import Access, HostStep, LoopKernel
from .words import address, argument

__all__ = ["generate"]

Ints = tuple[int, ...]
_TOGETHER = 4  # chains of single elements that are walked at once
_LANES = 16  # elements of a vector
_STRIP = 4 * _LANES  # columns of chains of vectors that are walked at once
_CHUNK = 1 << 14  # elements that make a sensible chunk of work
# argument words: three operands (slot, byte offset), then sizes
_X, _OUT, _TOTALS, _EXTENT, _INNER, _BLOCKS, _COUNT = 0, 16, 32, 48, 56, 64, 72


class _Kind(NamedTuple):
    """How elements are combined: their LLVM type, the instruction, bytes, what changes nothing."""

    element: str
    combine: str
    size: int
    nothing: str


def _kind(scan: Scan, dtype: np.dtype) -> _Kind:
    sums, size = scan.combine == "add", dtype.itemsize
    if dtype is dt.bool_:
        return _Kind("i8", "or" if sums else "and", 1, str(int(not sums)))
    if dt.is_float(dtype):
        element, nothing = "double" if dtype is dt.float64 else "float", "-0.0" if sums else "1.0"
        return _Kind(element, f"f{scan.combine}", size, nothing)
    return _Kind(f"i{8 * size}", scan.combine, size, str(int(not sums)))


# ---- code
class _Writer:
    """What all texts have: operands, sizes, and elements of a width side by side."""

    def __init__(self, kind: _Kind, width: int = 1) -> None:
        self.kind, self.width, self.code = kind, width, Code()
        self.vector = kind.element if width == 1 else f"<{width} x {kind.element}>"
        self.source, self.target, self.totals = [
            address(self.code, at) for at in (_X, _OUT, _TOTALS)
        ]
        words = [argument(self.code, at) for at in (_EXTENT, _INNER, _BLOCKS, _COUNT)]
        self.extent, self.inner, self.blocks, self.count = words

    def load(self, base: str, index: str) -> str:
        place = self.code.at(self.kind.element, base, index)
        return self.code.op(f"load {self.vector}, ptr {place}, align {self.kind.size}")

    def store(self, value: str, base: str, index: str) -> None:
        place = self.code.at(self.kind.element, base, index)
        self.code.do(f"store {self.vector} {value}, ptr {place}, align {self.kind.size}")

    def combined(self, first: str, second: str) -> str:
        return self.code.op(f"{self.kind.combine} {self.vector} {first}, {second}")

    def parts(self, value: str, by: str) -> tuple[str, str]:
        """Quotient and remainder."""
        quotient = self.code.op(f"udiv i64 {value}, {by}")
        return quotient, self.code.op(f"sub i64 {value}, {self.code.mul(quotient, by)}")

    def finish(self, name: str) -> tuple[str, str]:
        self.code.do("ret i64 0")
        return finish_module(self.code, SIGNATURE, f"scan_{name}")


class _Chain(NamedTuple):
    """A block of a line in one column, or in several side by side: its number among them, its first
    element, how many it has."""

    number: str
    begin: str
    size: str


Gives = Literal["ends", "results", "alone"]


class _Walker(_Writer):
    """Chains: what is reached at their ends, or each result: the total before the block combined
    with what is reached inside of it, or that alone where lines have one block."""

    def __init__(self, kind: _Kind, width: int, gives: Gives) -> None:
        super().__init__(kind, width)
        self.gives = gives

    def chain(self, block: str, column: str) -> _Chain:
        code = self.code
        line, part = self.parts(block, self.blocks)
        first = code.mul(part, str(SCAN_BLOCK))
        size = code.smin(code.op(f"sub i64 {self.extent}, {first}"), str(SCAN_BLOCK))
        row = code.mul(code.add(code.mul(line, self.extent), first), self.inner)
        number = code.add(code.mul(block, self.inner), column)
        return _Chain(number, code.add(row, column), size)

    def walk(self, chains: Sequence[_Chain]) -> None:
        """Together as long as all go on, then each alone."""
        code, element = self.code, self.kind.element
        sources = [code.at(element, self.source, chain.begin) for chain in chains]
        before, targets = list[str](), list[str]()
        if self.gives == "results":
            before = [self.load(self.totals, chain.number) for chain in chains]
        if self.gives != "ends":
            targets = [code.at(element, self.target, chain.begin) for chain in chains]

        def reach(number: int, inside: str, ahead: str) -> str:
            if targets:
                result = self.combined(before[number], inside) if before else inside
                self.store(result, targets[number], ahead)
            return inside

        def step(numbers: Sequence[int]) -> Callable[[str, list[str]], list[str]]:
            def one(i: str, reached: list[str]) -> list[str]:
                ahead, after = code.mul(i, self.inner), []
                for number, inside in zip(numbers, reached):
                    inside = self.combined(inside, self.load(sources[number], ahead))
                    after.append(reach(number, inside, ahead))
                return after

            return one

        every, sizes = range(len(chains)), [chain.size for chain in chains]
        common = reduce(
            lambda least, size: least if size == least else code.smin(least, size), sizes
        )
        starts = [reach(number, self.load(sources[number], "0"), "0") for number in every]
        reached = code.loop("1", common, "1", [(self.vector, s) for s in starts], step(every))[1]
        if any(size != sizes[0] for size in sizes):
            reached = [
                code.loop(common, sizes[number], "1", [(self.vector, end)], step([number]))[1][0]
                for number, end in enumerate(reached)
            ]
        for chain, end in zip(chains, reached) if self.gives == "ends" else ():
            self.store(end, self.totals, chain.number)


@lru_cache(None)
def _single(kind: _Kind, gives: Gives) -> tuple[str, str]:
    """An item is some chains of single elements."""
    writer = _Walker(kind, 1, gives)
    code = writer.code

    def walk(first: str, count: int) -> None:
        numbers = [code.add(first, str(number)) for number in range(count)]
        writer.walk([writer.chain(*writer.parts(one, writer.inner)) for one in numbers])

    def alone(chain: str, _: list[str]) -> list[str]:
        walk(chain, 1)
        return []

    def item(number: str, _: list[str]) -> list[str]:
        first = code.mul(number, str(_TOGETHER))
        stop = code.smin(code.add(first, str(_TOGETHER)), writer.count)
        whole = code.op(f"icmp eq i64 {code.op(f'sub i64 {stop}, {first}')}, {_TOGETHER}")
        code.when(whole, lambda: walk(first, _TOGETHER))
        start = code.op(f"select i1 {whole}, i64 {stop}, i64 {first}")
        code.loop(start, stop, "1", [], alone)
        return []

    code.loop("%begin", "%end", "1", [], item)
    return writer.finish(gives)


@lru_cache(None)
def _strips(kind: _Kind, gives: Gives) -> tuple[str, str]:
    """An item is a strip of the columns of a block; the last one begins before the one ahead of it
    ends: both write the same there."""
    writer = _Walker(kind, _LANES, gives)
    code = writer.code

    def item(number: str, _: list[str]) -> list[str]:
        block, strip = writer.parts(number, writer.count)
        last = code.op(f"sub i64 {writer.inner}, {_STRIP}")
        column = code.smin(code.mul(strip, str(_STRIP)), last)
        first = writer.chain(block, column)
        writer.walk(
            [
                first._replace(
                    number=code.add(first.number, ahead), begin=code.add(first.begin, ahead)
                )
                for ahead in map(str, range(0, _STRIP, _LANES))
            ]
        )
        return []

    code.loop("%begin", "%end", "1", [], item)
    return writer.finish(f"strips_{gives}")


@lru_cache(None)
def _before(kind: _Kind) -> tuple[str, str]:
    """An item is a column of a line: in the place of what its blocks reach comes the total before
    each of them."""
    writer = _Writer(kind)
    code = writer.code

    def item(number: str, _: list[str]) -> list[str]:
        line, column = writer.parts(number, writer.inner)
        row = code.mul(line, writer.blocks)

        def place(block: str) -> str:
            return code.add(code.mul(code.add(row, block), writer.inner), column)

        def one(block: str, before: list[str]) -> list[str]:
            here = place(block)
            end = writer.load(writer.totals, here)
            writer.store(before[0], writer.totals, here)
            return [writer.combined(before[0], end)]

        first = place("0")
        reached = writer.load(writer.totals, first)
        writer.store(kind.nothing, writer.totals, first)
        code.loop("1", writer.blocks, "1", [(kind.element, reached)], one)
        return []

    code.loop("%begin", "%end", "1", [], item)
    return writer.finish("before")


# ---- kernels
class _Place(NamedTuple):
    """Where contiguous elements lie: a slot, and how far from its start."""

    slot: int
    dtype: np.dtype
    offset: int = 0  # in elements

    def access(self) -> Access:
        return Access(self.slot, self.dtype, self.offset, (1,))

    def words(self) -> Ints:
        return self.slot, self.offset * self.dtype.itemsize


class _Space:
    """Places in the workspace."""

    def __init__(self, slot: int) -> None:
        self.slot, self.size = slot, 0

    def take(self, count: int, dtype: np.dtype) -> _Place:
        at, self.size = self.size, self.size + -(-count * dtype.itemsize // 64) * 64
        return _Place(self.slot, dtype, at // dtype.itemsize)


def generate(step: HostStep, temp_slot: int) -> list[Generated]:
    """The functions of a scan over contiguous values; those of other dtypes than they are combined
    in are converted before, and results after."""
    scan: Any = step.algorithm
    given, made = step.avals
    dtype, space, count = dt.compute_type(made.dtype), _Space(temp_slot), given.size
    source, target = _Place(step.inputs[0], given.dtype), _Place(step.outputs[0], made.dtype)
    functions = list[Generated]()
    if given.dtype is not dtype:
        wide = space.take(count, dtype)
        functions += _converted(count, source, wide, temp_slot)
        source = wide
    inside = target if made.dtype is dtype else space.take(count, dtype)
    sizes = (
        prod(given.shape[: scan.axis]),
        given.shape[scan.axis],
        prod(given.shape[scan.axis + 1 :]),
    )
    functions += _scanned(scan, sizes, (source, inside), space)
    if made.dtype is not dtype:
        functions += _converted(count, inside, target, temp_slot)
    return [made._replace(temp=max(made.temp, space.size)) for made in functions]


def _converted(count: int, source: _Place, target: _Place, temp_slot: int) -> list[Generated]:
    program = conversion(source.dtype, target.dtype)
    kernel = LoopKernel((count,), None, program, (source.access(),), (target.access(),))
    return generate_all(kernel, temp_slot)


def _scanned(
    scan: Scan, sizes: Ints, places: tuple[_Place, _Place], space: _Space
) -> list[Generated]:
    """The scan of contiguous values of the dtype that they are combined in."""
    lines, extent, inner = sizes
    blocks, kind = -(-extent // SCAN_BLOCK), _kind(scan, places[0].dtype)
    chains, longest = lines * blocks * inner, min(extent, SCAN_BLOCK)
    # a call without a workspace has no such slot
    totals = space.take(chains, places[0].dtype) if blocks > 1 else places[1]
    if inner < _STRIP:
        text, count, items, side = _single, chains, -(-chains // _TOGETHER), _TOGETHER
    else:
        count = -(-inner // _STRIP)
        text, items, side = _strips, lines * blocks * count, _STRIP
    operands = [word for place in (*places, totals) for word in place.words()]
    words = pack_words((*operands, extent, inner, blocks, count), {})

    def function(made: tuple[str, str], items: int, work: int) -> Generated:
        return Generated(*made, words, items if extent else 0, max(1, _CHUNK // max(work, 1)), 0)

    if blocks <= 1:
        return [function(text(kind, "alone"), items, side * longest)]
    return [
        function(text(kind, "ends"), items, side * longest),
        function(_before(kind), lines * inner, blocks),
        function(text(kind, "results"), items, side * longest),
    ]
