"""Scalar programs -> LLVM instructions over vectors of `width` lanes (width 1: plain scalars).

Invariant: every primitive has the result ir/scalar.PRIMS defines, for every input, without
fast-math flags, contraction or library calls; so the bits do not depend on the width or the target.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from ...core.errors import BackendError
from ...ir.scalar.program import BITS, COMPARE, Instr, PrimName, ScalarType, bits_of
from .code import Code

__all__ = ["Lanes", "llvm_scalar", "memory_scalar"]

_SCALAR = {"b1": "i1", "f32": "float", "f64": "double"}
_FCMP = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_UNARY_FLOAT = {
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "rint": "roundeven",
}


def llvm_scalar(scalar_type: ScalarType) -> str:
    """LLVM type of one value of a program type."""
    return _SCALAR.get(scalar_type) or f"i{BITS[scalar_type]}"


def memory_scalar(scalar_type: ScalarType) -> str:
    """LLVM type of one element in memory (a truth value is a byte, 0 or 1)."""
    return "i8" if scalar_type == "b1" else llvm_scalar(scalar_type)


def is_float(scalar_type: ScalarType) -> bool:
    return scalar_type[0] == "f"


def is_signed(scalar_type: ScalarType) -> bool:
    return scalar_type[0] == "i"


def _float_text(scalar_type: ScalarType, bits: int) -> str | None:
    """LLVM spelling of a float constant; None for f32 NaNs, whose payload a spelling may lose."""
    if scalar_type == "f64":
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
    def ty(self, scalar_type: ScalarType) -> str:
        return self.raw(llvm_scalar(scalar_type))

    def raw(self, scalar: str) -> str:
        return scalar if self.width == 1 else f"<{self.width} x {scalar}>"

    def suffix(self, scalar_type: ScalarType) -> str:
        name = scalar_type if is_float(scalar_type) else llvm_scalar(scalar_type)
        return name if self.width == 1 else f"v{self.width}{name}"

    def const(self, scalar_type: ScalarType, bits: int) -> str:
        if scalar_type == "b1":
            text = "true" if bits else "false"
        elif is_float(scalar_type):
            number = _float_text(scalar_type, bits)
            if number is None:
                inner = (
                    f"i32 {bits}" if self.width == 1 else f"<{self.width} x i32> splat (i32 {bits})"
                )
                return f"bitcast ({inner} to {self.ty(scalar_type)})"
            text = number
        else:
            text = str(bits)
        return text if self.width == 1 else f"splat ({llvm_scalar(scalar_type)} {text})"

    def splat(self, scalar_type: ScalarType, scalar: str) -> str:
        """A scalar in all lanes."""
        if self.width == 1:
            return scalar
        vector, element = self.ty(scalar_type), llvm_scalar(scalar_type)
        first = self.code.op(f"insertelement {vector} poison, {element} {scalar}, i64 0")
        zero = f"<{self.width} x i32> zeroinitializer"
        return self.code.op(f"shufflevector {vector} {first}, {vector} poison, {zero}")

    def lane_numbers(self) -> str:
        """0, 1, 2, ... as i64 lanes."""
        return (
            "0" if self.width == 1 else "<" + ", ".join(f"i64 {k}" for k in range(self.width)) + ">"
        )

    # ---- primitives
    def emit(self, instr: Instr, operands: Sequence[str], types: Sequence[ScalarType]) -> str:
        """One instruction; `operands` are names of values and `types` their program types."""
        if instr.prim == "const":
            return self.const(instr.type, instr.attr)
        if instr.prim in COMPARE:
            return self.compared(instr.prim, types[0], operands)
        if instr.prim == "bitcast":
            return self._bitcast(types[0], instr.type, operands[0])
        if instr.prim == "convert":
            return self.converted(types[0], instr.type, operands[0])
        if instr.prim in _UNARY_FLOAT:
            return self.intrinsic(_UNARY_FLOAT[instr.prim], instr.type, operands)
        method: Callable[..., str] | None = getattr(self, "_" + instr.prim, None)
        if method is None:
            raise BackendError(f"primitive {instr.prim!r} has no meaning inside a loop body")
        return method(instr.type, operands)

    def intrinsic(
        self, name: str, scalar_type: ScalarType, operands: Sequence[str], *more: str
    ) -> str:
        vector = self.ty(scalar_type)
        return self.code.call(
            f"llvm.{name}.{self.suffix(scalar_type)}",
            vector,
            *[f"{vector} {x}" for x in operands],
            *more,
        )

    def binary(self, opcode: str, scalar_type: ScalarType, left: str, right: str) -> str:
        return self.code.op(f"{opcode} {self.ty(scalar_type)} {left}, {right}")

    def icmp(self, condition: str, scalar_type: ScalarType, left: str, right: str) -> str:
        return self.code.op(f"icmp {condition} {self.ty(scalar_type)} {left}, {right}")

    def pick(self, scalar_type: ScalarType, condition: str, left: str, right: str) -> str:
        vector = self.ty(scalar_type)
        return self.code.op(
            f"select {self.ty('b1')} {condition}, {vector} {left}, {vector} {right}"
        )

    def cast(self, opcode: str, value: str, source: str, target: str) -> str:
        """A cast between LLVM scalar types, lane by lane."""
        return (
            value
            if source == target
            else self.code.op(f"{opcode} {self.raw(source)} {value} to {self.raw(target)}")
        )

    def compared(self, prim: PrimName, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if is_float(scalar_type):
            return self.code.op(
                f"fcmp {_FCMP[prim]} {self.ty(scalar_type)} {operands[0]}, {operands[1]}"
            )
        if prim == "eq" or prim == "ne":
            return self.icmp(prim, scalar_type, operands[0], operands[1])
        return self.icmp(
            ("s" if is_signed(scalar_type) else "u") + prim, scalar_type, operands[0], operands[1]
        )

    def any(self, truths: str) -> str:
        """i1: whether a lane is true."""
        return truths if self.width == 1 else self._compared_bits("ne", truths, 0)

    def all(self, truths: str) -> str:
        """i1: whether all lanes are true."""
        return truths if self.width == 1 else self._compared_bits("eq", truths, -1)

    def _compared_bits(self, condition: str, truths: str, pattern: int) -> str:
        bits = f"i{self.width}"
        word = self.code.op(f"bitcast {self.ty('b1')} {truths} to {bits}")
        return self.code.op(f"icmp {condition} {bits} {word}, {pattern}")

    def _unlikely(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return operands[0]

    def _add(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary(
            "fadd" if is_float(scalar_type) else "add", scalar_type, operands[0], operands[1]
        )

    def _sub(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary(
            "fsub" if is_float(scalar_type) else "sub", scalar_type, operands[0], operands[1]
        )

    def _mul(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary(
            "fmul" if is_float(scalar_type) else "mul", scalar_type, operands[0], operands[1]
        )

    def _div(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if is_float(scalar_type):
            return self.binary("fdiv", scalar_type, operands[0], operands[1])
        zero, quotient = self._safe_div(scalar_type, operands[0], operands[1])
        return self.pick(scalar_type, zero, self.const(scalar_type, 0), quotient)

    def _rem(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        left, right = operands
        zero, quotient = self._safe_div(scalar_type, left, right)
        remainder = self.binary(
            "sub", scalar_type, left, self.binary("mul", scalar_type, quotient, right)
        )
        return self.pick(scalar_type, zero, left, remainder)

    def _safe_div(self, scalar_type: ScalarType, left: str, right: str) -> tuple[str, str]:
        """(right == 0, left / right with MIN / -1 = MIN); that by 0 is some defined value."""
        bits = BITS[scalar_type]
        zero = self.icmp("eq", scalar_type, right, self.const(scalar_type, 0))
        undefined = zero
        if is_signed(scalar_type):
            least = self.icmp("eq", scalar_type, left, self.const(scalar_type, 1 << (bits - 1)))
            minus = self.icmp("eq", scalar_type, right, self.const(scalar_type, (1 << bits) - 1))
            undefined = self.binary("or", "b1", zero, self.binary("and", "b1", least, minus))
        right = self.pick(scalar_type, undefined, self.const(scalar_type, 1), right)
        if self.width == 1 or bits == 64:
            return zero, self.binary(
                "sdiv" if is_signed(scalar_type) else "udiv", scalar_type, left, right
            )
        # no vector instruction divides integers; the quotient of integers of at most 24 (53) bits,
        # rounded to a float (double) and truncated, is exact
        wide_float, integer = ("float" if bits <= 16 else "double"), llvm_scalar(scalar_type)
        to_float, back = ("sitofp", "fptosi") if is_signed(scalar_type) else ("uitofp", "fptoui")
        dividend = self.cast(to_float, left, integer, wide_float)
        divisor = self.cast(to_float, right, integer, wide_float)
        quotient = self.code.op(f"fdiv {self.raw(wide_float)} {dividend}, {divisor}")
        return zero, self.cast(back, quotient, wide_float, integer)

    def _neg(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if is_float(scalar_type):
            return self.code.op(f"fneg {self.ty(scalar_type)} {operands[0]}")
        return self.binary("sub", scalar_type, self.const(scalar_type, 0), operands[0])

    def _abs(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if is_float(scalar_type):
            return self.intrinsic("fabs", scalar_type, operands)
        return (
            operands[0]
            if not is_signed(scalar_type)
            else self.intrinsic("abs", scalar_type, operands, "i1 false")
        )

    def _fma(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.intrinsic("fma", scalar_type, operands)

    def _min(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self._extreme("min", scalar_type, operands)

    def _max(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self._extreme("max", scalar_type, operands)

    def _extreme(self, which: str, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if is_float(scalar_type):
            return self.intrinsic(f"{which}imum", scalar_type, operands)
        return self.intrinsic(
            ("s" if is_signed(scalar_type) else "u") + which, scalar_type, operands
        )

    def _copysign(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.intrinsic("copysign", scalar_type, operands)

    def _select(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.pick(scalar_type, operands[0], operands[1], operands[2])

    def _and(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary("and", scalar_type, operands[0], operands[1])

    def _or(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary("or", scalar_type, operands[0], operands[1])

    def _xor(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary("xor", scalar_type, operands[0], operands[1])

    def _not(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.binary(
            "xor", scalar_type, operands[0], self.const(scalar_type, (1 << BITS[scalar_type]) - 1)
        )

    negated = _not  # for those who know which primitive they mean

    def _shl(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self._shift("shl", scalar_type, operands)

    def _shr(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if not is_signed(scalar_type):
            return self._shift("lshr", scalar_type, operands)
        top = self.const(scalar_type, BITS[scalar_type] - 1)
        count = _constant(operands[1])
        if count is not None:
            return self.binary(
                "ashr", scalar_type, operands[0], operands[1] if count < BITS[scalar_type] else top
            )
        return self.binary(
            "ashr",
            scalar_type,
            operands[0],
            self.intrinsic("umin", scalar_type, (operands[1], top)),
        )

    def _shift(self, opcode: str, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        count = _constant(operands[1])
        if count is not None:
            return (
                self.binary(opcode, scalar_type, operands[0], operands[1])
                if count < BITS[scalar_type]
                else self.const(scalar_type, 0)
            )
        in_range = self.icmp(
            "ult", scalar_type, operands[1], self.const(scalar_type, BITS[scalar_type])
        )
        return self.pick(
            scalar_type,
            in_range,
            self.binary(opcode, scalar_type, operands[0], operands[1]),
            self.const(scalar_type, 0),
        )

    def _mulhi(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        if BITS[scalar_type] == 64:
            return self._mulhi64(scalar_type, operands[0], operands[1])
        extend = "sext" if is_signed(scalar_type) else "zext"
        left = self.cast(extend, operands[0], "i32", "i64")
        right = self.cast(extend, operands[1], "i32", "i64")
        high = self.binary(
            "lshr", "u64", self.binary("mul", "u64", left, right), self.const("u64", 32)
        )
        return self.cast("trunc", high, "i64", "i32")

    def _mulhi64(self, scalar_type: ScalarType, left: str, right: str) -> str:
        mask, half = self.const("u64", 0xFFFFFFFF), self.const("u64", 32)

        def u64(opcode: str, first: str, second: str) -> str:
            return self.binary(opcode, "u64", first, second)

        left_low = u64("and", left, mask)
        right_low = u64("and", right, mask)
        left_high = u64("lshr", left, half)
        right_high = u64("lshr", right, half)
        middle = u64(
            "add",
            u64("mul", left_high, right_low),
            u64("lshr", u64("mul", left_low, right_low), half),
        )
        low = u64("add", u64("mul", left_low, right_high), u64("and", middle, mask))
        high = u64(
            "add",
            u64("mul", left_high, right_high),
            u64("add", u64("lshr", middle, half), u64("lshr", low, half)),
        )
        if is_signed(scalar_type):
            for factor, other in ((left, right), (right, left)):
                negative = self.binary("ashr", scalar_type, factor, self.const(scalar_type, 63))
                high = u64("sub", high, u64("and", negative, other))
        return high

    def _popcount(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.intrinsic("ctpop", scalar_type, operands)

    def _clz(self, scalar_type: ScalarType, operands: Sequence[str]) -> str:
        return self.intrinsic("ctlz", scalar_type, operands, "i1 false")

    def _bitcast(self, source: ScalarType, target: ScalarType, value: str) -> str:
        return self.cast("bitcast", value, llvm_scalar(source), llvm_scalar(target))

    def converted(self, source: ScalarType, target: ScalarType, value: str) -> str:
        from_type, to_type = llvm_scalar(source), llvm_scalar(target)
        if target == "b1":
            if source == "b1":
                return value
            zero = self.const(source, 0)
            return self.compared("ne", source, (value, zero))
        if is_float(source) and is_float(target):
            return self.cast("fpext" if target == "f64" else "fptrunc", value, from_type, to_type)
        if is_float(target):
            return self.cast("sitofp" if is_signed(source) else "uitofp", value, from_type, to_type)
        if is_float(source) and self.width > 1:
            return self._saturate(source, target, value)
        if is_float(source):
            opcode = "fptosi" if is_signed(target) else "fptoui"
            name = f"llvm.{opcode}.sat.{self.suffix(target)}.{self.suffix(source)}"
            return self.code.call(name, self.ty(target), f"{self.ty(source)} {value}")
        if BITS[source] > BITS[target]:
            return self.cast("trunc", value, from_type, to_type)
        return self.cast("sext" if is_signed(source) else "zext", value, from_type, to_type)

    def _saturate(self, source: ScalarType, target: ScalarType, value: str) -> str:
        """Float to integer; the intrinsic would be taken apart lane by lane."""
        bits, signed = BITS[target], is_signed(target)
        wide = max(bits, 32)
        low = -(1 << (bits - 1)) if signed else 0
        least, limit = (
            self.const(source, bits_of(source, float(b))) for b in (low, 1 << (bits - signed))
        )
        value = self.pick(source, self.compared("lt", source, (value, least)), least, value)
        fits = self.compared("lt", source, (value, limit))
        safe = self.pick(source, fits, value, self.const(source, 0))
        opcode = "fptosi" if signed or wide > bits else "fptoui"
        integer = self.cast(opcode, safe, llvm_scalar(source), f"i{wide}")
        integer = self.cast("trunc", integer, f"i{wide}", f"i{bits}") if wide > bits else integer
        over = self.compared("ge", source, (value, limit))
        return self.pick(target, over, self.const(target, (1 << (bits - signed)) - 1), integer)
