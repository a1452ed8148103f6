"""Building blocks of the formulas: formats, polynomials, error-free sums, powers of two.

Invariant: everything works in the type of its arguments (f32 or f64) and uses algebra primitives
only. The error-free transformations are those of Dekker and Knuth (Muller et al., Handbook of
Floating-Point Arithmetic, chapter 4); a pair (high, low) stands for the unevaluated sum high + low.
Cases are selected, never branched on: lanes of a vector take different cases, so each computes all
of them, and what is not selected may well be infinite or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...ir.scalar.program import Builder, ScalarType, Val, bits_of

__all__ = [
    "Format",
    "FORMAT",
    "horner",
    "horner_halves",
    "clamp",
    "outside",
    "two_sum",
    "fast_two_sum",
    "two_prod",
    "exponent_of_shifted",
    "sign_bits",
    "vanishing",
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

    signed: ScalarType  # integer types of its width
    unsigned: ScalarType
    width: int
    nmant: int  # bits of the fraction
    bias: int
    # 1.5 * 2**nmant: adding it rounds to an integer that sits in the low bits; with 1.0 * 2**nmant
    # a negative integer would fall below the power of two, where last places are halves
    magic: float
    tiny: float  # smallest normal number
    eps: float  # distance from 1 to the next number

    @property
    def one(self) -> int:
        """The bit pattern of 1.0."""
        return self.bias << self.nmant

    @property
    def shift(self) -> float:
        """magic with the bias in its low bits."""
        return self.magic + self.bias

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)


FORMAT = {
    "f32": Format("i32", "u32", 32, 23, 127, 1.5 * 2.0**23, 2.0**-126, 2.0**-23),
    "f64": Format("i64", "u64", 64, 52, 1023, 1.5 * 2.0**52, 2.0**-1022, 2.0**-52),
}


def horner(algebra: Builder, x: Val, coefficients: Sequence[float]) -> Val:
    """c[0] + x*(c[1] + x*(...)).

    One rounding a step, and the same one everywhere: an explicit fma leaves no contraction of
    products and sums to the compiler of a target."""
    result = algebra.const(x.type, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = algebra.fma(result, x, coefficient)
    return result


def horner_halves(algebra: Builder, x: Val, square: Val, coefficients: Sequence[float]) -> Val:
    """The same polynomial by its even and its odd terms, with square = x^2: two chains of half the
    length, which wait for each other's results less."""
    odd = horner(algebra, square, coefficients[1::2])
    even: Val = algebra.fma(x, odd, horner(algebra, square, coefficients[0::2]))
    return even


def clamp(algebra: Builder, x: Val, low: float | None, high: float | None) -> Val:
    """x limited to [low, high]; NaN passes through, as it compares false."""
    if low is not None:
        x = algebra.select(x < low, low, x)
    return x if high is None else algebra.select(x > high, high, x)


def vanishing(algebra: Builder, power: Val, none: Val) -> Val:
    """A power of two that a result is multiplied by, or 0 where that result is known to be 0: a
    product that underflows takes a hundred cycles and more on many cores, and masked scores, which
    are minus infinity, come by the thousand."""
    return algebra.select(none, 0.0, power)


def outside(algebra: Builder, x: Val, high: float, low: float | None = None) -> Val:
    """Whether x is not in [low, high), seldom so; low: the smallest normal number, or another
    positive one. Bits of floats from there on are whole numbers in order, and those of negative
    ones and NaN are larger: one comparison."""
    layout = FORMAT[x.type]
    first, last = (bits_of(x.type, edge) for edge in (layout.tiny if low is None else low, high))
    return algebra.unlikely(algebra.bitcast(x, layout.unsigned) - first >= last - first)


def two_sum(first: Val, second: Val) -> Pair:
    """The rounded sum and its rounding error, whichever of the two is larger."""
    total = first + second
    virtual = total - first
    return total, (first - (total - virtual)) + (second - virtual)


def fast_two_sum(larger: Val, smaller: Val) -> Pair:
    """As two_sum in half the operations, for |larger| >= |smaller| or larger == 0."""
    total = larger + smaller
    return total, smaller - (total - larger)


