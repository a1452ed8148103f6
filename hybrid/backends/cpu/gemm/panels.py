"""Packing code of a product: the parts of the factors an item needs, as dense panels in scratch.

A panel of a is [row][k] and ROW_PAD elements (mode rows), or [k][16 lanes of rows] (mode cols); of
b [k][columns]: micro-kernels read them in order; of a that is read in patches there is a table of
offsets.  Invariant: a panel of b holds the same columns for every k of a block; what is written
past a row's columns or the last k is written again or never used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from .levels import Block, Item, Product
from .micro import mask_of, store
from .pack import copy_walk, each, for_runs, load_widened, offset_of

__all__ = ["columns_of", "offsets_of_a", "pack_a", "pack_b"]


def pack_a(product: Product, item: Item, block: Block, row: str, rows: int) -> None:
    """Pack the row panel that starts at `row` for one block of k."""
    if product.geometry.a_mode == "rows":
        _pack_a_rows(product, item, block, row, rows)
    else:
        _pack_a_columns(product, item, block, row, rows)


def pack_b(product: Product, item: Item, block: Block) -> None:
    """Pack the column panels of an item for one block of k."""
    if product.geometry.b_mode == "unit":
        _pack_b_unit(product, item, block)
        return
    pack = _pack_b_transposed if product.geometry.b_mode == "trans" else _pack_b_any
    columns = partial(pack, product, item, block)
    each(product.code, item.first_column, item.last_column, "1", columns)


def packed_panel(product: Product, item: Item, panel: str) -> str:
    """Where a column panel is packed."""
    local = product.code.op(f"sub i64 {panel}, {item.first_column}")
    distance = product.code.mul(local, str(product.scheme.b_panel))
    return product.code.at("i8", item.b_packed, distance)


def columns_of(product: Product, panel: str) -> tuple[str, str]:
    """(first column, columns left from there) of a column panel."""
    code = product.code
    first = code.mul(panel, str(product.scheme.width))
    return first, code.op(f"sub i64 {product.word('n', product.geometry.n)}, {first}")


# ---- panels of a
def offsets_of_a(product: Product, item: Item, block: Block) -> None:
    """Where the k of a block are in a, for panels that are read where they lie."""
    code = product.code

    def run(offset: str, done: str, length: str) -> None:
        def one(depth: str) -> None:
            place = code.at("i64", item.a_packed, code.add(done, depth))
            distance = code.add(offset, code.mul(depth, block.a_depth.stride))
            code.do(f"store i64 {distance}, ptr {place}")

        each(code, "0", length, "1", one)

    for_runs(code, block.a_depth, block.start, block.length, run)


def _pack_a_rows(product: Product, item: Item, block: Block, first: str, rows: int) -> None:
    """Rows as they are, for broadcasts of single elements."""
    code, factor, row_bytes = product.code, product.geometry.a, str(product.scheme.a_row)

    def row(number: str) -> None:
        index = code.add(first, number)
        source = code.at("i8", item.a, offset_of(code, block.a_lines, index))
        target = code.at("i8", item.a_packed, code.mul(number, row_bytes))
        # a row is followed by ROW_PAD unused elements, so a short run may write too far
        short = not factor.k.uniform and factor.k.length <= 16
        copy_walk(
            code,
            factor.storage,
            product.element,
            source,
            block.a_depth,
            block.start,
            block.length,
            target,
            short,
        )

    each(code, "0", str(rows), "1", row)


def _pack_a_columns(product: Product, item: Item, block: Block, first: str, rows: int) -> None:
    """A panel of rows, k by k: 16 lanes of which the panel's rows are used."""
    code, element, stored = product.code, product.element, product.geometry.a.storage
    mask = mask_of(code, str(rows))
    source = code.at("i8", item.a, code.mul(first, str(stored.size)))

    def run(offset: str, done: str, length: str) -> None:
        def one(depth: str) -> None:
            distance = code.add(offset, code.mul(depth, block.a_depth.stride))
            lanes = load_widened(code, stored, element, code.at("i8", source, distance), mask)
            place = code.at(element.vector, item.a_packed, code.add(done, depth))
            store(code, element, lanes, place, None)

        each(code, "0", length, "1", one)

    for_runs(code, block.a_depth, block.start, block.length, run)


# ---- panels of b
def _pack_b_unit(product: Product, item: Item, block: Block) -> None:
    """Rows of k as they lie, all columns of the item one after the other: a core reads ahead of
    such long runs.  The last panel may end in a partial vector."""
    code, geometry, width = product.code, product.geometry, product.scheme.width
    ragged = geometry.n % width != 0
    stop = item.last_column
    if ragged:
        stop = code.smin(stop, code.op(f"udiv i64 {product.word('n', geometry.n)}, {width}"))
    _pack_rows(product, item, block, (item.first_column, stop), [None] * geometry.tile_vectors)
    if not ragged:
        return

    def partly() -> None:
        _, remaining = columns_of(product, stop)
        masks: list[str | None] = [
            mask_of(code, code.op(f"sub i64 {remaining}, {16 * vector}"))
            for vector in range(geometry.tile_vectors)
        ]
        _pack_rows(product, item, block, (stop, item.last_column), masks)

    code.when(code.op(f"icmp slt i64 {stop}, {item.last_column}"), partly)


