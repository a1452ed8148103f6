"""The algebra `s` that op bodies are written in, and the scalar program it records.

A body is a function of a Builder and values; running it appends instructions to a Program: plain
data (primitive, type, operands) that code generators read.  Invariant: every primitive has one
defined result for every input on every target, so a program gives the same bits at any width and on
any device.

Types: b1 (truth value), i8..i64, u8..u64, f32, f64.  Half types are carried as f32 that holds an
exactly representable value; `half.py` rounds.  Operands of one instruction have one type unless
said otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from ...core import dtypes as dt

__all__ = [
    "Instr",
    "Program",
    "Builder",
    "Val",
    "Prim",
    "PrimName",
    "ScalarType",
    "TYPE",
    "PRIMS",
    "REDUCTIONS",
    "POSITIONS",
    "FREE",
    "SLOW",
]

ScalarType = Literal["b1", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"]
PrimName = Literal[
    "const", "arg", "param", "index", "coord", "load",
    "add", "sub", "mul", "div", "rem", "neg", "abs", "fma", "sqrt",
    "floor", "ceil", "trunc", "rint", "min", "max", "copysign",
    "eq", "ne", "lt", "le", "gt", "ge", "select", "and", "or", "xor", "not",
    "shl", "shr", "mulhi", "popcount", "clz", "bitcast", "convert", "unlikely",
    "rsum", "rprod", "rmax", "rmin", "rall", "rany", "rargmax", "rargmin", "rlen",
]  # fmt: skip
INT_TYPES: tuple[ScalarType, ...] = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
FLOAT_TYPES: tuple[ScalarType, ...] = ("f32", "f64")
BITS: dict[str, int] = {
    "b1": 1,
    "i8": 8,
    "i16": 16,
    "i32": 32,
    "i64": 64,
    "u8": 8,
    "u16": 16,
    "u32": 32,
    "u64": 64,
    "f32": 32,
    "f64": 64,
}

# dtype -> type a value of that dtype has in a program
TYPE: dict[np.dtype, ScalarType] = {
    dt.bool_: "b1",
    dt.float16: "f32",
    dt.bfloat16: "f32",
    dt.float32: "f32",
    dt.float64: "f64",
    **{d: cast(ScalarType, f"{'u' if d in dt.UNSIGNED else 'i'}{8 * d.itemsize}") for d in dt.INTS},
}


class Prim(NamedTuple):
    """A primitive: one line of meaning (the result type is the operand type unless given), a rough
    cost in vector instructions (FREE, SLOW or 1), arithmetic operations, and whether it reduces."""

    meaning: str
    cost: int = 1
    ops: int = 1
    reduces: bool = False


FREE, SLOW = 0, 4


def _free(meaning: str) -> Prim:
    """Read, known or renamed: no work of its own."""
    return Prim(meaning, FREE, 0)


def _slow(meaning: str, ops: int = 1) -> Prim:
    return Prim(meaning, SLOW, ops)


def _reduction(meaning: str) -> Prim:
    return Prim(meaning, reduces=True)


# The one table of primitives: fusion, chunk sizes, generated loops and the profile read it.
PRIMS: dict[str, Prim] = {
    "const": _free("attr = bits (int) of the value"),
    "arg": _free("attr = operand number; the operand's element at the current position"),
    "param": _free("attr = run-time scalar number; the same for all elements"),
    "index": _free("i64: row-major linear index of the output element"),
    "coord": _free("i64: attr = axis; coordinate of the output element along that axis"),
    "load": _slow(
        "attr = operand number; (i64 linear row-major index) -> element; the index is in range",
        ops=0,
    ),
    "add": Prim("wraps for integers"),
    "sub": Prim("wraps for integers"),
    "mul": Prim("wraps for integers"),
    "div": _slow("floats IEEE; integers truncate, x/0 = 0, MIN/-1 = MIN"),
    "rem": _slow("integers only: x - y*div(x, y), so x rem 0 = x, MIN rem -1 = 0"),
    "neg": Prim("floats flip the sign bit; integers wrap"),
    "abs": Prim("floats clear the sign bit; abs(MIN) = MIN"),
    "fma": Prim("(x, y, z) floats, one rounding", ops=2),
    "sqrt": _slow("floats, correctly rounded"),
    "floor": Prim("floats"),
    "ceil": Prim("floats"),
    "trunc": Prim("floats"),
    "rint": Prim("floats, ties to even"),
    "min": Prim("NaN if either is; -0 < +0"),
    "max": Prim("NaN if either is; -0 < +0"),
    "copysign": Prim("(magnitude, sign)"),
    "eq": Prim("-> b1; false on NaN"),
    "ne": Prim("-> b1; true on NaN"),
    "lt": Prim("-> b1"),
    "le": Prim("-> b1"),
    "gt": Prim("-> b1"),
    "ge": Prim("-> b1"),
    "select": Prim("(b1, x, y)"),
    "and": Prim("integers and b1"),
    "or": Prim("integers and b1"),
    "xor": Prim("integers and b1"),
    "not": Prim("integers and b1"),
    "shl": Prim("count taken unsigned; >= width gives 0"),
    "shr": Prim("logical for u, arithmetic for i; >= width fills"),
    "mulhi": _slow("u32/u64/i32/i64: high half of the full product"),
    "popcount": _slow("integers"),
    "clz": _slow("integers; clz(0) = width"),
    "bitcast": _free("attr = type of equal width"),
    "convert": Prim(
        "attr = type; float->int saturates, NaN -> 0; int->int wraps; "
        "int->float and f64->f32 round to nearest even; to b1 is != 0"
    ),
    "unlikely": _free(
        "b1: itself; it is seldom true, so code may branch around what only the first operand of "
        "a select under it needs"
    ),
    "rsum": _reduction("sum over the row, the fixed order of the numerics contract"),
    "rprod": _reduction("product, same order"),
    "rmax": _reduction("NaN if any"),
    "rmin": _reduction("NaN if any"),
    "rall": _reduction("b1"),
    "rany": _reduction("b1"),
    "rargmax": _reduction("-> i64: first index of the maximum; a NaN counts as the maximum"),
    "rargmin": _reduction("-> i64"),
    "rlen": _free("attr = type: length of the row, converted"),
}
REDUCTIONS: frozenset[str] = frozenset(name for name, p in PRIMS.items() if p.reduces)
POSITIONS: frozenset[PrimName] = frozenset(("index", "coord"))  # values that tell where
COMPARE: frozenset[PrimName] = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))


class Instr(NamedTuple):
    """One instruction; its number in Program.instrs is its result."""

    prim: PrimName
    type: ScalarType
    args: tuple[int, ...] = ()
    attr: Any = None


class Program(NamedTuple):
    """Instructions in SSA order; `args`/`params` are the types of operands and run-time scalars;
    `outs` the numbers of the results."""

    instrs: tuple[Instr, ...]
    args: tuple[ScalarType, ...]
    params: tuple[ScalarType, ...]
    outs: tuple[int, ...]

    def __str__(self) -> str:
        lines = [
            f"  %{i} = {n.prim}.{n.type} "
            + ", ".join([f"%{a}" for a in n.args] + ([str(n.attr)] if n.attr is not None else []))
            for i, n in enumerate(self.instrs)
        ]
        return "\n".join(
            [
                f"program({', '.join(self.args)}; {', '.join(self.params)})",
                *lines,
                "  return " + ", ".join(f"%{o}" for o in self.outs),
            ]
        )


def bits_of(scalar_type: ScalarType, value: Any) -> int:
    """The bit pattern of a Python number in a type (floats rounded to nearest)."""
    if scalar_type == "b1":
        return int(bool(value))
    if scalar_type == "f32":
        with np.errstate(over="ignore"):
            return int(np.float32(value).view(np.uint32))
    if scalar_type == "f64":
        pattern: int = struct.unpack("<Q", struct.pack("<d", float(value)))[0]
        return pattern
    return int(value) & ((1 << BITS[scalar_type]) - 1)


class Val:
    """A value inside a body: operators append instructions;
    Python numbers take the other side's type."""

    __slots__ = ("s", "id", "type")

    def __init__(self, builder: Builder, id: int, type: ScalarType) -> None:
        self.s, self.id, self.type = builder, id, type

    def __bool__(self) -> bool:
        raise TypeError("a body value has no truth value; use s.select")

    __hash__ = object.__hash__
    if TYPE_CHECKING:  # the operators are set below, from the table of primitives

        def _binary(self, other: Any) -> Val: ...
        def _unary(self) -> Val: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = (
            __rtruediv__
        ) = _binary
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __and__ = __rand__ = __or__ = (
            __ror__
        ) = _binary
        __xor__ = __rxor__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = _binary

        def __eq__(self, other: Any) -> Val: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Val: ...  # type: ignore[override]

        __neg__ = __invert__ = _unary


