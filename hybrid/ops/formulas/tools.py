"""Building blocks of the formulas: formats, polynomials, error-free sums, powers of two.

Invariant: everything works in the type of its arguments (f32 or f64) and uses algebra primitives
only. The error-free transformations are those of Dekker and Knuth (Muller et al., Handbook of
Floating-Point Arithmetic, chapter 4); a pair (hi, lo) stands for the unevaluated sum hi + lo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...ir.scalar.program import Builder, Val

__all__ = [
    "Format",
    "FORMAT",
    "horner",
    "clamp",
    "two_sum",
    "fast_two_sum",
    "two_prod",
    "exponent_of_shifted",
    "sign_bits",
    "flip_sign",
    "NAN",
    "INF",
    "divide_pair",
    "sqrt_pair",
    "float_of_int",
    "Pair",
]

NAN, INF = math.nan, math.inf
Pair = tuple[Val, Val]


class Format(NamedTuple):
    """The layout of a float type."""

    signed: str  # integer types of its width
    unsigned: str
    width: int
    mant: int  # bits of the fraction
    bias: int
    magic: float  # 1.5 * 2**mant: adding it rounds to an integer that sits in the low bits
    tiny: float  # smallest normal number
    eps: float  # distance from 1 to the next number

    @property
    def one(self) -> int:
        """The bit pattern of 1.0."""
        return self.bias << self.mant

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)


FORMAT = {
    "f32": Format("i32", "u32", 32, 23, 127, 1.5 * 2.0**23, 2.0**-126, 2.0**-23),
    "f64": Format("i64", "u64", 64, 52, 1023, 1.5 * 2.0**52, 2.0**-1022, 2.0**-52),
}


def horner(s: Builder, x: Val, coefficients: Sequence[float]) -> Val:
    """c[0] + x*(c[1] + x*(...)) with fma."""
    r = s.const(x.type, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        r = s.fma(r, x, c)
    return r


def clamp(s: Builder, x: Val, low: float | None, high: float | None) -> Val:
    """x limited to [low, high]; NaN passes through."""
    if low is not None:
        x = s.select(x < low, low, x)
    return x if high is None else s.select(x > high, high, x)


def two_sum(a: Val, b: Val) -> Pair:
    t = a + b
    v = t - a
    return t, (a - (t - v)) + (b - v)


def fast_two_sum(a: Val, b: Val) -> Pair:
    """As two_sum, for |a| >= |b| or a == 0."""
    t = a + b
    return t, b - (t - a)


def two_prod(s: Builder, a: Val, b: Val) -> Pair:
    t = a * b
    return t, s.fma(a, b, -t)


def divide_pair(
    s: Builder, a: Val, b: Val, a_low: Val | None = None, b_low: Val | None = None
) -> Pair:
    """(a + a_low) / (b + b_low) as a pair."""
    q = a / b
    rem = s.fma(-q, b, a)
    if a_low is not None:
        rem = rem + a_low
    if b_low is not None:
        rem = s.fma(-q, b_low, rem)
    return q, rem / b


def sqrt_pair(s: Builder, a: Val, a_low: Val) -> Pair:
    """sqrt(a + a_low) as a pair; sqrt(0) is (0, 0)."""
    r = s.sqrt(a)
    low = (s.fma(-r, r, a) + a_low) / (r + r)
    return r, s.select(r > 0, low, 0.0)


def exponent_of_shifted(s: Builder, t: Val) -> Val:
    """2**n as a float, for t = magic + n and n in the exponent range of normal numbers."""
    f = FORMAT[t.type]
    return s.bitcast((s.bitcast(t, f.signed) << f.mant) + f.one, t.type)


def float_of_int(s: Builder, n: Val, ty: str) -> Val:
    """A small integer of the format's integer type as a float (exact)."""
    if ty == "f32":
        return s.convert(n, ty)
    f = FORMAT[ty]  # 64-bit conversions are slow on many CPUs
    base = (f.bias + f.mant << f.mant) | (1 << f.mant - 1)
    return s.bitcast(n + base, ty) - f.magic


def sign_bits(s: Builder, x: Val) -> Val:
    """The sign bit of x, as an unsigned integer."""
    f = FORMAT[x.type]
    return s.bitcast(x, f.unsigned) & f.sign


def flip_sign(s: Builder, x: Val, bits: Val) -> Val:
    """x with its sign bit exclusive-or'ed with `bits`."""
    return s.bitcast(s.bitcast(x, FORMAT[x.type].unsigned) ^ bits, x.type)
