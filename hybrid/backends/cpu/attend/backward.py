"""Gradients of attention: blocks of 256 keys, in each the tiles of 32 queries in order.

An item is a batch position with all its keys and queries ('all'), one block of its keys ('keys':
dk and dv), or one tile of its queries ('queries': dq).  Invariant: the order of ops/attend.py,
which these ways of cutting the work share.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ....ir.attend import BLOCK, TILE
from ...attend import GRADIENTS, GradientName
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
from .writer import Areas, ItemKind, Keys, Matrix, Queries, Writer, Written, writer_of

__all__ = ["write_backward"]


class GradientAreas(NamedTuple):
    """Gradients of the keys and of the values of a block, as areas."""

    keys: str
    values: str


class Backward(NamedTuple):
    """The function that writes dq ('all', 'queries'), dk and dv ('all', 'keys'), and its memory."""

    writer: Writer
    item_kind: ItemKind
    tile: TileMemory
    turned_gradient: str  # of the result
    by_value: str  # that gradient times the values, per pair; then the gradients of the scores
    key_line: str  # bytes of a row of queries or keys in an area
    value_line: str
    query_sums: str  # of the blocks so far; of a tile, or of all queries
    query_chain: str  # of this block
    sums: GradientAreas
    chains: GradientAreas  # of 256 queries
    peak: str  # per query
    total: str
    delta: str

    @property
    def code(self) -> Code:
        return self.writer.code

    @property
    def of_queries(self) -> bool:
        return self.item_kind != "keys"

    @property
    def of_keys(self) -> bool:
        return self.item_kind != "queries"


def write_backward(
    kernel: AttendKernel, element: PackedElement, target: Target, item_kind: ItemKind
) -> Written:
    """The kernel-ABI function of the gradients, with the work cut one way."""
    writer = writer_of(kernel, element, target)
    areas = Areas(writer.loader, element)
    backward = _backward(writer, areas, item_kind)
    items = {"all": 1, "keys": -(-kernel.n // BLOCK), "queries": -(-kernel.m // TILE)}[item_kind]
    writer.each("%begin", "%end", 1, lambda number: _write_item(backward, number, items))
    writer.code.do("ret i64 0")
    functions = [(ABI, writer.code), *called_functions(writer)]
    return Written(functions, writer.loader.words.finish(), items, areas.nbytes)


def _backward(writer: Writer, areas: Areas, item_kind: ItemKind) -> Backward:
    kernel, size = writer.kernel, writer.element.size
    wide_keys, wide_values = writer.padded("e"), writer.padded("f")
    tile = tile_memory(writer, areas)
    turned_gradient = areas.take("turned_g", kernel.f, TILE)
    by_value = areas.take("by_value", BLOCK + 1, TILE)
    key_line = writer.word("line.e", wide_keys * size)
    value_line = writer.word("line.f", wide_values * size)
    query_sums = query_chain = ""
    sums = chains = GradientAreas("", "")
    if item_kind != "keys":
        rows = TILE * (-(-kernel.m // TILE) if item_kind == "all" else 1)
        query_sums = areas.take("sum_q", rows, wide_keys)
        query_chain = areas.take("chain_q", TILE, wide_keys)
    if item_kind != "queries":
        sums = GradientAreas(
            areas.take("sum_e", BLOCK, wide_keys), areas.take("sum_f", BLOCK, wide_values)
        )
        chains = GradientAreas(
            areas.take("chain_e", BLOCK, wide_keys), areas.take("chain_f", BLOCK, wide_values)
        )
    kind = f"[{TILE} x {writer.element.scalar}]"
    return Backward(
        writer=writer,
        item_kind=item_kind,
        tile=tile,
        turned_gradient=turned_gradient,
        by_value=by_value,
        key_line=key_line,
        value_line=value_line,
        query_sums=query_sums,
        query_chain=query_chain,
        sums=sums,
        chains=chains,
        peak=writer.code.alloca(kind),
        total=writer.code.alloca(kind),
        delta=writer.code.alloca(kind),
    )


class AttendItem(NamedTuple):
    """A work item: where its operands and its results start, and the first of its tiles of
    queries, with which the area of their sums begins."""

    pointers: dict[str, str]
    results: dict[GradientName, str]
    first_tile: str


def _write_item(backward: Backward, number: str, items: int) -> None:
    writer, code = backward.writer, backward.code
    batch, part = divide(code, number, writer.word("per_batch", max(items, 1)))
    coordinates = writer.split(batch)
    pointers = writer.pointers(coordinates)
    results = {
        name: writer.pointer(name, access, coordinates)
        for name, access in zip(GRADIENTS, writer.kernel.writes)
        if (backward.of_queries if name == "dq" else backward.of_keys)
    }
    item = AttendItem(pointers, results, part if backward.item_kind == "queries" else "0")
    if backward.item_kind == "keys":
        _write_keys(backward, item, code.mul(part, str(BLOCK)))
        return
    _clear_queries(backward)
    stop = writer.sizes["n"]
    if backward.item_kind == "queries" and writer.kernel.causal:
        stop = code.smin(stop, code.mul(code.op(f"add i64 {part}, 1"), str(TILE)))

    def block(first_key: str) -> None:
        if backward.item_kind == "queries":
            _write_pair(backward, item, first_key, code.mul(part, str(TILE)), None)
        else:
            _write_keys(backward, item, first_key)

    writer.each("0", stop, BLOCK, block)
    first_query = code.mul(item.first_tile, str(TILE))
    rows = code.op(f"sub i64 {writer.sizes['m']}, {first_query}")
    if backward.item_kind == "queries":
        rows = code.smin(rows, str(TILE))
    source = Matrix(backward.query_sums, backward.key_line)
    _write_result(backward, item, "dq", source, first_query, rows)


def _clear_queries(backward: Backward) -> None:
    """No keys: zeros in place of the first block's chains."""
    writer = backward.writer
    rows = writer.sizes["m"] if backward.item_kind == "all" else str(TILE)
    backward.code.when(
        backward.code.op(f"icmp eq i64 {writer.sizes['n']}, 0"),
        lambda: writer.zero(backward.query_sums, rows, backward.key_line),
    )


