"""Gradients of attention on tensor cores: a warp takes 16 keys over all queries ('keys': dk and
dv), or 16 queries over all keys ('queries': dq).

Invariant: what is excluded has the weight 0; sums run over parts of 64 in order, inside them in
that of the hardware.
"""

from __future__ import annotations

from functools import partial
from math import prod

from ...attend import GRADIENTS, GradientName
from ...plan import AttendKernel
from .backward import Side, Statistics, statistics_of
from .cores import BLOCK_ROWS, STEP, Cores, Piece
from .pairs import Pairs
from .tile import AttendTiling
from .writer import AttendWriter

__all__ = ["FastBackward"]

PIECES = BLOCK_ROWS // STEP
NAMES = ("peak", "total", "delta")


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

    def write(self) -> None:
        writer, code, kernel = self.writer, self.writer.code, self.writer.kernel
        tile, batch = writer.divide(writer.register("ctaid.x"), writer.word("each", self.each))
        if not self.of_keys:  # the longest first
            tile = code.op(f"sub i64 {writer.word('last tile', self.tiles - 1)}, {tile}")
        self.first = code.mul(tile, str(BLOCK_ROWS))
        coordinates = writer.split(batch)
        query, key, value, gradient = (
            writer.matrix(name, writer.reads[name], coordinates, columns)
            for name, columns in zip(("q", "k", "v", "g"), "eeff")
        )
        self.pairs = Pairs(writer, coordinates)
        self.vectors = {n: writer.vector(n, writer.reads[n], coordinates) for n in NAMES}
        stop = writer.sizes[self.row_size]
        rows = (key, value) if self.of_keys else (query, gradient)
        self.tiled = (query, gradient) if self.of_keys else (key, value)
        self.held = [
            self.cores.held(matrix, self.first, stop, columns)
            for matrix, columns in zip(rows, (kernel.e, kernel.f))
        ]
        self.across = [self.cores.across(tile) for tile in self.tiles_held]
        self.along = [self.cores.along(t) for t in self.tiles_held if t.along is not None]
        row = code.add(self.first, self.cores.own_row)
        self.lines = [row, code.add(row, str(STEP))]
        if not self.of_keys:
            self.own = [self._statistics(line) for line in self.lines]
        begin, end = "0", writer.sizes[self.pair_size]
        if kernel.causal and self.of_keys:
            begin = self.first
        elif not self.of_keys:
            end = self.pairs.stop_key(self.first, BLOCK_ROWS)
        start = self.cores.zeros(kernel.e)
        self.count = len(start)
        if self.of_keys:
            start = start + self.cores.zeros(kernel.f)
        _, sums = code.loop(begin, end, str(BLOCK_ROWS), start, self._part)
        self._store("dk" if self.of_keys else "dq", "e", sums[: self.count], coordinates)
        if self.of_keys:
            self._store("dv", "f", sums[self.count :], coordinates)

    # ---- statistics of queries
    def _statistics(self, query: str) -> Statistics:
        """Of a query; one that is not there has the share 0."""
        writer, code = self.writer, self.writer.code
        parts = statistics_of(self.pairs, self.vectors, query)
        there, zero = code.op(f"icmp slt i64 {query}, {writer.sizes['m']}"), writer.number(0.0)
        return Statistics(*[writer.pick(there, part, zero) for part in parts])

    def _stage_statistics(self, first: str) -> None:
        writer, code, thread = self.writer, self.writer.code, self.writer.indices.thread

        def one() -> None:
            pointer = writer.shared(code.add(code.mul(thread, "4"), str(self.statistics)))
            for number, part in enumerate(self._statistics(code.add(first, thread))):
                writer.store_shared(part, pointer, 4 * BLOCK_ROWS * number)

        code.when(code.op(f"icmp slt i64 {thread}, {BLOCK_ROWS}"), one)

    def _staged(self, column: str) -> Statistics:
        writer, code = self.writer, self.writer.code
        pointer = writer.shared(code.add(code.mul(column, "4"), str(self.statistics)))
        parts = [writer.load_shared(pointer, 4 * BLOCK_ROWS * number) for number in range(3)]
        return Statistics(parts[0], parts[1], parts[2])

    # ---- 64 of what the rows meet
    def _part(self, first: str, sums: list[str]) -> list[str]:
        writer, code = self.writer, self.writer.code
        writer.barrier()
        stop = writer.sizes[self.pair_size]
        for matrix, tile in zip(self.tiled, self.tiles_held):
            self.cores.stage(matrix, first, stop, tile)
        if self.of_keys:
            self._stage_statistics(first)
        writer.barrier()
        slopes, kept = sums[: self.count], sums[self.count :]
        pieces = self.cores.pieces
        for number in range(0, PIECES, pieces):
            both = []
            for piece in range(number, number + pieces):
                products = [f(held, piece) for f, held in zip(self.across, self.held)]
                column = code.add(self.cores.own_column, str(STEP * piece))
                both.append(self._piece(first, column, *products))
            step = number // pieces
            if self.of_keys:
                kept = self.along[1]([weights for weights, _ in both], step, kept)
            slopes = self.along[0]([gradients for _, gradients in both], step, slopes)
        return [*slopes, *kept]

    def _piece(
        self, first: str, column: str, by_key: Piece, by_value: Piece
    ) -> tuple[Piece, Piece]:
        """Weights of the values, and gradients of the scores."""
        writer, code = self.writer, self.writer.code
        columns = [column, code.add(column, "1")]
        staged = [self._staged(x) for x in columns] if self.of_keys else []
        weights, gradients = [], []
        for i, (product, inner) in enumerate(zip(by_key, by_value)):
            line, pair = self.lines[i // 2], code.add(first, columns[i % 2])
            query, key = (pair, line) if self.of_keys else (line, pair)
            one = staged[i % 2] if self.of_keys else self.own[i // 2]
            score = self.pairs.score(product, query, key)
            if not self.of_keys:
                there = code.op(f"icmp slt i64 {key}, {writer.sizes['n']}")
                score = writer.pick(there, score, writer.number(float("-inf")))
            weight = writer.apply("fmul", writer.weight(score, one.base), one.share)
            inner = self.pairs.times_factor(inner, query, key)
            inner = writer.apply("fsub", inner, one.delta)
            gradients.append(writer.apply("fmul", weight, inner))
            weights.append(self.pairs.times_factor(weight, query, key))
        return weights, gradients

    # ---- results
    def _store(
        self, name: GradientName, columns: str, sums: list[str], coordinates: list[str]
    ) -> None:
        writer, code = self.writer, self.writer.code
        access = writer.kernel.writes[GRADIENTS.index(name)]
        target = writer.vector(name, access, coordinates)
        if name != "dv":
            sums = [writer.apply("fmul", value, self.pairs.scale) for value in sums]
        for row, line in enumerate(self.lines):
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
