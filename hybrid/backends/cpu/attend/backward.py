"""Gradients of attention: blocks of 256 keys, in each the tiles of 32 queries in order.

An item is a batch position with all its keys and queries ('all'), one block of its keys ('keys':
dk and dv), or one tile of its queries ('queries': dq).  Invariant: the order of ops/attend.py,
which these ways of cutting the work share.
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

__all__ = ["RESULTS", "write_backward"]

RESULTS = ("dq", "dk", "dv")


class Sums(NamedTuple):
    """Gradients of the keys and of the values of a block, as areas."""

    keys: str
    values: str


class Backward(NamedTuple):
    """The function that writes dq ('all', 'queries'), dk and dv ('all', 'keys'), and its memory."""

    work: Work
    how: str
    tile: TileMemory
    turned_gradient: str  # of the result
    by_value: str  # that gradient times the values, per pair; then the gradients of the scores
    key_line: str  # bytes of a row of queries or keys in an area
    value_line: str
    query_sums: str  # of the blocks so far; of a tile, or of all queries
    query_chain: str  # of this block
    sums: Sums
    chains: Sums  # of 256 queries
    peak: str  # per query
    total: str
    delta: str

    @property
    def code(self) -> Code:
        return self.work.code

    @property
    def of_queries(self) -> bool:
        return self.how != "keys"

    @property
    def of_keys(self) -> bool:
        return self.how != "queries"


def write_backward(kernel: AttendKernel, element: Element, target: Target, how: str) -> Written:
    """The kernel-ABI function of the gradients, with the work cut one way."""
    work = work_of(kernel, element, target)
    areas = Areas(work.loader, element)
    backward = _backward(work, areas, how)
    items = {"all": 1, "keys": -(-kernel.n // BLOCK), "queries": -(-kernel.m // TILE)}[how]
    work.each("%begin", "%end", 1, lambda number: _write_item(backward, number, items))
    work.code.do("ret i64 0")
    functions = [(ABI, work.code), *called_functions(work)]
    return Written(functions, work.loader.words.finish(), items, areas.nbytes)


def _backward(work: Work, areas: Areas, how: str) -> Backward:
    kernel, size = work.kernel, work.element.size
    wide_keys, wide_values = work.padded("e"), work.padded("f")
    tile = tile_memory(work, areas)
    turned_gradient = areas.take("turned_g", kernel.f, TILE)
    by_value = areas.take("by_value", BLOCK + 1, TILE)
    key_line = work.word("line.e", wide_keys * size)
    value_line = work.word("line.f", wide_values * size)
    query_sums = query_chain = ""
    sums = chains = Sums("", "")
    if how != "keys":
        rows = TILE * (-(-kernel.m // TILE) if how == "all" else 1)
        query_sums = areas.take("sum_q", rows, wide_keys)
        query_chain = areas.take("chain_q", TILE, wide_keys)
    if how != "queries":
        sums = Sums(areas.take("sum_e", BLOCK, wide_keys), areas.take("sum_f", BLOCK, wide_values))
        chains = Sums(
            areas.take("chain_e", BLOCK, wide_keys), areas.take("chain_f", BLOCK, wide_values)
        )
    kind = f"[{TILE} x {work.element.scalar}]"
    return Backward(
        work=work,
        how=how,
        tile=tile,
        turned_gradient=turned_gradient,
        by_value=by_value,
        key_line=key_line,
        value_line=value_line,
        query_sums=query_sums,
        query_chain=query_chain,
        sums=sums,
        chains=chains,
        peak=work.code.alloca(kind),
        total=work.code.alloca(kind),
        delta=work.code.alloca(kind),
    )


def _write_item(backward: Backward, number: str, items: int) -> None:
    work, code = backward.work, backward.code
    batch, part = divide(code, number, work.word("per_batch", max(items, 1)))
    coordinates = work.split(batch)
    pointers = work.pointers(coordinates)
    results = {
        name: work.pointer(name, access, coordinates)
        for name, access in zip(RESULTS, work.kernel.writes)
        if (backward.of_queries if name == "dq" else backward.of_keys)
    }
    if backward.how == "keys":
        _write_keys(backward, pointers, results, code.mul(part, str(BLOCK)), "0")
        return
    first = "0" if backward.how == "all" else part
    _clear_queries(backward, first)
    stop = work.sizes["n"]
    if backward.how == "queries":
        if work.kernel.causal:
            stop = code.smin(stop, code.mul(code.op(f"add i64 {part}, 1"), str(TILE)))

        def block(key: str) -> None:
            query = code.mul(part, str(TILE))
            _write_pair(backward, pointers, key, query, part, None)
    else:

        def block(key: str) -> None:
            _write_keys(backward, pointers, results, key, first)

    work.each("0", stop, BLOCK, block)
    query = code.mul(first, str(TILE))
    rows = code.op(f"sub i64 {work.sizes['m']}, {query}")
    if backward.how == "queries":
        rows = code.smin(rows, str(TILE))
    source = Matrix(backward.query_sums, backward.key_line)
    _write_result(backward, "dq", results, source, query, rows)


def _clear_queries(backward: Backward, first: str) -> None:
    """No keys: zeros in place of the first block's chains."""
    work = backward.work
    rows = work.sizes["m"] if backward.how == "all" else str(TILE)
    backward.code.when(
        backward.code.op(f"icmp eq i64 {work.sizes['n']}, 0"),
        lambda: work.zero(backward.query_sums, rows, backward.key_line),
    )


