"""Scalar programs -> LLVM instructions over vectors of `width` lanes (width 1: plain scalars).

Invariant: every primitive has the result ir/scalar.PRIMS defines, for every input, without
fast-math flags, contraction or library calls; so the bits do not depend on the width or the target.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ...core.errors import BackendError
from ...ir.scalar.program import BITS, COMPARE, Instr, PrimName, Program, ScalarType, bits_of
from .code import Code

__all__ = ["Lanes", "emit_program", "llvm_scalar", "memory_scalar"]

_SCALAR = {"b1": "i1", "f32": "float", "f64": "double"}
_FCMP = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_UNARY_FLOAT = {
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "rint": "roundeven",
}


def llvm_scalar(ty: ScalarType) -> str:
    """LLVM type of one value of a program type."""
    return _SCALAR.get(ty) or f"i{BITS[ty]}"


def memory_scalar(ty: ScalarType) -> str:
    """LLVM type of one element in memory (a truth value is a byte, 0 or 1)."""
    return "i8" if ty == "b1" else llvm_scalar(ty)


def is_float(ty: ScalarType) -> bool:
    return ty[0] == "f"


def is_signed(ty: ScalarType) -> bool:
    return ty[0] == "i"


def _float_text(ty: ScalarType, bits: int) -> str | None:
    """LLVM spelling of a float constant; None for f32 NaNs, whose payload a spelling may lose."""
    if ty == "f64":
        return f"0x{bits:016X}"
    if bits & 0x7F800000 == 0x7F800000 and bits & 0x7FFFFF:
        return None
    value = struct.unpack("<f", struct.pack("<I", bits))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _constant(name: str) -> int | None:
    """The value of an integer constant as `const` writes it."""
    text = name[name.rindex(" ") + 1 : -1] if name.startswith("splat") else name
    return int(text) if text.isdigit() else None


class Lanes:
    """Emits primitives at one width into a Code."""

    __slots__ = ("width", "code")

    def __init__(self, width: int, code: Code | None = None) -> None:
        self.width = width
        self.code = code if code is not None else Code()

    # ---- types and constants
    def ty(self, ty: ScalarType) -> str:
        return self.raw(llvm_scalar(ty))

    def raw(self, scalar: str) -> str:
        return scalar if self.width == 1 else f"<{self.width} x {scalar}>"

    def suffix(self, ty: ScalarType) -> str:
        name = ty if is_float(ty) else llvm_scalar(ty)
        return name if self.width == 1 else f"v{self.width}{name}"

    def const(self, ty: ScalarType, bits: int) -> str:
        if ty == "b1":
            one = "true" if bits else "false"
        elif is_float(ty):
            text = _float_text(ty, bits)
            if text is None:
                inner = (
                    f"i32 {bits}" if self.width == 1 else f"<{self.width} x i32> splat (i32 {bits})"
                )
                return f"bitcast ({inner} to {self.ty(ty)})"
            one = text
        else:
            one = str(bits)
        return one if self.width == 1 else f"splat ({llvm_scalar(ty)} {one})"

    def splat(self, ty: ScalarType, scalar: str) -> str:
        """A scalar in all lanes."""
        if self.width == 1:
            return scalar
        v, s = self.ty(ty), llvm_scalar(ty)
        first = self.code.op(f"insertelement {v} poison, {s} {scalar}, i64 0")
        zero = f"<{self.width} x i32> zeroinitializer"
        return self.code.op(f"shufflevector {v} {first}, {v} poison, {zero}")

    def lane_numbers(self) -> str:
        """0, 1, 2, ... as i64 lanes."""
        return (
            "0" if self.width == 1 else "<" + ", ".join(f"i64 {k}" for k in range(self.width)) + ">"
        )

    # ---- primitives
    def emit(self, ins: Instr, a: Sequence[str], types: Sequence[ScalarType]) -> str:
        """One instruction; `a` are its operands' names and `types` their program types."""
        if ins.prim == "const":
            return self.const(ins.type, ins.attr)
        if ins.prim in COMPARE:
            return self._compare(ins.prim, types[0], a)
        if ins.prim == "bitcast":
            return self._bitcast(types[0], ins.type, a[0])
        if ins.prim == "convert":
            return self._convert(types[0], ins.type, a[0])
        if ins.prim in _UNARY_FLOAT:
            return self.intrinsic(_UNARY_FLOAT[ins.prim], ins.type, a)
        method: Callable[..., str] | None = getattr(self, "_" + ins.prim, None)
        if method is None:
            raise BackendError(f"primitive {ins.prim!r} has no meaning inside a loop body")
        return method(ins.type, a)

    def intrinsic(self, name: str, ty: ScalarType, a: Sequence[str], *more: str) -> str:
        v = self.ty(ty)
        return self.code.call(f"llvm.{name}.{self.suffix(ty)}", v, *[f"{v} {x}" for x in a], *more)

    def binary(self, op: str, ty: ScalarType, x: str, y: str) -> str:
        return self.code.op(f"{op} {self.ty(ty)} {x}, {y}")

    def icmp(self, cond: str, ty: ScalarType, x: str, y: str) -> str:
        return self.code.op(f"icmp {cond} {self.ty(ty)} {x}, {y}")

    def pick(self, ty: ScalarType, c: str, x: str, y: str) -> str:
        return self.code.op(f"select {self.ty('b1')} {c}, {self.ty(ty)} {x}, {self.ty(ty)} {y}")

    def cast(self, op: str, x: str, src: str, dst: str) -> str:
        """A cast between LLVM scalar types, lane by lane."""
        return x if src == dst else self.code.op(f"{op} {self.raw(src)} {x} to {self.raw(dst)}")

    def _compare(self, prim: PrimName, ty: ScalarType, a: Sequence[str]) -> str:
        if is_float(ty):
            return self.code.op(f"fcmp {_FCMP[prim]} {self.ty(ty)} {a[0]}, {a[1]}")
        if prim == "eq" or prim == "ne":
            return self.icmp(prim, ty, a[0], a[1])
        return self.icmp(("s" if is_signed(ty) else "u") + prim, ty, a[0], a[1])

    def _add(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("fadd" if is_float(ty) else "add", ty, a[0], a[1])

    def _sub(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("fsub" if is_float(ty) else "sub", ty, a[0], a[1])

    def _mul(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("fmul" if is_float(ty) else "mul", ty, a[0], a[1])

    def _div(self, ty: ScalarType, a: Sequence[str]) -> str:
        if is_float(ty):
            return self.binary("fdiv", ty, a[0], a[1])
        zero, q = self._safe_div(ty, a[0], a[1])
        return self.pick(ty, zero, self.const(ty, 0), q)

    def _rem(self, ty: ScalarType, a: Sequence[str]) -> str:
        x, y = a
        zero, q = self._safe_div(ty, x, y)
        r = self.binary("sub", ty, x, self.binary("mul", ty, q, y))
        return self.pick(ty, zero, x, r)

    def _safe_div(self, ty: ScalarType, x: str, y: str) -> tuple[str, str]:
        """(y == 0, x / y with MIN / -1 = MIN); where y == 0 the quotient is some defined value."""
        bits = BITS[ty]
        zero = self.icmp("eq", ty, y, self.const(ty, 0))
        bad = zero
        if is_signed(ty):
            low = self.icmp("eq", ty, x, self.const(ty, 1 << (bits - 1)))
            minus = self.icmp("eq", ty, y, self.const(ty, (1 << bits) - 1))
            bad = self.binary("or", "b1", zero, self.binary("and", "b1", low, minus))
        y = self.pick(ty, bad, self.const(ty, 1), y)
        if self.width == 1 or bits == 64:
            return zero, self.binary("sdiv" if is_signed(ty) else "udiv", ty, x, y)
        # no vector instruction divides integers; the quotient of integers of at most 24 (53) bits,
        # rounded to a float (double) and truncated, is exact
        f, i = ("float" if bits <= 16 else "double"), llvm_scalar(ty)
        to, back = ("sitofp", "fptosi") if is_signed(ty) else ("uitofp", "fptoui")
        q = self.code.op(f"fdiv {self.raw(f)} {self.cast(to, x, i, f)}, {self.cast(to, y, i, f)}")
        return zero, self.cast(back, q, f, i)

    def _neg(self, ty: ScalarType, a: Sequence[str]) -> str:
        if is_float(ty):
            return self.code.op(f"fneg {self.ty(ty)} {a[0]}")
        return self.binary("sub", ty, self.const(ty, 0), a[0])

    def _abs(self, ty: ScalarType, a: Sequence[str]) -> str:
        if is_float(ty):
            return self.intrinsic("fabs", ty, a)
        return a[0] if not is_signed(ty) else self.intrinsic("abs", ty, a, "i1 false")

    def _fma(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.intrinsic("fma", ty, a)

    def _min(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self._extreme("min", ty, a)

    def _max(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self._extreme("max", ty, a)

    def _extreme(self, which: str, ty: ScalarType, a: Sequence[str]) -> str:
        if is_float(ty):
            return self.intrinsic(f"{which}imum", ty, a)
        return self.intrinsic(("s" if is_signed(ty) else "u") + which, ty, a)

    def _copysign(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.intrinsic("copysign", ty, a)

    def _select(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.pick(ty, a[0], a[1], a[2])

    def _and(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("and", ty, a[0], a[1])

    def _or(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("or", ty, a[0], a[1])

    def _xor(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("xor", ty, a[0], a[1])

    def _not(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.binary("xor", ty, a[0], self.const(ty, (1 << BITS[ty]) - 1))

    def _shl(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self._shift("shl", ty, a)

    def _shr(self, ty: ScalarType, a: Sequence[str]) -> str:
        if not is_signed(ty):
            return self._shift("lshr", ty, a)
        top = self.const(ty, BITS[ty] - 1)
        count = _constant(a[1])
        if count is not None:
            return self.binary("ashr", ty, a[0], a[1] if count < BITS[ty] else top)
        return self.binary("ashr", ty, a[0], self.intrinsic("umin", ty, (a[1], top)))

    def _shift(self, op: str, ty: ScalarType, a: Sequence[str]) -> str:
        count = _constant(a[1])
        if count is not None:
            return self.binary(op, ty, a[0], a[1]) if count < BITS[ty] else self.const(ty, 0)
        ok = self.icmp("ult", ty, a[1], self.const(ty, BITS[ty]))
        return self.pick(ty, ok, self.binary(op, ty, a[0], a[1]), self.const(ty, 0))

    def _mulhi(self, ty: ScalarType, a: Sequence[str]) -> str:
        if BITS[ty] == 64:
            return self._mulhi64(ty, a[0], a[1])
        ext = "sext" if is_signed(ty) else "zext"
        x, y = self.cast(ext, a[0], "i32", "i64"), self.cast(ext, a[1], "i32", "i64")
        high = self.binary("lshr", "u64", self.binary("mul", "u64", x, y), self.const("u64", 32))
        return self.cast("trunc", high, "i64", "i32")

    def _mulhi64(self, ty: ScalarType, x: str, y: str) -> str:
        mask, half = self.const("u64", 0xFFFFFFFF), self.const("u64", 32)

        def u64(op: str, p: str, q: str) -> str:
            return self.binary(op, "u64", p, q)

        xl, yl, xh, yh = (
            u64("and", x, mask),
            u64("and", y, mask),
            u64("lshr", x, half),
            u64("lshr", y, half),
        )
        mid = u64("add", u64("mul", xh, yl), u64("lshr", u64("mul", xl, yl), half))
        low = u64("add", u64("mul", xl, yh), u64("and", mid, mask))
        high = u64(
            "add", u64("mul", xh, yh), u64("add", u64("lshr", mid, half), u64("lshr", low, half))
        )
        if is_signed(ty):
            for p, q in ((x, y), (y, x)):
                negative = self.binary("ashr", ty, p, self.const(ty, 63))
                high = u64("sub", high, u64("and", negative, q))
        return high

    def _popcount(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.intrinsic("ctpop", ty, a)

    def _clz(self, ty: ScalarType, a: Sequence[str]) -> str:
        return self.intrinsic("ctlz", ty, a, "i1 false")

    def _bitcast(self, src: ScalarType, dst: ScalarType, x: str) -> str:
        return self.cast("bitcast", x, llvm_scalar(src), llvm_scalar(dst))

    def _convert(self, src: ScalarType, dst: ScalarType, x: str) -> str:
        a, b = llvm_scalar(src), llvm_scalar(dst)
        if dst == "b1":
            if src == "b1":
                return x
            zero = self.const(src, 0)
            return self._compare("ne", src, (x, zero))
        if is_float(src) and is_float(dst):
            return self.cast("fpext" if dst == "f64" else "fptrunc", x, a, b)
        if is_float(dst):
            return self.cast("sitofp" if is_signed(src) else "uitofp", x, a, b)
        if is_float(src) and self.width > 1:
            return self._saturate(src, dst, x)
        if is_float(src):
            op = "fptosi" if is_signed(dst) else "fptoui"
            name = f"llvm.{op}.sat.{self.suffix(dst)}.{self.suffix(src)}"
            return self.code.call(name, self.ty(dst), f"{self.ty(src)} {x}")
        if BITS[src] > BITS[dst]:
            return self.cast("trunc", x, a, b)
        return self.cast("sext" if is_signed(src) else "zext", x, a, b)

    def _saturate(self, src: ScalarType, dst: ScalarType, x: str) -> str:
        """Float to integer; the intrinsic would be taken apart lane by lane."""
        bits, signed = BITS[dst], is_signed(dst)
        wide = max(bits, 32)
        low = -(1 << (bits - 1)) if signed else 0
        least, limit = (
            self.const(src, bits_of(src, float(b))) for b in (low, 1 << (bits - signed))
        )
        x = self.pick(src, self._compare("lt", src, (x, least)), least, x)
        fits = self._compare("lt", src, (x, limit))
        safe = self.pick(src, fits, x, self.const(src, 0))
        op = "fptosi" if signed or wide > bits else "fptoui"
        n = self.cast(op, safe, llvm_scalar(src), f"i{wide}")
        n = self.cast("trunc", n, f"i{wide}", f"i{bits}") if wide > bits else n
        over = self._compare("ge", src, (x, limit))
        return self.pick(dst, over, self.const(dst, (1 << (bits - signed)) - 1), n)


def emit_program(
    lanes: Lanes,
    program: Program,
    args: Sequence[str],
    params: Sequence[str],
    *,
    index: str | None = None,
    coords: Sequence[str] | None = None,
    load: Callable[[int, str], str] | None = None,
    known: Mapping[int, str] | None = None,
) -> list[str]:
    """Emit a program without reductions at the current place; returns the names of its results.

    `args` and `params` are names of values of the lanes' width (b1 as i1); `index` and `coords` are
    i64 lanes; `load(operand, index lanes)` emits the read of a gathered operand; `known` names
    values of instructions that are there already ("" where only other known ones need it).
    """
    names: list[str] = []
    known = known or {}
    for k, ins in enumerate(program.instrs):
        a = [names[x] for x in ins.args]
        if k in known:
            names.append(known[k])
        elif ins.prim == "arg":
            names.append(args[int(ins.attr)])
        elif ins.prim == "param":
            names.append(params[int(ins.attr)])
        elif ins.prim == "index":
            names.append(_need(index, "index"))
        elif ins.prim == "coord":
            names.append(_need(coords, "coord")[int(ins.attr)])
        elif ins.prim == "load":
            names.append(_need(load, "load")(ins.attr, a[0]))
        else:
            names.append(lanes.emit(ins, a, [program.instrs[k].type for k in ins.args]))
    return [names[o] for o in program.outs]


_T = TypeVar("_T")


def _need(x: _T | None, what: str) -> _T:
    if x is None:
        raise BackendError(f"this loop gives a program no {what!r}")
    return x
