"""Attention on tensor cores: a warp takes 16 queries of a batch position over all its keys.

Invariant: keys in blocks of 64, each with a running maximum of its own; what is excluded has the
weight 0.  Sums are not in the order of ops/products/attend.py.
"""

from __future__ import annotations

from functools import partial
from math import prod

from ...attend import OUTPUTS
from ...plan import AttendKernel
from .cores import BLOCK_ROWS, STEP, Cores, Piece
from .pairs import Pairs
from .tile import AttendTiling
from .writer import AttendWriter

__all__ = ["FastForward"]

PIECES = BLOCK_ROWS // STEP


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
        writer, code, kernel = self.writer, self.writer.code, self.writer.kernel
        tile, batch = writer.divide(writer.register("ctaid.x"), writer.word("each", self.each))
        tile = code.op(f"sub i64 {writer.word('last tile', self.tiles - 1)}, {tile}")
        self.first = code.mul(tile, str(BLOCK_ROWS))
        coordinates = writer.split(batch)
        query, self.key, self.value = (
            writer.matrix(name, writer.reads[name], coordinates, columns)
            for name, columns in zip("qkv", "eef")
        )
        self.pairs = Pairs(writer, coordinates)
        self.queries = self.cores.held(query, self.first, writer.sizes["m"], kernel.e)
        self.across = self.cores.across(self.keys)
        self.along = self.cores.along(self.values)
        row = code.add(self.first, self.cores.own_row)
        self.rows = [row, code.add(row, str(STEP))]
        none, zero = writer.number(float("-inf")), writer.number(0.0)
        start = [("float", none)] * 2 + [("float", zero)] * 2 + self.cores.zeros(kernel.f)
        stop = self.pairs.stop_key(self.first, BLOCK_ROWS)
        _, found = code.loop("0", stop, str(BLOCK_ROWS), start, self._block)
        self._finish(coordinates, found)

    def _scores(self, first_key: str) -> list[Piece]:
        writer, code = self.writer, self.writer.code
        pieces = []
        for number in range(PIECES):
            products = self.across(self.queries, number)
            column = code.add(first_key, code.add(self.cores.own_column, str(STEP * number)))
            keys = [column, code.add(column, "1")]
            piece = []
            for i, product in enumerate(products):
                query, key = self.rows[i // 2], keys[i % 2]
                there = code.op(f"icmp slt i64 {key}, {writer.sizes['n']}")
                score = self.pairs.score(product, query, key)
                piece.append(writer.pick(there, score, writer.number(float("-inf"))))
            pieces.append(piece)
        return pieces

    def _block(self, first_key: str, carried: list[str]) -> list[str]:
        """One block of keys: carried are both rows' tops and totals, and the sums."""
        writer = self.writer
        writer.barrier()
        stop = writer.sizes["n"]
        self.cores.stage(self.key, first_key, stop, self.keys)
        self.cores.stage(self.value, first_key, stop, self.values)
        writer.barrier()
        scores = self._scores(first_key)
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
            weights.append(self._weights(first_key, number, piece, bases, totals))
            if len(weights) == self.cores.pieces:
                sums = self.along(weights, number // len(weights), sums)
                weights = []
        return [*tops, *totals, *sums]

    def _weights(
        self, first_key: str, number: int, scores: Piece, bases: list[str], totals: list[str]
    ) -> Piece:
        """The weights of a piece; they are added to the totals of its rows."""
        writer, code, weights = self.writer, self.writer.code, []
        for i, score in enumerate(scores):
            weight = writer.weight(score, bases[i // 2])
            totals[i // 2] = writer.apply("fadd", totals[i // 2], weight)
            column = code.add(self.cores.own_column, str(STEP * number + i % 2))
            key = code.add(first_key, column)
            weights.append(self.pairs.times_factor(weight, self.rows[i // 2], key))
        return weights

    # ---- results
    def _finish(self, coordinates: list[str], found: list[str]) -> None:
        writer, code = self.writer, self.writer.code
        tops, totals, sums = found[:2], found[2:4], found[4:]
        targets = [
            writer.vector(name, access, coordinates)
            for name, access in zip(OUTPUTS, writer.kernel.writes)
        ]
        is_first = code.op(f"icmp eq i64 {self.cores.member}, 0")
        for row in (0, 1):
            total = totals[row]
            for distance in (1, 2):
                total = writer.apply("fadd", total, writer.exchange(total, distance))
            inside = code.op(f"icmp slt i64 {self.rows[row]}, {writer.sizes['m']}")
            pieces = [sums[i + 2 * row : i + 2 * row + 2] for i in range(0, len(sums), 4)]
            code.when(inside, partial(self._store_row, targets[0], row, total, pieces))
            for number, value in ((1, tops[row]), (2, total)):
                step = writer.step(OUTPUTS[number], writer.kernel.writes[number])
                pointer = writer.beyond(targets[number], code.mul(self.rows[row], step))
                once = code.op(f"and i1 {inside}, {is_first}")
                code.when(once, partial(writer.store_global, value, pointer))

    def _store_row(self, target: str, row: int, total: str, pieces: list[list[str]]) -> None:
        writer, code = self.writer, self.writer.code
        none = writer.apply("fcmp oeq", total, writer.number(0.0))
        step = writer.step(OUTPUTS[0], writer.kernel.writes[0])
        line = writer.beyond(target, code.mul(self.rows[row], step))
        for number, piece in enumerate(pieces):
            for more, value in enumerate(piece):
                column = code.add(self.cores.own_column, str(STEP * number + more))
                shared = writer.apply("fdiv", value, total)
                result = writer.pick(none, writer.number(0.0), shared)
                pointer = writer.beyond(line, code.mul(column, "4"))
                inside = code.op(f"icmp slt i64 {column}, {writer.sizes['f']}")
                code.when(inside, partial(writer.store_global, result, pointer))