# ---- one block of keys
def _write_keys(backward: Backward, item: AttendItem, first_key: str) -> None:
    """All queries against a block of keys; its dk and dv."""
    writer, code, sums = backward.writer, backward.code, backward.sums
    count = code.smin(str(BLOCK), code.op(f"sub i64 {writer.sizes['n']}, {first_key}"))
    _clear(backward, sums, count)
    start = first_key if writer.kernel.causal else "0"

    def queries(first_query: str) -> None:
        """256 queries: the first ones sum where the result is, others in chains of their own."""
        more = code.op(f"icmp ne i64 {first_query}, {start}")
        code.when(more, lambda: _clear(backward, backward.chains, count))
        stop = code.smin(code.op(f"add i64 {first_query}, {BLOCK}"), writer.sizes["m"])
        chains = GradientAreas(
            *[
                code.op(f"select i1 {more}, ptr {chain}, ptr {total}")
                for chain, total in zip(backward.chains, sums)
            ]
        )
        writer.each(
            first_query,
            stop,
            TILE,
            lambda tile_query: _write_pair(backward, item, first_key, tile_query, chains),
        )
        code.when(more, lambda: _add_chains(backward, count))

    writer.each(start, writer.sizes["m"], BLOCK, queries)
    keys, values = Matrix(sums.keys, backward.key_line), Matrix(sums.values, backward.value_line)
    _write_result(backward, item, "dk", keys, first_key, count)
    _write_result(backward, item, "dv", values, first_key, count)


def _clear(backward: Backward, areas: GradientAreas, rows: str) -> None:
    backward.writer.zero(areas.keys, rows, backward.key_line)
    backward.writer.zero(areas.values, rows, backward.value_line)


