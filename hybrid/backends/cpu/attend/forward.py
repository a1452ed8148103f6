"""Attention: one item is a tile of 32 queries of one batch position, over all its keys.

Invariant: the order of ops/attend.py; nothing as large as queries x keys is stored.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ....ir.attend import BLOCK, TILE
from ...emit.code import Code
from ...plan import AttendKernel
from ..gemm import ABI
from ..gemm.geometry import Target
from ..gemm.micro import Element
from ..gemm.pack import divide
from .scores import (
    Scores,
    TileMemory,
    called_functions,
    raw_scores,
    score,
    tile_memory,
    times_factor,
    turn_pairs,
)
from .work import Areas, Keys, Matrix, Queries, Work, Written, work_of

__all__ = ["RESULTS", "write_forward"]

RESULTS = ("to out", "to peak", "to total")
LANES = 64  # of a block's sum


class Forward(NamedTuple):
    """The function that writes out, peak and total, and its memory."""

    work: Work
    tile: TileMemory
    sums: str  # 64 lanes of weights
    out: str  # rows of values, weighted
    product: str  # those of one block
    turned_keys: str  # for few queries: 32 keys
    by_key: str  # for few queries: scores as [queries, keys]
    out_line: str  # bytes of a row of out
    top: str  # per query: the greatest score so far,
    total: str  # the sum of the weights so far,
    decay: str  # and what they are multiplied by when the top grows

    @property
    def code(self) -> Code:
        return self.work.code


def write_forward(kernel: AttendKernel, element: Element, target: Target) -> Written:
    """The kernel-ABI function of attention."""
    work = work_of(kernel, element, target)
    areas = Areas(work.loader, element)
    forward = _forward(work, areas)
    tiles = -(-kernel.m // TILE)
    work.each("%begin", "%end", 1, lambda number: _write_item(forward, number, tiles))
    work.code.do("ret i64 0")
    functions = [(ABI, work.code), *called_functions(work)]
    return Written(functions, work.loader.words.finish(), tiles, areas.nbytes)


def _forward(work: Work, areas: Areas) -> Forward:
    kernel, code, wide = work.kernel, work.code, work.padded("f")
    tile = tile_memory(work, areas)
    sums = areas.take("sums", LANES, TILE)
    out, product = areas.take("out", TILE, wide), areas.take("product", TILE, wide)
    turned_keys = by_key = ""
    if work.few:
        turned_keys = areas.take("turned_k", kernel.e, TILE)
        by_key = areas.take("by_key", work.shape.rows, BLOCK)
    out_line = work.word("out_line", wide * work.element.size)
    kind = f"[{TILE} x {work.element.scalar}]"
    # the third is not used; without it equal kernels would not find their code of earlier versions
    top, total, _, decay = [code.alloca(kind) for _ in range(4)]
    return Forward(work, tile, sums, out, product, turned_keys, by_key, out_line, top, total, decay)


def _write_item(forward: Forward, number: str, tiles: int) -> None:
    work, code = forward.work, forward.code
    batch, tile = divide(code, number, work.word("tiles", tiles))
    first = code.mul(tile, str(TILE))
    rows = code.smin(str(TILE), code.op(f"sub i64 {work.sizes['m']}, {first}"))
    coordinates = work.split(batch)
    queries = Queries(work.pointers(coordinates), first, rows)
    if not work.few:
        source = work.rows_from("q", queries.pointers, first)
        work.turn(source, rows, work.sizes["e"], forward.tile.turned_queries)
    for vector in work.vectors:
        work.store(work.number(float("-inf")), work.at(forward.top, "0", TILE, vector))
        work.store(work.number(0.0), work.at(forward.total, "0", TILE, vector))
    stop = work.sizes["n"]
    if work.kernel.causal:
        stop = code.smin(stop, code.op(f"add i64 {first}, {TILE}"))

    def block(key: str) -> None:
        length = code.smin(str(BLOCK), code.op(f"sub i64 {stop}, {key}"))
        _write_block(forward, queries, Keys(key, length))

    work.each("0", stop, BLOCK, block)
    _write_results(forward, queries, coordinates)


# ---- one block of keys
def _write_block(forward: Forward, queries: Queries, keys: Keys) -> None:
    work, code, tile = forward.work, forward.code, forward.tile
    if work.few:
        _few_scores(forward, queries, keys)
    else:
        raw_scores(work, tile, queries, keys)
    turned = turn_pairs(work, tile, queries, keys)
    ahead = code.op(f"sub i64 {keys.first}, {queries.first}")
    scores = Scores(tile.scores, turned, ahead, keys.length)
    before, bases = _maxima(forward, scores)
    _weights(forward, scores, bases)
    is_first = code.op(f"icmp eq i64 {keys.first}, 0")
    target = code.op(f"select i1 {is_first}, ptr {forward.out}, ptr {forward.product}")
    work.product(
        Matrix(tile.scores, str(work.element.size), str(work.line)),
        queries.rows,
        work.rows_from("v", queries.pointers, keys.first),
        work.sizes["f"],
        keys.length,
        Matrix(target, forward.out_line),
    )
    code.when(is_first, lambda: _take(forward))
    code.when(
        code.op(f"xor i1 {is_first}, true"),
        lambda: _join(forward, before, bases, queries.rows),
    )


def _few_scores(forward: Forward, queries: Queries, keys: Keys) -> None:
    """Raw scores of one or two queries: keys are turned and are the lanes."""
    work, code, scalar = forward.work, forward.code, forward.work.element.scalar
    size = work.element.size

    def tile(first: str) -> None:
        start = code.op(f"add i64 {keys.first}, {first}")
        source = work.rows_from("k", queries.pointers, start)
        left = code.smin(str(TILE), code.op(f"sub i64 {keys.length}, {first}"))
        work.turn(source, left, work.sizes["e"], forward.turned_keys)
        work.product(
            work.rows_from("q", queries.pointers, queries.first),
            queries.rows,
            Matrix(forward.turned_keys, str(work.line)),
            str(TILE),
            work.sizes["e"],
            Matrix(code.at(scalar, forward.by_key, first), str(BLOCK * size)),
        )

    def move(row: str) -> None:
        line = code.at(scalar, forward.by_key, code.mul(row, str(BLOCK)))

        def one(key: str) -> None:
            value = work.load_scalar(line, key)
            place = code.add(code.mul(key, str(TILE)), row)
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, forward.tile.scores, place)}")

        work.each("0", keys.length, 1, one)

    work.each("0", keys.length, TILE, tile)
    work.each("0", queries.rows, 1, move)


def _maxima(forward: Forward, scores: Scores) -> tuple[list[str], list[str]]:
    """Scores in place of raw ones; the tops before, and the bases of the new ones."""
    work = forward.work
    before = [work.load(work.at(forward.top, "0", TILE, vector)) for vector in work.vectors]

    def key(index: str, tops: list[str]) -> list[str]:
        greatest = []
        for vector in work.vectors:
            value = score(work, scores, index, vector)
            work.store(value, work.at(scores.raw, index, TILE, vector))
            greatest.append(work.greater(value, tops[vector]))
        return greatest

    initial = [(work.element.vec, top) for top in before]
    _, tops = forward.code.loop("0", scores.keys, "1", initial, key)
    for vector in work.vectors:
        work.store(tops[vector], work.at(forward.top, "0", TILE, vector))
    return before, [work.base_of(top) for top in tops]


def _weights(forward: Forward, scores: Scores, bases: list[str]) -> None:
    """Weights in place of scores, and their sum in the 64-lane order; two lanes at a time."""
    work, code, vectors = forward.work, forward.code, forward.work.vectors
    for vector in vectors:  # a key that has no weight, for the last pair
        place = work.at(scores.raw, scores.keys, TILE, vector)
        work.store(work.number(float("-inf")), place)

    def lanes(first: str) -> None:
        def pair(key: str, sums: list[str]) -> list[str]:
            found = [""] * len(sums)

            def one(number: int, own: str, vector: int) -> None:
                pointer = work.at(scores.raw, own, TILE, vector)
                weight = work.weight(work.load(pointer), bases[vector])
                work.store(times_factor(work, scores, weight, own, vector), pointer)
                found[number] = work.apply("fadd", sums[number], weight)

            keys = (key, code.op(f"add i64 {key}, 1"))
            both = [(own, vector) for own in keys for vector in vectors]
            work.together([partial(one, number, *place) for number, place in enumerate(both)])
            return found

        # -0.0 changes no sum, not even one of -0.0
        zeros = [(work.element.vec, work.number(-0.0))] * (2 * len(vectors))
        _, sums = code.loop(first, scores.keys, str(LANES), zeros, pair)
        for number, total in enumerate(sums):
            lane, vector = divmod(number, len(vectors))
            place = code.add(first, str(lane))
            work.store(total, work.at(forward.sums, place, TILE, vector))

    some = code.op(f"add i64 {code.smin(scores.keys, str(LANES))}, 1")
    used = code.op(f"and i64 {some}, -2")
    work.each("0", used, 2, lanes)
    left = code.op(f"sub i64 {LANES}, {used}")
    work.zero(work.at(forward.sums, used, TILE), left, str(work.line))
    _tree(forward)


def _tree(forward: Forward) -> None:
    """The 64 lanes as one: (v0 + v1) + (v2 + v3), then halves of 8, 4, 2, 1."""
    work, code = forward.work, forward.code

    def quarter(lane: str) -> None:
        for vector in work.vectors:
            parts = [
                work.load(work.at(forward.sums, code.add(lane, str(16 * i)), TILE, vector))
                for i in range(4)
            ]
            low, high = work.apply("fadd", *parts[:2]), work.apply("fadd", *parts[2:])
            total = work.apply("fadd", low, high)
            work.store(total, work.at(forward.sums, lane, TILE, vector))

    def pair(half: int, lane: str) -> None:
        for vector in work.vectors:
            low, high = [
                work.load(work.at(forward.sums, code.add(lane, str(i)), TILE, vector))
                for i in (0, half)
            ]
            total = work.apply("fadd", low, high)
            work.store(total, work.at(forward.sums, lane, TILE, vector))

    work.each("0", "16", 1, quarter)
    for half in (8, 4, 2, 1):
        work.each("0", str(half), 1, partial(pair, half))


def _take(forward: Forward) -> None:
    """The first block: its sum is the total; its product is in `out` already."""
    work = forward.work
    for vector in work.vectors:
        part = work.load(work.at(forward.sums, "0", TILE, vector))
        work.store(part, work.at(forward.total, "0", TILE, vector))


def _join(forward: Forward, before: list[str], bases: list[str], rows: str) -> None:
    """total = total * decay + part, out = out * decay + product."""
    work, code = forward.work, forward.code
    for vector in work.vectors:
        decay = work.weight(before[vector], bases[vector])
        work.store(decay, work.at(forward.decay, "0", TILE, vector))
        place = work.at(forward.total, "0", TILE, vector)
        part = work.load(work.at(forward.sums, "0", TILE, vector))
        kept = work.apply("fmul", work.load(place), decay)
        work.store(work.apply("fadd", kept, part), place)

    def row(index: str) -> None:
        decay = work.splat(work.load_scalar(forward.decay, index))
        line = code.mul(index, forward.out_line)

        def part(column: str) -> None:
            offset = code.add(line, code.mul(column, str(work.element.size)))
            total, own = code.at("i8", forward.out, offset), code.at("i8", forward.product, offset)
            kept = work.apply("fmul", work.load(total), decay)
            work.store(work.apply("fadd", kept, work.load(own)), total)

        work.each("0", work.sizes["f"], 16, part)

    work.each("0", rows, 1, row)


# ---- results
def _write_results(forward: Forward, queries: Queries, coordinates: list[str]) -> None:
    """out / total, 0 for a query without a key; peak and total."""
    work, code, scalar = forward.work, forward.code, forward.work.element.scalar
    results = dict(zip(RESULTS, work.kernel.writes))
    pointers = {name: work.pointer(name, access, coordinates) for name, access in results.items()}

    def place(name: str, query: str) -> str:
        return work.row(name, results[name], pointers[name], query)

    def row(index: str) -> None:
        query = code.op(f"add i64 {queries.first}, {index}")
        one, top = work.load_scalar(forward.total, index), work.load_scalar(forward.top, index)
        for name, value in (("to peak", top), ("to total", one)):
            code.do(f"store {scalar} {value}, ptr {place(name, query)}")
        total = work.splat(one)
        none = work.apply("fcmp oeq", total, "zeroinitializer")
        line = code.at("i8", forward.out, code.mul(index, forward.out_line))
        target = place("to out", query)

        def part(column: str, mask: str | None) -> None:
            value = work.apply("fdiv", work.load(code.at(scalar, line, column)), total)
            chosen = work.pick(none, work.number(0.0), value)
            work.store(chosen, code.at(scalar, target, column), mask)

        work.columns(work.sizes["f"], part)

    work.each("0", queries.rows, 1, row)
