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
from .factors import BLOCK, Patch
from .finish import FinishedLines, call_fetch, call_finish, prepare, result_start, result_stride
from .geometry import Geometry
from .levels import Block, Item, Panel, Product, Scheme, row_of, scheme_of
from .micro import Micro, PackedElement, describe
from .pack import IndexWalk, divide, each, offset_of
from .panels import columns_of, offsets_of_a, pack_a, pack_b
from .words import GemmWords, Loader

__all__ = ["packed_bytes", "write_packing", "write_product"]


def write_product(
    kernel: GemmKernel, geometry: Geometry, element: PackedElement, finish: Finish, words: GemmWords
) -> Product:
    """Write the function of a product; the record tells what else it needs."""
    scheme, code = scheme_of(kernel, geometry, element, finish), Code()
    own = geometry.b_mode == "trans" and not geometry.ahead
    buffer = code.alloca(f"[16 x {element.vector}]") if own else ""
    product = Product(
        kernel=kernel,
        geometry=geometry,
        element=element,
        scheme=scheme,
        finish=finish,
        loader=Loader(code, words),
        variants={},
        block_buffer=buffer,
        uniform="null" if scheme.direct else prepare(finish, code),
    )

    each(code, "%begin", "%end", "1", partial(_write_item, product))
    code.do("ret i64 0")
    return product


# ---- packing ahead
def packed_bytes(geometry: Geometry, scheme: Scheme) -> int:
    """Workspace of a b that is packed ahead: [block][column panel]."""
    return geometry.blocks * geometry.column_panels * scheme.b_panel


def write_packing(product: Product, words: GemmWords) -> Code:
    """The function that packs b for all items of a product; its items are panels of a block."""
    code, geometry, element = Code(), product.geometry, product.element
    buffer = code.alloca(f"[16 x {element.vector}]") if geometry.b_mode == "trans" else ""
    loader = Loader(code, words)
    own = product._replace(loader=loader, block_buffer=buffer)
    start, nothing = loader.workspace(), IndexWalk(None, "0", "0")
    b, size = loader.factor("b", geometry.b, "0"), geometry.b.storage.size
    walks = loader.walk("b.lines", geometry.b.lines, size), loader.walk("b.k", geometry.b.k, size)

    def panel(number: str) -> None:
        index, column = divide(code, number, own.word("col_panels", geometry.column_panels))
        first = code.mul(index, str(BLOCK))
        left = code.op(f"sub i64 {own.word('k', product.kernel.k)}, {first}")
        block = Block(first, code.smin(left, str(BLOCK)), "", "", "", nothing, nothing, *walks)
        packed = code.at("i8", start, code.mul(number, str(product.scheme.b_panel)))
        after = code.op(f"add i64 {column}, 1")
        item = Item("0", "0", "0", column, after, "", b, "", packed, "", "", "")
        pack_b(own, item, block)

    each(code, "%begin", "%end", "1", panel)
    code.do("ret i64 0")
    return code


# ---- items
def _write_item(product: Product, number: str) -> None:
    code, geometry, scheme = product.code, product.geometry, product.scheme
    tiles_n = product.word("items_n", geometry.items_n)
    tiles = product.word("items_mn", geometry.items_m * geometry.items_n)
    group = "0"
    if scheme.partial:  # items of one group of k blocks are adjacent
        per_group = geometry.items_m * geometry.items_n * product.kernel.batch
        group, number = divide(code, number, product.word("items_bmn", per_group))
    batch, inside = divide(code, number, tiles)
    row, column = divide(code, inside, tiles_n)
    item = _item_of(product, batch, row, column)
    if scheme.description:
        described = partial(_describe, product, item)
        each(code, item.first_column, item.last_column, "1", described)
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
    a, b = loader.factor("a", geometry.a, batch), loader.factor("b", geometry.b, batch)
    b_packed = "%scratch"
    if scheme.b_bytes:
        b_packed = code.at("i8", "%scratch", product.word("a_bytes", scheme.a_bytes))
    packed = product.word("ab_bytes", scheme.a_bytes + scheme.b_bytes)
    described = product.word("abd_bytes", scheme.a_bytes + scheme.b_bytes + scheme.d_bytes)
    return Item(
        batch=batch,
        first_panel=first_panel,
        last_panel=last_panel,
        first_column=first_column,
        last_column=last_column,
        a=a,
        b=b,
        a_packed="%scratch",
        b_packed=b_packed,
        descriptors=code.at("i8", "%scratch", packed),
        tiles=code.at("i8", "%scratch", described),
        result=(
            result_start(product.finish, loader, batch)
            if scheme.direct and not scheme.partial
            else ""
        ),
    )