def _add(writer: Writer, target: str, source: str, rows: str, line_bytes: str) -> None:
    """target += source, whole rows of areas."""
    nbytes = writer.code.mul(rows, line_bytes)
    vectors = writer.code.op(f"sdiv i64 {nbytes}, {16 * writer.element.size}")

    def part(index: str) -> None:
        pointer = writer.at(target, index, 16)
        total, addend = writer.load(pointer), writer.load(writer.at(source, index, 16))
        writer.store(writer.apply("fadd", total, addend), pointer)

    writer.each("0", vectors, 1, part)


def _add_chains(backward: Backward, rows: str) -> None:
    writer, sums, chains = backward.writer, backward.sums, backward.chains
    _add(writer, sums.keys, chains.keys, rows, backward.key_line)
    _add(writer, sums.values, chains.values, rows, backward.value_line)


# ---- a tile of queries and a block of keys
def _write_pair(
    backward: Backward,
    item: AttendItem,
    first_key: str,
    first_query: str,
    chains: GradientAreas | None,
) -> None:
    """Weights and gradients of the scores of a pair, and what they give to the sums of the keys
    (to `chains`) and of the queries."""
    writer, code, tile = backward.writer, backward.code, backward.tile
    rows = code.smin(str(TILE), code.op(f"sub i64 {writer.sizes['m']}, {first_query}"))
    stop = writer.sizes["n"]
    if writer.kernel.causal:
        stop = code.smin(stop, code.op(f"add i64 {first_query}, {TILE}"))
    keys = Keys(first_key, code.smin(str(BLOCK), code.op(f"sub i64 {stop}, {first_key}")))
    queries = Queries(item.pointers, first_query, rows)
    vectors = writer.rows_from("q", item.pointers, first_query)
    gradient = writer.rows_from("g", item.pointers, first_query)
    writer.turn(vectors, rows, writer.sizes["e"], tile.turned_queries)
    writer.turn(gradient, rows, writer.sizes["f"], backward.turned_gradient)
    _statistics(backward, queries)
    raw_scores(writer, tile, queries, keys)
    turned = turn_pairs(writer, tile, queries, keys)
    writer.product(
        writer.rows_from("v", item.pointers, first_key),
        keys.length,
        Matrix(backward.turned_gradient, str(writer.line)),
        writer.lanes_used,
        writer.sizes["f"],
        Matrix(backward.by_value, str(writer.line)),
    )
    ahead = code.op(f"sub i64 {first_key}, {first_query}")
    _weights_and_gradients(backward, Scores(tile.scores, turned, ahead, keys.length))
    if chains is not None:
        _sum_keys(backward, keys, rows, (vectors, gradient), chains)
    if backward.of_queries:
        _sum_queries(backward, queries, keys, item.first_tile)


def _sum_keys(
    backward: Backward,
    keys: Keys,
    rows: str,
    operands: tuple[Matrix, Matrix],
    chains: GradientAreas,
) -> None:
    """dk += gradients of scores @ queries, dv += weights @ gradients: chains that go on from tile
    to tile."""
    writer = backward.writer
    vectors, gradient = operands
    line_bytes, itemsize = str(writer.line), str(writer.element.size)
    for area, target, step, source, columns in (
        (backward.by_value, chains.keys, backward.key_line, vectors, writer.sizes["e"]),
        (backward.tile.scores, chains.values, backward.value_line, gradient, writer.sizes["f"]),
    ):
        writer.product(
            Matrix(area, line_bytes, itemsize),
            keys.length,
            source,
            columns,
            rows,
            Matrix(target, step),
            "true",
        )


