"""Scores of a tile of queries and a block of keys: products, scale, mask, causality, factor.

Invariant: a score is one chain over features, then times scale, then the mask, in this order; keys
that must not be seen have the score -inf.
"""

from __future__ import annotations

from typing import NamedTuple

from ....core import dtypes as dt
from ....ir.attend import BLOCK, TILE
from ...emit.code import Code
from ...plan import Access
from ..gemm.pack import TRANSPOSE, transpose_function
from .tile import copy_function, tile_function, turn_function
from .work import Areas, Keys, Matrix, Queries, Work

__all__ = [
    "Scores",
    "TileMemory",
    "Turned",
    "called_functions",
    "raw_scores",
    "score",
    "tile_memory",
    "times_factor",
    "turn_pairs",
]


class TileMemory(NamedTuple):
    """Areas that every generator needs; each has a row more than a block has keys, for the last
    pair of an odd number."""

    turned_queries: str
    scores: str
    mask: str  # empty where there is none, or all queries share it
    factor: str


class Turned(NamedTuple):
    """Mask and factor of a block, as [keys, 32]; a mask that all queries share lies as it is."""

    mask: str
    factor: str


class Scores(NamedTuple):
    """A block of raw scores and what makes scores of them."""

    raw: str
    turned: Turned
    ahead: str  # the block's first key minus the tile's first query
    keys: str  # how many


def tile_memory(work: Work, areas: Areas) -> TileMemory:
    turned = areas.take("turned_q", work.kernel.e, TILE)
    scores = areas.take("scores", BLOCK + 1, TILE)
    mask = factor = ""
    if work.mask is not None and not shared(work, work.mask):
        mask = areas.take("mask", BLOCK + 1, TILE)
    if work.factor is not None:
        factor = areas.take("factor", BLOCK + 1, TILE)
    return TileMemory(turned, scores, mask, factor)


def shared(work: Work, access: Access) -> bool:
    """Whether all queries read the same values."""
    return access.strides[len(work.kernel.batch)] == 0


def called_functions(work: Work) -> list[tuple[str, Code]]:
    """What the kernel calls."""
    functions = [tile_function(work.element, work.shape), turn_function(work.element)]
    functions.append((TRANSPOSE, transpose_function(work.element)))
    kinds = {access.dtype is dt.bool_ for access in (work.mask, work.factor) if access is not None}
    for truth in sorted(kinds):
        signature, code = copy_function(work.element, truth)
        functions.append((signature.replace("copy", "truth") if truth else signature, code))
    return functions


def raw_scores(work: Work, memory: TileMemory, queries: Queries, keys: Keys) -> None:
    """Products of a tile of queries and a block of keys, whose rows are walked; queries are
    lanes."""
    line = str(work.line)
    work.product(
        work.rows_from("k", queries.pointers, keys.first),
        keys.length,
        Matrix(memory.turned_queries, line),
        work.lanes_used,
        work.sizes["e"],
        Matrix(memory.scores, line),
    )


def turn_pairs(work: Work, memory: TileMemory, queries: Queries, keys: Keys) -> Turned:
    """Bring the mask and the factor of a tile and a block of keys into the order of the scores."""
    places = {}
    for name, access, area in (
        ("mask", work.mask, memory.mask),
        ("factor", work.factor, memory.factor),
    ):
        places[name] = area
        if access is None:
            continue
        start = work.code.mul(keys.first, work.step(name, access, 1))
        base = work.code.at("i8", queries.pointers[name], start)
        if area:
            base = work.row(name, access, base, queries.first)
            source = Matrix(base, work.step(name, access), work.step(name, access, 1))
            _turn(work, source, access.dtype is dt.bool_, queries.rows, keys.length, area)
        else:
            places[name] = base
    return Turned(**places)


def _turn(work: Work, source: Matrix, truth: bool, rows: str, keys: str, target: str) -> None:
    """target[keys, 32] = source[rows, keys] turned; rows of adjacent elements go by squares."""
    code = work.code

    def copy() -> None:
        kind = "truth" if truth else "copy"
        code.do(
            f"call void @NAME.{kind}(ptr {source.pointer}, i64 {source.row_step}, "
            f"i64 {source.column_step}, i64 {rows}, i64 {keys}, ptr {target})"
        )

    if truth:
        copy()
        return
    dense = code.op(f"icmp eq i64 {source.column_step}, {work.element.size}")
    code.when(dense, lambda: work.turn(source, rows, keys, target))
    code.when(code.op(f"xor i1 {dense}, true"), copy)


def score(work: Work, scores: Scores, key: str, vector: int) -> str:
    """A vector of the scores of a key of the block, or of one past them."""
    code = work.code
    value = work.load(work.at(scores.raw, key, TILE, vector))
    value = work.apply("fmul", value, work.scale)
    if work.mask is not None:
        value = _masked(work, work.mask, scores, value, key, vector)
    if work.kernel.causal:
        # queries 16 * vector and on may see the key if it is not ahead; -1: no query of the tile
        # is before it, and 32 bits hold the difference
        ahead = code.add(scores.ahead, key)
        least = code.call("llvm.smax.i64", "i64", f"i64 {ahead}", "i64 -1")
        number = work.lanes.splat("i32", code.op(f"trunc i64 {least} to i32"))
        queries = "<" + ", ".join(f"i32 {16 * vector + lane}" for lane in range(16)) + ">"
        seen = code.op(f"icmp sle <16 x i32> {number}, {queries}")
        value = work.pick(seen, value, work.number(float("-inf")))
    return value


def _masked(work: Work, access: Access, scores: Scores, value: str, key: str, vector: int) -> str:
    """Scores where the mask is true, else -inf; or scores plus the mask."""
    code, truth = work.code, access.dtype is dt.bool_
    if shared(work, access):
        there = code.smin(key, code.op(f"sub i64 {scores.keys}, 1"))
        offset = code.mul(there, work.step("mask", access, 1))
        pointer = code.at("i8", scores.turned.mask, offset)
        if truth:
            kept = work.lanes.splat(
                "b1", code.op(f"icmp ne i8 {code.op(f'load i8, ptr {pointer}')}, 0")
            )
        else:
            mask = work.splat(code.op(f"load {work.element.scalar}, ptr {pointer}"))
    else:
        mask = work.load(work.at(scores.turned.mask, key, TILE, vector))
        if truth:
            kept = work.apply("fcmp une", mask, "zeroinitializer")
    if truth:
        return work.pick(kept, value, work.number(float("-inf")))
    return work.apply("fadd", value, mask)


def times_factor(work: Work, scores: Scores, value: str, key: str, vector: int) -> str:
    if work.factor is None:
        return value
    factor = work.load(work.at(scores.turned.factor, key, TILE, vector))
    return work.apply("fmul", value, factor)
