"""Gradients of attention: a block of threads takes a tile of keys over all queries ('keys': dk and
dv), or a tile of queries over all keys ('queries': dq).

What the tile does not hold is taken in parts of 64: products of both kinds, weights and gradients
of the scores in shared memory, chains that go on.  Invariant: the order of ops/products/attend.py,
which both ways share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Literal, NamedTuple

from ....ir.attend import BLOCK, TILE
from ...attend import GRADIENTS, GradientName
from ...plan import AttendKernel
from .pairs import Pairs
from .products import Chain, MatrixRows, Products
from .tile import COLUMNS, LANE_COLUMNS, LANE_ROWS, THREADS, WIDE, Area, AttendTiling
from .writer import AttendWriter, Matrix

__all__ = ["Backward", "Side", "Statistics", "statistics_of"]

Side = Literal["keys", "queries"]  # what the rows of a tile are


class Statistics(NamedTuple):
    """Of one query: what is subtracted from its scores, 1 / total, and delta."""

    base: str
    share: str
    delta: str


def statistics_of(pairs: Pairs, vectors: dict[str, str], query: str) -> Statistics:
    """Of a query, of the last one where there are no more; `vectors`: where peak, total and delta
    of all queries start."""
    writer, code = pairs.writer, pairs.writer.code
    inside = code.smin(query, pairs.last_query)
    values = {}
    for name, start in vectors.items():
        offset = code.mul(inside, writer.step(name, writer.reads[name]))
        values[name] = writer.load_global(writer.beyond(start, offset))
    none = writer.apply("fcmp oeq", values["total"], writer.number(0.0))
    share = writer.apply("fdiv", writer.number(1.0), values["total"])
    share = writer.pick(none, writer.number(0.0), share)
    return Statistics(writer.base_of(values["peak"]), share, values["delta"])


class Gradient(NamedTuple):
    """A gradient: its name, the area of what multiplies the rows of `source`, and its columns."""

    name: GradientName
    area: Area
    source: Matrix
    columns: str


class _Tile(NamedTuple):
    """What a block of threads takes: rows from `first` on of the batch position with these
    coordinates, and columns of the results from `first_column` on.

    `rows` and `columns` are the factors of both products; `vectors` is where peak, total and delta
    of all queries start, `own_sums` where this thread keeps its sums."""

    coordinates: list[str]
    first: str
    first_column: str
    rows: tuple[Matrix, Matrix]
    columns: tuple[Matrix, Matrix]
    pairs: Pairs
    vectors: dict[str, str]
    results: list[Gradient]
    own_sums: str


class Backward:
    """The kernel that writes dk and dv, or dq."""

    def __init__(self, kernel: AttendKernel, tiling: AttendTiling, side: Side) -> None:
        self.writer = writer = AttendWriter(kernel, tiling)
        self.side = side
        self.of_keys = side == "keys"
        size, rows, pairs = tiling.element.size, tiling.block_rows, tiling.block_pairs
        stride = pairs * size + WIDE
        self.slopes = Area(0, stride, rows, pairs)
        self.kept = Area(self.slopes.stop, stride, rows if self.of_keys else 0, pairs)
        # each thread's sums of the blocks before, one after the other
        self.sums = self.kept.stop
        self.held = tiling.rows * tiling.columns
        results = 2 if self.of_keys else 1
        memory = self.sums + results * self.held * THREADS * size
        self.products = Products(writer, memory)
        # what every row is where rows are queries: registers would not hold it
        self.statistics = self.products.stop
        self.shared = self.statistics + (0 if self.of_keys else 3 * rows * size)
        self.row_size, self.pair_size = ("n", "m") if self.of_keys else ("m", "n")
        self.tiles = -(-getattr(kernel, self.row_size) // rows)
        widest = max(kernel.e, kernel.f) if self.of_keys else kernel.e
        self.parts = max(-(-widest // COLUMNS), 1)
        self.each = prod(kernel.batch) * self.parts  # blocks of one tile

    # ---- one block of threads
    def write(self) -> None:
        tile = self._tile()
        self._all_blocks(tile)
        for number in range(len(tile.results)):
            self._store(tile, number)

    def _tile(self) -> _Tile:
        writer, code, of_keys = self.writer, self.writer.code, self.of_keys
        block = writer.register("ctaid.x")
        number, rest = writer.divide(block, writer.word("each", self.each))
        batch, part = writer.divide(rest, writer.word("parts", self.parts))
        if not of_keys:  # the longest first
            number = code.op(f"sub i64 {writer.word('last tile', self.tiles - 1)}, {number}")
        first = code.mul(number, str(writer.tiling.block_rows))
        first_column = code.mul(part, str(COLUMNS))
        coordinates = writer.split(batch)
        query, key, value, gradient = (
            writer.matrix(name, writer.reads[name], coordinates, columns)
            for name, columns in zip(("q", "k", "v", "g"), ("e", "e", "f", "f"))
        )
        of_key, of_query = (key, value), (query, gradient)
        pairs = Pairs(writer, coordinates)
        names = ("peak", "total", "delta")
        vectors = {n: writer.vector(n, writer.reads[n], coordinates) for n in names}
        results = [Gradient("dq", self.slopes, key, "e")]
        if of_keys:
            results = [
                Gradient("dv", self.kept, gradient, "f"),
                Gradient("dk", self.slopes, query, "e"),
            ]
        own = code.mul(writer.indices.thread, str(writer.element.size))
        own_sums = writer.shared(code.add(own, str(self.sums)))
        if not of_keys:
            self._put_statistics(pairs, vectors, first)
        return _Tile(
            coordinates,
            first,
            first_column,
            of_key if of_keys else of_query,
            of_query if of_keys else of_key,
            pairs,
            vectors,
            results,
            own_sums,
        )

    def _all_blocks(self, tile: _Tile) -> None:
        """Blocks of 256 of what the tile does not hold."""
        writer, code = self.writer, self.writer.code
        start, stop = "0", writer.sizes[self.pair_size]
        if writer.kernel.causal and self.of_keys:
            start = code.op(f"and i64 {tile.first}, -{writer.tiling.block_pairs}")
        elif not self.of_keys:
            stop = tile.pairs.stop_key(tile.first, writer.tiling.block_rows)
        first_block = code.op(f"and i64 {start}, -{BLOCK}")
        for number in range(len(tile.results)):
            self._put_sums(tile, number, [writer.number(0.0)] * self.held)

        def block(begin: str, _: list[str]) -> list[str]:
            inner = code.call("llvm.smax.i64", "i64", f"i64 {begin}", f"i64 {start}")
            end = code.smin(code.add(begin, str(BLOCK)), stop)
            self._block(tile, inner, end, code.op(f"icmp eq i64 {begin}, {first_block}"))
            return []

        code.loop(first_block, stop, str(BLOCK), [], block)

    def _block(self, tile: _Tile, start: str, stop: str, is_first: str) -> None:
        """One block: chains from +0.0, added to the sums of those before."""
        writer, code = self.writer, self.writer.code
        zeros = self.products.zeros(writer.tiling.columns) * len(tile.results)
        pairs = str(writer.tiling.block_pairs)
        _, chains = code.loop(start, stop, pairs, zeros, partial(self._part, tile, stop))
        for number in range(len(tile.results)):
            own = chains[number * self.held : (number + 1) * self.held]
            added = [
                writer.pick(is_first, chain, writer.apply("fadd", total, chain))
                for total, chain in zip(self._get_sums(tile, number), own)
            ]
            self._put_sums(tile, number, added)

    def _sum_offset(self, number: int, which: int) -> int:
        return (number * self.held + which) * THREADS * self.writer.element.size

    def _get_sums(self, tile: _Tile, number: int) -> list[str]:
        return [
            self.writer.load_shared(tile.own_sums, self._sum_offset(number, which))
            for which in range(self.held)
        ]

    def _put_sums(self, tile: _Tile, number: int, values: list[str]) -> None:
        for which, value in enumerate(values):
            self.writer.store_shared(value, tile.own_sums, self._sum_offset(number, which))

    # ---- one part: a tile of pairs
    def _part(self, tile: _Tile, stop: str, first: str, chains: list[str]) -> list[str]:
        writer, code = self.writer, self.writer.code
        own, other = (writer.sizes[name] for name in (self.row_size, self.pair_size))
        features = writer.tiling.features
        if not writer.kernel.e:  # no chunk begins with a barrier
            writer.barrier()
        steps = (self._weights, writer.kernel.e), (self._slopes, writer.kernel.f)
        for which, (step, size) in enumerate(steps):
            left = MatrixRows(tile.rows[which], tile.first, own)
            right = MatrixRows(tile.columns[which], first, other)
            step(tile, first, self.products.scores(left, right, bool(size % features)))
        length = code.op(f"sub i64 {stop}, {first}")
        most = code.smin(length, str(writer.tiling.block_pairs))
        chain = self._chain(tile, first, most)
        found = []
        for number, result in enumerate(tile.results):
            own_chains = chains[number * self.held : (number + 1) * self.held]
            if getattr(writer.kernel, result.columns):
                weights = self.products.weights(result.area)
                source = MatrixRows(result.source, first, other)
                own_chains = self.products.weighted(
                    weights, source, tile.first_column, chain, own_chains
                )
            found += own_chains
        return found

    def _chain(self, tile: _Tile, first: str, most: str) -> Chain:
        """Which of the part's pairs take part for the rows of this warp."""
        writer, code = self.writer, self.writer.code
        if not writer.kernel.causal:
            return Chain("0", most, most)
        warp = code.mul(writer.indices.warp_row, str(writer.tiling.warp_rows))
        number = code.op(f"sdiv i64 {code.add(tile.first, warp)}, {TILE}")
        if self.of_keys:  # queries from the tile's first on
            start = code.op(f"sub i64 {code.mul(number, str(TILE))}, {first}")
            return Chain(writer.limit(start, most), most, most)
        end = code.op(f"sub i64 {code.mul(code.add(number, '1'), str(TILE))}, {first}")
        return Chain("0", writer.limit(end, most), most)

    def _weights(self, tile: _Tile, first: str, products: list[str]) -> None:
        """Weights of the thread's pairs, into shared memory: registers would not hold them beside
        the second product."""
        writer = self.writer

        def one(row: int, pair: int, query: str, key: str, found: Statistics) -> None:
            product = products[row * writer.tiling.pairs + pair]
            score = tile.pairs.score(product, query, key)
            weight = writer.apply("fmul", writer.weight(score, found.base), found.share)
            writer.store_shared(weight, *self._place(self._held_in, row, pair))

        self._each_pair(tile, first, one)

    def _slopes(self, tile: _Tile, first: str, products: list[str]) -> None:
        """Gradients of the scores of the thread's pairs, into shared memory."""
        writer = self.writer

        def one(row: int, pair: int, query: str, key: str, found: Statistics) -> None:
            weight = writer.load_shared(*self._place(self._held_in, row, pair))
            product = products[row * writer.tiling.pairs + pair]
            inner = tile.pairs.times_factor(product, query, key)
            inner = writer.apply("fsub", inner, found.delta)
            slope = writer.apply("fmul", weight, inner)
            writer.store_shared(slope, *self._place(self.slopes, row, pair))
            if self.of_keys and "factor" in writer.reads:
                factored = tile.pairs.times_factor(weight, query, key)
                writer.store_shared(factored, *self._place(self.kept, row, pair))

        self._each_pair(tile, first, one)

    @property
    def _held_in(self) -> Area:
        """Where weights wait for the gradients of the scores."""
        return self.kept if self.of_keys else self.slopes

    def _place(self, area: Area, row: int, pair: int) -> tuple[str, int]:
        """(shared pointer, offset) of one of this thread's pairs."""
        writer, size = self.writer, self.writer.element.size
        own = writer.code.mul(self.products.own_pair, str(size))
        pointer = writer.inside(self.products.weights(area).pointer, own)
        return pointer, LANE_ROWS * row * area.stride + LANE_COLUMNS * pair * size

    def _each_pair(
        self,
        tile: _Tile,
        first: str,
        one: Callable[[int, int, str, str, Statistics], None],
    ) -> None:
        """one(row, pair, query, key, what the query is) for the thread's pairs."""
        code, tiling = self.writer.code, self.writer.tiling
        start = code.add(first, self.products.own_pair)
        columns = [code.add(start, str(LANE_COLUMNS * pair)) for pair in range(tiling.pairs)]
        lines = [code.add(tile.first, self._row_of(row)) for row in range(tiling.rows)]
        if self.of_keys:
            for pair, query in enumerate(columns):
                found = statistics_of(tile.pairs, tile.vectors, query)
                for row, key in enumerate(lines):
                    one(row, pair, query, key, found)
            return
        for row, query in enumerate(lines):
            found = self._get_statistics(row)
            for pair, key in enumerate(columns):
                one(row, pair, query, key, found)

    def _row_of(self, row: int) -> str:
        return self.writer.code.add(self.products.own_row, str(LANE_ROWS * row))

    def _put_statistics(self, pairs: Pairs, vectors: dict[str, str], first: str) -> None:
        """Those of all rows into shared memory, a thread a row."""
        writer, code, row = self.writer, self.writer.code, self.writer.indices.thread

        def put() -> None:
            found = statistics_of(pairs, vectors, code.add(first, row))
            for which, value in enumerate(found):
                writer.store_shared(value, writer.shared(self._statistic(which, row)))

        code.when(code.op(f"icmp slt i64 {row}, {writer.tiling.block_rows}"), put)
        writer.barrier()

    def _statistic(self, which: int, row: str) -> str:
        size = self.writer.element.size
        start = self.statistics + which * self.writer.tiling.block_rows * size
        return self.writer.code.add(self.writer.code.mul(row, str(size)), str(start))

    def _get_statistics(self, row: int) -> Statistics:
        """Of one of this thread's rows."""
        writer, own = self.writer, self.products.own_row
        offset = LANE_ROWS * row * writer.element.size
        return Statistics(
            *[
                writer.load_shared(writer.shared(self._statistic(which, own)), offset)
                for which in range(3)
            ]
        )

    # ---- results
    def _store(self, tile: _Tile, number: int) -> None:
        """Rows of a gradient; of queries and keys times scale."""
        writer, code, tiling = self.writer, self.writer.code, self.writer.tiling
        result = tile.results[number]
        access = writer.kernel.writes[GRADIENTS.index(result.name)]
        target = writer.vector(result.name, access, tile.coordinates)
        sums = self._get_sums(tile, number)
        for row in range(tiling.rows):
            line = code.add(tile.first, self._row_of(row))
            values = sums[row * tiling.columns : (row + 1) * tiling.columns]
            if result.name != "dv":
                values = [writer.apply("fmul", value, tile.pairs.scale) for value in values]
            inside = code.op(f"icmp slt i64 {line}, {writer.sizes[self.row_size]}")
            row_offset = code.mul(line, writer.step(result.name, access))
            code.when(inside, partial(self._store_row, tile, result, target, row_offset, values))

    def _store_row(
        self, tile: _Tile, result: Gradient, target: str, row_offset: str, values: list[str]
    ) -> None:
        writer, code = self.writer, self.writer.code
        line = writer.beyond(target, row_offset)
        for offset, value in zip(self.products.columns, values):
            column = code.add(code.add(tile.first_column, self.products.own_column), str(offset))
            column_offset = code.mul(column, str(writer.element.size))
            inside = code.op(f"icmp slt i64 {column}, {writer.sizes[result.columns]}")
            code.when(
                inside, partial(writer.store_global, value, writer.beyond(line, column_offset))
            )
