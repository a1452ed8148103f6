"""Accumulators of reductions: neutral elements, combining, and the fixed tree over 64 lanes.

Invariant: combining with a neutral element changes no bits, so masked lanes and missing vectors do
not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...core.errors import BackendError
from ...ir.scalar.program import BITS, POSITIONS, PrimName, Program, ScalarType, bits_of
from .code import Code
from .lanes import Lanes, is_float, is_signed, memory_scalar

__all__ = ["Pick", "Reduction", "reductions_of"]

# How two values are combined; names of methods of Lanes.
_COMBINE: dict[PrimName, str] = {
    "rsum": "_add",
    "rprod": "_mul",
    "rmax": "_max",
    "rmin": "_min",
    "rall": "_and",
    "rany": "_or",
}
_INDEXED: frozenset[PrimName] = frozenset(("rargmax", "rargmin"))
_LEAST: frozenset[PrimName] = frozenset(("rmin", "rargmin"))
_EXTREME: frozenset[PrimName] = frozenset(("rmax", "rmin"))
_ONES: frozenset[PrimName] = frozenset(("rprod", "rall"))  # 1 is neutral
_NUMERIC: frozenset[PrimName] = frozenset(("rsum", "rprod"))
_KEY: dict[ScalarType, ScalarType] = {"f32": "i32", "f64": "i64"}  # type of a float's key


class Pick(NamedTuple):
    """What a reduction takes of one element, all others being neutral: the value where the position
    is the wanted one; numbers of instructions."""

    value: int
    position: int
    wanted: int


class Reduction:
    """One reduction instruction; an accumulator is a list of values: [value], [value, index] or
    [high, low].

    The last are the largest and the smallest key of floats, integers in the order of the numbers:
    -0.0 before +0.0, NaN of either sign at the two ends.  Comparing those takes one short
    instruction per vector where a maximum that propagates NaN takes six, each waiting for the one
    before."""

    __slots__ = ("number", "prim", "operand", "type", "parts", "keyed")

    def __init__(self, program: Program, number: int) -> None:
        instr = program.instrs[number]
        self.number, self.prim, self.operand = number, instr.prim, instr.args[0]
        self.type = program.instrs[self.operand].type
        self.keyed = self.prim in _EXTREME and self.type in _KEY
        self.parts: list[ScalarType] = [self.type]
        if self.indexed:
            self.parts = [self.type, "i64"]
        elif self.keyed:
            self.parts = [_KEY[self.type]] * 2
        if self.prim in _NUMERIC and self.type == "b1":
            raise BackendError(f"{self.prim} of truth values; convert them to a number first")

    @property
    def indexed(self) -> bool:
        return self.prim in _INDEXED

    def feed(self, lanes: Lanes, value: str, index: str) -> list[str]:
        """The accumulator that has seen one element (per lane)."""
        if not self.keyed:
            return [value, index] if self.indexed else [value]
        key = self._key(
            lanes,
            lanes.cast("bitcast", value, memory_scalar(self.type), memory_scalar(self.parts[0])),
        )
        return [key, key]

    def _key(self, lanes: Lanes, bits: str) -> str:
        """Bits of a float <-> its key: of a negative number all but the sign are inverted."""
        scalar_type = self.parts[0]
        negative = lanes.binary(
            "ashr", scalar_type, bits, lanes.const(scalar_type, BITS[scalar_type] - 1)
        )
        rest = lanes.const(scalar_type, (1 << BITS[scalar_type] - 1) - 1)
        return lanes.binary(
            "xor", scalar_type, bits, lanes.binary("and", scalar_type, negative, rest)
        )

    def _unkey(self, lanes: Lanes, high: str, low: str) -> str:
        """The float of a pair of keys; NaN if one of them is beyond the infinities."""
        scalar_type = self.parts[0]
        bits = self._key(lanes, high if self.prim == "rmax" else low)
        value = lanes.cast("bitcast", bits, memory_scalar(scalar_type), memory_scalar(self.type))
        top, bottom = self._neutral_bits()[::-1]
        beyond = lanes.binary(
            "or",
            "b1",
            lanes.icmp("sgt", scalar_type, high, lanes.const(scalar_type, top)),
            lanes.icmp("slt", scalar_type, low, lanes.const(scalar_type, bottom)),
        )
        return lanes.pick(
            self.type, beyond, lanes.const(self.type, bits_of(self.type, float("nan"))), value
        )

    def neutral(self, lanes: Lanes) -> list[str]:
        """An accumulator that has seen nothing."""
        return [lanes.const(ty, bits) for ty, bits in zip(self.parts, self._neutral_bits())]

    def _neutral_bits(self) -> list[int]:
        scalar_type = self.type
        if self.prim == "rsum":
            return [bits_of(scalar_type, -0.0) if is_float(scalar_type) else 0]
        if self.prim in _ONES:
            return [bits_of(scalar_type, 1)]
        if self.prim == "rany":
            return [0]
        least = self.prim in _LEAST
        if self.keyed:
            top = bits_of(scalar_type, float("inf"))
            return [(1 << BITS[scalar_type]) - 1 - top, top]
        if is_float(scalar_type):
            end = bits_of(scalar_type, float("inf") if least else float("-inf"))
        else:
            low = 1 << (BITS[scalar_type] - 1) if is_signed(scalar_type) else 0
            high = (
                (1 << (BITS[scalar_type] - 1)) - 1
                if is_signed(scalar_type)
                else (1 << BITS[scalar_type]) - 1
            )
            end = high if least else low
        return [end, (1 << 63) - 1] if self.indexed else [end]

    def pick(self, program: Program) -> Pick | None:
        """Of a sum or product of elements that are neutral but for that at one position."""
        chosen = program.instrs[self.operand]
        if self.prim not in _NUMERIC or chosen.prim != "select":
            return None
        condition, value, other = chosen.args
        same, rest = program.instrs[condition], program.instrs[other]
        if same.prim != "eq" or rest.prim != "const" or [rest.attr] != self._neutral_bits():
            return None
        for position, wanted in (same.args, same.args[::-1]):
            if program.instrs[position].prim in POSITIONS:
                return Pick(value, position, wanted)
        return None

    def combine(self, lanes: Lanes, before: Sequence[str], added: Sequence[str]) -> list[str]:
        """Both, in this order."""
        if self.keyed:
            return [
                lanes.intrinsic(f, ty, (x, y))
                for f, ty, x, y in zip(("smax", "smin"), self.parts, before, added)
            ]
        if not self.indexed:
            return [getattr(lanes, _COMBINE[self.prim])(self.type, (before[0], added[0]))]
        better = self._better(lanes, before, added)
        return [lanes.pick(ty, better, y, x) for ty, x, y in zip(self.parts, before, added)]

    def follow(self, lanes: Lanes, before: Sequence[str], added: Sequence[str]) -> list[str]:
        """Both, where every element of `added` comes later than those of `before`."""
        if not self.indexed:
            return self.combine(lanes, before, added)
        largest, code, vector = self.prim not in _LEAST, lanes.code, lanes.ty(self.type)
        if is_float(self.type):
            beyond = code.op(f"fcmp {'ugt' if largest else 'ult'} {vector} {added[0]}, {before[0]}")
            number = code.op(f"fcmp ord {vector} {before[0]}, {before[0]}")
            beyond = lanes.binary("and", "b1", beyond, number)
        else:
            beyond = lanes.compared("gt" if largest else "lt", self.type, (added[0], before[0]))
        return [lanes.pick(ty, beyond, y, x) for ty, x, y in zip(self.parts, before, added)]

    def _better(self, lanes: Lanes, before: Sequence[str], added: Sequence[str]) -> str:
        """Whether `added` wins over `before`: larger (smaller), or equal and earlier; NaN wins
        over numbers."""
        scalar_type, code = self.type, lanes.code
        wins = lanes.compared(
            "lt" if self.prim in _LEAST else "gt", scalar_type, (added[0], before[0])
        )
        same = lanes.compared("eq", scalar_type, (added[0], before[0]))
        if is_float(scalar_type):
            nan_a = code.op(f"fcmp uno {lanes.ty(scalar_type)} {before[0]}, {before[0]}")
            nan_b = code.op(f"fcmp uno {lanes.ty(scalar_type)} {added[0]}, {added[0]}")
            both = lanes.binary("and", "b1", nan_a, nan_b)
            only = lanes.binary("and", "b1", nan_b, lanes.negated("b1", (nan_a,)))
            wins, same = lanes.binary("or", "b1", wins, only), lanes.binary("or", "b1", same, both)
        earlier = lanes.icmp("slt", "i64", added[1], before[1])
        return lanes.binary("or", "b1", wins, lanes.binary("and", "b1", same, earlier))

    def masked(self, lanes: Lanes, value: Sequence[str], mask: str | None) -> list[str]:
        """The value where the mask is on, the neutral element elsewhere."""
        if mask is None:
            return list(value)
        return [
            lanes.pick(ty, mask, x, e) for ty, x, e in zip(self.parts, value, self.neutral(lanes))
        ]

    def fold(self, code: Code, accumulators: Sequence[Sequence[str]]) -> list[str]:
        """The tree over four vectors (or one, when the others are neutral) of 16 lanes."""
        lanes = Lanes(16, code)
        top = accumulators[0]
        if len(accumulators) == 4:
            left = self.combine(lanes, accumulators[0], accumulators[1])
            right = self.combine(lanes, accumulators[2], accumulators[3])
            top = self.combine(lanes, left, right)
        if self.type == "b1" and not self.indexed:
            bits = code.op(f"bitcast <16 x i1> {top[0]} to i16")
            return [
                code.op(
                    f"icmp eq i16 {bits}, -1" if self.prim == "rall" else f"icmp ne i16 {bits}, 0"
                )
            ]
        width = 16
        while width > 1:
            wide, half = Lanes(width, code), width // 2
            low = [_half(wide, ty, x, 0, half) for ty, x in zip(self.parts, top)]
            high = [_half(wide, ty, x, half, half) for ty, x in zip(self.parts, top)]
            top = self.combine(Lanes(half, code), low, high)
            width = half
        return list(top)

    def result(self, lanes: Lanes, total: Sequence[str], empty: str) -> str:
        """The value of the instruction; `empty` (i1) tells that the row has no elements."""
        if self.prim == "rsum" and is_float(self.type):
            # a sum starts from -0.0; that of no elements is +0.0
            vector, zero = lanes.ty(self.type), lanes.const(self.type, 0)
            return lanes.code.op(f"select i1 {empty}, {vector} {zero}, {vector} {total[0]}")
        if self.indexed:  # nothing beat the neutral element: all elements are equal to it
            none = lanes.const("i64", (1 << 63) - 1)
            same = lanes.icmp("eq", "i64", total[1], none)
            return lanes.pick("i64", same, lanes.const("i64", 0), total[1])
        return self._unkey(lanes, total[0], total[1]) if self.keyed else total[0]


def _half(lanes: Lanes, scalar_type: ScalarType, value: str, first: int, count: int) -> str:
    vector = lanes.ty(scalar_type)
    if count == 1:
        return lanes.code.op(f"extractelement {vector} {value}, i64 {first}")
    picks = ", ".join(f"i32 {first + k}" for k in range(count))
    return lanes.code.op(
        f"shufflevector {vector} {value}, {vector} poison, <{count} x i32> <{picks}>"
    )


def reductions_of(program: Program, numbers: Sequence[int]) -> list[Reduction]:
    return [Reduction(program, i) for i in numbers]