# ---- one block of keys
def _write_keys(
    backward: Backward, pointers: dict[str, str], results: dict[str, str], key: str, first: str
) -> None:
    """All queries against a block of keys; its dk and dv."""
    work, code, sums = backward.work, backward.code, backward.sums
    count = code.smin(str(BLOCK), code.op(f"sub i64 {work.sizes['n']}, {key}"))
    _clear(backward, sums, count)
    start = key if work.kernel.causal else "0"

    def queries(query: str) -> None:
        """256 queries: the first ones sum where the result is, others in chains of their own."""
        more = code.op(f"icmp ne i64 {query}, {start}")
        code.when(more, lambda: _clear(backward, backward.chains, count))
        stop = code.smin(code.op(f"add i64 {query}, {BLOCK}"), work.sizes["m"])
        chains = Sums(
            *[
                code.op(f"select i1 {more}, ptr {chain}, ptr {total}")
                for chain, total in zip(backward.chains, sums)
            ]
        )

        def tile(own: str) -> None:
            _write_pair(backward, pointers, key, own, first, chains)

        work.each(query, stop, TILE, tile)
        code.when(more, lambda: _add_chains(backward, count))

    work.each(start, work.sizes["m"], BLOCK, queries)
    source = Matrix(sums.keys, backward.key_line)
    _write_result(backward, "dk", results, source, key, count)
    source = Matrix(sums.values, backward.value_line)
    _write_result(backward, "dv", results, source, key, count)


def _clear(backward: Backward, areas: Sums, rows: str) -> None:
    backward.work.zero(areas.keys, rows, backward.key_line)
    backward.work.zero(areas.values, rows, backward.value_line)


def _add(work: Work, target: str, source: str, rows: str, line: str) -> None:
    """target += source, whole rows of areas."""
    nbytes = work.code.mul(rows, line)
    vectors = work.code.op(f"sdiv i64 {nbytes}, {16 * work.element.size}")

    def part(index: str) -> None:
        place = work.at(target, index, 16)
        total, own = work.load(place), work.load(work.at(source, index, 16))
        work.store(work.apply("fadd", total, own), place)

    work.each("0", vectors, 1, part)


def _add_chains(backward: Backward, rows: str) -> None:
    work, sums, chains = backward.work, backward.sums, backward.chains
    _add(work, sums.keys, chains.keys, rows, backward.key_line)
    _add(work, sums.values, chains.values, rows, backward.value_line)


# ---- a tile of queries and a block of keys
def _write_pair(
    backward: Backward,
    pointers: dict[str, str],
    key: str,
    query: str,
    first: str,
    chains: Sums | None,
) -> None:
    """Weights and gradients of the scores of a pair, and what they give to the sums of the keys
    (to `chains`) and of the queries (from tile `first` on)."""
    work, code, tile = backward.work, backward.code, backward.tile
    rows = code.smin(str(TILE), code.op(f"sub i64 {work.sizes['m']}, {query}"))
    stop = work.sizes["n"]
    if work.kernel.causal:
        stop = code.smin(stop, code.op(f"add i64 {query}, {TILE}"))
    keys = Keys(key, code.smin(str(BLOCK), code.op(f"sub i64 {stop}, {key}")))
    queries = Queries(pointers, query, rows)
    own = work.rows_from("q", pointers, query)
    gradient = work.rows_from("g", pointers, query)
    work.turn(own, rows, work.sizes["e"], tile.turned_queries)
    work.turn(gradient, rows, work.sizes["f"], backward.turned_gradient)
    _statistics(backward, queries)
    raw_scores(work, tile, queries, keys)
    turned = turn_pairs(work, tile, queries, keys)
    work.product(
        work.rows_from("v", pointers, key),
        keys.length,
        Matrix(backward.turned_gradient, str(work.line)),
        work.lanes_used,
        work.sizes["f"],
        Matrix(backward.by_value, str(work.line)),
    )
    ahead = code.op(f"sub i64 {key}, {query}")
    _weights_and_gradients(backward, Scores(tile.scores, turned, ahead, keys.length))
    if chains is not None:
        _sum_keys(backward, keys, rows, (own, gradient), chains)
    if backward.of_queries:
        _sum_queries(backward, queries, keys, first)


