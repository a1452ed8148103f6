"""Block sums in a workspace -> results: the second kernel of a product whose k is split over items.

Invariant: the workspace is [block of k][batch][line][column] of accumulators; blocks are added in
order, starting from the first block's sum, exactly as one item would have done.
"""

from __future__ import annotations

from typing import NamedTuple

from ...emit.code import Code
from .epilogue import Finish
from .finish import FinishedLines, call_finish, prepare
from .micro import DESCRIPTOR, PackedElement, add_vectors, describe, load, mask_of, store
from .pack import divide, each
from .words import GemmWords, Loader

__all__ = ["COMBINE_VECTORS", "Sums", "combine"]

COMBINE_VECTORS = 4  # vectors of columns added side by side


class Sums(NamedTuple):
    """What lies in the workspace."""

    element: PackedElement
    blocks: int
    batch: int
    lines: int
    columns: int

    @property
    def block_bytes(self) -> int:
        return self.batch * self.lines * self.columns * self.element.size

    @property
    def pieces(self) -> int:
        """Items of a line."""
        return -(-self.columns // (16 * COMBINE_VECTORS))

    @property
    def items(self) -> int:
        return self.batch * self.lines * self.pieces


def combine(finish: Finish, words: GemmWords, sums: Sums) -> Code:
    """The kernel: an item is 64 columns of one line."""
    code, element = Code(), sums.element
    loader = Loader(code, words)
    descriptors = code.alloca(f"[{DESCRIPTOR * COMBINE_VECTORS} x i8]")
    uniform = prepare(finish, code)
    workspace = loader.workspace()
    step = loader.word("block_bytes", sums.block_bytes)
    pieces, lines = loader.word("pieces", sums.pieces), loader.word("lines", sums.lines)
    columns, blocks = loader.word("n", sums.columns), loader.word("blocks", sums.blocks)

    def item(index: str) -> None:
        number, piece = divide(code, index, pieces)
        column = code.mul(piece, str(16 * COMBINE_VECTORS))
        batch, line = divide(code, number, lines)
        place = code.add(code.mul(number, columns), column)
        start = code.at(element.scalar, workspace, place)
        masks = _describe(code, descriptors, column, columns)
        total = _total(code, element, start, step, blocks, masks)
        for vector, value in enumerate(total):
            store(code, element, value, code.at(element.vector, "%scratch", str(vector)), None)
        rows = FinishedLines(batch, line, "1", descriptors, COMBINE_VECTORS)
        call_finish(code, "%scratch", rows, uniform)

    each(code, "%begin", "%end", "1", item)
    code.do("ret i64 0")
    return code


def _describe(code: Code, descriptors: str, column: str, columns: str) -> list[str]:
    """Describe the vectors from a column on; gives their masks."""
    masks, remaining = [], code.op(f"sub i64 {columns}, {column}")
    for vector in range(COMBINE_VECTORS):
        most = code.smin(code.op(f"sub i64 {remaining}, {16 * vector}"), "16")
        lane_count = code.call("llvm.smax.i64", "i64", f"i64 {most}", "i64 0")
        masks.append(mask_of(code, lane_count))
        describe(code, descriptors, vector, lane_count, code.add(column, str(16 * vector)))
    return masks


def _total(
    code: Code, element: PackedElement, start: str, step: str, blocks: str, masks: list[str]
) -> list[str]:
    """Vectors of sums over all blocks, `step` bytes apart."""

    def sums(pointer: str) -> list[str]:
        return [
            load(code, element, code.at(element.vector, pointer, str(vector)), mask)
            for vector, mask in enumerate(masks)
        ]

    def block(index: str, total: list[str]) -> list[str]:
        new = sums(code.at("i8", start, code.mul(index, step)))
        return [add_vectors(code, element, old, own) for old, own in zip(total, new)]

    first = [(element.vector, value) for value in sums(start)]
    _, total = code.loop("1", blocks, "1", first, block)
    return total
