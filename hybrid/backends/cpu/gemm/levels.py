"""The records that the driver of a product passes from loop to loop, from the whole function down
to one column panel.

Invariant: they are values, made where their loop begins; strings are names of IR values (i64
unless they are pointers) or constants, numbers are known when the text is written.
"""

from __future__ import annotations

from typing import NamedTuple

from ...emit.code import Code
from ...plan import GemmKernel
from .epilogue import Finish
from .factors import BLOCK
from .geometry import ROW_PAD, Geometry
from .micro import DESCRIPTOR, Micro, PackedElement
from .pack import IndexWalk
from .words import Loader

__all__ = ["Block", "Item", "Panel", "Product", "Scheme", "row_of", "scheme_of"]


class Scheme(NamedTuple):
    """What follows from a geometry before a line is written: which cases there are, how many bytes
    rows, panels and tiles take."""

    several: bool  # k has more than one block
    partial: bool  # sums of each block go to the workspace
    direct: bool  # micro-kernels store where the sums belong; else into tiles, which are finished
    adds: bool  # blocks of k are added where they are stored
    segmented: bool  # vectors of b lie anywhere, each with its own pointer
    b_packed: bool  # by each item, or ahead
    width: int  # columns of a full panel
    a_row: int | None  # bytes from a packed row of a to the next
    a_depth: int | None  # bytes from k to k of a packed panel of a
    b_panel: int  # bytes from one packed panel to the next
    tile: int
    description: int  # bytes of the descriptors of a column panel; 0: none are needed
    a_bytes: int  # scratch: a panel or offsets of a, panels of b, descriptors, then the tiles
    b_bytes: int
    d_bytes: int
    scratch: int


def scheme_of(
    kernel: GemmKernel, geometry: Geometry, element: PackedElement, finish: Finish
) -> Scheme:
    """The scheme of a product."""
    several, partial = kernel.k > BLOCK, geometry.split > 0
    segmented = geometry.b_mode == "segmented"
    direct = partial or (finish.storable and not segmented)
    b_packed = geometry.b_mode in ("unit", "trans", "any")
    width = geometry.tile_vectors * 16
    line_bytes = width * element.size
    a_row, a_depth, a_bytes = _packed_rows(geometry, element)
    b_panel, tile = BLOCK * line_bytes, geometry.rows * line_bytes
    # a transposed block writes 16 rows of k even where fewer are left: 16 lines behind the last,
    # or behind each, where others may be packed at the same time
    b_panel += 16 * line_bytes * geometry.ahead
    own = b_packed and not geometry.ahead
    b_bytes = geometry.panels_n * b_panel + 16 * line_bytes if own else 0
    description = DESCRIPTOR * geometry.tile_vectors if segmented or not direct else 0
    d_bytes = -(-geometry.panels_n * description // 64) * 64
    # with several blocks of k every tile of the item waits for its last block
    tile_bytes = (geometry.panels_m * geometry.panels_n if several else 1) * tile * (not direct)
    return Scheme(
        several=several,
        partial=partial,
        direct=direct,
        adds=several and not partial,
        segmented=segmented,
        b_packed=b_packed,
        width=width,
        a_row=a_row,
        a_depth=a_depth,
        b_panel=b_panel,
        tile=tile,
        description=description,
        a_bytes=a_bytes,
        b_bytes=b_bytes,
        d_bytes=d_bytes,
        # the finishing transpose reads 16 rows of a smaller tile
        scratch=a_bytes + b_bytes + d_bytes + tile_bytes + 16 * line_bytes,
    )


def _packed_rows(geometry: Geometry, element: PackedElement) -> tuple[int | None, int | None, int]:
    """(bytes from row to row, bytes from k to k, bytes in all) of a packed panel of a."""
    if geometry.a_mode == "rows":
        row_bytes = (BLOCK + ROW_PAD) * element.size
        return row_bytes, element.size, geometry.rows * row_bytes
    if geometry.a_mode == "cols":
        return element.size, 16 * element.size, BLOCK * 16 * element.size
    if geometry.a_mode == "patches":
        return None, None, 8 * BLOCK  # the offsets of k
    return None, None, 0


class Product(NamedTuple):
    """The function under construction and what holds in all of it."""

    kernel: GemmKernel
    geometry: Geometry
    element: PackedElement
    scheme: Scheme
    finish: Finish
    loader: Loader
    variants: dict[Micro, str]  # micro-kernels called so far, by their names
    block_buffer: str  # 16 vectors, for blocks of b that cannot be transposed where they lie
    uniform: str  # what the finishing function gets

    @property
    def code(self) -> Code:
        return self.loader.code

    def word(self, name: str, value: int) -> str:
        return self.loader.word(name, value)


class Item(NamedTuple):
    """A work item: a range of row panels and one of column panels, in one product of the batch."""

    batch: str
    first_panel: str
    last_panel: str
    first_column: str
    last_column: str
    a: str  # the factors, where they lie and where they are packed
    b: str
    a_packed: str
    b_packed: str
    descriptors: str  # of the vectors of each column panel
    tiles: str
    result: str  # where sums of all blocks go; empty where they go elsewhere


class Block(NamedTuple):
    """A block of k, and how its factors are walked."""

    start: str
    length: str
    more: str  # i1: sums of earlier blocks are there
    last: str  # i1: no block follows
    result: str
    a_lines: IndexWalk
    a_depth: IndexWalk  # along k
    b_lines: IndexWalk
    b_depth: IndexWalk


class Panel(NamedTuple):
    """A row panel."""

    number: str  # in the item
    first: str  # row
    rows: int
    pointer: str  # its first element, where it is packed or where it lies
    row_step: str  # bytes, where they are no constant
    depth_step: str  # bytes from k to k, or a pointer to offsets


def row_of(product: Product, panel: str) -> str:
    """First row of a row panel.  Rows are shared out evenly: the first panels have `rows` rows, the
    others one less, so that no micro tile is much smaller than the rest."""
    code, geometry = product.code, product.geometry
    over = code.op(f"sub i64 {panel}, {product.word('full_rows', geometry.full_rows)}")
    over = code.call("llvm.smax.i64", "i64", f"i64 {over}", "i64 0")
    return code.op(f"sub i64 {code.mul(panel, str(geometry.rows))}, {over}")
