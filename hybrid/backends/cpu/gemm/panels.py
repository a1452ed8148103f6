"""Packing code of a product: the parts of the factors an item needs, as dense panels in scratch.

Panels of a are [row][k] and ROW_PAD elements (mode rows), or [k][16 lanes of rows] (mode cols); of
b [k][columns]: micro-kernels read them in order.  Invariant: a panel of b holds the same columns
for every k of a block; what is written past a row's columns or the last k is written again or
never used."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from .levels import Block, Item, Product, row_of
from .micro import mask_of, store
from .pack import copy_walk, each, for_runs, load_widened, offset_of

__all__ = ["pack", "packed_panel"]


def pack(product: Product, item: Item, block: Block) -> None:
    """Pack what the item needs of one block of k."""
    code, a_mode, b_mode = product.code, product.geometry.a_mode, product.geometry.b_mode
    if a_mode == "rows":
        _pack_a_rows(product, item, block)
    elif a_mode == "cols":
        columns = partial(_pack_a_columns, product, item, block)
        each(code, item.first_panel, item.last_panel, "1", columns)
    if b_mode == "unit":
        _pack_b_unit(product, item, block)
    elif b_mode in ("trans", "any"):
        pack_panel = _pack_b_transposed if b_mode == "trans" else _pack_b_any
        panel = partial(pack_panel, product, item, block)
        each(code, item.first_column, item.last_column, "1", panel)


def packed_panel(product: Product, item: Item, panel: str) -> tuple[str, str, str]:
    """(first column, columns left from there, where it is packed) of a column panel."""
    code, scheme = product.code, product.scheme
    first = code.mul(panel, str(scheme.width))
    remaining = code.op(f"sub i64 {product.word('n', product.geometry.n)}, {first}")
    number = code.op(f"sub i64 {panel}, {item.first_column}")
    return first, remaining, code.at("i8", item.b_packed, code.mul(number, str(scheme.b_panel)))


# ---- panels of a
def _pack_a_rows(product: Product, item: Item, block: Block) -> None:
    """Rows as they are, for broadcasts of single elements."""
    code, factor, row_bytes = product.code, product.geometry.a, str(product.scheme.a_row)

    def row(index: str) -> None:
        source = code.at("i8", item.a, offset_of(code, block.a_lines, index))
        number = code.op(f"sub i64 {index}, {item.first_row}")
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

    each(code, item.first_row, row_of(product, item.last_panel), "1", row)


def _pack_a_columns(product: Product, item: Item, block: Block, panel: str) -> None:
    """A panel of rows, k by k: 16 lanes of which the panel's rows are used."""
    code, element, stored = product.code, product.element, product.geometry.a.storage
    first = row_of(product, panel)
    following = row_of(product, code.op(f"add i64 {panel}, 1"))
    mask = mask_of(code, code.op(f"sub i64 {following}, {first}"))
    source = code.at("i8", item.a, code.mul(first, str(stored.size)))
    number = code.op(f"sub i64 {panel}, {item.first_panel}")
    target = code.at("i8", item.a_packed, code.mul(number, str(product.scheme.a_panel)))

    def run(offset: str, done: str, length: str) -> None:
        def one(depth: str) -> None:
            distance = code.add(offset, code.mul(depth, block.a_depth.stride))
            lanes = load_widened(code, stored, element, code.at("i8", source, distance), mask)
            store(
                code, element, lanes, code.at(element.vector, target, code.add(done, depth)), None
            )

        each(code, "0", length, "1", one)

    for_runs(code, block.a_depth, block.start, block.length, run)


# ---- panels of b
def _pack_b_unit(product: Product, item: Item, block: Block) -> None:
    """Rows of k, each through all panels of the item, so that memory is read in order."""
    code, geometry, width = product.code, product.geometry, product.scheme.width
    # panels without a ragged edge are copied without masks
    whole = code.op(f"udiv i64 {product.word('n', geometry.n)}, {width}")
    inside = code.smin(item.last_column, whole)
    full = code.call("llvm.smax.i64", "i64", f"i64 {inside}", f"i64 {item.first_column}")
    _pack_rows(product, item, block, (item.first_column, full), [None] * geometry.tile_vectors)
    if geometry.n % width:
        done = code.mul(full, str(width))
        remaining = code.op(f"sub i64 {product.word('n', geometry.n)}, {done}")

        def ragged() -> None:
            masks: list[str | None] = [
                mask_of(code, code.op(f"sub i64 {remaining}, {16 * vector}"))
                for vector in range(geometry.tile_vectors)
            ]
            _pack_rows(product, item, block, (full, item.last_column), masks)

        code.when(code.op(f"icmp slt i64 {full}, {item.last_column}"), ragged)


def _pack_rows(
    product: Product, item: Item, block: Block, panels: tuple[str, str], masks: list[str | None]
) -> None:
    """Rows of k of the panels from the first to the last, with a mask for each vector."""
    code, element, scheme = product.code, product.element, product.scheme
    stored, line_bytes = product.geometry.b.storage, str(scheme.width * element.size)

    def run(offset: str, done: str, length: str) -> None:
        def one(depth: str) -> None:
            distance = code.add(offset, code.mul(depth, block.b_depth.stride))
            source = code.at("i8", item.b, distance)
            row = code.at("i8", item.b_packed, code.mul(code.add(done, depth), line_bytes))

            def panel(number: str) -> None:
                columns = code.mul(number, str(scheme.width * stored.size))
                origin = code.at("i8", source, columns)
                local = code.op(f"sub i64 {number}, {item.first_column}")
                target = code.at("i8", row, code.mul(local, str(scheme.b_panel)))
                for vector, mask in enumerate(masks):
                    pointer = code.at(stored.vector, origin, str(vector))
                    lanes = load_widened(code, stored, element, pointer, mask)
                    store(code, element, lanes, code.at(element.vector, target, str(vector)), None)

            each(code, *panels, "1", panel)

        each(code, "0", length, "1", one)

    for_runs(code, block.b_depth, block.start, block.length, run)


def _pack_b_transposed(product: Product, item: Item, block: Block, panel: str) -> None:
    """Columns lie along k: 16 x 16 blocks are transposed, whole ones where they lie."""
    code, element, stored = product.code, product.element, product.geometry.b.storage
    width = product.scheme.width
    first, remaining, packed = packed_panel(product, item, panel)

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
    first, remaining, packed = packed_panel(product, item, panel)
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