def _binary(prim: str, swap: bool = False) -> Any:
    def method(self: Val, other: Any) -> Val:
        operand = self.s.lift(other, self.type)
        return self.s.op(prim, operand, self) if swap else self.s.op(prim, self, operand)

    return method


_NAMED = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "floordiv": "div",
    "mod": "rem",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "lshift": "shl",
    "rshift": "shr",
}
for _method, _prim in _NAMED.items():
    setattr(Val, f"__{_method}__", _binary(_prim))
    setattr(Val, f"__r{_method}__", _binary(_prim, swap=True))
for _method in COMPARE:
    setattr(Val, f"__{_method}__", _binary(_method))
Val.__neg__ = lambda self: self.s.op("neg", self)
Val.__invert__ = lambda self: self.s.op("not", self)


class Builder:
    """Records a Program.  Equal instructions are one value, so bodies may recompute freely."""

    def __init__(self) -> None:
        self.instrs: list[Instr] = []
        self._seen: dict[Instr, int] = {}
        self.args: list[ScalarType] = []
        self.params: list[ScalarType] = []

    # ---- making values
    def emit(
        self, prim: str, scalar_type: ScalarType, args: tuple[int, ...] = (), attr: Any = None
    ) -> Val:
        # bodies may compute these names; what is no primitive or type has no code and fails there
        instr = Instr(prim, scalar_type, args, attr)  # type: ignore[arg-type]
        number = self._seen.get(instr)
        if number is None:
            number = self._seen[instr] = len(self.instrs)
            self.instrs.append(instr)
        return Val(self, number, scalar_type)

    def repeat(
        self, recorded: Sequence[Instr], given: Sequence[Val], wanted: Sequence[int]
    ) -> tuple[Val, ...]:
        """The wanted values of recorded instructions, of which the first are the given ones."""
        seen, instrs, numbers = self._seen, self.instrs, [value.id for value in given]
        make: Any = tuple.__new__  # a program is thousands of these
        for prim, scalar_type, args, attr in recorded[len(numbers) :]:
            instr = make(Instr, (prim, scalar_type, tuple([numbers[k] for k in args]), attr))
            number = seen.get(instr)
            if number is None:
                number = seen[instr] = len(instrs)
                instrs.append(instr)
            numbers.append(number)
        return tuple([Val(self, numbers[k], recorded[k].type) for k in wanted])

    def arg(self, scalar_type: ScalarType) -> Val:
        """A new operand of that type, read at the current position."""
        self.args.append(scalar_type)
        return self.emit("arg", scalar_type, (), len(self.args) - 1)

    def operand(self, scalar_type: ScalarType) -> int:
        """A new operand that is only read through `load`; returns its number."""
        self.args.append(scalar_type)
        return len(self.args) - 1

    def param(self, scalar_type: ScalarType) -> Val:
        """A new run-time scalar."""
        self.params.append(scalar_type)
        return self.emit("param", scalar_type, (), len(self.params) - 1)

    def const(self, scalar_type: ScalarType, value: Any) -> Val:
        return self.emit("const", scalar_type, (), bits_of(scalar_type, value))

    def bits(self, scalar_type: ScalarType, pattern: int) -> Val:
        """A constant given by its bit pattern."""
        return self.emit("const", scalar_type, (), pattern)

    def lift(self, value: Any, scalar_type: ScalarType) -> Val:
        if isinstance(value, Val):
            if value.type != scalar_type:
                raise TypeError(f"{value.type} meets {scalar_type} in an op body; convert one")
            return value
        return self.const(scalar_type, value)

    def op(self, prim: str, *operands: Any) -> Val:
        """Apply a primitive whose operands share one type (Python numbers are lifted)."""
        scalar_type = next(x.type for x in operands if isinstance(x, Val))
        numbers = tuple(self.lift(x, scalar_type).id for x in operands)
        return self.emit(prim, "b1" if prim in COMPARE else scalar_type, numbers)

    # ---- primitives with a signature of their own
    def select(self, condition: Val, first: Any, second: Any) -> Val:
        scalar_type = first.type if isinstance(first, Val) else second.type
        return self.emit(
            "select",
            scalar_type,
            (condition.id, self.lift(first, scalar_type).id, self.lift(second, scalar_type).id),
        )

    def bitcast(self, value: Val, scalar_type: ScalarType) -> Val:
        return (
            value if value.type == scalar_type else self.emit("bitcast", scalar_type, (value.id,))
        )

    def convert(self, value: Val, scalar_type: ScalarType) -> Val:
        return (
            value if value.type == scalar_type else self.emit("convert", scalar_type, (value.id,))
        )

    def index(self) -> Val:
        return self.emit("index", "i64")

    def coord(self, axis: int) -> Val:
        return self.emit("coord", "i64", (), axis)

    def load(self, operand: int, index: Val) -> Val:
        return self.emit("load", self.args[operand], (index.id,), operand)

    def rlen(self, scalar_type: ScalarType) -> Val:
        return self.emit("rlen", scalar_type)

    def reduce(self, prim: str, value: Val) -> Val:
        return self.emit(prim, "i64" if prim.startswith("rarg") else value.type, (value.id,))

    def __getattr__(self, name: str) -> Callable[..., Val]:
        prim = name.rstrip("_")
        if prim in REDUCTIONS:
            return lambda value: self.reduce(prim, value)
        if prim in PRIMS:
            return lambda *operands: self.op(prim, *operands)
        raise AttributeError(f"the algebra has no primitive {name!r}")

    def program(self, *outs: Val) -> Program:
        return Program(
            tuple(self.instrs), tuple(self.args), tuple(self.params), tuple(o.id for o in outs)
        )
