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


def horner(algebra: Builder, x: Val, coefficients: Sequence[float]) -> Val:
    """c[0] + x*(c[1] + x*(...)) with fma."""
    result = algebra.const(x.type, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = algebra.fma(result, x, coefficient)
    return result


def clamp(algebra: Builder, x: Val, low: float | None, high: float | None) -> Val:
    """x limited to [low, high]; NaN passes through."""
    if low is not None:
        x = algebra.select(x < low, low, x)
    return x if high is None else algebra.select(x > high, high, x)


def two_sum(first: Val, second: Val) -> Pair:
    total = first + second
    virtual = total - first
    return total, (first - (total - virtual)) + (second - virtual)


def fast_two_sum(larger: Val, smaller: Val) -> Pair:
    """As two_sum, for |a| >= |b| or a == 0."""
    total = larger + smaller
    return total, smaller - (total - larger)


def two_prod(algebra: Builder, first: Val, second: Val) -> Pair:
    product = first * second
    return product, algebra.fma(first, second, -product)


def divide_pair(
    algebra: Builder,
    numerator: Val,
    denominator: Val,
    numerator_low: Val | None = None,
    denominator_low: Val | None = None,
) -> Pair:
    """(a + a_low) / (b + b_low) as a pair."""
    quotient = numerator / denominator
    remainder = algebra.fma(-quotient, denominator, numerator)
    if numerator_low is not None:
        remainder = remainder + numerator_low
    if denominator_low is not None:
        remainder = algebra.fma(-quotient, denominator_low, remainder)
    return quotient, remainder / denominator


def sqrt_pair(algebra: Builder, square: Val, square_low: Val) -> Pair:
    """sqrt(a + a_low) as a pair; sqrt(0) is (0, 0)."""
    root = algebra.sqrt(square)
    root_low = (algebra.fma(-root, root, square) + square_low) / (root + root)
    return root, algebra.select(root > 0, root_low, 0.0)


def exponent_of_shifted(algebra: Builder, shifted: Val) -> Val:
    """2**n as a float, for t = magic + n and n in the exponent range of normal numbers."""
    layout = FORMAT[shifted.type]
    return algebra.bitcast(
        (algebra.bitcast(shifted, layout.signed) << layout.mant) + layout.one, shifted.type
    )


def float_of_int(algebra: Builder, integer: Val, float_type: str) -> Val:
    """A small integer of the format's integer type as a float (exact)."""
    if float_type == "f32":
        return algebra.convert(integer, float_type)
    layout = FORMAT[float_type]  # 64-bit conversions are slow on many CPUs
    base = (layout.bias + layout.mant << layout.mant) | (1 << layout.mant - 1)
    return algebra.bitcast(integer + base, float_type) - layout.magic


def sign_bits(algebra: Builder, x: Val) -> Val:
    """The sign bit of x, as an unsigned integer."""
    layout = FORMAT[x.type]
    return algebra.bitcast(x, layout.unsigned) & layout.sign


def flip_sign(algebra: Builder, x: Val, bits: Val) -> Val:
    """x with its sign bit exclusive-or'ed with `bits`."""
    return algebra.bitcast(algebra.bitcast(x, FORMAT[x.type].unsigned) ^ bits, x.type)