def _sum_keys(
    backward: Backward, keys: Keys, rows: str, operands: tuple[Matrix, Matrix], chains: Sums
) -> None:
    """dk += gradients of scores @ queries, dv += weights @ gradients: chains that go on from tile
    to tile."""
    work = backward.work
    own, gradient = operands
    line, side = str(work.line), str(work.element.size)
    for area, target, step, source, columns in (
        (backward.by_value, chains.keys, backward.key_line, own, work.sizes["e"]),
        (backward.tile.scores, chains.values, backward.value_line, gradient, work.sizes["f"]),
    ):
        work.product(
            Matrix(area, line, side),
            keys.length,
            source,
            columns,
            rows,
            Matrix(target, step),
            "true",
        )


def _sum_queries(backward: Backward, queries: Queries, keys: Keys, first: str) -> None:
    """dq of a tile: this block's chain, stored or added."""
    work, code, line = backward.work, backward.code, backward.key_line
    here = code.op(f"sub i64 {queries.first}, {code.mul(first, str(TILE))}")
    total = code.at("i8", backward.query_sums, code.mul(here, line))
    begin = code.op(f"icmp eq i64 {keys.first}, 0")
    target = code.op(f"select i1 {begin}, ptr {total}, ptr {backward.query_chain}")
    work.product(
        Matrix(backward.by_value, str(work.element.size), str(work.line)),
        queries.rows,
        work.rows_from("k", queries.pointers, keys.first),
        work.sizes["e"],
        keys.length,
        Matrix(target, line),
    )
    code.when(
        code.op(f"xor i1 {begin}, true"),
        lambda: _add(work, total, backward.query_chain, queries.rows, line),
    )


def _statistics(backward: Backward, queries: Queries) -> None:
    """Peak, total and delta of a tile's queries; lanes past the last repeat it."""
    work, code, scalar = backward.work, backward.code, backward.work.element.scalar
    areas = {"peak": backward.peak, "total": backward.total, "delta": backward.delta}

    def one(lane: str) -> None:
        inside = code.smin(lane, code.op(f"sub i64 {queries.rows}, 1"))
        query = code.op(f"add i64 {queries.first}, {inside}")
        for name, area in areas.items():
            pointer = work.row(name, work.reads[name], queries.pointers[name], query)
            value = code.op(f"load {scalar}, ptr {pointer}")
            code.do(f"store {scalar} {value}, ptr {code.at(scalar, area, lane)}")

    work.each("0", str(TILE), 1, one)


def _weights_and_gradients(backward: Backward, scores: Scores) -> None:
    """The weights of the values in place of the scores, the scores' gradients in `by_value`;
    with a row more where the number of keys is odd."""
    work, code = backward.work, backward.code
    bases, shares, deltas = [], [], []
    for vector in work.vectors:
        bases.append(work.base_of(work.load(work.at(backward.peak, "0", TILE, vector))))
        total = work.load(work.at(backward.total, "0", TILE, vector))
        none = work.apply("fcmp oeq", total, "zeroinitializer")
        share = work.apply("fdiv", work.number(1.0), total)
        shares.append(work.pick(none, work.number(0.0), share))
        deltas.append(work.load(work.at(backward.delta, "0", TILE, vector)))

    def one(key: str, vector: int) -> None:
        weight = work.weight(score(work, scores, key, vector), bases[vector])
        share = work.apply("fmul", weight, shares[vector])
        place = work.at(backward.by_value, key, TILE, vector)
        inner = times_factor(work, scores, work.load(place), key, vector)
        inner = work.apply("fsub", inner, deltas[vector])
        work.store(work.apply("fmul", share, inner), place)
        kept = times_factor(work, scores, share, key, vector)
        work.store(kept, work.at(scores.raw, key, TILE, vector))

    def pair(key: str) -> None:
        both = (key, code.op(f"add i64 {key}, 1"))
        work.together([partial(one, own, vector) for own in both for vector in work.vectors])

    work.each("0", scores.keys, 2, pair)


def _write_result(
    backward: Backward,
    name: str,
    results: dict[str, str],
    source: Matrix,
    start: str,
    rows: str,
) -> None:
    """Rows of an area as rows from `start` on of a result; of queries and keys times scale."""
    work, code, scalar = backward.work, backward.code, backward.work.element.scalar
    access = work.kernel.writes[RESULTS.index(name)]
    columns, scaled = work.sizes["f" if name == "dv" else "e"], name != "dv"

    def row(index: str) -> None:
        target = work.row(name, access, results[name], code.op(f"add i64 {start}, {index}"))
        line = code.at("i8", source.pointer, code.mul(index, source.row_step))

        def part(column: str, mask: str | None) -> None:
            value = work.load(code.at(scalar, line, column))
            if scaled:
                value = work.apply("fmul", value, work.scale)
            work.store(value, code.at(scalar, target, column), mask)

        work.columns(columns, part)

    work.each("0", rows, 1, row)
