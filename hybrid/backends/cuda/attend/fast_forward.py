"""Attention on tensor cores: a warp takes 16 queries of a batch position over all its keys.

Invariant: keys in blocks of 64, each with a running maximum of its own; what is excluded has the
weight 0.  Sums are not in the order of ops/products/attend.py.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

from ...attend import OUTPUTS
from ...plan import AttendKernel
from .cores import BLOCK_ROWS, STEP, Across, Along, Cores, HeldTile, Piece
from .pairs import Pairs
from .tile import AttendTiling
from .writer import AttendWriter, Matrix

__all__ = ["FastForward"]

PIECES = BLOCK_ROWS // STEP


class _Tile(NamedTuple):
    """What a block of threads takes: 64 queries of the batch position with these coordinates;
    `rows` are the two of this thread, `queries` the factor of the products that it holds."""

    coordinates: list[str]
    rows: tuple[str, str]
    key: Matrix
    value: Matrix
    pairs: Pairs
    queries: HeldTile
    across: Across
    along: Along
    stop: str


class FastForward:
    """The kernel that writes out, peak and total."""

    def __init__(self, kernel: AttendKernel, tiling: AttendTiling) -> None:
        self.writer = writer = AttendWriter(kernel, tiling)
        self.cores = cores = Cores(writer, kernel.fast == "bf16")
        self.keys = cores.tile(0, kernel.e, across=True, along=False)
        self.values = cores.tile(self.keys.stop, kernel.f, across=False, along=True)
        self.shared = self.values.stop
        self.tiles = -(-kernel.m // BLOCK_ROWS)
        self.each = prod(kernel.batch)

    def write(self) -> None:
        writer, kernel = self.writer, self.writer.kernel
        tile = self._tile()
        none, zero = writer.number(float("-inf")), writer.number(0.0)
        start = [("float", none)] * 2 + [("float", zero)] * 2 + self.cores.zeros(kernel.f)
        block = partial(self._block, tile)
        _, found = writer.code.loop("0", tile.stop, str(BLOCK_ROWS), start, block)
        self._finish(tile, found)

    def _tile(self) -> _Tile:
        writer, code, cores = self.writer, self.writer.code, self.cores
        number, batch = writer.divide(writer.register("ctaid.x"), writer.word("each", self.each))
        number = code.op(f"sub i64 {writer.word('last tile', self.tiles - 1)}, {number}")
        first = code.mul(number, str(BLOCK_ROWS))
        coordinates = writer.split(batch)
        query, key, value = (
            writer.matrix(name, writer.reads[name], coordinates, columns)
            for name, columns in zip("qkv", "eef")
        )
        pairs = Pairs(writer, coordinates)
        queries = cores.held(query, first, writer.sizes["m"], writer.kernel.e)
        across, along = cores.across(self.keys), cores.along(self.values)
        row = code.add(first, cores.own_row)
        rows = row, code.add(row, str(STEP))
        stop = pairs.stop_key(first, BLOCK_ROWS)
        return _Tile(coordinates, rows, key, value, pairs, queries, across, along, stop)

    def _scores(self, tile: _Tile, first_key: str) -> list[Piece]:
        writer, code = self.writer, self.writer.code
        pieces = []
        for number in range(PIECES):
            products = tile.across(tile.queries, number)
            column = code.add(first_key, code.add(self.cores.own_column, str(STEP * number)))
            keys = [column, code.add(column, "1")]
            piece = []
            for i, product in enumerate(products):
                query, key = tile.rows[i // 2], keys[i % 2]
                there = code.op(f"icmp slt i64 {key}, {writer.sizes['n']}")
                score = tile.pairs.score(product, query, key)
                piece.append(writer.pick(there, score, writer.number(float("-inf"))))
            pieces.append(piece)
        return pieces

    def _block(self, tile: _Tile, first_key: str, carried: list[str]) -> list[str]:
        """One block of keys: carried are both rows' tops and totals, and the sums."""
        writer = self.writer
        writer.barrier()
        stop = writer.sizes["n"]
        self.cores.stage(tile.key, first_key, stop, self.keys)
        self.cores.stage(tile.value, first_key, stop, self.values)
        writer.barrier()
        scores = self._scores(tile, first_key)
        tops, totals, sums = carried[:2], carried[2:4], carried[4:]
        bases, decays = [], []
        for row in (0, 1):
            greatest = tops[row]
            for piece in scores:
                for score in piece[2 * row : 2 * row + 2]:
                    greatest = writer.greatest(greatest, score)
            for distance in (1, 2):
                greatest = writer.greatest(greatest, writer.exchange(greatest, distance))
            bases.append(writer.base_of(greatest))
            decays.append(writer.weight(tops[row], bases[row]))
            tops[row] = greatest
            totals[row] = writer.apply("fmul", totals[row], decays[row])
        sums = [writer.apply("fmul", x, decays[i % 4 // 2]) for i, x in enumerate(sums)]
        weights: list[Piece] = []
        for number, piece in enumerate(scores):
            weights.append(self._weights(tile, first_key, number, piece, bases, totals))
            if len(weights) == self.cores.pieces:
                sums = tile.along(weights, number // len(weights), sums)
                weights = []
        return [*tops, *totals, *sums]

    def _weights(
        self,
        tile: _Tile,
        first_key: str,
        number: int,
        scores: Piece,
        bases: list[str],
        totals: list[str],
    ) -> Piece:
        """The weights of a piece; they are added to the totals of its rows."""
        writer, code, weights = self.writer, self.writer.code, []
        for i, score in enumerate(scores):
            weight = writer.weight(score, bases[i // 2])
            totals[i // 2] = writer.apply("fadd", totals[i // 2], weight)
            column = code.add(self.cores.own_column, str(STEP * number + i % 2))
            key = code.add(first_key, column)
            weights.append(tile.pairs.times_factor(weight, tile.rows[i // 2], key))
        return weights

    # ---- results
    def _finish(self, tile: _Tile, found: list[str]) -> None:
        writer, code = self.writer, self.writer.code
        tops, totals, sums = found[:2], found[2:4], found[4:]
        targets = [
            writer.vector(name, access, tile.coordinates)
            for name, access in zip(OUTPUTS, writer.kernel.writes)
        ]
        is_first = code.op(f"icmp eq i64 {self.cores.member}, 0")
        for row in (0, 1):
            total = totals[row]
            for distance in (1, 2):
                total = writer.apply("fadd", total, writer.exchange(total, distance))
            inside = code.op(f"icmp slt i64 {tile.rows[row]}, {writer.sizes['m']}")
            pieces = [sums[i + 2 * row : i + 2 * row + 2] for i in range(0, len(sums), 4)]
            code.when(inside, partial(self._store_row, targets[0], tile.rows[row], total, pieces))
            for number, value in ((1, tops[row]), (2, total)):
                step = writer.step(OUTPUTS[number], writer.kernel.writes[number])
                pointer = writer.beyond(targets[number], code.mul(tile.rows[row], step))
                once = code.op(f"and i1 {inside}, {is_first}")
                code.when(once, partial(writer.store_global, value, pointer))

    def _store_row(self, target: str, row: str, total: str, pieces: list[list[str]]) -> None:
        writer, code = self.writer, self.writer.code
        none = writer.apply("fcmp oeq", total, writer.number(0.0))
        step = writer.step(OUTPUTS[0], writer.kernel.writes[0])
        line = writer.beyond(target, code.mul(row, step))
        for number, piece in enumerate(pieces):
            for more, value in enumerate(piece):
                column = code.add(self.cores.own_column, str(STEP * number + more))
                shared = writer.apply("fdiv", value, total)
                result = writer.pick(none, writer.number(0.0), shared)
                pointer = writer.beyond(line, code.mul(column, "4"))
                inside = code.op(f"icmp slt i64 {column}, {writer.sizes['f']}")
                code.when(inside, partial(writer.store_global, result, pointer))
