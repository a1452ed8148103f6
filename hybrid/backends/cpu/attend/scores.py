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
from .writer import Areas, Keys, Matrix, Queries, Writer

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


def tile_memory(writer: Writer, areas: Areas) -> TileMemory:
    turned = areas.take("turned_q", writer.kernel.e, TILE)
    scores = areas.take("scores", BLOCK + 1, TILE)
    mask = factor = ""
    if writer.mask is not None and not shared(writer, writer.mask):
        mask = areas.take("mask", BLOCK + 1, TILE)
    if writer.factor is not None:
        factor = areas.take("factor", BLOCK + 1, TILE)
    return TileMemory(turned, scores, mask, factor)


def shared(writer: Writer, access: Access) -> bool:
    """Whether all queries read the same values."""
    return access.strides[len(writer.kernel.batch)] == 0


def called_functions(writer: Writer) -> list[tuple[str, Code]]:
    """What the kernel calls."""
    functions = [tile_function(writer.element, writer.shape), turn_function(writer.element)]
    functions.append((TRANSPOSE, transpose_function(writer.element)))
    kinds = {
        access.dtype is dt.bool_ for access in (writer.mask, writer.factor) if access is not None
    }
    for truth in sorted(kinds):
        signature, code = copy_function(writer.element, truth)
        functions.append((signature.replace("copy", "truth") if truth else signature, code))
    return functions


def raw_scores(writer: Writer, memory: TileMemory, queries: Queries, keys: Keys) -> None:
    """Products of a tile of queries and a block of keys, whose rows are walked; queries are
    lanes."""
    line = str(writer.line)
    writer.product(
        writer.rows_from("k", queries.pointers, keys.first),
        keys.length,
        Matrix(memory.turned_queries, line),
        writer.lanes_used,
        writer.sizes["e"],
        Matrix(memory.scores, line),
    )


def turn_pairs(writer: Writer, memory: TileMemory, queries: Queries, keys: Keys) -> Turned:
    """Bring the mask and the factor of a tile and a block of keys into the order of the scores."""
    places = {}
    for name, access, area in (
        ("mask", writer.mask, memory.mask),
        ("factor", writer.factor, memory.factor),
    ):
        places[name] = area
        if access is None:
            continue
        start = writer.code.mul(keys.first, writer.step(name, access, 1))
        base = writer.code.at("i8", queries.pointers[name], start)
        if area:
            base = writer.row(name, access, base, queries.first)
            source = Matrix(base, writer.step(name, access), writer.step(name, access, 1))
            _turn(writer, source, access.dtype is dt.bool_, queries.rows, keys.length, area)
        else:
            places[name] = base
    return Turned(**places)


def _turn(writer: Writer, source: Matrix, truth: bool, rows: str, keys: str, target: str) -> None:
    """target[keys, 32] = source[rows, keys] turned; rows of adjacent elements go by squares."""
    code = writer.code

    def copy() -> None:
        kind = "truth" if truth else "copy"
        code.do(
            f"call void @NAME.{kind}(ptr {source.pointer}, i64 {source.row_step}, "
            f"i64 {source.column_step}, i64 {rows}, i64 {keys}, ptr {target})"
        )

    if truth:
        copy()
        return
    dense = code.op(f"icmp eq i64 {source.column_step}, {writer.element.size}")
    code.when(dense, lambda: writer.turn(source, rows, keys, target))
    code.when(code.op(f"xor i1 {dense}, true"), copy)


def score(writer: Writer, scores: Scores, key: str, vector: int) -> str:
    """A vector of the scores of a key of the block, or of one past them."""
    code = writer.code
    value = writer.load(writer.at(scores.raw, key, TILE, vector))
    value = writer.apply("fmul", value, writer.scale)
    if writer.mask is not None:
        value = _masked(writer, writer.mask, scores, value, key, vector)
    if writer.kernel.causal:
        # queries 16 * vector and on may see the key if it is not ahead; -1: no query of the tile
        # is before it, and 32 bits hold the difference
        ahead = code.add(scores.ahead, key)
        least = code.call("llvm.smax.i64", "i64", f"i64 {ahead}", "i64 -1")
        number = writer.lanes.splat("i32", code.op(f"trunc i64 {least} to i32"))
        queries = "<" + ", ".join(f"i32 {16 * vector + lane}" for lane in range(16)) + ">"
        seen = code.op(f"icmp sle <16 x i32> {number}, {queries}")
        value = writer.pick(seen, value, writer.number(float("-inf")))
    return value


def _masked(
    writer: Writer, access: Access, scores: Scores, value: str, key: str, vector: int
) -> str:
    """Scores where the mask is true, else -inf; or scores plus the mask."""
    code, truth = writer.code, access.dtype is dt.bool_
    if shared(writer, access):
        there = code.smin(key, code.op(f"sub i64 {scores.keys}, 1"))
        offset = code.mul(there, writer.step("mask", access, 1))
        pointer = code.at("i8", scores.turned.mask, offset)
        if truth:
            kept = writer.lanes.splat(
                "b1", code.op(f"icmp ne i8 {code.op(f'load i8, ptr {pointer}')}, 0")
            )
        else:
            mask = writer.splat(code.op(f"load {writer.element.scalar}, ptr {pointer}"))
    else:
        mask = writer.load(writer.at(scores.turned.mask, key, TILE, vector))
        if truth:
            kept = writer.apply("fcmp une", mask, "zeroinitializer")
    if truth:
        return writer.pick(kept, value, writer.number(float("-inf")))
    return writer.apply("fadd", value, mask)


def times_factor(writer: Writer, scores: Scores, value: str, key: str, vector: int) -> str:
    if writer.factor is None:
        return value
    factor = writer.load(writer.at(scores.turned.factor, key, TILE, vector))
    return writer.apply("fmul", value, factor)
