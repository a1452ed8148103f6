"""Results of blocks joined in order by one warp, which asks for the next ones while it adds.

Invariant: results of sums of floats are combined one after the other in increasing order; those
behind the last are neutral.
"""

from __future__ import annotations

from collections.abc import Callable

from ...emit.body import Body
from ...emit.reduce import Reduction
from .body import Threads
from .lanes import butterfly, is_ordered, shuffle

__all__ = ["join_blocks"]

Load = Callable[[str], list[str]]
_CHUNKS = 4  # of 32 results each, in flight


def _ahead(body: Body, reduction: Reduction, load: Load, number: str, blocks: str) -> list[str]:
    """The results of a block; neutral ones behind the last."""
    code = body.code
    valid = code.op(f"icmp slt i64 {number}, {blocks}")
    inside = code.op(f"select i1 {valid}, i64 {number}, i64 0")
    return reduction.masked(body.scalar, load(inside), valid)


def _join_any(
    threads: Threads, reduction: Reduction, load: Load, blocks: str, lane: str
) -> list[str]:
    """Where the order does not show: each thread joins some results, then the threads theirs."""
    code, body, scalar = threads.code, threads.body, threads.body.scalar

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
    threads: Threads,
    reduction: Reduction,
    load: Load,
    blocks: str,
    lane: str,
    start: list[str] | None = None,
) -> list[str]:
    """All results combined, after those in `start`, in every thread of the warp; `load(block)`
    reads those of one block."""
    if not is_ordered(reduction):
        return _join_any(threads, reduction, load, blocks, lane)
    code, body, scalar = threads.code, threads.body, threads.body.scalar
    kind = reduction.type

    def fetch(first: str) -> list[str]:
        names = []
        for chunk in range(_CHUNKS):
            number = code.add(code.add(first, lane), str(32 * chunk))
            names += _ahead(body, reduction, load, number, blocks)
        return names

    def step(first: str, names: list[str]) -> list[str]:
        total, now = names[:1], names[1:]
        following = fetch(code.add(first, str(32 * _CHUNKS)))
        for mine in now:
            for other in range(32):
                part = shuffle(code, kind, mine, "idx", str(other))
                total = reduction.combine(scalar, total, [part])
        return [*total, *following]

    carried = [(scalar.ty(kind), x) for x in (start or reduction.neutral(scalar))]
    carried += [(scalar.ty(kind), x) for x in fetch("0")]
    return code.loop("0", blocks, str(32 * _CHUNKS), carried, step)[1][:1]
