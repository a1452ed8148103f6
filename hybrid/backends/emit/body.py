"""Evaluating a program inside a loop: what is the same for a whole row as scalars, once; the rest
in vectors.

Invariant: `prepare` emits everything a later `vector` needs from outside the loop, so names
dominate their uses.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.scalar.program import (
    POSITIONS,
    PRIMS,
    REDUCTIONS,
    PrimName,
    Program,
    ScalarType,
    bits_of,
)
from .code import Code
from .form import Form, Walk, Words
from .lanes import Lanes, llvm_scalar, memory_scalar
from .memory import (
    Position,
    from_memory,
    gather,
    load_row,
    load_scalar,
    scatter,
    store_row,
    store_scalar,
)

__all__ = ["Body", "cost", "uniform_values", "WIDTH"]

WIDTH = 16
_ADD_SUB: frozenset[PrimName] = frozenset(("add", "sub"))
_GIVEN: frozenset[PrimName] = frozenset(("const", "param"))  # there before any row


def cost(program: Program, numbers: Iterable[int]) -> int:
    """A rough count of vector instructions."""
    return sum(PRIMS[program.instrs[i].prim].cost for i in numbers)


def uniform_values(form: Form) -> list[bool]:
    """Which instructions have one value per row (in a column kernel: per call)."""
    out: list[bool] = []
    affine = iter(form.affine)
    column = form.kind.columns
    for ins in form.program.instrs:
        if ins.prim in POSITIONS:
            out.append(next(affine)[1] is Walk.SAME and not column)
        elif ins.prim == "arg":
            out.append(not column and form.reads[ins.attr].walk is Walk.SAME)
        elif ins.prim in REDUCTIONS:
            out.append(not column)
        else:
            out.append(all(out[a] for a in ins.args))
    return out


def running_values(form: Form, uniform: list[bool]) -> list[bool]:
    """Which instructions are i64 values that grow by one per lane: loads there are adjacent."""
    out: list[bool] = []
    affine = iter(form.affine)
    for ins in form.program.instrs:
        if ins.prim in POSITIONS:
            out.append(next(affine)[1] is Walk.ADJACENT)
        elif ins.prim in _ADD_SUB and ins.type == "i64":
            a, b = ins.args
            out.append(out[a] and uniform[b] or ins.prim == "add" and uniform[a] and out[b])
        else:
            out.append(False)
    return out


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
        self.place: tuple[str, list[str], str] = ("", [], "")  # of the last `split`
        self.uniform = uniform_values(form)
        self.running = running_values(form, self.uniform)
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
            i = todo.pop()
            if i in found:
                continue
            found.add(i)
            if i not in stop and self.program.instrs[i].prim not in REDUCTIONS:
                todo += [a for a in self.program.instrs[i].args if not self.uniform[a]]
        return sorted(found)

    # ---- argument words
    def word(self, k: int, ty: str = "i64") -> str:
        p = self.code.once(f"getelementptr i64, ptr %args, i64 {k}")
        return self.code.once(f"load {ty}, ptr {p}, align 8")

    def operand(self, k: int) -> str:
        """Base address of an operand."""
        slot, offset = self.word(self.words.slot(k)), self.word(self.words.slot(k) + 1)
        spot = self.code.once(f"getelementptr ptr, ptr %bufs, i64 {slot}")
        base = self.code.once(f"load ptr, ptr {spot}, align 8")
        return self.code.once(f"getelementptr i8, ptr {base}, i64 {offset}")

    def param(self, i: int) -> str:
        """A run-time scalar."""
        ty = self.program.params[i]
        return self.word(self.words.param(i), llvm_scalar(ty)) if ty != "b1" else self._flag(i)

    def _flag(self, i: int) -> str:
        return self.code.once(f"icmp ne i64 {self.word(self.words.param(i))}, 0")

    def step(self, k: int) -> str | None:
        """Inner stride of walk k; None for unit stride."""
        if self.walk(k) is Walk.ADJACENT:
            return None
        return self.word(self.words.stride(k, self.words.rank - 1))

    def walk(self, k: int) -> Walk:
        f = self.form
        if k < self.nreads:
            return f.reads[k].walk
        k -= self.nreads
        return f.writes[k].walk if k < len(f.writes) else f.affine[k - len(f.writes)][1]

    # ---- rows
    def begin_row(self, row: str, outer: int | None = None) -> None:
        """Compute addresses of the row with that number, over the first `outer` axes, row-major."""
        code, w = self.code, self.words
        outer = self.form.outer if outer is None else outer
        coords: list[str] = [""] * outer
        for d in range(outer - 1, 0, -1):
            size = self.word(w.dim(d))
            quotient = code.op(f"udiv i64 {row}, {size}")
            coords[d] = code.op(f"sub i64 {row}, {code.op(f'mul i64 {quotient}, {size}')}")
            row = quotient
        if outer:
            coords[0] = row
        self.base = [
            code.at("i8", self.operand(k), self._offset(k, coords))
            if self.walk(k) is not Walk.GATHERED
            else self.operand(k)
            for k in range(w.ops)
        ]
        self.start = [self._offset(w.ops + k, coords) for k in range(len(self.form.affine))]
        self.known, self.splats, self.place = {}, {}, ("", [], "")

    def _offset(self, k: int, coords: list[str]) -> str:
        total = "0"
        for d, c in enumerate(coords):
            total = self.code.add(total, self.code.mul(c, self.word(self.words.stride(k, d))))
        return total

    # ---- scalars
    def scalar_value(self, i: int) -> str:
        """The value of a uniform instruction; emitted here when first asked for in this row."""
        ins = self.program.instrs[i]
        if ins.prim == "const":
            return self.scalar.const(ins.type, ins.attr)
        if ins.prim == "param":
            return self.param(ins.attr)
        todo = [i] if i not in self.known else []
        while todo:  # operands first, however long the chain of them is
            k = todo[-1]
            first = [a for a in self.program.instrs[k].args if self._unknown(a)]
            if first and k not in self.known:
                todo += reversed(first)
                continue
            todo.pop()
            if k not in self.known:
                self.known[k] = self._scalar(k)
        return self.known[i]

    def _unknown(self, i: int) -> bool:
        return i not in self.known and self.program.instrs[i].prim not in _GIVEN

    def _scalar(self, i: int) -> str:
        ins, code = self.program.instrs[i], self.code
        if ins.prim == "arg":
            return load_scalar(code, ins.type, self.base[ins.attr])
        if ins.prim in POSITIONS:
            return self.start[self._affine_of[i]]
        if ins.prim == "rlen":
            return self.scalar._convert("i64", ins.type, self.row_length())
        a = [self.scalar_value(x) for x in ins.args]
        if ins.prim == "load":
            return load_scalar(
                code, ins.type, code.at(memory_scalar(ins.type), self.base[ins.attr], a[0])
            )
        return self.scalar.emit(ins, a, [self.program.instrs[x].type for x in ins.args])

    def row_length(self) -> str:
        """Elements a reduction runs over."""
        if not self.form.kind.columns:
            return self.word(self.words.n)
        total = self.word(self.words.group(0))
        for d in range(1, self.form.group):
            total = self.code.once(f"mul i64 {total}, {self.word(self.words.group(d))}")
        return total

    def splat(self, i: int) -> str:
        """A uniform value in all lanes; `prepare` must have seen it."""
        ins = self.program.instrs[i]
        if ins.prim == "const":
            return self.lanes.const(ins.type, ins.attr)
        return self.splats[i]

    def prepare(self, targets: Iterable[int], stop: Iterable[int] = ()) -> list[int]:
        """Emit the uniform values that elements of `targets` use; gives those elements in order."""
        targets, stop = list(targets), set(stop)
        numbers = self.elements(targets, stop)
        used = {a for i in numbers if i not in stop for a in self.program.instrs[i].args} | set(
            targets
        )
        for i in sorted(used):
            if self.uniform[i] and self.program.instrs[i].prim != "const" and i not in self.splats:
                ty = self.program.instrs[i].type
                self.splats[i] = self.lanes.splat(ty, self.scalar_value(i))
        return numbers

    # ---- vectors
    def vector(
        self,
        numbers: list[int],
        at: Position,
        ready: Iterable[int] = (),
        env: dict[int, str] | None = None,
    ) -> dict[int, str]:
        """Evaluate elements (as `prepare` gave them) at a position; those in `ready` come from
        buffers and those in `env` are there already."""
        env = {} if env is None else dict(env)
        ready = set(ready)
        for i in numbers:
            if i not in env:
                env[i] = self._element(i, env, at, ready)
        return env

    def vectors(
        self, numbers: list[int], ats: list[Position], ready: Iterable[int] = ()
    ) -> list[dict[int, str]]:
        """`vector` at several positions, instruction by instruction: long chains of dependent
        instructions then overlap within the window in which a core looks for work."""
        ready = set(ready)
        envs: list[dict[int, str]] = [{} for _ in ats]
        for i in numbers:
            for env, at in zip(envs, ats):
                env[i] = self._element(i, env, at, ready)
        return envs

    def _element(self, i: int, env: dict[int, str], at: Position, ready: set[int]) -> str:
        ins = self.program.instrs[i]
        if i in ready:  # buffers are padded, so a tail needs no mask
            return load_row(self.lanes, ins.type, self.buffers[i], None, Position(at.j))
        if ins.prim == "arg":
            return self._read(ins.attr, ins.type, at)
        if ins.prim in POSITIONS:
            return self.affine(self._affine_of[i], at)
        a = [self.splat(x) if self.uniform[x] else env[x] for x in ins.args]
        if ins.prim == "load" and self.running[ins.args[0]]:
            first = self._first_lane(a[0])
            return load_row(self.lanes, ins.type, self.base[ins.attr], None, at._replace(j=first))
        if ins.prim == "load":
            return gather(self.lanes, ins.type, self.base[ins.attr], a[0], at.mask)
        return self.lanes.emit(ins, a, [self.program.instrs[x].type for x in ins.args])

    def _first_lane(self, x: str) -> str:
        return (
            x
            if self.lanes.width == 1
            else self.code.op(f"extractelement {self.lanes.ty('i64')} {x}, i64 0")
        )

    def keep(self, i: int, value: str, at: Position) -> None:
        """Put lanes into the row buffer of an instruction."""
        store_row(
            self.lanes, self.program.instrs[i].type, value, self.buffers[i], None, Position(at.j)
        )

    def value(self, i: int, env: dict[int, str]) -> str:
        return self.splat(i) if self.uniform[i] else env[i]

    def _read(self, k: int, ty: ScalarType, at: Position) -> str:
        walk = self.walk(k)
        if walk is Walk.SAME:  # a column kernel: the element changes from row to row
            return self.lanes.splat(ty, load_scalar(self.code, ty, self.base[k]))
        if walk is Walk.TURNED:
            v = self.lanes.raw(memory_scalar(ty))
            x = self.code.op(
                f"load {v}, ptr {self.code.at(v, self.tiles[k], self.tile_row)}, align 64"
            )
            return from_memory(self.lanes, ty, x)
        if walk is Walk.RUNS:
            return self._read_runs(k, ty, at)
        if walk is Walk.AXES:
            return gather(self.lanes, ty, self.base[k], self.spread(k, at), at.mask, "i8")
        return load_row(self.lanes, ty, self.base[k], self.step(k), at)

    def streams(self, writes: Iterable[int], start: str, stop: str) -> str | None:
        """Up to where elements start..stop of the current row may be stored past the caches
        (nowhere: start), which takes aligned addresses; None where no result is that large."""
        code, spots, rows = self.code, "0", [k for k in writes if self.form.writes[k].stream]
        for k in rows:
            p = code.at(memory_scalar(self.form.writes[k].type), self.base[self.nreads + k], start)
            spots = code.op(f"or i64 {spots}, {code.op(f'ptrtoint ptr {p} to i64')}")
        if not rows:
            return None
        aligned = code.op(f"icmp eq i64 {code.op(f'and i64 {spots}, 63')}, 0")
        return code.op(f"select i1 {aligned}, i64 {stop}, i64 {start}")

    def fetch_next_row(self, reads: Iterable[int], at: Position) -> None:
        """Ask for elements `at` of the next row of adjacent operands while this row is computed."""
        code, axis = self.code, self.form.outer - 1
        for k in reads if self.form.outer else ():
            if self.walk(k) is Walk.ADJACENT:
                here = code.at(memory_scalar(self.form.reads[k].type), self.base[k], at.j)
                there = code.at("i8", here, self.word(self.words.stride(k, axis)))
                code.call("llvm.prefetch.p0", "void", f"ptr {there}", "i32 0", "i32 3", "i32 1")

    def write(self, k: int, value: str, at: Position, stream: bool = False) -> None:
        """Store lanes of the k-th result."""
        stream = stream and self.form.writes[k].stream
        ty = self.form.writes[k].type
        k += self.nreads
        if self.walk(k) is Walk.RUNS:
            self._write_runs(k, ty, value, at)
        elif self.walk(k) is Walk.AXES:
            scatter(self.lanes, ty, value, self.base[k], self.spread(k, at), at)
        else:
            store_row(self.lanes, ty, value, self.base[k], self.step(k), at, stream)

    def write_once(self, k: int, value: str) -> None:
        """Store the scalar result of a row."""
        store_scalar(self.code, self.form.writes[k].type, value, self.base[self.nreads + k])

    # ---- walks over several axes
    def split(self, j: str) -> tuple[list[str], str]:
        """Coordinates of element j of the row, and whether a whole vector from there is one run."""
        if self.place[0] != j:
            rest, coords, w = j, [""] * self.form.multi, self.words
            for d in range(self.form.multi - 1, 0, -1):
                rest, coords[d] = self._divide(self.scalar, rest, self.word(w.multi(d)))
            coords[0] = rest
            last = self.code.op(f"add i64 {coords[-1]}, {self.lanes.width}")
            inside = self.code.op(f"icmp sle i64 {last}, {self.word(w.multi(self.form.multi - 1))}")
            self.place = (j, coords, inside)
        return self.place[1], self.place[2]

    def _run(self, k: int, coords: list[str]) -> str:
        """Address of the element at these coordinates."""
        total = "0"
        for d, c in enumerate(coords):
            total = self.code.add(total, self.code.mul(c, self.word(self.words.multi_stride(k, d))))
        return self.code.at("i8", self.base[k], total)

    def _read_runs(self, k: int, ty: ScalarType, at: Position) -> str:
        code, here = self.code, at._replace(j="0")
        coords, inside = self.split(at.j)
        if self.lanes.width == 1:
            return load_row(self.lanes, ty, self._run(k, coords), None, here)
        whole, torn, after = code.label("run"), code.label("torn"), code.label("read")
        code.branch(inside, whole, torn)
        code.start(whole)
        x = load_row(self.lanes, ty, self._run(k, coords), None, here)
        code.jump(after)
        code.start(torn)
        y = gather(self.lanes, ty, self.base[k], self.spread(k, at), at.mask, "i8")
        code.jump(after)
        code.start(after)
        return code.op(f"phi {self.lanes.ty(ty)} [{x}, %{whole}], [{y}, %{torn}]")

    def _write_runs(self, k: int, ty: ScalarType, value: str, at: Position) -> None:
        code, here = self.code, at._replace(j="0")
        coords, inside = self.split(at.j)
        if self.lanes.width == 1:
            store_row(self.lanes, ty, value, self._run(k, coords), None, here)
            return
        code.when(
            inside, lambda: store_row(self.lanes, ty, value, self._run(k, coords), None, here)
        )
        code.when(
            code.op(f"xor i1 {inside}, true"),
            lambda: scatter(self.lanes, ty, value, self.base[k], self.spread(k, at), at),
        )

    def lane_index(self, j: str) -> str:
        """j, j + 1, ... as i64 lanes."""
        return self.lanes.binary(
            "add", "i64", self.lanes.splat("i64", j), self.lanes.lane_numbers()
        )

    def affine(self, k: int, at: Position) -> str:
        number = self.words.ops + k
        walk = self.walk(number)
        if walk is Walk.SAME:
            return self.lanes.splat("i64", self.start[k])
        if walk is Walk.ADJACENT:
            return self.lane_index(self.code.add(self.start[k], at.j))
        start = self.lanes.splat("i64", self.start[k])
        if walk.several_axes:
            return self.lanes.binary("add", "i64", start, self.spread(number, at))
        stride = self.lanes.splat("i64", self.word(self.words.stride(number, self.words.rank - 1)))
        far = self.lanes.binary("mul", "i64", self.lane_index(at.j), stride)
        return self.lanes.binary("add", "i64", start, far)

    def spread(self, k: int, at: Position) -> str:
        """Sum of coordinate * stride over the axes that the inner index decomposes into."""
        lanes, w = self.lanes, self.words
        rest, total = self.lane_index(at.j), ""
        for d in range(self.form.multi - 1, -1, -1):
            coord = rest
            if d:
                rest, coord = self._divide(lanes, rest, self.word(w.multi(d)))
            far = lanes.binary(
                "mul", "i64", coord, lanes.splat("i64", self.word(w.multi_stride(k, d)))
            )
            total = lanes.binary("add", "i64", total, far) if total else far
        return total

    def _divide(self, lanes: Lanes, x: str, size: str) -> tuple[str, str]:
        """(x // size, x % size) for 0 <= x < 2**50: half a unit keeps quotients off integers."""
        code = self.code
        inverse = code.once(f"fdiv double 1.0, {code.once(f'sitofp i64 {size} to double')}")
        real = lanes.cast("sitofp", x, "i64", "double")
        shifted = lanes.binary("fadd", "f64", real, lanes.const("f64", bits_of("f64", 0.5)))
        near = lanes.binary("fmul", "f64", shifted, lanes.splat("f64", inverse))
        q = lanes.cast("fptosi", near, "double", "i64")
        back = lanes.binary("mul", "i64", q, lanes.splat("i64", size))
        return q, lanes.binary("sub", "i64", x, back)