def _sum_queries(backward: Backward, queries: Queries, keys: Keys, first_tile: str) -> None:
    """dq of a tile: this block's chain, stored or added."""
    writer, code, line_bytes = backward.writer, backward.code, backward.key_line
    inside = code.op(f"sub i64 {queries.first}, {code.mul(first_tile, str(TILE))}")
    total = code.at("i8", backward.query_sums, code.mul(inside, line_bytes))
    is_first = code.op(f"icmp eq i64 {keys.first}, 0")
    target = code.op(f"select i1 {is_first}, ptr {total}, ptr {backward.query_chain}")
    writer.product(
        Matrix(backward.by_value, str(writer.element.size), str(writer.line)),
        queries.rows,
        writer.rows_from("k", queries.pointers, keys.first),
        writer.sizes["e"],
        keys.length,
        Matrix(target, line_bytes),
    )
    code.when(
        code.op(f"xor i1 {is_first}, true"),
        lambda: _add(writer, total, backward.query_chain, queries.rows, line_bytes),
    )


def _statistics(backward: Backward, queries: Queries) -> None:
    """Peak, total and delta of a tile's queries; lanes past the last repeat it."""
    writer, code, scalar = backward.writer, backward.code, backward.writer.element.scalar
    areas = {"peak": backward.peak, "total": backward.total, "delta": backward.delta}

    def one(lane: str) -> None:
        inside = code.smin(lane, code.op(f"sub i64 {queries.rows}, 1"))
        query = code.op(f"add i64 {queries.first}, {inside}")
        for name, area in areas.items():
            pointer = writer.row(name, writer.reads[name], queries.pointers[name], query)
            value = code.op(f"load {scalar}, ptr {pointer}")
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, area, lane)}")

    writer.each("0", str(TILE), 1, one)


def _weights_and_gradients(backward: Backward, scores: Scores) -> None:
    """The weights of the values in place of the scores, the scores' gradients in `by_value`;
    with a row more where the number of keys is odd."""
    writer, code = backward.writer, backward.code
    bases, shares, deltas = [], [], []
    for vector in writer.vectors:
        bases.append(writer.base_of(writer.load(writer.at(backward.peak, "0", TILE, vector))))
        total = writer.load(writer.at(backward.total, "0", TILE, vector))
        none = writer.apply("fcmp oeq", total, "zeroinitializer")
        share = writer.apply("fdiv", writer.number(1.0), total)
        shares.append(writer.pick(none, writer.number(0.0), share))
        deltas.append(writer.load(writer.at(backward.delta, "0", TILE, vector)))

    def one(key: str, vector: int) -> None:
        weight = writer.weight(score(writer, scores, key, vector), bases[vector])
        share = writer.apply("fmul", weight, shares[vector])
        pointer = writer.at(backward.by_value, key, TILE, vector)
        inner = times_factor(writer, scores, writer.load(pointer), key, vector)
        inner = writer.apply("fsub", inner, deltas[vector])
        writer.store(writer.apply("fmul", share, inner), pointer)
        kept = times_factor(writer, scores, share, key, vector)
        writer.store(kept, writer.at(scores.raw, key, TILE, vector))

    def pair(key: str) -> None:
        both = (key, code.op(f"add i64 {key}, 1"))
        writer.together([partial(one, own, vector) for own in both for vector in writer.vectors])

    writer.each("0", scores.keys, 2, pair)


def _write_result(
    backward: Backward,
    item: AttendItem,
    name: GradientName,
    source: Matrix,
    start: str,
    rows: str,
) -> None:
    """Rows of an area as rows from `start` on of a result; of queries and keys times scale."""
    writer, code, scalar = backward.writer, backward.code, backward.writer.element.scalar
    access = writer.kernel.writes[GRADIENTS.index(name)]
    columns, scaled = writer.sizes["f" if name == "dv" else "e"], name != "dv"

    def row(index: str) -> None:
        target = writer.row(name, access, item.results[name], code.op(f"add i64 {start}, {index}"))
        origin = code.at("i8", source.pointer, code.mul(index, source.row_step))

        def part(column: str, mask: str | None) -> None:
            value = writer.load(code.at(scalar, origin, column))
            if scaled:
                value = writer.apply("fmul", value, writer.scale)
            writer.store(value, code.at(scalar, target, column), mask)

        writer.columns(columns, part)

    writer.each("0", rows, 1, row)
