"""Where the elements of a form lie: argument words, addresses, walks over one axis and over
several.

Invariant: nothing here asks what is computed; what is uniform is emitted once, in the entry block.
"""

from __future__ import annotations

from ...ir.scalar.program import ScalarType, bits_of
from .code import Code
from .form import Form, Walk, Words
from .lanes import Lanes, llvm_scalar, memory_scalar
from .memory import Position, gather, load_row, scatter, store_row, tail_mask

__all__ = ["Addresses"]


class Addresses:
    """The operands and affine values of a form, from the first element of the current row on."""

    def __init__(self, code: Code, form: Form, width: int) -> None:
        self.code, self.form, self.program = code, form, form.program
        self.words = Words(form)
        self.lanes, self.scalar = Lanes(width, code), Lanes(1, code)
        self.nreads = len(form.reads)
        self.base: list[str] = []  # address of element 0 of the current row, per operand
        self.start: list[str] = []  # value at element 0 of the current row, per affine value
        self.coords: tuple[str, list[str], str] = ("", [], "")  # of the last `split`
        self.copies: dict[int, str] = {}  # operand -> buffer with its runs, one after the other

    # ---- argument words
    def word(self, number: int, llvm_type: str = "i64") -> str:
        pointer = self.code.once(f"getelementptr i64, ptr %args, i64 {number}")
        return self.code.once(f"load {llvm_type}, ptr {pointer}, align 8")

    def operand(self, operand: int) -> str:
        """Base address of an operand."""
        slot, offset = self.word(self.words.slot(operand)), self.word(self.words.slot(operand) + 1)
        spot = self.code.once(f"getelementptr ptr, ptr %bufs, i64 {slot}")
        base = self.code.once(f"load ptr, ptr {spot}, align 8")
        return self.code.once(f"getelementptr i8, ptr {base}, i64 {offset}")

    def param(self, number: int) -> str:
        """A run-time scalar."""
        scalar_type = self.program.params[number]
        if scalar_type == "b1":
            return self.code.once(f"icmp ne i64 {self.word(self.words.param(number))}, 0")
        return self.word(self.words.param(number), llvm_scalar(scalar_type))

    def step(self, operand: int) -> str | None:
        """Inner stride of an operand or affine value; None for unit stride."""
        if self.walk(operand) is Walk.ADJACENT:
            return None
        return self.word(self.words.stride(operand, self.words.rank - 1))

    def walk(self, operand: int) -> Walk:
        form = self.form
        if operand < self.nreads:
            return form.reads[operand].walk
        operand -= self.nreads
        if operand < len(form.writes):
            return form.writes[operand].walk
        return form.affine[operand - len(form.writes)][1]

    # ---- rows
    def row_coords(self, row: str, outer: int) -> list[str]:
        """Coordinates of a row over the first `outer` axes, row-major."""
        coords = [""] * outer
        for axis in range(outer - 1, 0, -1):
            row, coords[axis] = self.divide_by_word(row, self.words.dim(axis))
        return [row, *coords[1:]] if outer else []

    def divide_by_word(self, number: str, word: int) -> tuple[str, str]:
        """(number // word, number % word) of a number that is not negative."""
        code, size = self.code, self.word(word)
        quotient = code.op(f"udiv i64 {number}, {size}")
        return quotient, code.op(f"sub i64 {number}, {code.op(f'mul i64 {quotient}, {size}')}")

    def stand_at(self, coords: list[str]) -> None:
        """Compute the addresses of the row with these coordinates."""
        words = self.words
        self.base = [
            self.code.at("i8", self.operand(k), self._offset(k, coords))
            if self.walk(k) is not Walk.GATHERED
            else self.operand(k)
            for k in range(words.ops)
        ]
        self.start = [self._offset(words.ops + k, coords) for k in range(len(self.form.affine))]

    def _offset(self, operand: int, coords: list[str]) -> str:
        total = "0"
        for axis, coord in enumerate(coords):
            stride = self.words.stride(operand, axis)
            total = self.code.add(total, self.times_word(coord, stride))
        return total

    def times_word(self, number: str, word: int) -> str:
        return self.code.mul(number, self.word(word))

    # ---- walks over several axes
    def split(self, element: str) -> tuple[list[str], str]:
        """Coordinates of an element of the row, and whether the vector from there is one run."""
        if self.coords[0] != element:
            coords, words = self._inner_coords(element, self.form.multi), self.words
            last = self.code.op(f"add i64 {coords[-1]}, {self.lanes.width}")
            inside = self.code.op(
                f"icmp sle i64 {last}, {self.word(words.multi(self.form.multi - 1))}"
            )
            self.coords = (element, coords, inside)
        return self.coords[1], self.coords[2]

    def _inner_coords(self, number: str, axes: int) -> list[str]:
        """Coordinates of a position over the first of the axes that the row has, row-major."""
        coords = [""] * axes
        for axis in range(axes - 1, 0, -1):
            size = self.word(self.words.multi(axis))
            number, coords[axis] = self._divide(self.scalar, number, size)
        return [number, *coords[1:]]

    def _run(self, operand: int, coords: list[str]) -> str:
        """Address of the element at these coordinates."""
        total = "0"
        for axis, coord in enumerate(coords):
            total = self.code.add(
                total, self.code.mul(coord, self.word(self.words.multi_stride(operand, axis)))
            )
        return self.code.at("i8", self.base[operand], total)

    def _read_runs(self, operand: int, scalar_type: ScalarType, position: Position) -> str:
        code, here = self.code, position._replace(j="0")
        coords, inside = self.split(position.j)
        if self.lanes.width == 1:
            return load_row(self.lanes, scalar_type, self._run(operand, coords), None, here)
        whole, torn, after = code.label("run"), code.label("torn"), code.label("read")
        code.branch(inside, whole, torn)
        code.start(whole)
        run = load_row(self.lanes, scalar_type, self._run(operand, coords), None, here)
        code.jump(after)
        code.start(torn)
        pieces = self._read_axes(operand, scalar_type, position)
        code.jump(after)
        code.start(after)
        return code.op(f"phi {self.lanes.ty(scalar_type)} [{run}, %{whole}], [{pieces}, %{torn}]")

    def _write_runs(
        self, operand: int, scalar_type: ScalarType, value: str, position: Position
    ) -> None:
        code, here = self.code, position._replace(j="0")
        coords, inside = self.split(position.j)
        if self.lanes.width == 1:
            store_row(self.lanes, scalar_type, value, self._run(operand, coords), None, here)
            return
        code.when(
            inside,
            lambda: store_row(
                self.lanes, scalar_type, value, self._run(operand, coords), None, here
            ),
        )
        code.when(
            code.op(f"xor i1 {inside}, true"),
            lambda: self._write_axes(operand, scalar_type, value, position),
        )

    def _read_axes(self, operand: int, scalar_type: ScalarType, position: Position) -> str:
        offset = self.spread(operand, position)
        return gather(self.lanes, scalar_type, self.base[operand], offset, position.mask, "i8")

    def _write_axes(
        self, operand: int, scalar_type: ScalarType, value: str, position: Position
    ) -> None:
        offset = self.spread(operand, position)
        scatter(self.lanes, scalar_type, value, self.base[operand], offset, position)

    def copy_runs(self, operand: int) -> None:
        """Copy the runs of the current row to its buffer, each over the end of the one before; a
        result's back, where no element beside them is written."""
        code, words, lanes, last = self.code, self.words, self.lanes, self.form.multi - 1
        scalar_type = (*self.form.reads, *self.form.writes)[operand].type
        kind: ScalarType = "u8" if scalar_type == "b1" else scalar_type
        back = operand >= self.nreads
        length = self.word(words.multi(last))
        rest = code.once(f"and i64 {length}, {lanes.width - 1}")
        whole, mask = code.once(f"sub i64 {length}, {rest}"), tail_mask(lanes, rest)
        count = self.word(words.multi(0))
        for axis in range(1, last):
            count = code.once(f"mul i64 {count}, {self.word(words.multi(axis))}")

        def run(number: str, _: list[str]) -> list[str]:
            here = self._run(operand, self._inner_coords(number, last))
            there = code.at(memory_scalar(kind), self.copies[operand], code.mul(number, length))
            source, target = (there, here) if back else (here, there)

            def move(first: str, _: list[str]) -> list[str]:
                value = load_row(lanes, kind, source, None, Position(first))
                store_row(lanes, kind, value, target, None, Position(first))
                return []

            code.loop("0", whole, str(lanes.width), [], move)
            tail = Position(whole, mask, rest)
            value = load_row(lanes, kind, source, None, Position(whole) if back else tail)
            store_row(lanes, kind, value, target, None, tail if back else Position(whole))
            return []

        code.loop("0", count, "1", [], run)

    def lane_index(self, first: str) -> str:
        """first, first + 1, ... as i64 lanes."""
        return self.lanes.binary(
            "add", "i64", self.lanes.splat("i64", first), self.lanes.lane_numbers()
        )

    def affine(self, operand: int, position: Position) -> str:
        number = self.words.ops + operand
        walk = self.walk(number)
        if walk is Walk.SAME:
            return self.lanes.splat("i64", self.start[operand])
        if walk is Walk.COUNTED:
            return self.lane_index(position.j)
        if walk is Walk.ADJACENT:
            return self.lane_index(self.code.add(self.start[operand], position.j))
        start = self.lanes.splat("i64", self.start[operand])
        if walk.several_axes:
            return self.lanes.binary("add", "i64", start, self.spread(number, position))
        stride = self.lanes.splat("i64", self.word(self.words.stride(number, self.words.rank - 1)))
        distance = self.lanes.binary("mul", "i64", self.lane_index(position.j), stride)
        return self.lanes.binary("add", "i64", start, distance)

    def affine_first(self, operand: int, position: Position) -> str:
        """Lane 0 of an affine value that grows by one from lane to lane."""
        if self.walk(self.words.ops + operand) is Walk.COUNTED:
            return position.j
        return self.code.add(self.start[operand], position.j)

    def spread(self, operand: int, position: Position) -> str:
        """Sum of coordinate * stride over the axes that the inner index decomposes into."""
        lanes, words = self.lanes, self.words
        rest, total = self.lane_index(position.j), ""
        for axis in range(self.form.multi - 1, -1, -1):
            coord = rest
            if axis:
                rest, coord = self._divide(lanes, rest, self.word(words.multi(axis)))
            distance = lanes.binary(
                "mul",
                "i64",
                coord,
                lanes.splat("i64", self.word(words.multi_stride(operand, axis))),
            )
            total = lanes.binary("add", "i64", total, distance) if total else distance
        return total

    def _divide(self, lanes: Lanes, number: str, size: str) -> tuple[str, str]:
        """(x // size, x % size) for 0 <= x < 2**50: half a unit keeps quotients off integers."""
        code = self.code
        inverse = code.once(f"fdiv double 1.0, {code.once(f'sitofp i64 {size} to double')}")
        real = lanes.cast("sitofp", number, "i64", "double")
        shifted = lanes.binary("fadd", "f64", real, lanes.const("f64", bits_of("f64", 0.5)))
        near = lanes.binary("fmul", "f64", shifted, lanes.splat("f64", inverse))
        quotient = lanes.cast("fptosi", near, "double", "i64")
        back = lanes.binary("mul", "i64", quotient, lanes.splat("i64", size))
        return quotient, lanes.binary("sub", "i64", number, back)