def _pack_rows(
    product: Product,
    item: Item,
    block: Block,
    panels: tuple[str, str],
    masks: Sequence[str | None],
) -> None:
    """Rows of k of some panels from where they lie to where they are packed, with a mask for each
    vector of a panel."""
    code, element, scheme = product.code, product.element, product.scheme
    stored, line_bytes = product.geometry.b.storage, scheme.width * element.size
    first, packed = columns_of(product, panels[0])[0], packed_panel(product, item, panels[0])
    start = code.at("i8", item.b, code.mul(first, str(stored.size)))
    count = code.op(f"sub i64 {panels[1]}, {panels[0]}")

    def run(offset: str, done: str, length: str) -> None:
        def one(depth: str) -> None:
            distance = code.add(offset, code.mul(depth, block.b_depth.stride))
            row = code.at("i8", start, distance)
            line = code.at("i8", packed, code.mul(code.add(done, depth), str(line_bytes)))

            def panel(number: str) -> None:
                source = code.at("i8", row, code.mul(number, str(scheme.width * stored.size)))
                target = code.at("i8", line, code.mul(number, str(scheme.b_panel)))
                for vector, mask in enumerate(masks):
                    pointer = code.at(stored.vector, source, str(vector))
                    lanes = load_widened(code, stored, element, pointer, mask)
                    store(code, element, lanes, code.at(element.vector, target, str(vector)), None)

            each(code, "0", count, "1", panel)

        each(code, "0", length, "1", one)

    for_runs(code, block.b_depth, block.start, block.length, run)


def _pack_b_transposed(product: Product, item: Item, block: Block, panel: str) -> None:
    """Columns lie along k: 16 x 16 blocks are transposed, whole ones where they lie."""
    code, element, stored = product.code, product.element, product.geometry.b.storage
    width = product.scheme.width
    first, remaining = columns_of(product, panel)
    packed = packed_panel(product, item, panel)

    def group(offset: str) -> None:
        """16 columns of the panel."""
        column = code.add(first, offset)
        lane = code.at(element.scalar, packed, offset)
        all_columns = code.op(f"icmp sge i64 {code.op(f'sub i64 {remaining}, {offset}')}, 16")

        def run(distance: str, done: str, length: str) -> None:
            def step(depth: str) -> None:
                along = code.add(distance, code.mul(depth, str(stored.size)))
                source = code.at("i8", item.b, along)
                rest = code.op(f"sub i64 {length}, {depth}")
                row = code.mul(code.add(done, depth), str(width * element.size))
                square = Square(source, column, all_columns, rest, code.at("i8", lane, row))
                _transpose_square(product, block, square)

            each(code, "0", length, "16", step)

        for_runs(code, block.b_depth, block.start, block.length, run)

    each(code, "0", code.smin(remaining, str(width)), "16", group)


class Square(NamedTuple):
    """16 columns of b and up to 16 k, which become rows of a panel."""

    source: str  # the first k of column 0
    column: str
    all_columns: str  # i1: 16 are there
    depths: str  # how many k are left
    target: str


def _transpose_square(product: Product, block: Block, square: Square) -> None:
    """Whole squares of the accumulator's type are transposed where they lie; others are gathered
    into a buffer first, masked along k, with the last column in place of missing ones."""
    code, element, factor = product.code, product.element, product.geometry.b
    line_bytes = product.scheme.width * element.size

    def transpose(pointer: str, step: str) -> None:
        code.do(
            f"call void @NAME.transpose(ptr {pointer}, i64 {step}, ptr {square.target}, "
            f"i64 {line_bytes})"
        )

    def gather() -> None:
        mask = mask_of(code, square.depths)
        last = code.op(f"sub i64 {product.word('n', product.geometry.n)}, 1")

        def one(index: str) -> None:
            column = code.smin(code.add(square.column, index), last)
            pointer = code.at("i8", square.source, offset_of(code, block.b_lines, column))
            lanes = load_widened(code, factor.storage, element, pointer, mask)
            store(code, element, lanes, code.at(element.vector, product.block_buffer, index), None)

        each(code, "0", "16", "1", one)
        transpose(product.block_buffer, str(16 * element.size))

    if not factor.lines.uniform or factor.storage.widen != "same":
        gather()
        return
    step = block.b_lines.stride
    all_depths = code.op(f"icmp sge i64 {square.depths}, 16")
    whole = code.op(f"and i1 {square.all_columns}, {all_depths}")
    code.when(
        whole,
        lambda: transpose(code.at("i8", square.source, code.mul(square.column, step)), step),
    )
    code.when(code.op(f"xor i1 {whole}, true"), gather)


def _pack_b_any(product: Product, item: Item, block: Block, panel: str) -> None:
    """Columns one after the other, for every k."""
    code, element, factor, width = (
        product.code,
        product.element,
        product.geometry.b,
        product.scheme.width,
    )
    first, remaining = columns_of(product, panel)
    packed = packed_panel(product, item, panel)
    length = code.smin(remaining, str(width))
    # what a short run writes too far is written again by the next row of k
    short = not factor.lines.uniform and factor.lines.length <= 16

    def one(depth: str) -> None:
        along = offset_of(code, block.b_depth, code.add(block.start, depth))
        source = code.at("i8", item.b, along)
        target = code.at("i8", packed, code.mul(depth, str(width * element.size)))
        copy_walk(
            code, factor.storage, element, source, block.b_lines, first, length, target, short
        )

    each(code, "0", block.length, "1", one)
