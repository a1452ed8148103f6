"""Lines of elements along an axis, and the keys that order them.

Invariant: keys are whole numbers without a sign that are ordered as `Order` says: zeros of both
signs have one, so have all NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np

from ....core import dtypes as dt
from ....core.aval import Aval
from ...emit.code import Code, finish_module
from ...emit.loops import SIGNATURE
from ..gemm.pack import divide, each
from ..words import address, argument

__all__ = [
    "FURTHER",
    "ElementKind",
    "Line",
    "LineSizes",
    "extremes_of",
    "function",
    "kind_of",
    "line_of",
    "sizes_of",
    "words_of",
]

# argument words: two operands (slot, byte offset), sizes, what `words_of` says of keys; what else a
# function takes is behind
_X, _OUT, _EXTENT, _INNER, _FLIPS, _INFINITY, FURTHER = 0, 16, 32, 40, 48, 56, 64


class ElementKind(NamedTuple):
    """How elements are stored."""

    bits: int
    floating: bool

    @property
    def integer(self) -> str:
        return f"i{self.bits}"

    @property
    def top(self) -> int:
        """The sign bit alone, as LLVM writes it."""
        return -(1 << (self.bits - 1))

    def constant(self, lanes: int, number: int) -> str:
        """A number in all lanes."""
        return str(number) if lanes == 1 else f"splat ({self.integer} {number})"

    def type_of(self, lanes: int) -> str:
        return self.integer if lanes == 1 else f"<{lanes} x {self.integer}>"


def kind_of(dtype: np.dtype) -> ElementKind:
    return ElementKind(8 * dtype.itemsize, dt.is_float(dtype))


def words_of(dtype: np.dtype, descending: bool) -> tuple[int, int]:
    """What makes keys of a dtype beside its kind: the bits that are turned round, of floats at last
    and of others in place; the infinity of floats."""
    flips = -1 if descending else 0
    if dt.is_float(dtype):
        return flips, np.array(np.inf, dtype).view(f"u{dtype.itemsize}").item()
    return flips ^ (ElementKind(8 * dtype.itemsize, False).top if dtype.kind == "i" else 0), 0


class Line(NamedTuple):
    """The function under construction: sizes, what makes keys, and where the line of an item
    begins."""

    kind: ElementKind
    code: Code
    extent: str
    inner: str
    flips: str
    infinity: str
    source: str
    target: str
    stored: str  # LLVM's type of a result

    # ---- keys
    def _everywhere(self, value: str, lanes: int) -> str:
        """A number in all lanes."""
        if lanes == 1:
            return value
        many = self.kind.type_of(lanes)
        one = self.code.op(f"insertelement {many} poison, {self.kind.integer} {value}, i64 0")
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self.code.op(f"shufflevector {many} {one}, {many} poison, {zeros}")

    def key(self, value: str, lanes: int = 1) -> str:
        """The keys of elements side by side, given as their bits."""
        builder, kind, many = self.code, self.kind, self.kind.type_of(lanes)
        if kind.floating:
            truths = "i1" if lanes == 1 else f"<{lanes} x i1>"
            is_nan, is_zero = self.special(value, lanes)
            zero, most = kind.constant(lanes, 0), kind.constant(lanes, -1)
            value = builder.op(f"select {truths} {is_zero}, {many} {zero}, {many} {value}")
            sign = builder.op(f"ashr {many} {value}, {kind.constant(lanes, kind.bits - 1)}")
            turned = builder.op(f"or {many} {sign}, {kind.constant(lanes, kind.top)}")
            value = builder.op(f"xor {many} {value}, {turned}")
            value = builder.op(f"select {truths} {is_nan}, {many} {most}, {many} {value}")
        return builder.op(f"xor {many} {value}, {self._everywhere(self.flips, lanes)}")

    def special(self, value: str, lanes: int = 1) -> tuple[str, str]:
        """Which floats are no numbers, and which are zeros."""
        builder, kind, many = self.code, self.kind, self.kind.type_of(lanes)
        magnitude = builder.op(f"and {many} {value}, {kind.constant(lanes, ~kind.top)}")
        limit = self._everywhere(self.infinity, lanes)
        is_nan = builder.op(f"icmp ugt {many} {magnitude}, {limit}")
        return is_nan, builder.op(f"icmp eq {many} {magnitude}, {kind.constant(lanes, 0)}")

    def element(self, key: str, lanes: int = 1) -> str:
        """The bits of the elements with these keys: of both zeros the positive one, of NaN any."""
        builder, kind, many = self.code, self.kind, self.kind.type_of(lanes)
        value = builder.op(f"xor {many} {key}, {self._everywhere(self.flips, lanes)}")
        if not kind.floating:
            return value
        sign = builder.op(f"ashr {many} {value}, {kind.constant(lanes, kind.bits - 1)}")
        turned = builder.op(f"xor {many} {sign}, {kind.constant(lanes, -1)}")
        turned = builder.op(f"or {many} {turned}, {kind.constant(lanes, kind.top)}")
        return builder.op(f"xor {many} {value}, {turned}")

    # ---- elements
    def bits(self, index: str) -> str:
        """Those of an element."""
        place = self.code.at(self.kind.integer, self.source, self.code.mul(index, self.inner))
        return self.code.op(f"load {self.kind.integer}, ptr {place}")

    def sort_key(self, index: str) -> str:
        """The key of an element."""
        return self.key(self.bits(index))

    def store(self, value: str, sorted_place: str) -> None:
        place = self.code.at(self.stored, self.target, self.code.mul(sorted_place, self.inner))
        self.code.do(f"store {self.stored} {value}, ptr {place}")

    def each(self, stop: str, body: Callable[[str], None]) -> None:
        """body(i) for every i from zero."""
        each(self.code, "0", stop, "1", body)


def line_of(builder: Code, kind: ElementKind, stored: str) -> Line:
    """The first line of a function."""
    source, target = address(builder, _X), address(builder, _OUT)
    extent, inner = argument(builder, _EXTENT), argument(builder, _INNER)
    flips, infinity = argument(builder, _FLIPS), argument(builder, _INFINITY)
    if kind.bits < 64:
        flips, infinity = [
            builder.op(f"trunc i64 {word} to {kind.integer}") for word in (flips, infinity)
        ]
    return Line(kind, builder, extent, inner, flips, infinity, source, target, stored)


def function(
    kind: ElementKind,
    name: str,
    write: Callable[[Line], None],
    stored: str = "i64",
    counted: bool = False,
    head: str = "",
) -> tuple[str, str]:
    """A function whose items are lines: write(line) for each.  `counted`: a line has as many
    results as a further word says, not as many as elements."""
    builder = Code()
    first = line_of(builder, kind, stored)
    extent, inner = first.extent, first.inner

    def item(number: str) -> None:
        outer, column = divide(builder, number, inner)
        given = builder.add(builder.mul(builder.mul(outer, extent), inner), column)
        made = given
        if counted:
            made = builder.mul(number, argument(builder, FURTHER))
        source = builder.at(kind.integer, first.source, given)
        write(first._replace(source=source, target=builder.at(stored, first.target, made)))

    each(builder, "%begin", "%end", "1", item)
    builder.do("ret i64 0")
    text, symbol = finish_module(builder, SIGNATURE, f"order_{name}")
    return head + text, symbol


class LineSizes(NamedTuple):
    """How many lines there are, and how their elements lie."""

    lines: int
    extent: int
    inner: int


def sizes_of(given: Aval, axis: int) -> LineSizes:
    inner = prod(given.shape[axis + 1 :])
    return LineSizes(prod(given.shape[:axis]) * inner, given.shape[axis], inner)


def extremes_of(line: Line) -> list[str]:
    """The least and the greatest key."""

    def reach(index: str, extremes: list[str]) -> list[str]:
        key = line.sort_key(index)
        intrinsics = zip(("llvm.umin.i64", "llvm.umax.i64"), extremes)
        return [line.code.call(name, "i64", f"i64 {end}", f"i64 {key}") for name, end in intrinsics]

    initial = [("i64", line.sort_key("0"))] * 2
    return line.code.loop("1", line.extent, "1", initial, reach)[1]
