"""What a function of the host's libraries computes, for devices that have kernels for it.

Invariant: an algorithm and the avals of inputs and outputs say what every bit of the results is;
inputs and outputs are contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = [
    "SCAN_BLOCK",
    "MASK_BLOCK",
    "Scan",
    "Order",
    "Sort",
    "Ranks",
    "StableParts",
    "Divisor",
    "BitsTogether",
    "BitsSpread",
    "Assign",
    "TrueCounts",
    "TruePlaces",
    "TrueElements",
    "TrueReplaced",
    "While",
    "Traversal",
    "Branch",
    "Control",
    "Algorithm",
]

SCAN_BLOCK = 256  # elements that are combined from their own start
MASK_BLOCK = 4096  # elements of a mask that are counted together


@dataclass(frozen=True)
class Scan:
    """(x) -> results up to each element along an axis.  Blocks of 256 elements from their own
    start, left to right; the total before a block, in order, `combine`s with each result inside it.
    The first block stays as it is.  Half types are combined in float32 and rounded once."""

    combine: Literal["add", "mul"]
    axis: int


@dataclass(frozen=True)
class Order:
    """(x) -> int64 positions that sort each line along an axis: NaN is the largest, both zeros are
    equal, equal elements stay in their order whatever the direction."""

    axis: int
    descending: bool


@dataclass(frozen=True)
class Sort:
    """(x) -> the elements of each line along an axis as `Order` puts them."""

    axis: int
    descending: bool


@dataclass(frozen=True)
class Ranks:
    """(x) -> of each line along the last axis the elements at these places of its `Order`, or their
    int64 positions."""

    places: tuple[int, ...]
    positions: bool


@dataclass(frozen=True)
class StableParts:
    """(x) -> each line along an axis, or its int64 positions, in parts: elements below the one at
    the first of these places of the `Order`, those that equal it, those between it and the next
    one's, and so on; elements of a part stay in their order."""

    axis: int
    places: tuple[int, ...]
    positions: bool


@dataclass(frozen=True)
class Divisor:
    """(x, y) of one shape -> their greatest common divisors, or least common `multiple`s; 0 and y
    have the divisor |y| and the multiple 0."""

    multiple: bool


@dataclass(frozen=True)
class BitsTogether:
    """(x) -> bytes of whether elements along the last axis are not 0, eight each, zeros behind the
    last; `big`: the first one is the highest bit."""

    big: bool


@dataclass(frozen=True)
class BitsSpread:
    """(bytes) -> their bits along the last axis, a byte each."""

    big: bool


@dataclass(frozen=True)
class Assign:
    """(base[rows, inner], index[count] in range, update[count, inner]) -> base with row index[i]
    replaced by update[i]; the last of equal indices stays."""


@dataclass(frozen=True)
class TrueCounts:
    """(mask) -> int64[blocks + 1]: how many elements, in row-major order, are true ahead of each
    block of MASK_BLOCK elements; at last, how many are at all."""


@dataclass(frozen=True)
class TruePlaces:
    """(mask, its counts) -> int64 row-major numbers of the true elements, in order; with axes their
    coordinates along these: [true, axes], or [true] along one; with `gaps` how far it is from each
    number to the next one, from the last to the end."""

    axes: tuple[int, ...] | None = None
    gaps: bool = False
    mask: ClassVar[int] = 0  # its number among the inputs
    varies: ClassVar[int] = 2  # number of what has an element for each true one


@dataclass(frozen=True)
class TrueElements:
    """(x, mask of its shape, its counts) -> the elements of x where the mask is true, in order."""

    mask: ClassVar[int] = 1
    varies: ClassVar[int] = 3


@dataclass(frozen=True)
class TrueReplaced:
    """(values[true], mask, its counts, x of the mask's shape) -> x, but values one after the other
    where the mask is true; without an x it is zeros."""

    mask: ClassVar[int] = 1
    varies: ClassVar[int] = 0


@dataclass(frozen=True)
class While:
    """(*carry, *rest) -> carry: plan 1 gives the next carry from carry and rest, plan 0 whether
    there is a next."""

    carry: int


@dataclass(frozen=True)
class Traversal:
    """(*carry, *rows, *rest) -> (*carry, *stacked): for each of `count` positions along the first
    axis of the rows, the last one first if `reverse`, the plan gives from carry, a row of each and
    rest the next carry, and rows of what is stacked."""

    carry: int
    rows: int
    count: int
    reverse: bool


@dataclass(frozen=True)
class Branch:
    """(int64 position, *operands) -> what the plan with that position gives of the operands;
    positions are clamped."""


Control = While | Traversal | Branch
Bits = BitsTogether | BitsSpread
Masked = TrueCounts | TruePlaces | TrueElements | TrueReplaced
Algorithm = Scan | Order | Sort | Ranks | StableParts | Divisor | Bits | Assign | Masked | Control