# ---- blocks of k
def _write_block(product: Product, item: Item, stop: str, index: str) -> None:
    """One block of k: pack columns, then the micro tiles of the item, one row panel after another:
    those with all their rows, then those with one row less."""
    code, geometry = product.code, product.geometry
    block = _block_of(product, item, stop, index)
    if product.scheme.b_packed and not geometry.ahead:
        pack_b(product, item, block)

    if geometry.patch is not None:
        offsets_of_a(product, item, block)
        patch = partial(_write_patch, product, item, block, geometry.patch)
        each(code, item.first_panel, item.last_panel, "1", patch)
        return

    def one(rows: int, number: str) -> None:
        _write_rows(product, item, block, _panel_of(product, item, block, rows, number))

    def panels(first: str, last: str, rows: int) -> None:
        each(code, first, last, "1", partial(one, rows))

    known = not is_extent(geometry.full_rows) and geometry.full_rows == geometry.row_panels
    if known or geometry.rows == 1:  # a panel has a row at least
        panels(item.first_panel, item.last_panel, geometry.rows)
        return
    middle = code.smin(product.word("full_rows", geometry.full_rows), item.last_panel)
    panels(item.first_panel, middle, geometry.rows)
    start = code.call("llvm.smax.i64", "i64", f"i64 {middle}", f"i64 {item.first_panel}")
    panels(start, item.last_panel, geometry.rows - 1)


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


# ---- row panels
def _write_patch(product: Product, item: Item, block: Block, patch: Patch, number: str) -> None:
    """A row panel that is read where it lies: the first ones of a group are higher."""
    code = product.code
    group, inside = divide(code, number, str(patch.panels))
    shorter_before = code.call(
        "llvm.smax.i64", "i64", f"i64 {code.add(inside, str(-patch.full))}", "i64 0"
    )
    units = code.op(f"sub i64 {code.mul(inside, str(patch.units))}, {shorter_before}")
    row = code.add(code.mul(group, str(patch.group)), code.mul(units, str(patch.unit)))
    start = offset_of(code, product.loader.walk("a.groups", patch.groups, 0), group)
    distance = code.add(start, code.mul(units, str(patch.step)))
    pointer = code.at("i8", item.a, distance)
    panel_number = code.op(f"sub i64 {number}, {item.first_panel}")

    def write_rows(count: int) -> None:
        row_panel = Panel(panel_number, row, count, pointer, "0", item.a_packed)
        _write_rows(product, item, block, row_panel)

    if patch.full == patch.panels:
        write_rows(patch.units * patch.unit)
        return
    higher = code.op(f"icmp slt i64 {inside}, {patch.full}")
    code.when(higher, lambda: write_rows(patch.units * patch.unit))
    code.when(code.op(f"xor i1 {higher}, true"), lambda: write_rows((patch.units - 1) * patch.unit))


def _write_rows(product: Product, item: Item, block: Block, panel: Panel) -> None:
    """All micro tiles of one row panel; the last column panel has a micro-kernel of its own where
    it is narrower or ends in a partial vector."""
    code, geometry = product.code, product.geometry
    full = _micro_of(product, panel.rows, geometry.tile_vectors, False)
    tail = _micro_of(product, panel.rows, geometry.tail_vectors, True)

    def tiles(first: str, last: str) -> None:
        each(code, first, last, "1", partial(_write_tile, product, item, block, panel, full))

    if full == tail:
        tiles(item.first_column, item.last_column)
    elif geometry.column_panels == 1:
        _write_tile(product, item, block, panel, tail, item.first_column)
    else:
        final = code.op(f"sub i64 {product.word('col_panels', geometry.column_panels)}, 1")
        tiles(item.first_column, code.smin(final, item.last_column))
        there = code.op(f"icmp slt i64 {final}, {item.last_column}")
        code.when(there, lambda: _write_tile(product, item, block, panel, tail, final))


def _panel_of(product: Product, item: Item, block: Block, rows: int, number: str) -> Panel:
    """A row panel, packed where that is done: it stays in the first cache while columns pass."""
    code = product.code
    row = row_of(product, number)
    local = code.op(f"sub i64 {number}, {item.first_panel}")
    if product.geometry.a_mode == "direct":
        row_step, depth_step = block.a_lines.stride, block.a_depth.stride
        distance = code.add(code.mul(row, row_step), code.mul(block.start, depth_step))
        return Panel(local, row, rows, code.at("i8", item.a, distance), row_step, depth_step)
    pack_a(product, item, block, row, rows)
    return Panel(local, row, rows, item.a_packed, "0", str(product.scheme.a_depth))


def _micro_of(product: Product, rows: int, vectors: int, tail: bool) -> Micro:
    """The micro-kernel of tiles of so many rows; `tail`: of the last column panel."""
    geometry, scheme, element = product.geometry, product.scheme, product.element
    row_step = scheme.a_row
    if row_step is None and geometry.a.lines.unit(element.size):
        row_step = element.size
    if scheme.segmented:
        partial = geometry.b.lines.length % 16 != 0
        return Micro(element, rows, vectors, row_step, True, partial, False, scheme.adds)
    # packed panels and tiles in scratch hold whole vectors: only reads of b where it lies and
    # stores to the result need a mask at the edge
    ragged = tail and geometry.n % 16 != 0
    return Micro(
        element,
        rows,
        vectors,
        row_step,
        read_mask=ragged and not scheme.b_packed,
        write_mask=ragged and scheme.direct,
        adds=scheme.adds,
        depth_step=scheme.a_depth,
        column_step=scheme.width * element.size if scheme.b_packed else None,
        offsets=() if geometry.patch is None else geometry.patch.offsets(rows),
        prefetch=_prefetched(product),
    )


