"""The lanes order among threads: 64 lanes of a block of 4096 in 64 / K threads of K lanes each.

Invariant: distances are joined in the order 16, 32, 8, 4, 2, 1 whatever K is; joining is symmetric,
so all threads of a row hold the same bits at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....ir.scalar.program import PrimName, ScalarType
from ...emit.body import Body
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
    "join_blocks",
    "warp_barrier",
    "shared_base",
    "SHARED",
]

BLOCK, LANES = 4096, 64
# Results of blocks in flight, in chunks of 32: of few blocks, and of many, whose reads wait long
# where the rest of the card reads at full speed.
_CHUNKS, _MANY_CHUNKS = 4, 32
Load = Callable[[str], list[str]]
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


# ---- results of blocks, by one warp, which asks for the next ones while it adds
def _ahead(body: Body, reduction: Reduction, load: Load, number: str, blocks: str) -> list[str]:
    """The results of a block; neutral ones behind the last."""
    code = body.code
    valid = code.op(f"icmp slt i64 {number}, {blocks}")
    inside = code.op(f"select i1 {valid}, i64 {number}, i64 0")
    return reduction.masked(body.scalar, load(inside), valid)


def _join_any(body: Body, reduction: Reduction, load: Load, blocks: str, lane: str) -> list[str]:
    """Where the order does not show: each thread joins some results, then the threads theirs."""
    code, scalar = body.code, body.scalar

    def step(first: str, total: list[str]) -> list[str]:
        numbers = [code.add(first, str(32 * chunk)) for chunk in range(_CHUNKS)]
        for part in [_ahead(body, reduction, load, number, blocks) for number in numbers]:
            total = reduction.combine(scalar, total, part)
        return total

    types = [scalar.ty(kind) for kind in reduction.parts]
    carried = list(zip(types, reduction.neutral(scalar)))
    mine = code.loop(lane, blocks, str(32 * _CHUNKS), carried, step)[1]
    return butterfly(code, reduction, mine)


def join_blocks(
    body: Body,
    reduction: Reduction,
    load: Load,
    blocks: str,
    lane: str,
    start: list[str] | None = None,
    many: bool = False,
) -> list[str]:
    """All results combined, after those in `start`, in every thread of the warp; `load(block)`
    reads those of one block; `many`: there are thousands."""
    if not is_ordered(reduction):
        return _join_any(body, reduction, load, blocks, lane)
    total, first = start or reduction.neutral(body.scalar), "0"
    for chunks in (_MANY_CHUNKS, _CHUNKS) if many else (_CHUNKS,):
        first, total = _join_in_order(body, reduction, load, blocks, lane, chunks, first, total)
    return total


def _join_in_order(
    body: Body,
    reduction: Reduction,
    load: Load,
    blocks: str,
    lane: str,
    chunks: int,
    first: str,
    total: list[str],
) -> tuple[str, list[str]]:
    """(the block after, the total) of the blocks from `first` on: so many chunks of 32 at a time,
    the next ones on their way; the last ones may be fewer where chunks are few."""
    code, scalar, kind = body.code, body.scalar, reduction.type
    whole = 32 * chunks if chunks == _MANY_CHUNKS else 1

    def fetch(first: str) -> list[str]:
        names = []
        for chunk in range(chunks):
            number = code.add(code.add(first, lane), str(32 * chunk))
            names += _ahead(body, reduction, load, number, blocks)
        return names

    def step(first: str, names: list[str]) -> list[str]:
        total, now = names[:1], names[1:]
        following = fetch(code.add(first, str(32 * chunks)))
        for mine in now:
            for other in range(32):
                part = shuffle(code, kind, mine, "idx", str(other))
                total = reduction.combine(scalar, total, [part])
        return [*total, *following]

    carried = [(scalar.ty(kind), x) for x in (*total, *fetch(first))]
    after, names = code.loop(first, blocks, str(32 * chunks), carried, step, full=whole)
    return after, names[:1]
