"""Attention: a block of threads takes a tile of queries of one batch position over all its keys.

Per block of 256 keys the products go to shared memory, each warp makes weights of some rows, and
all multiply them by the values.  Invariant: the order of ops/products/attend.py.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

from ....ir.attend import BLOCK, TILE
from ...attend import OUTPUTS
from ...plan import AttendKernel
from .pairs import Pairs
from .products import Chain, MatrixRows, Products
from .tile import COLUMNS, LANE_COLUMNS, LANE_ROWS, THREADS, WIDE, Area, AttendTiling
from .writer import AttendWriter, Matrix

__all__ = ["Forward"]

WARP = 32


class _Tile(NamedTuple):
    """What a block of threads takes: queries from `first` on and columns of the result from
    `first_column` on, of the batch position with these coordinates; `part` counts groups of
    columns, keys from `stop` on have no part in it."""

    coordinates: list[str]
    part: str
    first: str
    first_column: str
    query: Matrix
    key: Matrix
    value: Matrix
    pairs: Pairs
    stop: str


class Forward:
    """The kernel that writes out, peak and total."""

    def __init__(self, kernel: AttendKernel, tiling: AttendTiling) -> None:
        self.writer = writer = AttendWriter(kernel, tiling)
        size, rows = tiling.element.size, tiling.block_rows
        self.area = Area(0, tiling.keys * size + WIDE, rows, tiling.keys)
        # of every row: the greatest score so far, the sum of its weights, what both were times
        self.state = self.area.stop
        self.products = Products(writer, self.state + 3 * rows * size)
        self.weights = self.products.weights(self.area)
        self.shared = self.products.stop
        self.tiles = -(-kernel.m // rows)
        self.parts = max(-(-kernel.f // COLUMNS), 1)
        self.each = prod(kernel.batch) * self.parts  # blocks of one tile

    # ---- one block of threads
    def write(self) -> None:
        tile = self._tile()
        self._begin()
        zeros = self.products.zeros(self.writer.tiling.columns)
        block = partial(self._block, tile)
        _, out = self.writer.code.loop("0", tile.stop, str(BLOCK), zeros, block)
        self.writer.barrier()
        self._finish(tile, out)

    def _tile(self) -> _Tile:
        writer, code = self.writer, self.writer.code
        block = writer.register("ctaid.x")
        number, rest = writer.divide(block, writer.word("each", self.each))
        batch, part = writer.divide(rest, writer.word("parts", self.parts))
        number = code.op(f"sub i64 {writer.word('last tile', self.tiles - 1)}, {number}")
        first = code.mul(number, str(writer.tiling.block_rows))
        first_column = code.mul(part, str(COLUMNS))
        coordinates = writer.split(batch)
        query, key, value = (
            writer.matrix(name, writer.reads[name], coordinates, columns)
            for name, columns in zip("qkv", "eef")
        )
        pairs = Pairs(writer, coordinates)
        stop = pairs.stop_key(first, writer.tiling.block_rows)
        return _Tile(coordinates, part, first, first_column, query, key, value, pairs, stop)

    def _state(self, which: int, row: str) -> str:
        """Shared pointer to a row's top (0), total (1) or decay (2)."""
        code, size = self.writer.code, self.writer.element.size
        start = self.state + which * self.writer.tiling.block_rows * size
        return self.writer.shared(code.add(code.mul(row, str(size)), str(start)))

    def _begin(self) -> None:
        writer, code, row = self.writer, self.writer.code, self.writer.indices.thread

        def one() -> None:
            writer.store_shared(writer.number(float("-inf")), self._state(0, row))
            writer.store_shared(writer.number(0.0), self._state(1, row))

        code.when(code.op(f"icmp slt i64 {row}, {writer.tiling.block_rows}"), one)

    def _keys_of(self, tile: _Tile, row: str, first_key: str) -> str:
        """How many keys of the block take part for a row of the tile, and for all of its 32."""
        writer, code = self.writer, self.writer.code
        stop = writer.sizes["n"]
        if writer.kernel.causal:
            number = code.op(f"sdiv i64 {code.add(tile.first, row)}, {TILE}")
            stop = code.smin(stop, code.mul(code.add(number, "1"), str(TILE)))
        return writer.limit(code.op(f"sub i64 {stop}, {first_key}"), str(BLOCK))

    def _block(self, tile: _Tile, first_key: str, out: list[str]) -> list[str]:
        """One block of keys."""
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        for start in range(0, tiling.keys, tiling.block_pairs):
            self._products(tile, first_key, start)
        writer.barrier()
        is_first = code.op(f"icmp eq i64 {first_key}, 0")
        self._weights(tile, first_key, is_first)
        first_row = code.mul(writer.indices.warp_row, str(tiling.warp_rows))
        own = self._keys_of(tile, first_row, first_key)
        most = code.smin(code.op(f"sub i64 {tile.stop}, {first_key}"), str(BLOCK))
        values = MatrixRows(tile.value, first_key, writer.sizes["n"])
        zeros = [writer.number(0.0)] * len(out)
        if writer.kernel.f == 0:
            writer.barrier()
            return out
        product = self.products.weighted(
            self.weights, values, tile.first_column, Chain("0", own, most), zeros
        )
        return self._joined(out, product, is_first, code.op(f"icmp sgt i64 {own}, 0"))

    def _joined(self, out: list[str], product: list[str], first: str, some: str) -> list[str]:
        """out * decay + product; the first block's product as it is; out if no key took part."""
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        result = []
        for row in range(tiling.rows):
            own = code.add(self.products.own_row, str(LANE_ROWS * row))
            decay = writer.load_shared(self._state(2, own))
            for number in range(row * tiling.columns, (row + 1) * tiling.columns):
                later = writer.apply("fmul", out[number], decay)
                later = writer.apply("fadd", later, product[number])
                value = writer.pick(first, product[number], later)
                result.append(writer.pick(some, value, out[number]))
        return result

    def _products(self, tile: _Tile, first_key: str, start: int) -> None:
        """Part of the block's products, where any of the tile's queries needs them."""
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        first = code.add(first_key, str(start))

        def part() -> None:
            queries = MatrixRows(tile.query, tile.first, writer.sizes["m"])
            keys = MatrixRows(tile.key, first, writer.sizes["n"])
            ragged = bool(writer.kernel.e % tiling.features)
            totals = self.products.scores(queries, keys, ragged)
            own = code.mul(self.products.own_pair, str(writer.element.size))
            pointer = writer.inside(self.weights.pointer, own)
            for number, total in enumerate(totals):
                row, pair = divmod(number, tiling.pairs)
                offset = (start + LANE_COLUMNS * pair) * writer.element.size
                writer.store_shared(total, pointer, LANE_ROWS * row * self.area.stride + offset)

        code.when(code.op(f"icmp slt i64 {first}, {tile.stop}"), part)

    # ---- weights of one row by one warp
    def _weights(self, tile: _Tile, first_key: str, is_first: str) -> None:
        writer, code = self.writer, self.writer.code
        rows = writer.tiling.block_rows // (THREADS // WARP)
        warp = code.op(f"lshr i64 {writer.indices.thread}, 5")
        start = code.mul(warp, str(rows))
        count = self._keys_of(tile, start, first_key)

        def row(number: str, _: list[str]) -> list[str]:
            self._row(tile, code.add(start, number), first_key, count, is_first)
            return []

        def all_rows() -> None:
            code.loop("0", str(rows), "1", [], row)

        code.when(code.op(f"icmp sgt i64 {count}, 0"), all_rows)

    def _row(self, tile: _Tile, row: str, first_key: str, count: str, is_first: str) -> None:
        writer, code, indices = self.writer, self.writer.code, self.writer.indices
        size = writer.element.size
        query = code.add(tile.first, row)
        offset = code.add(code.mul(row, str(self.area.stride)), code.mul(indices.lane, str(size)))
        line = writer.shared(offset)
        turns = writer.tiling.keys // WARP
        lanes = [code.add(indices.lane, str(WARP * i)) for i in range(turns)]
        present = [code.op(f"icmp slt i64 {lane}, {count}") for lane in lanes]
        keys = [code.add(first_key, lane) for lane in lanes]
        scores = [
            tile.pairs.score(writer.load_shared(line, WARP * i * size), query, key)
            for i, key in enumerate(keys)
        ]
        before = writer.load_shared(self._state(0, row))
        top = self._top(scores, present, before)
        base = writer.base_of(top)
        weights = [writer.weight(score, base) for score in scores]
        part = self._sum(
            [
                writer.pick(there, weight, writer.number(-0.0))
                for there, weight in zip(present, weights)
            ]
        )
        for i, (weight, key) in enumerate(zip(weights, keys)):
            kept = tile.pairs.times_factor(weight, query, key)
            writer.store_shared(kept, line, WARP * i * size)
        decay = writer.weight(before, base)
        total = self._state(1, row)
        later = writer.apply("fmul", writer.load_shared(total), decay)
        later = writer.apply("fadd", later, part)

        def keep() -> None:
            writer.store_shared(top, self._state(0, row))
            writer.store_shared(writer.pick(is_first, part, later), total)
            writer.store_shared(decay, self._state(2, row))

        code.when(code.op(f"icmp eq i64 {indices.lane}, 0"), keep)

    def _top(self, scores: list[str], present: list[str], before: str) -> str:
        """The greatest score so far; of equal ones the first."""
        writer, code = self.writer, self.writer.code
        none = writer.number(float("-inf"))
        values = [writer.pick(there, score, none) for there, score in zip(present, scores)]
        greatest = none
        for value in values:
            greatest = writer.greatest(greatest, value)
        for distance in (16, 8, 4, 2, 1):
            greatest = writer.greatest(greatest, writer.exchange(greatest, distance))
        is_greater = writer.apply("fcmp ogt", greatest, before)
        is_zero = writer.apply("fcmp oeq", greatest, writer.number(0.0))
        # only zeros are equal without being the same
        inside, after, start = code.label("zero"), code.label("top"), code.block
        code.branch(code.op(f"and i1 {is_greater}, {is_zero}"), inside, after)
        code.start(inside)
        signed = self._first_zero(values)
        last = code.block
        code.jump(after)
        code.start(after)
        kind = writer.element.scalar
        greatest = code.op(f"phi {kind} [{greatest}, %{start}], [{signed}, %{last}]")
        return writer.pick(is_greater, greatest, before)

    def _first_zero(self, values: list[str]) -> str:
        """The zero of the first key whose score is one: the least of 2 * key, plus 1 if it is
        negative."""
        writer, code = self.writer, self.writer.code
        bits = f"i{8 * writer.element.size}"
        lane = code.op(f"trunc i64 {code.mul(writer.indices.lane, '2')} to i32")
        least = str(4 * BLOCK)
        for i, value in enumerate(values):
            pattern = code.op(f"bitcast {writer.element.scalar} {value} to {bits}")
            negative = code.op(f"icmp slt {bits} {pattern}, 0")
            number = code.op(f"add i32 {lane}, {2 * WARP * i}")
            number = code.op(f"add i32 {number}, {code.op(f'zext i1 {negative} to i32')}")
            is_zero = writer.apply("fcmp oeq", value, writer.number(0.0))
            number = code.op(f"select i1 {is_zero}, i32 {number}, i32 {4 * BLOCK}")
            least = code.call("llvm.umin.i32", "i32", f"i32 {least}", f"i32 {number}")
        for distance in (16, 8, 4, 2, 1):
            other = writer.exchange(least, distance, "i32")
            least = code.call("llvm.umin.i32", "i32", f"i32 {least}", f"i32 {other}")
        odd = code.op(f"icmp ne i32 {code.op(f'and i32 {least}, 1')}, 0")
        return writer.pick(odd, writer.number(-0.0), writer.number(0.0))

    def _sum(self, weights: list[str]) -> str:
        """The 64 lanes, of which this thread has two, as one."""
        writer = self.writer
        sums = []
        for lane in (0, 1):
            total = weights[lane]
            for weight in weights[lane + 2 :: 2]:
                total = writer.apply("fadd", total, weight)
            sums.append(writer.apply("fadd", total, writer.exchange(total, 16)))
        total = writer.apply("fadd", *sums)
        for distance in (8, 4, 2, 1):
            total = writer.apply("fadd", total, writer.exchange(total, distance))
        return total

    # ---- results
    def _finish(self, tile: _Tile, out: list[str]) -> None:
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        target = writer.vector(OUTPUTS[0], writer.kernel.writes[0], tile.coordinates)
        for row in range(tiling.rows):
            own = code.add(self.products.own_row, str(LANE_ROWS * row))
            query = code.add(tile.first, own)
            values = out[row * tiling.columns : (row + 1) * tiling.columns]
            inside = code.op(f"icmp slt i64 {query}, {writer.sizes['m']}")
            if writer.kernel.f:
                code.when(inside, partial(self._store_row, tile, target, own, query, values))
        of_first = code.op(f"icmp eq i64 {tile.part}, 0")
        code.when(of_first, lambda: self._store_state(tile))

    def _store_row(self, tile: _Tile, target: str, own: str, query: str, values: list[str]) -> None:
        writer, code, size = self.writer, self.writer.code, self.writer.element.size
        total = writer.load_shared(self._state(1, own))
        none = writer.apply("fcmp oeq", total, writer.number(0.0))
        step = writer.step(OUTPUTS[0], writer.kernel.writes[0])
        line = writer.beyond(target, code.mul(query, step))
        for offset, value in zip(self.products.columns, values):
            column = code.add(code.add(tile.first_column, self.products.own_column), str(offset))
            shared = writer.apply("fdiv", value, total)
            result = writer.pick(none, writer.number(0.0), shared)
            pointer = writer.beyond(line, code.mul(column, str(size)))
            inside = code.op(f"icmp slt i64 {column}, {writer.sizes['f']}")
            code.when(inside, partial(writer.store_global, result, pointer))

    def _store_state(self, tile: _Tile) -> None:
        writer, code, row = self.writer, self.writer.code, self.writer.indices.thread
        query = code.add(tile.first, row)
        targets = [
            writer.vector(name, access, tile.coordinates)
            for name, access in zip(OUTPUTS[1:], writer.kernel.writes[1:])
        ]

        def one() -> None:
            for which, (name, access) in enumerate(zip(OUTPUTS[1:], writer.kernel.writes[1:])):
                offset = code.mul(query, writer.step(name, access))
                value = writer.load_shared(self._state(which, row))
                writer.store_global(value, writer.beyond(targets[which], offset))

        mine = code.op(f"icmp slt i64 {row}, {writer.tiling.block_rows}")
        inside = code.op(f"icmp slt i64 {query}, {writer.sizes['m']}")
        code.when(code.op(f"and i1 {mine}, {inside}"), one)
