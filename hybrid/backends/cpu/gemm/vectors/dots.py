"""Products in 'lanes' order: dot products of lines with one vector, memory-bound.

Invariant: per block of 256 k, element k goes to lane k % 64; lanes are fma chains from +0.0, and
lanes or steps without elements change nothing; the 64 lanes are added as (v0 + v1) + (v2 + v3),
then halves of 8, 4, 2, 1; block sums are added in order.  Both ways of walking memory below perform
exactly these operations.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ....emit.code import Code
from ....plan import GemmKernel
from ..epilogue import Finish
from ..factors import BLOCK, Factor
from ..finish import FinishedLines, call_finish, prepare
from ..geometry import Target, dispatch, factors_of
from ..micro import (
    DESCRIPTOR,
    PackedElement,
    add_vectors,
    describe,
    load,
    mask_of,
    multiply_add,
    splat,
    store,
)
from ..pack import IndexWalk, Storage, copy_walk, divide, each, load_widened, offset_of
from ..words import GemmWords, Loader

__all__ = ["DotShape", "dot_shape", "write_dots"]

MAX_VECTORS = 4  # vectors of 16 lines finished together


class DotShape(NamedTuple):
    """`lines` dot products with each of `others` vectors, per batch.  `across`: lines are adjacent
    in memory, and vectors of registers run over them instead of over k."""

    swapped: bool  # lines are the rows of the product (the vector is a column)
    element: PackedElement
    lines: int
    others: int
    matrix: Factor  # the lines
    vector: Factor  # the vectors
    across: bool
    batch: int
    depth: int  # k
    per_item: int  # groups of lines per item
    split: int = 0  # blocks of k per item; 0: all

    @property
    def blocks(self) -> int:
        return -(-max(self.depth, 1) // BLOCK)

    @property
    def group_vectors(self) -> int:
        """Vectors of lines in a group."""
        return max(1, min(MAX_VECTORS, -(-self.lines // 16)))

    @property
    def group(self) -> int:
        return 16 * self.group_vectors

    @property
    def parts(self) -> int:
        return -(-self.lines // (self.group * self.per_item))

    @property
    def items(self) -> int:
        groups = -(-self.blocks // self.split) if self.split else 1
        return self.parts * self.others * self.batch * groups

    # ---- how lines are read, and the scratch of a thread
    @property
    def dense(self) -> bool:
        """Lines are read where they lie; others are copied first."""
        runs = self.matrix.k
        return runs.uniform and (runs.unit(self.matrix.storage.size) or self.across)

    @property
    def vector_dense(self) -> bool:
        runs, stored = self.vector.k, self.vector.storage
        return runs.uniform and runs.unit(stored.size) and stored.widen == "same"

    @property
    def few(self) -> int:
        """Lines whose lanes are held side by side."""
        return 1 if self.lines == 1 else 4

    @property
    def line_bytes(self) -> int:
        return BLOCK * self.element.size

    @property
    def scratch(self) -> int:
        """Bytes: the tile, a vector, a few lines, then the lanes of a group."""
        return (2 + self.few) * self.line_bytes + 64 * self.group * self.element.size


def dot_shape(kernel: GemmKernel, element: PackedElement, target: Target) -> DotShape:
    """How the dot products are walked and cut into items; no decision changes a bit."""
    swapped = kernel.n == 1
    matrix, vector = factors_of(kernel, element)
    lines, others = kernel.m, kernel.n
    if not swapped:
        matrix, vector, lines, others = vector, matrix, others, lines
    size = matrix.storage.size
    across = (
        matrix.lines.uniform and matrix.lines.unit(size) and lines >= 4 and not matrix.k.unit(size)
    )
    shape = DotShape(
        swapped, element, lines, others, matrix, vector, across, kernel.batch, kernel.k, per_item=1
    )
    groups = max(1, -(-lines // shape.group))
    cost = max(kernel.k, 1) * min(lines, shape.group) * 0.15 + 60  # of one group
    products = others * kernel.batch
    wanted = 1 if cost * groups * products < 2 * dispatch(target.core) else 4 * target.threads
    shape = shape._replace(per_item=max(1, min(groups, groups * products // wanted)))
    if (
        target.workspace
        and wanted > 1
        and shape.items < target.threads
        and shape.blocks >= 4 * target.threads
    ):
        shape = shape._replace(split=-(-shape.blocks // (2 * target.threads)))
    return shape


class Dots(NamedTuple):
    """The function under construction and what holds in all of it."""

    shape: DotShape
    loader: Loader
    tile: str  # sums of a group of lines; the scratch starts with it
    vector_packed: str
    lines_packed: str
    lane_sums: str
    descriptors: str
    uniform: str  # what the finishing function gets

    @property
    def code(self) -> Code:
        return self.loader.code

    @property
    def element(self) -> PackedElement:
        return self.shape.element

    def word(self, name: str, value: int) -> str:
        return self.loader.word(name, value)

    def add(self, left: str, right: str) -> str:
        return add_vectors(self.code, self.element, left, right)


class DotItem(NamedTuple):
    """A work item: some groups of lines with one vector of one product of the batch."""

    batch: str
    other: str  # which vector
    first_block: str
    matrix: str  # pointers
    vector: str
    lines: IndexWalk
    depth: IndexWalk  # k of the lines
    vector_depth: IndexWalk


class LineGroup(NamedTuple):
    """Up to `shape.group` lines."""

    first: str
    lines: str  # how many


class DotBlock(NamedTuple):
    """A block of k: its vector is dense at `vector`, its sums go to `sums`, one per line."""

    start: str
    length: str
    vector: str
    sums: str


def write_dots(shape: DotShape, finish: Finish, words: GemmWords) -> Code:
    """The kernel-ABI function of one product in 'lanes' order."""
    code = Code()
    line_bytes = shape.line_bytes
    dots = Dots(
        shape=shape,
        loader=Loader(code, words),
        tile="%scratch",
        vector_packed=code.at("i8", "%scratch", str(line_bytes)),
        lines_packed=code.at("i8", "%scratch", str(2 * line_bytes)),
        lane_sums=code.at("i8", "%scratch", str((2 + shape.few) * line_bytes)),
        descriptors=code.alloca(f"[{DESCRIPTOR * shape.group_vectors} x i8]"),
        uniform="null" if shape.split else prepare(finish, code),
    )

    each(code, "%begin", "%end", "1", partial(_write_item, dots))
    code.do("ret i64 0")
    return code


def _write_item(dots: Dots, number: str) -> None:
    code, shape = dots.code, dots.shape
    first, stop = "0", dots.word("blocks", shape.blocks)
    if shape.split:  # items of one group of blocks are adjacent
        per_group = dots.word("items_bol", shape.batch * shape.others * shape.parts)
        span, number = divide(code, number, per_group)
        many = dots.word("split", shape.split)
        first = code.mul(span, many)
        stop = code.smin(code.add(first, many), stop)
    item, part = _item_of(dots, number, first)
    lines = dots.word("line_count", shape.lines)
    step = code.mul(dots.word("per_item", shape.per_item), str(shape.group))
    start = code.mul(part, step)

    def write_group(line: str) -> None:
        remaining = code.op(f"sub i64 {lines}, {line}")
        group = LineGroup(line, code.smin(remaining, str(shape.group)))
        each(code, first, stop, "1", partial(_write_block, dots, item, group))
        if not shape.split:
            _finish_group(dots, item, group)

    last = code.smin(code.add(start, step), lines)
    each(code, start, last, str(shape.group), write_group)


def _item_of(dots: Dots, number: str, first_block: str) -> tuple[DotItem, str]:
    """(item, its part of the lines)."""
    code, shape, loader = dots.code, dots.shape, dots.loader
    per_batch = dots.word("items_ol", shape.others * shape.parts)
    batch, number = divide(code, number, per_batch)
    other, part = divide(code, number, dots.word("parts", shape.parts))
    matrix_size, vector_size = shape.matrix.storage.size, shape.vector.storage.size
    matrix = loader.factor("x", shape.matrix, batch)
    vector = loader.factor("v", shape.vector, batch)
    lines = loader.walk("x.lines", shape.matrix.lines, matrix_size)
    depth = loader.walk("x.k", shape.matrix.k, matrix_size)
    vector_depth = loader.walk("v.k", shape.vector.k, vector_size)
    others = loader.walk("v.lines", shape.vector.lines, vector_size)
    vector = code.at("i8", vector, offset_of(code, others, other))
    return DotItem(batch, other, first_block, matrix, vector, lines, depth, vector_depth), part


def _finish_group(dots: Dots, item: DotItem, group: LineGroup) -> None:
    code, shape = dots.code, dots.shape
    for vector in range(shape.group_vectors):
        lane_count = _lanes(code, group, vector)
        column = code.add(group.first, str(16 * vector))
        describe(code, dots.descriptors, vector, lane_count, column)
    rows = FinishedLines(item.batch, item.other, "1", dots.descriptors, shape.group_vectors)
    call_finish(code, dots.tile, rows, dots.uniform)


def _lanes(code: Code, group: LineGroup, vector: int) -> str:
    """How many lines of a group lie in one of its vectors."""
    own = code.smin(code.op(f"sub i64 {group.lines}, {16 * vector}"), "16")
    if vector == 0:
        return own
    return code.call("llvm.smax.i64", "i64", f"i64 {own}", "i64 0")


def _write_block(dots: Dots, item: DotItem, group: LineGroup, index: str) -> None:
    """Sums of one block for a group of lines, into the tile (split: into the workspace)."""
    code, shape, element = dots.code, dots.shape, dots.element
    block = _block_of(dots, item, index)
    if shape.across:
        _sum_across(dots, item, group, block)
    else:
        _sum_along(dots, item, group, block)
    if shape.split:
        place = _workspace_place(dots, item, group, index)
        for vector in range(shape.group_vectors):
            total = load(code, element, code.at(element.vector, block.sums, str(vector)), None)
            pointer = code.at(element.vector, place, str(vector))
            store(code, element, total, pointer, mask_of(code, _lanes(code, group, vector)))
        return
    for vector in range(shape.group_vectors):
        total = load(code, element, code.at(element.vector, block.sums, str(vector)), None)
        pointer = code.at(element.vector, dots.tile, str(vector))
        more = dots.add(load(code, element, pointer, None), total)
        is_first = code.op(f"icmp eq i64 {index}, {item.first_block}")
        chosen = code.op(f"select i1 {is_first}, {element.vector} {total}, {element.vector} {more}")
        store(code, element, chosen, pointer, None)


def _block_of(dots: Dots, item: DotItem, index: str) -> DotBlock:
    code, shape, element = dots.code, dots.shape, dots.element
    start = code.mul(index, str(BLOCK))
    length = code.smin(code.op(f"sub i64 {dots.word('k', shape.depth)}, {start}"), str(BLOCK))
    stored = shape.vector.storage
    if shape.vector_dense:
        vector = code.at("i8", item.vector, code.mul(start, str(stored.size)))
    else:
        vector = dots.vector_packed
        copy_walk(code, stored, element, item.vector, item.vector_depth, start, length, vector)
    # sums of one block lie behind those of the blocks before it
    return DotBlock(
        start, length, vector, code.at(element.vector, dots.tile, str(shape.group_vectors))
    )


def _workspace_place(dots: Dots, item: DotItem, group: LineGroup, index: str) -> str:
    """Where the sums of a block go in the workspace: [block][batch][vector][line]."""
    code, shape = dots.code, dots.shape
    blocks = code.mul(index, dots.word("batch", shape.batch))
    number = code.mul(code.add(blocks, item.batch), dots.word("others", shape.others))
    number = code.mul(code.add(number, item.other), dots.word("line_count", shape.lines))
    place = code.add(number, group.first)
    return code.at(dots.element.scalar, dots.loader.workspace(), place)


# ---- vectors along k
def _sum_along(dots: Dots, item: DotItem, group: LineGroup, block: DotBlock) -> None:
    """A few lines at a time, 64 k per step."""
    code, shape, element = dots.code, dots.shape, dots.element
    stored = shape.matrix.storage
    last = code.op(f"sub i64 {group.lines}, 1")

    def few(first: str) -> None:
        bases = []
        for number in range(shape.few):  # past the last line: the last once more
            inside = code.smin(code.add(first, str(number)), last)
            line = code.add(group.first, inside)
            source = code.at("i8", item.matrix, offset_of(code, item.lines, line))
            if shape.dense:
                bases.append(code.at("i8", source, code.mul(block.start, str(stored.size))))
                continue
            target = code.at("i8", dots.lines_packed, str(number * shape.line_bytes))
            copy_walk(code, stored, element, source, item.depth, block.start, block.length, target)
            bases.append(target)
        for number, value in enumerate(_dot_products(dots, bases, block)):
            pointer = code.at(element.scalar, block.sums, code.add(first, str(number)))
            code.do(f"store {element.scalar} {value}, ptr {pointer}")

    each(code, "0", group.lines, str(shape.few), few)


class Few(NamedTuple):
    """A few lines of one block: where and how each lies, and the vector they are multiplied by."""

    bases: list[str]
    stored: Storage
    vector: str


def _dot_products(dots: Dots, bases: list[str], block: DotBlock) -> list[str]:
    """Sums of a few lines: four vectors of lanes for each, whole steps of 64 without masks, then a
    step in which lanes without an element keep their chain as it is."""
    code, element, stored = dots.code, dots.element, dots.shape.matrix.storage
    if not dots.shape.dense:
        stored = stored._replace(scalar=element.scalar, size=element.size, widen="same")
    few = Few(bases, stored, block.vector)

    def whole(depth: str, sums: list[str]) -> list[str]:
        return _chain_steps(dots, few, depth, sums, [None] * 4)

    def tail(depth: str, sums: list[str]) -> list[str]:
        remaining = code.op(f"sub i64 {block.length}, {depth}")
        masks: list[str | None] = [
            mask_of(code, code.op(f"sub i64 {remaining}, {16 * quarter}")) for quarter in range(4)
        ]
        return _chain_steps(dots, few, depth, sums, masks)

    zeros = [(element.vector, "zeroinitializer")] * (4 * len(bases))
    rest, sums = code.loop("0", block.length, "64", zeros, whole, full=64)
    _, sums = code.loop(rest, block.length, "64", [(element.vector, value) for value in sums], tail)
    return [_tree(dots, sums[4 * number : 4 * number + 4]) for number in range(len(bases))]


def _chain_steps(
    dots: Dots, few: Few, depth: str, sums: list[str], masks: list[str | None]
) -> list[str]:
    """64 k of each line.  Lanes past the last k read zeros and keep their old sum: to add 0 * 0
    would change the sign of a chain that is -0.0."""
    code, element, stored = dots.code, dots.element, few.stored
    found = list(sums)
    for quarter, mask in enumerate(masks):
        start = code.at(element.scalar, few.vector, depth)
        factors = load(code, element, code.at(element.vector, start, str(quarter)), mask)
        for number, base in enumerate(few.bases):
            start = code.at(stored.scalar, base, depth)
            pointer = code.at(stored.vector, start, str(quarter))
            own = load_widened(code, stored, element, pointer, mask)
            old = sums[4 * number + quarter]
            new = multiply_add(code, element, own, factors, old)
            if mask is not None:
                new = code.op(
                    f"select <16 x i1> {mask}, {element.vector} {new}, {element.vector} {old}"
                )
            found[4 * number + quarter] = new
    return found


def _tree(dots: Dots, quarters: list[str]) -> str:
    """The contract's sum of 64 lanes; the upper half of lanes is added to the lower by a shuffle
    that leaves the other lanes as they are (they are not used)."""
    code, element = dots.code, dots.element
    total = dots.add(dots.add(*quarters[:2]), dots.add(*quarters[2:]))
    for width in (8, 4, 2, 1):
        lanes = ", ".join(f"i32 {lane + width if lane < width else lane}" for lane in range(16))
        high = code.op(
            f"shufflevector {element.vector} {total}, {element.vector} poison, <16 x i32> <{lanes}>"
        )
        total = dots.add(total, high)
    return code.op(f"extractelement {element.vector} {total}, i64 0")


# ---- vectors across lines
def _sum_across(dots: Dots, item: DotItem, group: LineGroup, block: DotBlock) -> None:
    """One lane of all lines of a group at once: vectors of lines, then one tree over vectors."""
    code, shape, element = dots.code, dots.shape, dots.element
    stored = shape.matrix.storage
    masks = [mask_of(code, _lanes(code, group, vector)) for vector in range(shape.group_vectors)]
    start = code.at("i8", item.matrix, code.mul(group.first, str(stored.size)))

    def lane(number: str) -> None:
        def step(depth: str, sums: list[str]) -> list[str]:
            distance = offset_of(code, item.depth, code.add(block.start, depth))
            row = code.at("i8", start, distance)
            place = code.at(element.scalar, block.vector, depth)
            factors = splat(code, element, code.op(f"load {element.scalar}, ptr {place}"))
            lanes = [
                load_widened(code, stored, element, code.at(stored.vector, row, str(vector)), mask)
                for vector, mask in enumerate(masks)
            ]
            return [multiply_add(code, element, own, factors, old) for own, old in zip(lanes, sums)]

        zeros = [(element.vector, "zeroinitializer")] * shape.group_vectors
        sums = code.loop(number, block.length, "64", zeros, step)[1]
        for vector, value in enumerate(sums):
            place = code.add(code.mul(number, str(shape.group_vectors)), str(vector))
            store(code, element, value, code.at(element.vector, dots.lane_sums, place), None)

    each(code, "0", "64", "1", lane)

    def total(vector: str) -> None:
        value = _tree_over_vectors(dots, code.at(element.vector, dots.lane_sums, vector))
        store(code, element, value, code.at(element.vector, block.sums, vector), None)

    each(code, "0", str(shape.group_vectors), "1", total)


def _tree_over_vectors(dots: Dots, base: str) -> str:
    """The same tree where each lane is a vector over lines."""
    code, element, step = dots.code, dots.element, dots.shape.group_vectors
    lanes = [
        load(code, element, code.at(element.vector, base, str(lane * step)), None)
        for lane in range(64)
    ]
    parts = []
    for lane in range(16):
        first, second, third, fourth = lanes[lane::16]
        parts.append(dots.add(dots.add(first, second), dots.add(third, fourth)))
    for width in (8, 4, 2, 1):
        parts = [dots.add(parts[lane], parts[lane + width]) for lane in range(width)]
    return parts[0]
