"""The lanes order among threads: 64 lanes of a block of 4096 in 64 / K threads of K lanes each.

Invariant: distances are joined in the order 16, 32, 8, 4, 2, 1 whatever K is; joining is symmetric,
so all threads of a row hold the same bits at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.scalar.program import PrimName, ScalarType
from ...emit.code import Code
from ...emit.lanes import Lanes, llvm_scalar
from ...emit.reduce import Reduction

__all__ = [
    "BLOCK",
    "LANES",
    "butterfly",
    "shuffle",
    "join_lanes",
    "is_ordered",
    "warp_barrier",
    "shared_base",
    "SHARED",
]

BLOCK, LANES = 4096, 64
SHARED = "@shared = external addrspace(3) global [0 x i8], align 16"
_DISTANCES = (16, 32, 8, 4, 2, 1)
_ROUNDED: frozenset[PrimName] = frozenset(("rsum", "rprod"))


def is_ordered(reduction: Reduction) -> bool:
    """Whether the order of elements shows in the bits."""
    return reduction.prim in _ROUNDED and reduction.type[0] == "f"


def _shuffle_word(code: Code, word: str, how: str, lane: str, mask: str) -> str:
    return code.call(
        f"llvm.nvvm.shfl.sync.{how}.i32",
        "i32",
        f"i32 {mask}",
        f"i32 {word}",
        f"i32 {lane}",
        "i32 31",
    )


def shuffle(
    code: Code, scalar_type: ScalarType, value: str, how: str, lane: str, mask: str = "-1"
) -> str:
    """The value of another thread of the warp: "bfly" by distance, "idx" by number."""
    kind = llvm_scalar(scalar_type)
    if kind in ("i64", "double"):
        bits = value if kind == "i64" else code.op(f"bitcast double {value} to i64")
        halves = (bits, code.op(f"lshr i64 {bits}, 32"))
        low, high = (
            _shuffle_word(code, code.op(f"trunc i64 {x} to i32"), how, lane, mask) for x in halves
        )
        top = code.op(f"shl i64 {code.op(f'zext i32 {high} to i64')}, 32")
        both = code.op(f"or i64 {top}, {code.op(f'zext i32 {low} to i64')}")
        return both if kind == "i64" else code.op(f"bitcast i64 {both} to double")
    if kind == "i32":
        return _shuffle_word(code, value, how, lane, mask)
    if kind == "float":
        moved = _shuffle_word(code, code.op(f"bitcast float {value} to i32"), how, lane, mask)
        return code.op(f"bitcast i32 {moved} to float")
    moved = _shuffle_word(code, code.op(f"zext {kind} {value} to i32"), how, lane, mask)
    return code.op(f"trunc i32 {moved} to {kind}")


def _exchanged(
    code: Code, reduction: Reduction, value: Sequence[str], distance: int, mask: str
) -> list[str]:
    """The accumulator joined with that of the thread at a distance."""
    other = [
        shuffle(code, ty, part, "bfly", str(distance), mask)
        for ty, part in zip(reduction.parts, value)
    ]
    return reduction.combine(Lanes(1, code), value, other)


def join_lanes(
    code: Code,
    reduction: Reduction,
    lanes: Sequence[Sequence[str]],
    period: int = LANES,
    mask: str = "-1",
) -> list[str]:
    """Lanes t * K ... of thread t -> one value, the same in all threads; `period` lanes are
    used, the others would be neutral."""
    joined, scalar = [list(lane) for lane in lanes], Lanes(1, code)
    count = len(joined)
    for distance in _DISTANCES:
        if distance >= period:
            continue
        if distance >= count:
            far = distance // count
            joined = [_exchanged(code, reduction, lane, far, mask) for lane in joined]
        else:
            pairs = zip(joined[:distance], joined[distance:])
            joined = [reduction.combine(scalar, low, high) for low, high in pairs]
    return joined[0]


def butterfly(
    code: Code, reduction: Reduction, value: Sequence[str], threads: int = 32, mask: str = "-1"
) -> list[str]:
    """Values of so many threads joined in any order."""
    result, distance = list(value), threads // 2
    while distance:
        result = _exchanged(code, reduction, result, distance, mask)
        distance //= 2
    return result


def warp_barrier(code: Code, mask: str = "-1") -> None:
    """Threads of a warp wait for each other."""
    code.call("llvm.nvvm.bar.warp.sync", "void", f"i32 {mask}")


def shared_base(code: Code) -> str:
    """The dynamic shared memory of the block; its text is SHARED."""
    return code.once("addrspacecast ptr addrspace(3) @shared to ptr")
