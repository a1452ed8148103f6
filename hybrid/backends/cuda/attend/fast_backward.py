"""Gradients of attention on tensor cores: a warp takes 16 keys over all queries ('keys': dk and
dv), or 16 queries over all keys ('queries': dq).

Invariant: what is excluded has the weight 0; sums run over parts of 64 in order, inside them in
that of the hardware.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

from ...attend import GRADIENTS, GradientName
from ...plan import AttendKernel
from .backward import Side, Statistics, statistics_of
from .cores import BLOCK_ROWS, STEP, Across, Along, Cores, HeldTile, Piece
from .pairs import Pairs
from .tile import AttendTiling
from .writer import AttendWriter, Matrix

__all__ = ["FastBackward"]

PIECES = BLOCK_ROWS // STEP
NAMES = ("peak", "total", "delta")


class _Queries(NamedTuple):
    """The queries of a batch position, and where peak, total and delta of all of them start."""

    pairs: Pairs
    vectors: dict[str, str]


class _Tile(NamedTuple):
    """What a block of threads takes: 64 rows of the batch position with these coordinates.

    `lines` are the two of this thread, `held` both factors of its products that it holds, `tiled`
    the two that are staged; `own` are the statistics of its rows where rows are queries.  What the
    rows meet goes from `begin` to `end`."""

    coordinates: list[str]
    queries: _Queries
    tiled: tuple[Matrix, Matrix]
    held: list[HeldTile]
    across: list[Across]
    along: list[Along]
    lines: tuple[str, str]
    own: list[Statistics]
    begin: str
    end: str


class FastBackward:
    """The kernel that writes dk and dv, or dq."""

    def __init__(self, kernel: AttendKernel, tiling: AttendTiling, side: Side) -> None:
        self.writer = writer = AttendWriter(kernel, tiling)
        self.of_keys = side == "keys"
        self.cores = cores = Cores(writer, kernel.fast == "bf16")
        # of queries or keys, and of gradients or values
        first = cores.tile(0, kernel.e, across=True, along=True)
        second = cores.tile(first.stop, kernel.f, across=True, along=self.of_keys)
        self.tiles_held = first, second
        self.statistics = second.stop  # base, share and delta of 64 queries
        self.shared = self.statistics + 3 * 4 * BLOCK_ROWS * self.of_keys
        self.row_size, self.pair_size = ("n", "m") if self.of_keys else ("m", "n")
        self.tiles = -(-getattr(kernel, self.row_size) // BLOCK_ROWS)
        self.each = prod(kernel.batch)
        self.slopes = len(cores.zeros(kernel.e))  # sums of dq or dk; those of dv come after them

    def write(self) -> None:
        cores, kernel = self.cores, self.writer.kernel
        tile = self._tile()
        start = cores.zeros(kernel.e) + (cores.zeros(kernel.f) if self.of_keys else [])
        part = partial(self._part, tile)
        _, sums = self.writer.code.loop(tile.begin, tile.end, str(BLOCK_ROWS), start, part)
        self._store(tile, "dk" if self.of_keys else "dq", "e", sums[: self.slopes])
        if self.of_keys:
            self._store(tile, "dv", "f", sums[self.slopes :])

    def _tile(self) -> _Tile:
        writer, code, kernel, cores = self.writer, self.writer.code, self.writer.kernel, self.cores
        number, batch = writer.divide(writer.register("ctaid.x"), writer.word("each", self.each))
        if not self.of_keys:  # the longest first
            number = code.op(f"sub i64 {writer.word('last tile', self.tiles - 1)}, {number}")
        first = code.mul(number, str(BLOCK_ROWS))
        coordinates = writer.split(batch)
        query, key, value, gradient = (
            writer.matrix(name, writer.reads[name], coordinates, columns)
            for name, columns in zip(("q", "k", "v", "g"), "eeff")
        )
        pairs = Pairs(writer, coordinates)
        vectors = {n: writer.vector(n, writer.reads[n], coordinates) for n in NAMES}
        queries = _Queries(pairs, vectors)
        of_key, of_query = (key, value), (query, gradient)
        rows, tiled = (of_key, of_query) if self.of_keys else (of_query, of_key)
        stop = writer.sizes[self.row_size]
        held = [
            cores.held(matrix, first, stop, columns)
            for matrix, columns in zip(rows, (kernel.e, kernel.f))
        ]
        across = [cores.across(tile) for tile in self.tiles_held]
        along = [cores.along(tile) for tile in self.tiles_held if tile.along is not None]
        row = code.add(first, cores.own_row)
        lines = row, code.add(row, str(STEP))
        own = [] if self.of_keys else [self._statistics(queries, line) for line in lines]
        begin = first if kernel.causal and self.of_keys else "0"
        end = writer.sizes[self.pair_size]
        if not self.of_keys:
            end = pairs.stop_key(first, BLOCK_ROWS)
        return _Tile(coordinates, queries, tiled, held, across, along, lines, own, begin, end)

    # ---- statistics of queries
    def _statistics(self, queries: _Queries, query: str) -> Statistics:
        """Of a query; one that is not there has the share 0."""
        writer, code = self.writer, self.writer.code
        parts = statistics_of(*queries, query)
        there, zero = code.op(f"icmp slt i64 {query}, {writer.sizes['m']}"), writer.number(0.0)
        return Statistics(*[writer.pick(there, part, zero) for part in parts])

    def _stage_statistics(self, queries: _Queries, first: str) -> None:
        writer, code, thread = self.writer, self.writer.code, self.writer.indices.thread

        def one() -> None:
            pointer = writer.shared(code.add(code.mul(thread, "4"), str(self.statistics)))
            for number, part in enumerate(self._statistics(queries, code.add(first, thread))):
                writer.store_shared(part, pointer, 4 * BLOCK_ROWS * number)

        code.when(code.op(f"icmp slt i64 {thread}, {BLOCK_ROWS}"), one)

    def _staged(self, column: str) -> Statistics:
        writer, code = self.writer, self.writer.code
        pointer = writer.shared(code.add(code.mul(column, "4"), str(self.statistics)))
        parts = [writer.load_shared(pointer, 4 * BLOCK_ROWS * number) for number in range(3)]
        return Statistics(parts[0], parts[1], parts[2])

    # ---- 64 of what the rows meet
    def _part(self, tile: _Tile, first: str, sums: list[str]) -> list[str]:
        writer, code = self.writer, self.writer.code
        writer.barrier()
        stop = writer.sizes[self.pair_size]
        for matrix, held in zip(tile.tiled, self.tiles_held):
            self.cores.stage(matrix, first, stop, held)
        if self.of_keys:
            self._stage_statistics(tile.queries, first)
        writer.barrier()
        slopes, kept = sums[: self.slopes], sums[self.slopes :]
        pieces = self.cores.pieces
        for number in range(0, PIECES, pieces):
            both = []
            for piece in range(number, number + pieces):
                products = [f(rows, piece) for f, rows in zip(tile.across, tile.held)]
                column = code.add(self.cores.own_column, str(STEP * piece))
                both.append(self._piece(tile, first, column, *products))
            step = number // pieces
            if self.of_keys:
                kept = tile.along[1]([weights for weights, _ in both], step, kept)
            slopes = tile.along[0]([gradients for _, gradients in both], step, slopes)
        return [*slopes, *kept]

    def _piece(
        self, tile: _Tile, first: str, column: str, by_key: Piece, by_value: Piece
    ) -> tuple[Piece, Piece]:
        """Weights of the values, and gradients of the scores."""
        writer, code, pairs = self.writer, self.writer.code, tile.queries.pairs
        columns = [column, code.add(column, "1")]
        staged = [self._staged(x) for x in columns] if self.of_keys else []
        weights, gradients = [], []
        for i, (product, inner) in enumerate(zip(by_key, by_value)):
            line, pair = tile.lines[i // 2], code.add(first, columns[i % 2])
            query, key = (pair, line) if self.of_keys else (line, pair)
            one = staged[i % 2] if self.of_keys else tile.own[i // 2]
            score = pairs.score(product, query, key)
            if not self.of_keys:
                there = code.op(f"icmp slt i64 {key}, {writer.sizes['n']}")
                score = writer.pick(there, score, writer.number(float("-inf")))
            weight = writer.apply("fmul", writer.weight(score, one.base), one.share)
            inner = pairs.times_factor(inner, query, key)
            inner = writer.apply("fsub", inner, one.delta)
            gradients.append(writer.apply("fmul", weight, inner))
            weights.append(pairs.times_factor(weight, query, key))
        return weights, gradients

    # ---- results
    def _store(self, tile: _Tile, name: GradientName, columns: str, sums: list[str]) -> None:
        writer, code = self.writer, self.writer.code
        access = writer.kernel.writes[GRADIENTS.index(name)]
        target = writer.vector(name, access, tile.coordinates)
        if name != "dv":
            sums = [writer.apply("fmul", value, tile.queries.pairs.scale) for value in sums]
        for row, line in enumerate(tile.lines):
            inside = code.op(f"icmp slt i64 {line}, {writer.sizes[self.row_size]}")
            pointer = writer.beyond(target, code.mul(line, writer.step(name, access)))
            pieces = [sums[i + 2 * row : i + 2 * row + 2] for i in range(0, len(sums), 4)]
            code.when(inside, partial(self._store_row, pointer, columns, pieces))

    def _store_row(self, line: str, columns: str, pieces: list[list[str]]) -> None:
        writer, code = self.writer, self.writer.code
        for number, piece in enumerate(pieces):
            for more, value in enumerate(piece):
                column = code.add(self.cores.own_column, str(STEP * number + more))
                pointer = writer.beyond(line, code.mul(column, "4"))
                inside = code.op(f"icmp slt i64 {column}, {writer.sizes[columns]}")
                code.when(inside, partial(writer.store_global, value, pointer))
