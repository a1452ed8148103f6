"""Evaluating a program inside a loop: what is the same for a whole row as scalars, once; the rest
in vectors.

Invariant: `prepare` emits everything a later `vector` needs from outside the loop, so names
dominate their uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...ir.scalar.program import POSITIONS, REDUCTIONS, PrimName, ScalarType
from .addresses import Addresses
from .code import Code
from .form import Form, Walk
from .lanes import memory_scalar
from .memory import (
    SIZE,
    Anchor,
    LaneSteps,
    Position,
    from_memory,
    gather,
    load_row,
    load_scalar,
    load_spaced,
    store_row,
    store_scalar,
    store_woven,
)
from .programs.analysis import exposed_values, uniform_values
from .programs.detours import Detour, Evaluation, steps
from .programs.spacing import SpacedLoad, spaced_loads

__all__ = ["Body", "WIDTH"]

WIDTH = 16
_GIVEN: frozenset[PrimName] = frozenset(("const", "param"))  # there before any row


class Body(Addresses):
    """The program of a form, evaluated at positions of the current row."""

    def __init__(self, code: Code, form: Form, width: int = WIDTH) -> None:
        super().__init__(code, form, width)
        self.known: dict[int, str] = {}  # scalars of the current row
        self.splats: dict[int, str] = {}
        self.buffers: dict[int, str] = {}  # instruction -> row buffer
        # operand -> tile on the stack, of which row `tile_row` is current
        self.tiles: dict[int, str] = {}
        self.tile_row = "0"
        self.waiting: dict[int, str] = {}  # results whose partners come next
        self.uniform = uniform_values(form)
        self.spaced = spaced_loads(form) if width > 1 else {}
        guards = (load.guard for load in self.spaced.values())
        self.exposed = exposed_values(self.program).union(g for g in guards if g is not None)
        self.firsts: dict[str, dict[int, str]] = {}  # lane 0 of places, by position
        self._affine_of = self._number_affine()

    # ---- static facts
    def _number_affine(self) -> dict[int, int]:
        found = [i for i, ins in enumerate(self.program.instrs) if ins.prim in POSITIONS]
        return {i: k for k, i in enumerate(found)}

    def operands(self, number: int) -> tuple[int, ...]:
        """What an element needs of other ones: where a load is spaced evenly, only its guard."""
        load = self.spaced.get(number)
        if load is None:
            return self.program.instrs[number].args
        return () if load.guard is None else (load.guard,)

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
                todo += [a for a in self.operands(number) if not self.uniform[a]]
        return sorted(found)

    # ---- rows
    def begin_row(self, row: str, outer: int | None = None) -> None:
        """Compute addresses of the row with that number, over the first `outer` axes, row-major."""
        self.stand_at(self.row_coords(row, self.form.outer if outer is None else outer))
        self._forget()

    def each_row(self, first: str, last: str, visit: Callable[[str], None]) -> None:
        """visit(row) for the rows first..last, as `begin_row` would stand there.  Along the last
        outer axis addresses grow by a stride: only where it begins anew is anything divided."""
        code, axis = self.code, self.form.outer - 1
        moving = [k for k in range(self.words.ops) if self.walk(k) is not Walk.GATHERED]
        affine = range(len(self.form.affine))

        def one(row: str, state: list[str]) -> list[str]:
            left = self._go_on(row, state, moving)
            visit(row)
            strides = [self.word(self.words.stride(k, axis)) for k in moving]
            steps = [self.word(self.words.stride(self.words.ops + k, axis)) for k in affine]
            return [
                code.op(f"sub i64 {left}, 1"),
                *(code.at("i8", self.base[k], stride) for k, stride in zip(moving, strides)),
                *(code.add(self.start[k], step) for k, step in zip(affine, steps)),
            ]

        def only(row: str, _: list[str]) -> list[str]:
            self.begin_row(row)
            visit(row)
            return []

        if axis < 0:
            code.loop(first, last, "1", [], only)
        else:
            carried = [
                ("i64", "0"),
                *[("ptr", "null")] * len(moving),
                *[("i64", "0")] * len(affine),
            ]
            code.loop(first, last, "1", carried, one)

    def _go_on(self, row: str, state: list[str], moving: list[int]) -> str:
        """Stand at a row that follows the last one, or begins the axis where none of that are
        left; how many are left from here."""
        code, axis = self.code, self.form.outer - 1
        anew, onward, before = code.label("anew"), code.label("row"), code.block
        code.branch(code.op(f"icmp eq i64 {state[0]}, 0"), anew, onward)
        code.start(anew)
        coords = self.row_coords(row, self.form.outer)
        self.stand_at(coords)
        left = code.op(f"sub i64 {self.word(self.words.dim(axis))}, {coords[axis]}")
        fresh, last = [left, *(self.base[k] for k in moving), *self.start], code.block
        code.jump(onward)
        code.start(onward)
        kinds = ["i64", *["ptr"] * len(moving), *["i64"] * len(self.start)]
        places = [
            code.op(f"phi {kind} [{old}, %{before}], [{new}, %{last}]")
            for kind, old, new in zip(kinds, state, fresh)
        ]
        for number, operand in enumerate(moving, 1):
            self.base[operand] = places[number]
        self.start[:] = places[1 + len(moving) :]
        self._forget()
        return places[0]

    def _forget(self) -> None:
        self.known, self.splats, self.coords = {}, {}, ("", [], "")

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
        inner = [i for i in numbers if i not in stop]
        used = {a for i in inner for a in self.operands(i)}.union(targets)
        for number in sorted(used):
            instr = self.program.instrs[number]
            if self.uniform[number] and instr.prim != "const" and number not in self.splats:
                self.splats[number] = self.lanes.splat(instr.type, self.scalar_value(number))
        for number in inner:
            for given in self.spaced[number].given if number in self.spaced else ():
                self.scalar_value(given)
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
        return self.vectors(numbers, [position], ready, [known or {}])[0]

    def vectors(
        self,
        numbers: list[int],
        positions: Sequence[Position],
        ready: Iterable[int] = (),
        known: Sequence[dict[int, str]] | None = None,
    ) -> list[dict[int, str]]:
        """`vector` at several positions, instruction by instruction: long chains of dependent
        instructions then overlap within the window in which a core looks for work."""
        values = [dict(names) for names in known] if known else [{} for _ in positions]
        todo = [n for n in numbers if n not in values[0]]
        self._evaluate(self._steps(todo, ready), positions, values, ready)
        return values

    def guards(self, numbers: Iterable[int]) -> list[int]:
        """The conditions on which loads among these elements happen."""
        found = {self.spaced[n].guard for n in numbers if n in self.spaced}
        return sorted(g for g in found if g is not None)

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

        self.firsts.clear()
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
        if number in self.spaced:
            return self._load_spaced(number, self.spaced[number], values, position)
        operands = [self.value(x, values) for x in instr.args]
        if instr.prim == "load":
            return gather(self.lanes, instr.type, self.base[instr.attr], operands[0], position.mask)
        return self.lanes.emit(instr, operands, [self.program.instrs[x].type for x in instr.args])

    def _load_spaced(
        self, number: int, load: SpacedLoad, values: dict[int, str], position: Position
    ) -> str:
        instr = self.program.instrs[number]
        guard = None if load.guard is None else self.value(load.guard, values)
        guard = None if guard == self.lanes.const("b1", 1) else guard
        spot = Anchor(self.base[instr.attr], self._first(load, position))
        return load_spaced(self.lanes, instr.type, spot, load.spacing, position, guard)

    def _first(self, load: SpacedLoad, position: Position) -> str:
        """Lane 0 of a place, as i64."""
        firsts, program = self.firsts.setdefault(position.j, {}), self.program
        for number in load.chain:
            instr = program.instrs[number]
            if number in firsts:
                continue
            if instr.prim in POSITIONS:
                firsts[number] = self.affine_first(self._affine_of[number], position)
                continue
            operands = [firsts.get(x) or self.scalar_value(x) for x in instr.args]
            types = [program.instrs[x].type for x in instr.args]
            firsts[number] = self.scalar.emit(instr, operands, types)
        return self.scalar.converted(program.instrs[load.place].type, "i64", firsts[load.place])

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
        if walk is Walk.COPIED:  # buffers are padded, so a tail needs no mask
            return load_row(
                self.lanes, scalar_type, self.copies[operand], None, Position(position.j)
            )
        if walk is Walk.RUNS:
            return self._read_runs(operand, scalar_type, position)
        if walk is Walk.AXES:
            return self._read_axes(operand, scalar_type, position)
        whole = position.mask is None or SIZE[memory_scalar(scalar_type)] >= 4
        if walk is Walk.EVERY_OTHER and whole and self.lanes.width > 1:
            twice = Anchor(self.base[operand], self.code.op(f"shl i64 {position.j}, 1"))
            return load_spaced(self.lanes, scalar_type, twice, LaneSteps(2), position)
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
        if self.walk(operand) is Walk.COPIED:
            row = self.copies[operand]
            store_row(self.lanes, scalar_type, value, row, None, Position(position.j))
        elif self.walk(operand) is Walk.RUNS:
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
