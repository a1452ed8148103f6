"""What the generators of attention share: operands, areas of memory, vectors, products.

A tile is 32 queries, the lanes of two vectors (of one where there are at most 16 queries); scores
and weights lie in memory of the thread as [keys of the block, 32].  Invariant: sizes, strides and
offsets are argument words, so that the text depends on dtypes, on which operands there are and on
the number of batch axes only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from ....ir.attend import TILE
from ....ir.scalar.program import bits_of
from ...attend import READS
from ...emit.code import Code
from ...emit.lanes import Lanes
from ...emit.programs.whole import emit_program
from ...generated import SlotRef, Word
from ...plan import Access, AttendKernel
from ..gemm.geometry import Target
from ..gemm.micro import PackedElement, load, mask_of, store
from ..gemm.pack import divide, each
from ..gemm.words import GemmWords, Loader
from .tile import Shape, tile_shape

__all__ = [
    "Areas",
    "ItemKind",
    "Keys",
    "Matrix",
    "Queries",
    "Writer",
    "Written",
    "writer_of",
]

ALIGN = 64  # bytes
FEW = 2  # queries for which keys are turned instead


# what one item is: a tile of queries with all keys ('forward'); of gradients, a batch position, a
# block of keys, or a tile of queries
ItemKind = Literal["forward", "all", "keys", "queries"]


class Written(NamedTuple):
    """What a generator gives: functions, the kernel's own first, its words, the items of one batch
    position and the scratch of a thread."""

    functions: list[tuple[str, Code]]
    words: tuple[Word, ...]
    items: int
    scratch: int


class Matrix(NamedTuple):
    """Rows in memory: bytes from row to row, and from column to column where those are not
    adjacent or may not be."""

    pointer: str
    row_step: str
    column_step: str = ""


class Queries(NamedTuple):
    """A tile of queries of one batch position."""

    pointers: dict[str, str]  # where its operands start
    first: str
    rows: str


class Keys(NamedTuple):
    """A block of keys."""

    first: str
    length: str


class Writer(NamedTuple):
    """One function under construction, and what holds in all of it."""

    kernel: AttendKernel
    element: PackedElement
    shape: Shape  # of a tile of products
    few: bool  # so few queries that keys are the lanes of their products
    loader: Loader
    lanes: Lanes
    vectors: range  # of a tile that hold queries
    reads: dict[str, Access]
    sizes: dict[str, str]
    scale: str  # in all lanes

    @property
    def code(self) -> Code:
        return self.loader.code

    @property
    def line(self) -> int:
        """Bytes of a row of 32 queries."""
        return TILE * self.element.size

    @property
    def lanes_used(self) -> str:
        return str(16 * len(self.vectors))

    @property
    def mask(self) -> Access | None:
        return self.reads.get("mask")

    @property
    def factor(self) -> Access | None:
        return self.reads.get("factor")

    # ---- words and operands
    def word(self, name: str, value: int) -> str:
        return self.loader.word(name, value)

    def padded(self, name: str) -> int:
        """A number of columns as whole tiles."""
        result: int = -(-getattr(self.kernel, name) // self.shape.width) * self.shape.width
        return result

    def split(self, batch: str) -> list[str]:
        """Coordinates of a batch number."""
        if not self.kernel.batch:
            return []
        found: list[str] = []
        for axis in range(len(self.kernel.batch) - 1, 0, -1):
            size = self.word(f"batch{axis}", self.kernel.batch[axis])
            batch, coordinate = divide(self.code, batch, size)
            found.append(coordinate)
        return [batch, *reversed(found)]

    def pointer(self, name: str, access: Access, coordinates: Sequence[str]) -> str:
        """Where an operand's matrix or vector of one batch position starts."""
        base = self.loader.base(name, SlotRef(name, is_offset=True))
        for axis, coordinate in enumerate(coordinates):
            step = self.word(f"{name}.batch{axis}", access.strides[axis] * access.dtype.itemsize)
            base = self.code.at("i8", base, self.code.mul(coordinate, step))
        return base

    def pointers(self, coordinates: Sequence[str]) -> dict[str, str]:
        return {
            name: self.pointer(name, access, coordinates) for name, access in self.reads.items()
        }

    def step(self, name: str, access: Access, axis: int = 0) -> str:
        """Bytes from row to row (axis 1: from column to column)."""
        stride = access.strides[len(self.kernel.batch) + axis]
        return self.word(f"{name}.step{axis}", stride * access.dtype.itemsize)

    def row(self, name: str, access: Access, base: str, index: str) -> str:
        return self.code.at("i8", base, self.code.mul(index, self.step(name, access)))

    def rows_from(self, name: str, pointers: dict[str, str], first: str) -> Matrix:
        """The rows of an operand from one on; its columns are adjacent."""
        access = self.reads[name]
        pointer = self.row(name, access, pointers[name], first)
        return Matrix(pointer, self.step(name, access), str(self.element.size))

    # ---- loops
    def each(self, start: str, stop: str, step: int, body: Callable[[str], None]) -> None:
        each(self.code, start, stop, str(step), body)

    def columns(self, number: str, body: Callable[[str, str | None], None]) -> None:
        """body(first column, mask) for every vector of columns; whole ones have no mask."""
        code = self.code
        whole = code.op(f"and i64 {number}, -16")
        self.each("0", whole, 16, lambda column: body(column, None))
        left = code.op(f"sub i64 {number}, {whole}")
        code.when(code.op(f"icmp ne i64 {left}, 0"), lambda: body(whole, mask_of(code, left)))

    def together(self, parts: Sequence[Callable[[], None]]) -> None:
        """Equal straight pieces of code, written line by line in turns: the machine's window then
        holds the starts of all of them."""
        lines = self.code.lines
        first, pieces = len(lines), []
        for part in parts:
            start = len(lines)
            part()
            pieces.append(lines[start:])
        if len({len(piece) for piece in pieces}) == 1:
            lines[first:] = [line for turn in zip(*pieces) for line in turn]

    # ---- vectors
    def at(self, base: str, row: str, columns: int | str, vector: int = 0) -> str:
        """Address of a vector of a row of an area with `columns` columns (a number or bytes)."""
        size = columns if isinstance(columns, str) else str(columns * self.element.size)
        start = self.code.at("i8", base, self.code.mul(row, size))
        return self.code.at(self.element.vector, start, str(vector))

    def load(self, pointer: str, mask: str | None = None) -> str:
        return load(self.code, self.element, pointer, mask)

    def store(self, value: str, pointer: str, mask: str | None = None) -> None:
        store(self.code, self.element, value, pointer, mask)

    def load_scalar(self, base: str, index: str) -> str:
        scalar = self.element.scalar
        return self.code.op(f"load {scalar}, ptr {self.code.at(scalar, base, index)}")

    def splat(self, value: str) -> str:
        return self.lanes.splat(self.element.name, value)

    def apply(self, prim: str, left: str, right: str) -> str:
        """An LLVM instruction on two vectors."""
        return self.code.op(f"{prim} {self.element.vector} {left}, {right}")

    def pick(self, condition: str, left: str, right: str) -> str:
        return self.lanes.pick(self.element.name, condition, left, right)

    def greater(self, left: str, right: str) -> str:
        """left where it is greater, else right: a NaN of left does not count."""
        return self.pick(self.apply("fcmp ogt", left, right), left, right)

    def number(self, value: float) -> str:
        return self.lanes.const(self.element.name, bits_of(self.element.name, value))

    def weight(self, score: str, base: str) -> str:
        return emit_program(self.lanes, self.kernel.weight, (score, base), ())[0]

    def base_of(self, top: str) -> str:
        """What is subtracted from scores: the top, but 0 where it is -inf (all scores are), since
        inf - inf is no number."""
        none = self.apply("fcmp oeq", top, self.number(float("-inf")))
        return self.pick(none, self.number(0.0), top)

    def zero(self, base: str, rows: str, line: str) -> None:
        """Zeros in `rows` rows of `line` bytes."""
        vectors = self.code.op(f"sdiv i64 {self.code.mul(rows, line)}, {16 * self.element.size}")
        self.each(
            "0", vectors, 1, lambda index: self.store(self.number(0.0), self.at(base, index, 16))
        )

    # ---- products and turned operands
    def product(
        self,
        left: Matrix,
        rows: str,
        right: Matrix,
        columns: str,
        depth: str,
        target: Matrix,
        more: str = "false",
    ) -> None:
        """target[rows, columns] = left[rows, depth] @ right[depth, columns], in tiles."""
        code, scalar = self.code, self.element.scalar

        def panel(column: str) -> None:
            lanes = code.op(f"sub i64 {columns}, {column}")
            source = code.at(scalar, right.pointer, column)
            result = code.at(scalar, target.pointer, column)

            def block(row: str) -> None:
                last = code.op(f"sub i64 {code.op(f'sub i64 {rows}, 1')}, {row}")
                own = code.at("i8", left.pointer, code.mul(row, left.row_step))
                place = code.at("i8", result, code.mul(row, target.row_step))
                code.do(
                    f"call void @NAME.tile(ptr {own}, i64 {left.row_step}, "
                    f"i64 {left.column_step}, i64 {last}, ptr {source}, "
                    f"i64 {right.row_step}, i64 {lanes}, i64 {depth}, ptr {place}, "
                    f"i64 {target.row_step}, i1 {more})"
                )

            self.each("0", rows, self.shape.rows, block)

        self.each("0", columns, self.shape.width, panel)

    def turn(self, source: Matrix, rows: str, columns: str, target: str) -> None:
        """target[columns, 32] = source[rows, columns] turned."""
        self.code.do(
            f"call void @NAME.turn(ptr {source.pointer}, i64 {source.row_step}, i64 {rows}, "
            f"i64 {columns}, ptr {target})"
        )


