"""Evaluating a program inside a loop: what is the same for a whole row as scalars, once; the rest
in vectors.

Invariant: `prepare` emits everything a later `vector` needs from outside the loop, so names
dominate their uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...ir.scalar.program import POSITIONS, REDUCTIONS, PrimName, ScalarType, bits_of
from .code import Code
from .form import Form, Walk, Words
from .lanes import Lanes, llvm_scalar, memory_scalar
from .memory import (
    Position,
    from_memory,
    gather,
    load_every_other,
    load_row,
    load_scalar,
    scatter,
    store_row,
    store_scalar,
    store_woven,
)
from .programs.analysis import exposed_values, running_values, uniform_values
from .programs.detours import Detour, Evaluation, steps

__all__ = ["Body", "WIDTH"]

WIDTH = 16
_GIVEN: frozenset[PrimName] = frozenset(("const", "param"))  # there before any row


class Body:
    """The program of a form, evaluated at positions of the current row."""

    def __init__(self, code: Code, form: Form, width: int = WIDTH) -> None:
        self.code, self.form, self.program = code, form, form.program
        self.words = Words(form)
        self.lanes, self.scalar = Lanes(width, code), Lanes(1, code)
        self.nreads = len(form.reads)
        self.base: list[str] = []  # address of element 0 of the current row, per operand
        self.start: list[str] = []  # value at element 0 of the current row, per affine value
        self.known: dict[int, str] = {}  # scalars of the current row
        self.splats: dict[int, str] = {}
        self.buffers: dict[int, str] = {}  # instruction -> row buffer
        # operand -> tile on the stack, of which row `tile_row` is current
        self.tiles: dict[int, str] = {}
        self.tile_row = "0"
        self.waiting: dict[int, str] = {}  # results whose partners come next
        self.coords: tuple[str, list[str], str] = ("", [], "")  # of the last `split`
        self.uniform = uniform_values(form)
        self.running = running_values(form, self.uniform)
        self.exposed = exposed_values(self.program)
        self._affine_of = self._number_affine()

    # ---- static facts
    def _number_affine(self) -> dict[int, int]:
        found = [i for i, ins in enumerate(self.program.instrs) if ins.prim in POSITIONS]
        return {i: k for k, i in enumerate(found)}

    def elements(self, targets: Iterable[int], stop: Iterable[int] = ()) -> list[int]:
        """Instructions with a value per element the targets need, in order; none past `stop`."""
        found: set[int] = set()
        stop = set(stop)
        todo = [t for t in targets if not self.uniform[t]]
        while todo:
            number = todo.pop()
            if number in found:
                continue
            found.add(number)
            if number not in stop and self.program.instrs[number].prim not in REDUCTIONS:
                todo += [a for a in self.program.instrs[number].args if not self.uniform[a]]
        return sorted(found)

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
    def begin_row(self, row: str, outer: int | None = None) -> None:
        """Compute addresses of the row with that number, over the first `outer` axes, row-major."""
        code, words = self.code, self.words
        outer = self.form.outer if outer is None else outer
        coords: list[str] = [""] * outer
        for axis in range(outer - 1, 0, -1):
            size = self.word(words.dim(axis))
            quotient = code.op(f"udiv i64 {row}, {size}")
            coords[axis] = code.op(f"sub i64 {row}, {code.op(f'mul i64 {quotient}, {size}')}")
            row = quotient
        if outer:
            coords[0] = row
        self.base = [
            code.at("i8", self.operand(k), self._offset(k, coords))
            if self.walk(k) is not Walk.GATHERED
            else self.operand(k)
            for k in range(words.ops)
        ]
        self.start = [self._offset(words.ops + k, coords) for k in range(len(self.form.affine))]
        self.known, self.splats, self.coords = {}, {}, ("", [], "")

    def _offset(self, operand: int, coords: list[str]) -> str:
        total = "0"
        for axis, coord in enumerate(coords):
            total = self.code.add(
                total, self.code.mul(coord, self.word(self.words.stride(operand, axis)))
            )
        return total

    # ---- scalars
    def scalar_value(self, number: int) -> str:
        """The value of a uniform instruction; emitted here when first asked for in this row."""
        instr = self.program.instrs[number]
        if instr.prim == "const":
            return self.scalar.const(instr.type, instr.attr)
        if instr.prim == "param":
            return self.param(instr.attr)
        todo = [number] if number not in self.known else []
        while todo:  # operands first, however long the chain of them is
            last = todo[-1]
            first = [a for a in self.program.instrs[last].args if self._unknown(a)]
            if first and last not in self.known:
                todo += reversed(first)
                continue
            todo.pop()
            if last not in self.known:
                self.known[last] = self._scalar(last)
        return self.known[number]

    def _unknown(self, number: int) -> bool:
        return number not in self.known and self.program.instrs[number].prim not in _GIVEN

    def _scalar(self, number: int) -> str:
        instr, code = self.program.instrs[number], self.code
        if instr.prim == "arg":
            return load_scalar(code, instr.type, self.base[instr.attr])
        if instr.prim in POSITIONS:
            return self.start[self._affine_of[number]]
        if instr.prim == "rlen":
            return self.scalar.converted("i64", instr.type, self.row_length())
        operands = [self.scalar_value(x) for x in instr.args]
        if instr.prim == "load":
            return load_scalar(
                code,
                instr.type,
                code.at(memory_scalar(instr.type), self.base[instr.attr], operands[0]),
            )
        return self.scalar.emit(instr, operands, [self.program.instrs[x].type for x in instr.args])

    def row_length(self) -> str:
        """Elements a reduction runs over."""
        if not self.form.kind.columns:
            return self.word(self.words.n)
        total = self.word(self.words.group(0))
        for axis in range(1, self.form.group):
            total = self.code.once(f"mul i64 {total}, {self.word(self.words.group(axis))}")
        return total

    def splat(self, number: int) -> str:
        """A uniform value in all lanes; `prepare` must have seen it."""
        instr = self.program.instrs[number]
        if instr.prim == "const":
            return self.lanes.const(instr.type, instr.attr)
        return self.splats[number]

    def prepare(self, targets: Iterable[int], stop: Iterable[int] = ()) -> list[int]:
        """Emit the uniform values that elements of `targets` use; gives those elements in order."""
        targets, stop = list(targets), set(stop)
        numbers = self.elements(targets, stop)
        used = {a for i in numbers if i not in stop for a in self.program.instrs[i].args} | set(
            targets
        )
        for number in sorted(used):
            instr = self.program.instrs[number]
            if self.uniform[number] and instr.prim != "const" and number not in self.splats:
                self.splats[number] = self.lanes.splat(instr.type, self.scalar_value(number))
        return numbers

    # ---- vectors
    def vector(
        self,
        numbers: list[int],
        position: Position,
        ready: Iterable[int] = (),
        known: dict[int, str] | None = None,
    ) -> dict[int, str]:
        """Evaluate elements (as `prepare` gave them) at a position; those in `ready` come from
        buffers and those in `known` are there already."""
        known = {} if known is None else dict(known)
        todo = [n for n in numbers if n not in known]
        self._evaluate(self._steps(todo, ready), [position], [known], ready)
        return known

    def vectors(
        self, numbers: list[int], positions: list[Position], ready: Iterable[int] = ()
    ) -> list[dict[int, str]]:
        """`vector` at several positions, instruction by instruction: long chains of dependent
        instructions then overlap within the window in which a core looks for work."""
        values: list[dict[int, str]] = [{} for _ in positions]
        self._evaluate(self._steps(numbers, ready), positions, values, ready)
        return values

    def _steps(self, numbers: Sequence[int], ready: Iterable[int] = ()) -> list[int | Detour]:
        return steps(self.program, numbers, self.exposed.union(ready, self.buffers))

    def _evaluate(
        self,
        order: Sequence[int | Detour],
        positions: Sequence[Position],
        values: Sequence[dict[int, str]],
        ready: Iterable[int] = (),
    ) -> None:
        def make(number: int, which: int, known: dict[int, str]) -> str:
            return self._element(number, known, positions[which], ready)

        evaluation = Evaluation(
            self.lanes, self.program, make, lambda n, _, names: self.value(n, names)
        )
        evaluation.run(order, list(enumerate(values)))

    def _element(
        self, number: int, values: dict[int, str], position: Position, ready: Iterable[int]
    ) -> str:
        instr = self.program.instrs[number]
        if number in ready:  # buffers are padded, so a tail needs no mask
            return load_row(
                self.lanes, instr.type, self.buffers[number], None, Position(position.j)
            )
        if instr.prim == "arg":
            return self._read(instr.attr, instr.type, position)
        if instr.prim in POSITIONS:
            return self.affine(self._affine_of[number], position)
        operands = [self.splat(x) if self.uniform[x] else values[x] for x in instr.args]
        if instr.prim == "load" and self.running[instr.args[0]]:
            first = self._first_lane(operands[0])
            return load_row(
                self.lanes, instr.type, self.base[instr.attr], None, position._replace(j=first)
            )
        if instr.prim == "load":
            return gather(self.lanes, instr.type, self.base[instr.attr], operands[0], position.mask)
        return self.lanes.emit(instr, operands, [self.program.instrs[x].type for x in instr.args])

    def _first_lane(self, lanes: str) -> str:
        return (
            lanes
            if self.lanes.width == 1
            else self.code.op(f"extractelement {self.lanes.ty('i64')} {lanes}, i64 0")
        )

    def keep(self, number: int, value: str, position: Position) -> None:
        """Put lanes into the row buffer of an instruction."""
        store_row(
            self.lanes,
            self.program.instrs[number].type,
            value,
            self.buffers[number],
            None,
            Position(position.j),
        )

    def value(self, number: int, values: dict[int, str]) -> str:
        return self.splat(number) if self.uniform[number] else values[number]

    def _read(self, operand: int, scalar_type: ScalarType, position: Position) -> str:
        walk = self.walk(operand)
        if walk is Walk.SAME:  # a column kernel: the element changes from row to row
            return self.lanes.splat(
                scalar_type, load_scalar(self.code, scalar_type, self.base[operand])
            )
        if walk is Walk.TURNED:
            vector = self.lanes.raw(memory_scalar(scalar_type))
            spot = self.code.at(vector, self.tiles[operand], self.tile_row)
            tile_line = self.code.op(f"load {vector}, ptr {spot}, align 64")
            return from_memory(self.lanes, scalar_type, tile_line)
        if walk is Walk.RUNS:
            return self._read_runs(operand, scalar_type, position)
        if walk is Walk.AXES:
            return self._read_axes(operand, scalar_type, position)
        if walk is Walk.EVERY_OTHER and position.mask is None and self.lanes.width > 1:
            return load_every_other(self.lanes, scalar_type, self.base[operand], position.j)
        return load_row(self.lanes, scalar_type, self.base[operand], self.step(operand), position)

    def streams(self, writes: Iterable[int], start: str, stop: str) -> str | None:
        """Up to where elements start..stop of the current row may be stored past the caches
        (nowhere: start), which takes aligned addresses; None where no result is that large."""
        code, spots, rows = self.code, "0", [k for k in writes if self.form.writes[k].stream]
        for operand in rows:
            pointer = code.at(
                memory_scalar(self.form.writes[operand].type),
                self.base[self.nreads + operand],
                start,
            )
            spots = code.op(f"or i64 {spots}, {code.op(f'ptrtoint ptr {pointer} to i64')}")
        if not rows:
            return None
        aligned = code.op(f"icmp eq i64 {code.op(f'and i64 {spots}, 63')}, 0")
        return code.op(f"select i1 {aligned}, i64 {stop}, i64 {start}")

    def turns(
        self,
        writes: Iterable[int],
        start: str,
        stop: str,
        step: int,
        turn: Callable[[str, bool], list[str]],
    ) -> str:
        """Loops over whole turns of `step` elements, `turn(first element, past the caches)`, of
        start..stop of the current row; where they end."""
        code, streamed = self.code, self.streams(writes, start, stop)
        for end, stream in ((streamed, True), (stop, False)):
            if end is not None:
                start, _ = code.loop(
                    start, end, str(step), [], lambda first, _: turn(first, stream), full=step
                )
        return start

    def fetch_next_row(self, reads: Iterable[int], position: Position) -> None:
        """Ask for elements of the next row of adjacent operands while this one is computed."""
        code, axis = self.code, self.form.outer - 1
        for operand in reads if self.form.outer else ():
            if self.walk(operand) is Walk.ADJACENT:
                here = code.at(
                    memory_scalar(self.form.reads[operand].type), self.base[operand], position.j
                )
                there = code.at("i8", here, self.word(self.words.stride(operand, axis)))
                code.call("llvm.prefetch.p0", "void", f"ptr {there}", "i32 0", "i32 3", "i32 1")

    def write(self, operand: int, value: str, position: Position, stream: bool = False) -> None:
        """Store lanes of a result, which `operand` counts among the results."""
        stream = stream and self.form.writes[operand].stream
        scalar_type = self.form.writes[operand].type
        operand += self.nreads
        if self.walk(operand) is Walk.RUNS:
            self._write_runs(operand, scalar_type, value, position)
        elif self.walk(operand) is Walk.AXES:
            self._write_axes(operand, scalar_type, value, position)
        elif self.walk(operand) is Walk.EVEN and position.mask is None:
            self.waiting[operand] = value
        elif self.walk(operand) is Walk.ODD and position.mask is None:
            even, base = self.waiting.pop(operand - 1), self.base[operand - 1]
            store_woven(self.lanes, scalar_type, even, value, base, position.j)
        else:
            base, step = self.base[operand], self.step(operand)
            store_row(self.lanes, scalar_type, value, base, step, position, stream)

    def write_once(self, operand: int, value: str) -> None:
        """Store the scalar result of a row."""
        store_scalar(
            self.code, self.form.writes[operand].type, value, self.base[self.nreads + operand]
        )

    # ---- walks over several axes
    def split(self, element: str) -> tuple[list[str], str]:
        """Coordinates of an element of the row, and whether the vector from there is one run."""
        if self.coords[0] != element:
            rest, coords, words = element, [""] * self.form.multi, self.words
            for axis in range(self.form.multi - 1, 0, -1):
                rest, coords[axis] = self._divide(self.scalar, rest, self.word(words.multi(axis)))
            coords[0] = rest
            last = self.code.op(f"add i64 {coords[-1]}, {self.lanes.width}")
            inside = self.code.op(
                f"icmp sle i64 {last}, {self.word(words.multi(self.form.multi - 1))}"
            )
            self.coords = (element, coords, inside)
        return self.coords[1], self.coords[2]

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
        if walk is Walk.ADJACENT:
            return self.lane_index(self.code.add(self.start[operand], position.j))
        start = self.lanes.splat("i64", self.start[operand])
        if walk.several_axes:
            return self.lanes.binary("add", "i64", start, self.spread(number, position))
        stride = self.lanes.splat("i64", self.word(self.words.stride(number, self.words.rank - 1)))
        distance = self.lanes.binary("mul", "i64", self.lane_index(position.j), stride)
        return self.lanes.binary("add", "i64", start, distance)

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