def two_prod(algebra: Builder, first: Val, second: Val) -> Pair:
    """The rounded product and its rounding error: fma rounds once, and the error is a number of the
    type unless it underflows."""
    product = first * second
    return product, algebra.fma(first, second, -product)


def divide_pair(
    algebra: Builder,
    numerator: Val,
    denominator: Val,
    numerator_low: Val | None = None,
    denominator_low: Val | None = None,
    *,
    moderate: bool = False,
) -> Pair:
    """(numerator + numerator_low) / (denominator + denominator_low) as a pair.

    One division where the denominator is moderate: its reciprocal is a normal number. The quotient
    is then off by up to an ulp, which the low part makes up for."""
    if moderate:
        inverse = 1.0 / denominator
        quotient = numerator * inverse
    else:
        quotient = numerator / denominator
    remainder = algebra.fma(-quotient, denominator, numerator)  # exact, underflow apart
    if numerator_low is not None:
        remainder = remainder + numerator_low
    if denominator_low is not None:
        remainder = algebra.fma(-quotient, denominator_low, remainder)
    return quotient, remainder * inverse if moderate else remainder / denominator


# bits of the inverse root's seed, off by 3.5 %, and ((1 - h)^(-1/2) - 1) / h for |h| <= 0.07
_ROOT_SEED = {"f32": 0x5F375A86, "f64": 0x5FE6EB50C7B537A9}
_INVERSE_ROOT = (0.499998093, 0.374996752, 0.314037532, 0.275208741)


def sqrt_pair(algebra: Builder, square: Val, square_low: Val | None = None) -> Pair:
    """sqrt(square + square_low) as a pair, for 0 and normal squares whose root's is finite, too.

    The first part may be off by two ulp, which the second one makes up for. No division and no
    root: with h = 1 - s y^2 an inverse root is y (1 - h)^(-1/2), for float64 twice."""
    layout = FORMAT[square.type]
    bits = algebra.bitcast(square, layout.unsigned) >> 1
    inverse = algebra.bitcast(_ROOT_SEED[square.type] - bits, square.type)
    defect = algebra.fma(-(square * inverse), inverse, 1.0)
    inverse = algebra.fma(inverse * defect, horner(algebra, defect, _INVERSE_ROOT), inverse)
    if square.type == "f64":
        defect = algebra.fma(-(square * inverse), inverse, 1.0)
        inverse = algebra.fma(inverse * defect, algebra.fma(defect, 0.375, 0.5), inverse)
    root = square * inverse  # then one step of Newton, whose residual is exact
    residual = algebra.fma(-root, root, square)
    residual = residual if square_low is None else residual + square_low
    return root, residual * (inverse * 0.5)


def exponent_of_shifted(algebra: Builder, shifted: Val) -> Val:
    """2**n as a float, for shifted = layout.shift + n and n an exponent of normal numbers.

    n + bias sits in the low bits; the left shift moves it to the field of the exponent, and the
    bits of magic itself out of the word."""
    layout = FORMAT[shifted.type]
    return algebra.bitcast(algebra.bitcast(shifted, layout.unsigned) << layout.nmant, shifted.type)


def float_of_int(algebra: Builder, integer: Val, float_type: ScalarType) -> Val:
    """A small integer of the format's integer type as a float (exact)."""
    if float_type == "f32":
        return algebra.convert(integer, float_type)
    # 64-bit conversions are slow on many CPUs: instead the integer is added to the bits of magic,
    # whose last place is 1, and magic is subtracted, which rounds nothing
    layout = FORMAT[float_type]
    base = (layout.bias + layout.nmant << layout.nmant) | (1 << layout.nmant - 1)
    return algebra.bitcast(integer + base, float_type) - layout.magic


def sign_bits(algebra: Builder, x: Val) -> Val:
    """The sign bit of x, as an unsigned integer."""
    layout = FORMAT[x.type]
    return algebra.bitcast(x, layout.unsigned) & layout.sign


def flip_sign(algebra: Builder, x: Val, bits: Val) -> Val:
    """x with its sign bit exclusive-or'ed with `bits`: one operation, for zeros and NaN too."""
    return algebra.bitcast(algebra.bitcast(x, FORMAT[x.type].unsigned) ^ bits, x.type)
