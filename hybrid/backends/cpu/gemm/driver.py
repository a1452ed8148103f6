"""The kernel-ABI function of a product: items, blocks of k, packing, and calls of the
micro-kernels.

Invariant: an item reads the factors and writes its own tile of the result, nothing else; sums of
several blocks of k are kept per output and added in order, so any split of items gives the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ....core.errors import BackendError
from ....core.extents import is_extent
from ...emit.code import Code
from ...plan import GemmKernel
from .epilogue import Finish
from .finish import FinishedLines, call_fetch, call_finish, prepare, result_start, result_stride
from .geometry import BLOCK, Geometry
from .levels import Block, Item, Panel, Product, row_of, scheme_of
from .micro import DESCRIPTOR, Micro, PackedElement, describe
from .pack import IndexWalk, divide, each
from .panels import pack, packed_panel
from .words import GemmWords, Loader

__all__ = ["write_product"]


def write_product(
    kernel: GemmKernel, geometry: Geometry, element: PackedElement, finish: Finish, words: GemmWords
) -> Product:
    """Write the function of a product; the record tells what else it needs."""
    scheme, code = scheme_of(kernel, geometry, element, finish), Code()
    descriptors = code.alloca(f"[{DESCRIPTOR * geometry.tile_vectors} x i8]")
    buffer = code.alloca(f"[16 x {element.vector}]") if geometry.b_mode == "trans" else ""
    product = Product(
        kernel=kernel,
        geometry=geometry,
        element=element,
        scheme=scheme,
        finish=finish,
        loader=Loader(code, words),
        variants={},
        descriptors=descriptors,
        block_buffer=buffer,
        uniform="null" if scheme.direct else prepare(finish, code),
    )

    each(code, "%begin", "%end", "1", partial(_write_item, product))
    code.do("ret i64 0")
    return product


# ---- items
def _write_item(product: Product, number: str) -> None:
    code, geometry, scheme = product.code, product.geometry, product.scheme
    tiles_m = product.word("items_m", geometry.items_m)
    tiles = product.word("items_mn", geometry.items_m * geometry.items_n)
    group = "0"
    if scheme.partial:  # items of one group of k blocks are adjacent
        per_group = geometry.items_m * geometry.items_n * product.kernel.batch
        group, number = divide(code, number, product.word("items_bmn", per_group))
    batch, inside = divide(code, number, tiles)
    column, row = divide(code, inside, tiles_m)
    item = _item_of(product, batch, row, column)
    if not scheme.several:
        _write_block(product, item, "1", "0")
        return
    first, stop = "0", product.word("blocks", geometry.blocks)
    if scheme.partial:
        many = product.word("split", geometry.split)
        first = code.mul(group, many)
        stop = code.smin(code.add(first, many), stop)

    each(code, first, stop, "1", partial(_write_block, product, item, stop))


def _item_of(product: Product, batch: str, row: str, column: str) -> Item:
    """The item at a row and a column of the items of one product."""
    code, geometry, scheme, loader = product.code, product.geometry, product.scheme, product.loader
    step_m = product.word("panels_m", geometry.panels_m)
    step_n = product.word("panels_n", geometry.panels_n)
    first_panel, first_column = code.mul(row, step_m), code.mul(column, step_n)
    last_panel = code.smin(
        code.add(first_panel, step_m), product.word("row_panels", geometry.row_panels)
    )
    last_column = code.smin(
        code.add(first_column, step_n), product.word("col_panels", geometry.column_panels)
    )
    first_row = row_of(product, first_panel)
    a, b = loader.factor("a", geometry.a, batch), loader.factor("b", geometry.b, batch)
    b_packed = "%scratch"
    if scheme.b_bytes:
        b_packed = code.at("i8", "%scratch", product.word("a_bytes", scheme.a_bytes))
    packed = product.word("ab_bytes", scheme.a_bytes + scheme.b_bytes)
    return Item(
        batch=batch,
        first_panel=first_panel,
        last_panel=last_panel,
        first_column=first_column,
        last_column=last_column,
        first_row=first_row,
        a=a,
        b=b,
        a_packed="%scratch",
        b_packed=b_packed,
        tiles=code.at("i8", "%scratch", packed),
        result=(
            result_start(product.finish, loader, batch)
            if scheme.direct and not scheme.partial
            else ""
        ),
    )


# ---- blocks of k
def _write_block(product: Product, item: Item, stop: str, index: str) -> None:
    """One block of k: pack, then all micro tiles of the item."""
    block = _block_of(product, item, stop, index)
    pack(product, item, block)

    column = partial(_write_column, product, item, block)
    each(product.code, item.first_column, item.last_column, "1", column)


def _block_of(product: Product, item: Item, stop: str, index: str) -> Block:
    code, geometry, scheme, loader = product.code, product.geometry, product.scheme, product.loader
    length = product.word("k", product.kernel.k)
    start, more, last = "0", "false", "true"
    if scheme.several:
        start = code.mul(index, str(BLOCK))
        length = code.smin(code.op(f"sub i64 {length}, {start}"), str(BLOCK))
        more = code.op(f"icmp sgt i64 {index}, 0") if scheme.adds else "false"
        last = code.op(f"icmp eq i64 {code.op(f'add i64 {index}, 1')}, {stop}")
    result = _workspace_start(product, item, index) if scheme.partial else item.result
    itemsize = geometry.a.storage.size
    a_lines = loader.walk("a.lines", geometry.a.lines, itemsize)
    a_depth = loader.walk("a.k", geometry.a.k, itemsize)
    itemsize = geometry.b.storage.size
    # segmented vectors find their rows in a table of offsets
    b_depth = IndexWalk(None, "0", "0")
    if not scheme.segmented:
        b_depth = loader.walk("b.k", geometry.b.k, itemsize)
    b_lines = loader.walk("b.lines", geometry.b.lines, itemsize)
    return Block(start, length, more, last, result, a_lines, a_depth, b_lines, b_depth)


def _workspace_start(product: Product, item: Item, index: str) -> str:
    """Where the sums of a block of k go in the workspace: [block][batch][line][column]."""
    code, geometry = product.code, product.geometry
    start = product.loader.workspace()
    blocks = code.mul(index, product.word("batch", product.kernel.batch))
    number = code.add(blocks, item.batch)
    product_bytes = product.word("mn_bytes", geometry.m * geometry.n * product.element.size)
    return code.at("i8", start, code.mul(number, product_bytes))


# ---- column panels
def _write_column(product: Product, item: Item, block: Block, number: str) -> None:
    """All micro tiles of one column panel; the last panel has a micro-kernel of its own where it is
    narrower or ends in a partial vector."""
    code, geometry = product.code, product.geometry
    full = _micro_of(product, geometry.tile_vectors, False)
    tail = _micro_of(product, geometry.tail_vectors, True)
    lanes = "16"
    if product.scheme.segmented:
        _describe_segments(product, item, block, number)
        panel = Panel(number, "", product.descriptors, "16", full, geometry.tile_vectors)
    else:
        first, remaining, pointer = packed_panel(product, item, number)
        if not product.scheme.b_packed:
            pointer = code.at("i8", item.b, code.mul(first, str(product.element.size)))
            pointer = code.at("i8", pointer, code.mul(block.start, block.b_depth.stride))
        if not product.scheme.direct:
            _describe_columns(product, first, remaining)
        panel = Panel(number, first, pointer, "16", full, geometry.tile_vectors)
        lanes = code.op(f"sub i64 {remaining}, {16 * (geometry.tail_vectors - 1)}")
    if full == tail:
        _write_rows(product, item, block, panel)
        return
    last = panel._replace(lanes=lanes, micro=tail, vectors=geometry.tail_vectors)
    if geometry.column_panels == 1:
        _write_rows(product, item, block, last)
        return
    following = code.op(f"add i64 {number}, 1")
    is_last = code.op(
        f"icmp eq i64 {following}, {product.word('col_panels', geometry.column_panels)}"
    )
    code.when(is_last, lambda: _write_rows(product, item, block, last))
    code.when(code.op(f"xor i1 {is_last}, true"), lambda: _write_rows(product, item, block, panel))


def _micro_of(product: Product, vectors: int, tail: bool) -> Micro:
    """The micro-kernel of tiles with all their rows; `tail`: of the last column panel."""
    geometry, scheme, element = product.geometry, product.scheme, product.element
    row_step = scheme.a_row
    if row_step is None and geometry.a.lines.unit(element.size):
        row_step = element.size
    if scheme.segmented:
        partial = geometry.b.lines.length % 16 != 0
        return Micro(element, geometry.rows, vectors, row_step, True, partial, False, scheme.adds)
    # packed panels and tiles in scratch hold whole vectors: only reads of b where it lies and
    # stores to the result need a mask at the edge
    ragged = tail and geometry.n % 16 != 0
    return Micro(
        element,
        geometry.rows,
        vectors,
        row_step,
        read_mask=ragged and not scheme.b_packed,
        write_mask=ragged and scheme.direct,
        adds=scheme.adds,
        prefetch=scheme.direct and scheme.several,
    )


def _describe_segments(product: Product, item: Item, block: Block, number: str) -> None:
    """Descriptors of a panel whose vectors never cross from one run of columns to the next."""
    code, geometry, lines = product.code, product.geometry, block.b_lines
    per_run = product.word("vecs_per_run", -(-geometry.b.lines.length // 16))
    final = product.word("last_vector", geometry.vectors - 1)
    for vector in range(geometry.tile_vectors):
        own = code.add(code.mul(number, str(geometry.tile_vectors)), str(vector))
        run, piece = divide(code, code.smin(own, final), per_run)
        piece = code.mul(piece, "16")
        start = code.op(f"load i64, ptr {code.at('i64', lines.table or '', run)}")
        distance = code.add(start, code.mul(piece, str(product.element.size)))
        pointer = code.at("i8", item.b, distance)
        lane_count = code.smin(code.op(f"sub i64 {lines.length}, {piece}"), "16")
        if geometry.vectors % geometry.tile_vectors:
            # past the last vector: computed again, and not stored again
            there = code.op(f"icmp sle i64 {own}, {final}")
            lane_count = code.op(f"select i1 {there}, i64 {lane_count}, i64 0")
        column = code.add(code.mul(run, lines.length), piece)
        describe(code, product.descriptors, vector, lane_count, column, pointer)


def _describe_columns(product: Product, first: str, remaining: str) -> None:
    code = product.code
    for vector in range(product.geometry.tile_vectors):
        lane_count = code.smin(code.op(f"sub i64 {remaining}, {16 * vector}"), "16")
        column = code.op(f"add i64 {first}, {16 * vector}")
        describe(code, product.descriptors, vector, lane_count, column)


# ---- micro tiles
def _write_rows(product: Product, item: Item, block: Block, panel: Panel) -> None:
    """The micro tiles of one column panel, from the first row panel of the item to the last: those
    with all their rows, then those with one row less."""
    code, geometry = product.code, product.geometry

    def tiles(first: str, last: str, micro: Micro) -> None:
        own = panel._replace(micro=micro)
        each(code, first, last, "1", partial(_write_tile, product, item, block, own))

    known = not is_extent(geometry.full_rows) and geometry.full_rows == geometry.row_panels
    if known or panel.micro.rows == 1:  # a panel has a row at least
        tiles(item.first_panel, item.last_panel, panel.micro)
        return
    middle = code.smin(product.word("full_rows", geometry.full_rows), item.last_panel)
    tiles(item.first_panel, middle, panel.micro)
    start = code.call("llvm.smax.i64", "i64", f"i64 {middle}", f"i64 {item.first_panel}")
    tiles(start, item.last_panel, panel.micro._replace(rows=panel.micro.rows - 1))


def _write_tile(product: Product, item: Item, block: Block, panel: Panel, row_panel: str) -> None:
    code, scheme, finish = product.code, product.scheme, product.finish
    row = row_of(product, row_panel)
    local = code.op(f"sub i64 {row_panel}, {item.first_panel}")
    a, row_stride, depth_stride = _rows_of_a(product, item, block, row, local)
    target, line_step = _target_of(product, item, block, panel, row, local)
    depth = _depth_of_b(product, block)
    rows = FinishedLines(item.batch, row, str(panel.micro.rows), product.descriptors, panel.vectors)

    def at_last_block(write: Callable[[], None]) -> None:
        if scheme.several:
            code.when(block.last, write)
        else:
            write()

    if not scheme.direct:
        at_last_block(lambda: call_fetch(finish, code, rows))
    code.do(
        f"call void {_variant(product, panel.micro)}(ptr {a}, i64 {row_stride}, "
        f"i64 {depth_stride}, ptr {panel.pointer}, {depth}, "
        f"i64 {block.length}, i64 {panel.lanes}, ptr {target}, i64 {line_step}, "
        f"i1 {block.more}, ptr {target}, i64 {line_step})"
    )
    if not scheme.direct:
        at_last_block(lambda: call_finish(code, target, rows, product.uniform))


def _rows_of_a(
    product: Product, item: Item, block: Block, row: str, local: str
) -> tuple[str, str, str]:
    """(pointer, bytes from row to row where they are no constant, bytes from k to k) of the rows
    of a tile; `local`: number of its row panel in the item."""
    code, scheme, itemsize = product.code, product.scheme, product.element.size
    if product.geometry.a_mode == "direct":
        row_stride, depth_stride = block.a_lines.stride, block.a_depth.stride
        rows = code.mul(row, row_stride)
        distance = code.add(rows, code.mul(block.start, depth_stride))
        return code.at("i8", item.a, distance), row_stride, depth_stride
    if product.geometry.a_mode == "rows":
        number = code.op(f"sub i64 {row}, {item.first_row}")
        pointer = code.at("i8", item.a_packed, code.mul(number, str(scheme.a_row)))
        return pointer, "0", str(itemsize)
    pointer = code.at("i8", item.a_packed, code.mul(local, str(scheme.a_panel)))
    return pointer, "0", str(16 * itemsize)


def _target_of(
    product: Product, item: Item, block: Block, panel: Panel, row: str, local: str
) -> tuple[str, str]:
    """(pointer, bytes from line to line) of where the sums of a tile go."""
    code, scheme, geometry = product.code, product.scheme, product.geometry
    itemsize = product.element.size
    if scheme.direct:
        if scheme.partial:
            line_step = product.word("n_bytes", geometry.n * itemsize)
        else:
            line_step = result_stride(product.finish, product.loader)
        rows = code.mul(row, line_step)
        distance = code.add(rows, code.mul(panel.first, str(itemsize)))
        return code.at("i8", block.result, distance), line_step
    target = item.tiles
    if scheme.several:
        column = code.op(f"sub i64 {panel.number}, {item.first_column}")
        before = code.mul(column, product.word("panels_m", geometry.panels_m))
        number = code.add(before, local)
        target = code.at("i8", target, code.mul(number, str(scheme.tile)))
    return target, str(scheme.width * itemsize)


def _depth_of_b(product: Product, block: Block) -> str:
    """How the micro-kernel goes along k of b: a stride, or a table of offsets."""
    code, scheme = product.code, product.scheme
    if scheme.segmented:
        table = product.loader.table("b.kt", _offsets_along_k(product.geometry))
        return f"ptr {code.at('i64', table, block.start)}"
    if scheme.b_packed:
        return f"i64 {scheme.width * product.element.size}"
    return f"i64 {block.b_depth.stride}"


def _offsets_along_k(geometry: Geometry) -> list[int]:
    runs = geometry.b.k
    if runs.starts is None:
        return [number * runs.stride for number in range(runs.size)]
    return [start + number * runs.stride for start in runs.starts for number in range(runs.length)]


def _variant(product: Product, micro: Micro) -> str:
    if micro.rows < 1:
        raise BackendError("a micro tile without rows cannot be generated")
    return product.variants.setdefault(micro, f"@NAME.{micro.name}")
