"""Attention: one item is a tile of 32 queries of one batch position, over all its keys.

Invariant: the order of ops/attend.py; nothing as large as queries x keys is stored.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ....ir.attend import BLOCK, TILE
from ...attend import OUTPUTS
from ...emit.code import Code
from ...plan import AttendKernel
from ..gemm import ABI
from ..gemm.geometry import Target
from ..gemm.micro import PackedElement
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
from .writer import Areas, Keys, Matrix, Queries, Writer, Written, writer_of

__all__ = ["write_forward"]

LANES = 64  # of a block's sum


class Forward(NamedTuple):
    """The function that writes out, peak and total, and its memory."""

    writer: Writer
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
        return self.writer.code


def write_forward(kernel: AttendKernel, element: PackedElement, target: Target) -> Written:
    """The kernel-ABI function of attention."""
    writer = writer_of(kernel, element, target)
    areas = Areas(writer.loader, element)
    forward = _forward(writer, areas)
    tiles = -(-kernel.m // TILE)
    writer.each("%begin", "%end", 1, lambda number: _write_item(forward, number, tiles))
    writer.code.do("ret i64 0")
    functions = [(ABI, writer.code), *called_functions(writer)]
    return Written(functions, writer.loader.words.finish(), tiles, areas.nbytes)


def _forward(writer: Writer, areas: Areas) -> Forward:
    kernel, code, wide = writer.kernel, writer.code, writer.padded("f")
    tile = tile_memory(writer, areas)
    sums = areas.take("sums", LANES, TILE)
    out, product = areas.take("out", TILE, wide), areas.take("product", TILE, wide)
    turned_keys = by_key = ""
    if writer.few:
        turned_keys = areas.take("turned_k", kernel.e, TILE)
        by_key = areas.take("by_key", writer.shape.rows, BLOCK)
    out_line = writer.word("out_line", wide * writer.element.size)
    kind = f"[{TILE} x {writer.element.scalar}]"
    # the third is not read; it is part of the text, by which compiled code is found on disk
    top, total, _, decay = [code.alloca(kind) for _ in range(4)]
    return Forward(
        writer, tile, sums, out, product, turned_keys, by_key, out_line, top, total, decay
    )


def _write_item(forward: Forward, number: str, tiles: int) -> None:
    writer, code = forward.writer, forward.code
    batch, tile = divide(code, number, writer.word("tiles", tiles))
    first = code.mul(tile, str(TILE))
    rows = code.smin(str(TILE), code.op(f"sub i64 {writer.sizes['m']}, {first}"))
    coordinates = writer.split(batch)
    queries = Queries(writer.pointers(coordinates), first, rows)
    if not writer.few:
        source = writer.rows_from("q", queries.pointers, first)
        writer.turn(source, rows, writer.sizes["e"], forward.tile.turned_queries)
    for vector in writer.vectors:
        writer.store(writer.number(float("-inf")), writer.at(forward.top, "0", TILE, vector))
        writer.store(writer.number(0.0), writer.at(forward.total, "0", TILE, vector))
    stop = writer.sizes["n"]
    if writer.kernel.causal:
        stop = code.smin(stop, code.op(f"add i64 {first}, {TILE}"))

    def block(key: str) -> None:
        length = code.smin(str(BLOCK), code.op(f"sub i64 {stop}, {key}"))
        _write_block(forward, queries, Keys(key, length))

    writer.each("0", stop, BLOCK, block)
    _write_results(forward, queries, coordinates)


# ---- one block of keys
def _write_block(forward: Forward, queries: Queries, keys: Keys) -> None:
    writer, code, tile = forward.writer, forward.code, forward.tile
    if writer.few:
        _few_scores(forward, queries, keys)
    else:
        raw_scores(writer, tile, queries, keys)
    turned = turn_pairs(writer, tile, queries, keys)
    ahead = code.op(f"sub i64 {keys.first}, {queries.first}")
    scores = Scores(tile.scores, turned, ahead, keys.length)
    before, bases = _maxima(forward, scores)
    _weights(forward, scores, bases)
    is_first = code.op(f"icmp eq i64 {keys.first}, 0")
    target = code.op(f"select i1 {is_first}, ptr {forward.out}, ptr {forward.product}")
    writer.product(
        Matrix(tile.scores, str(writer.element.size), str(writer.line)),
        queries.rows,
        writer.rows_from("v", queries.pointers, keys.first),
        writer.sizes["f"],
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
    writer, code, scalar = forward.writer, forward.code, forward.writer.element.scalar
    size = writer.element.size

    def tile(first: str) -> None:
        start = code.op(f"add i64 {keys.first}, {first}")
        source = writer.rows_from("k", queries.pointers, start)
        left = code.smin(str(TILE), code.op(f"sub i64 {keys.length}, {first}"))
        writer.turn(source, left, writer.sizes["e"], forward.turned_keys)
        writer.product(
            writer.rows_from("q", queries.pointers, queries.first),
            queries.rows,
            Matrix(forward.turned_keys, str(writer.line)),
            str(TILE),
            writer.sizes["e"],
            Matrix(code.at(scalar, forward.by_key, first), str(BLOCK * size)),
        )

    def move(row: str) -> None:
        line = code.at(scalar, forward.by_key, code.mul(row, str(BLOCK)))

        def one(key: str) -> None:
            value = writer.load_scalar(line, key)
            place = code.add(code.mul(key, str(TILE)), row)
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, forward.tile.scores, place)}")

        writer.each("0", keys.length, 1, one)

    writer.each("0", keys.length, TILE, tile)
    writer.each("0", queries.rows, 1, move)


def _maxima(forward: Forward, scores: Scores) -> tuple[list[str], list[str]]:
    """Scores in place of raw ones; the tops before, and the bases of the new ones."""
    writer = forward.writer
    before = [writer.load(writer.at(forward.top, "0", TILE, vector)) for vector in writer.vectors]

    def key(index: str, tops: list[str]) -> list[str]:
        greatest = []
        for vector in writer.vectors:
            value = score(writer, scores, index, vector)
            writer.store(value, writer.at(scores.raw, index, TILE, vector))
            greatest.append(writer.greater(value, tops[vector]))
        return greatest

    initial = [(writer.element.vector, top) for top in before]
    _, tops = forward.code.loop("0", scores.keys, "1", initial, key)
    for vector in writer.vectors:
        writer.store(tops[vector], writer.at(forward.top, "0", TILE, vector))
    return before, [writer.base_of(top) for top in tops]


def _weights(forward: Forward, scores: Scores, bases: list[str]) -> None:
    """Weights in place of scores, and their sum in the 64-lane order; two lanes at a time."""
    writer, code, vectors = forward.writer, forward.code, forward.writer.vectors
    for vector in vectors:  # a key that has no weight, for the last pair
        place = writer.at(scores.raw, scores.keys, TILE, vector)
        writer.store(writer.number(float("-inf")), place)

    def lanes(first: str) -> None:
        def pair(key: str, sums: list[str]) -> list[str]:
            found = [""] * len(sums)

            def one(number: int, own: str, vector: int) -> None:
                pointer = writer.at(scores.raw, own, TILE, vector)
                weight = writer.weight(writer.load(pointer), bases[vector])
                writer.store(times_factor(writer, scores, weight, own, vector), pointer)
                found[number] = writer.apply("fadd", sums[number], weight)

            keys = (key, code.op(f"add i64 {key}, 1"))
            both = [(own, vector) for own in keys for vector in vectors]
            writer.together([partial(one, number, *place) for number, place in enumerate(both)])
            return found

        # -0.0 changes no sum, not even one of -0.0
        zeros = [(writer.element.vector, writer.number(-0.0))] * (2 * len(vectors))
        _, sums = code.loop(first, scores.keys, str(LANES), zeros, pair)
        for number, total in enumerate(sums):
            lane, vector = divmod(number, len(vectors))
            place = code.add(first, str(lane))
            writer.store(total, writer.at(forward.sums, place, TILE, vector))

    some = code.op(f"add i64 {code.smin(scores.keys, str(LANES))}, 1")
    used = code.op(f"and i64 {some}, -2")
    writer.each("0", used, 2, lanes)
    left = code.op(f"sub i64 {LANES}, {used}")
    writer.zero(writer.at(forward.sums, used, TILE), left, str(writer.line))
    _tree(forward)


def _tree(forward: Forward) -> None:
    """The 64 lanes as one: (v0 + v1) + (v2 + v3), then halves of 8, 4, 2, 1."""
    writer, code = forward.writer, forward.code

    def quarter(lane: str) -> None:
        for vector in writer.vectors:
            parts = [
                writer.load(writer.at(forward.sums, code.add(lane, str(16 * i)), TILE, vector))
                for i in range(4)
            ]
            low, high = writer.apply("fadd", *parts[:2]), writer.apply("fadd", *parts[2:])
            total = writer.apply("fadd", low, high)
            writer.store(total, writer.at(forward.sums, lane, TILE, vector))

    def pair(half: int, lane: str) -> None:
        for vector in writer.vectors:
            low, high = [
                writer.load(writer.at(forward.sums, code.add(lane, str(i)), TILE, vector))
                for i in (0, half)
            ]
            total = writer.apply("fadd", low, high)
            writer.store(total, writer.at(forward.sums, lane, TILE, vector))

    writer.each("0", "16", 1, quarter)
    for half in (8, 4, 2, 1):
        writer.each("0", str(half), 1, partial(pair, half))


def _take(forward: Forward) -> None:
    """The first block: its sum is the total; its product is in `out` already."""
    writer = forward.writer
    for vector in writer.vectors:
        part = writer.load(writer.at(forward.sums, "0", TILE, vector))
        writer.store(part, writer.at(forward.total, "0", TILE, vector))


def _join(forward: Forward, before: list[str], bases: list[str], rows: str) -> None:
    """total = total * decay + part, out = out * decay + product."""
    writer, code = forward.writer, forward.code
    for vector in writer.vectors:
        decay = writer.weight(before[vector], bases[vector])
        writer.store(decay, writer.at(forward.decay, "0", TILE, vector))
        place = writer.at(forward.total, "0", TILE, vector)
        part = writer.load(writer.at(forward.sums, "0", TILE, vector))
        kept = writer.apply("fmul", writer.load(place), decay)
        writer.store(writer.apply("fadd", kept, part), place)

    def row(index: str) -> None:
        decay = writer.splat(writer.load_scalar(forward.decay, index))
        line = code.mul(index, forward.out_line)

        def part(column: str) -> None:
            offset = code.add(line, code.mul(column, str(writer.element.size)))
            total, own = code.at("i8", forward.out, offset), code.at("i8", forward.product, offset)
            kept = writer.apply("fmul", writer.load(total), decay)
            writer.store(writer.apply("fadd", kept, writer.load(own)), total)

        writer.each("0", writer.sizes["f"], 16, part)

    writer.each("0", rows, 1, row)


# ---- results
def _write_results(forward: Forward, queries: Queries, coordinates: list[str]) -> None:
    """out / total, 0 for a query without a key; peak and total."""
    writer, code, scalar = forward.writer, forward.code, forward.writer.element.scalar
    results = dict(zip(OUTPUTS, writer.kernel.writes))
    pointers = {name: writer.pointer(name, access, coordinates) for name, access in results.items()}

    def place(name: str, query: str) -> str:
        return writer.row(name, results[name], pointers[name], query)

    def row(index: str) -> None:
        query = code.op(f"add i64 {queries.first}, {index}")
        one, top = writer.load_scalar(forward.total, index), writer.load_scalar(forward.top, index)
        for name, value in (("to peak", top), ("to total", one)):
            code.do(f"store {scalar} {value}, ptr {place(name, query)}")
        total = writer.splat(one)
        none = writer.apply("fcmp oeq", total, "zeroinitializer")
        line = code.at("i8", forward.out, code.mul(index, forward.out_line))
        target = place("to out", query)

        def part(column: str, mask: str | None) -> None:
            value = writer.apply("fdiv", writer.load(code.at(scalar, line, column)), total)
            chosen = writer.pick(none, writer.number(0.0), value)
            writer.store(chosen, code.at(scalar, target, column), mask)

        writer.columns(writer.sizes["f"], part)

    writer.each("0", queries.rows, 1, row)