def writer_of(kernel: AttendKernel, element: PackedElement, target: Target) -> Writer:
    """A function that has nothing but its sizes and the scale."""
    code = Code()
    loader = Loader(code, GemmWords())
    vectors = range(-(-min(kernel.m, TILE) // 16))
    few = kernel.m <= FEW and not kernel.backward
    return Writer(
        kernel=kernel,
        element=element,
        shape=tile_shape(element, target, len(vectors), few),
        few=few,
        loader=loader,
        lanes=Lanes(16, code),
        vectors=vectors,
        reads={name: access for name, access in zip(READS, kernel.reads) if access is not None},
        sizes={name: loader.word(name, getattr(kernel, name)) for name in "mnef"},
        scale=_scale(kernel, element, loader),
    )


def _scale(kernel: AttendKernel, element: PackedElement, loader: Loader) -> str:
    code = loader.code
    word = loader.word("scale", bits_of(element.name, kernel.scale))
    if element.name == "f32":
        word = code.once(f"bitcast i32 {code.once(f'trunc i64 {word} to i32')} to float")
    else:
        word = code.once(f"bitcast i64 {word} to double")
    first = code.once(f"insertelement {element.vector} poison, {element.scalar} {word}, i64 0")
    lanes = "<16 x i32> zeroinitializer"
    return code.once(f"shufflevector {element.vector} {first}, {element.vector} poison, {lanes}")


class Areas:
    """Memory of a thread, handed out piece by piece while a function is prepared."""

    def __init__(self, loader: Loader, element: PackedElement) -> None:
        self.loader, self.element = loader, element
        self.sizes: list[int] = []

    def take(self, name: str, rows: int, columns: int) -> str:
        """Memory for rows x columns elements."""
        start = self.loader.word(f"area.{name}", self.nbytes)
        self.sizes.append(-(-rows * columns * self.element.size // ALIGN) * ALIGN)
        return self.loader.code.once(f"getelementptr i8, ptr %scratch, i64 {start}")

    @property
    def nbytes(self) -> int:
        return sum(self.sizes)