def _prefetched(product: Product) -> int:
    """The k by which a micro-kernel has asked for the lines of its result: those that sums of
    earlier blocks are in, and those of a result that the second cache does not hold."""
    geometry, scheme = product.geometry, product.scheme
    if not scheme.direct:
        return 0
    if scheme.several:
        return BLOCK * 3 // 4
    return 16 if geometry.large else 0


# ---- column panels
def _describe(product: Product, item: Item, number: str) -> None:
    """Write the descriptors of a column panel's vectors."""
    code, description = product.code, str(product.scheme.description)
    local = code.op(f"sub i64 {number}, {item.first_column}")
    place = code.at("i8", item.descriptors, code.mul(local, description))
    if product.scheme.segmented:
        _describe_segments(product, item, number, place)
        return
    first, remaining = columns_of(product, number)
    for vector in range(product.geometry.tile_vectors):
        lane_count = code.smin(code.op(f"sub i64 {remaining}, {16 * vector}"), "16")
        describe(code, place, vector, lane_count, code.op(f"add i64 {first}, {16 * vector}"))


def _describe_segments(product: Product, item: Item, number: str, place: str) -> None:
    """Descriptors of vectors that never cross from one run of columns to the next."""
    code, geometry, loader = product.code, product.geometry, product.loader
    lines = loader.walk("b.lines", geometry.b.lines, geometry.b.storage.size)
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
        describe(code, place, vector, lane_count, column, pointer)


# ---- micro tiles
def _write_tile(
    product: Product, item: Item, block: Block, panel: Panel, micro: Micro, number: str
) -> None:
    """The micro tile of a row panel and a column panel."""
    code, scheme, finish = product.code, product.scheme, product.finish
    local = code.op(f"sub i64 {number}, {item.first_column}")
    described = ""
    if scheme.description:
        described = code.at("i8", item.descriptors, code.mul(local, str(scheme.description)))
    first, remaining = columns_of(product, number)
    target, line_step = _target_of(product, item, block, panel, (first, local))
    columns = _columns_of_b(product, item, block, (first, local, number), described)
    lanes = "16"
    if micro.read_mask or micro.write_mask:
        lanes = code.op(f"sub i64 {remaining}, {16 * (micro.vectors - 1)}")
    rows = FinishedLines(item.batch, panel.first, str(panel.rows), described, micro.vectors)
    along = f"{'ptr' if micro.offsets else 'i64'} {panel.depth_step}"

    def at_last_block(write: Callable[[], None]) -> None:
        if scheme.several:
            code.when(block.last, write)
        else:
            write()

    if not scheme.direct:
        at_last_block(lambda: call_fetch(finish, code, rows))
    code.do(
        f"call void {_variant(product, micro)}(ptr {panel.pointer}, i64 {panel.row_step}, "
        f"{along}, ptr {columns}, {_depth_of_b(product, block)}, "
        f"i64 {block.length}, i64 {lanes}, ptr {target}, i64 {line_step}, "
        f"i1 {block.more}, ptr {target}, i64 {line_step})"
    )
    if not scheme.direct:
        at_last_block(lambda: call_finish(code, target, rows, product.uniform))


def _columns_of_b(
    product: Product, item: Item, block: Block, place: tuple[str, str, str], described: str
) -> str:
    """Pointer to the columns of a tile: where they are packed, where they lie, or what says where
    their vectors lie.  `place`: the first column, and the numbers of its panel in the item and
    among all."""
    code, scheme, itemsize = product.code, product.scheme, product.element.size
    if scheme.segmented:
        return described
    if product.geometry.ahead:
        panels = product.word("col_panels", product.geometry.column_panels)
        before = code.mul(code.op(f"udiv i64 {block.start}, {BLOCK}"), panels)
        number = code.mul(code.add(before, place[2]), str(scheme.b_panel))
        return code.at("i8", product.loader.workspace(), number)
    if scheme.b_packed:
        return code.at("i8", item.b_packed, code.mul(place[1], str(scheme.b_panel)))
    pointer = code.at("i8", item.b, code.mul(place[0], str(itemsize)))
    return code.at("i8", pointer, code.mul(block.start, block.b_depth.stride))


def _target_of(
    product: Product, item: Item, block: Block, panel: Panel, place: tuple[str, str]
) -> tuple[str, str]:
    """(pointer, bytes from line to line) of where the sums of a tile go."""
    code, scheme, geometry = product.code, product.scheme, product.geometry
    itemsize = product.element.size
    if scheme.direct:
        if scheme.partial:
            line_step = product.word("n_bytes", geometry.n * itemsize)
        else:
            line_step = result_stride(product.finish, product.loader)
        distance = code.add(code.mul(panel.first, line_step), code.mul(place[0], str(itemsize)))
        return code.at("i8", block.result, distance), line_step
    target = item.tiles
    if scheme.several:
        before = code.mul(panel.number, product.word("panels_n", geometry.panels_n))
        number = code.add(before, place[1])
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
