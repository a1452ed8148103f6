"""pow, hypot, rsqrt, cbrt.

Invariant: pow is at most 4 ulp from the true value and has the special values of C99; the others 2
ulp. Method of pow: log2|x| as a pair through the atanh series with its leading terms in
double-length arithmetic, times y exactly, then 2^r on |r| <= 1/2 by a minimax polynomial.
"""

from __future__ import annotations

from ...ir.scalar.program import Builder, Val
from .logarithm import normal_exponent, split_exponent
from .tools import (
    FORMAT,
    INF,
    NAN,
    Pair,
    clamp,
    divide_pair,
    exponent_of_shifted,
    fast_two_sum,
    flip_sign,
    horner,
    outside,
    two_prod,
    vanishing,
)

__all__ = ["pow", "hypot", "rsqrt", "cbrt", "log2_pair", "exp2_pair"]

# 2 / ln2 and a third of it, each rounded, and what that lost
_LEAD = {
    "f32": (2.885390043258667, 3.851926067000022e-08),
    "f64": (2.8853900817779268, 4.0710547481862066e-17),
}
_NEXT = {
    "f32": (0.9617967009544373, -7.028461812552678e-09),
    "f64": (0.9617966939259756, 5.0577616648125907e-17),
}
# (2 atanh(t) / ln2 - lead t - next t^3) / t^5 in z = t^2, |t| <= 0.1716
_REST = {
    "f32": (0.57708025, 0.411844343, 0.337944686),
    "f64": (
        0.5770780163555851,
        0.41219858311134594,
        0.32059889791269136,
        0.26230819867295446,
        0.2219522691326784,
        0.19240137583125327,
        0.16845031522442241,
        0.1728280944883621,
    ),
}
# (2^r - 1) / r, |r| <= 1/2
_EXP2 = {
    "f32": (0.693147182, 0.240226507, 0.0555033013, 0.00961800572, 0.00133996375, 0.000154759022),
    "f64": (
        0.6931471805599453,
        0.24022650695910072,
        0.05550410866482169,
        0.009618129107628494,
        0.0013333558146392424,
        0.0001540353039334265,
        1.5252733854587293e-05,
        1.3215486832025068e-06,
        1.0178051826652494e-07,
        7.054888573391155e-09,
        4.4565881737645954e-10,
        2.5741424161331107e-11,
    ),
}
_LIMIT = {"f32": 160.0, "f64": 1100.0}  # 2^limit overflows, 2^-limit is 0


def _log2_of_parts(math: Builder, exponent: Val, fraction: Val) -> Pair:
    """log2(2^exponent (1 + fraction)) to about 1.3 times the precision, 1 + fraction around 1 on a
    logarithmic scale; the low part is a few ulp of the high one or less.

    In pow its product with y goes up to 1100 (160 in f32), and 2^r turns the absolute error of that
    into a relative one: the logarithm needs about 10 (7) bits more than the type has. With
    t = f / (2 + f), |t| <= 0.1716 on both sides, log2(1 + f) = t (lead + z (next + z P(z))): what
    stands outside of P is a pair, P is one number, as z is below 0.03."""
    lead, lead_low = _LEAD[fraction.type]
    third, third_low = _NEXT[fraction.type]
    denominator, denominator_low = fast_two_sum(math.const(fraction.type, 2.0), fraction)
    ratio, ratio_low = divide_pair(
        math, fraction, denominator, None, denominator_low, moderate=True
    )
    square, square_low = two_prod(math, ratio, ratio)
    square_low = math.fma(ratio + ratio, ratio_low, square_low)
    rest = horner(math, square, _REST[fraction.type])
    inner = math.fma(square, rest, third)
    inner_low = math.fma(square, rest, third - inner) + third_low
    part, part_low = two_prod(math, square, inner)
    part_low = math.fma(square, inner_low, math.fma(square_low, inner, part_low))
    factor, factor_low = fast_two_sum(math.const(fraction.type, lead), part)
    factor_low = factor_low + (part_low + lead_low)
    product, product_low = two_prod(math, ratio, factor)
    product_low = math.fma(ratio, factor_low, math.fma(ratio_low, factor, product_low))
    high, low = fast_two_sum(exponent, product)
    return high, low + product_low


def log2_pair(math: Builder, magnitude: Val) -> Pair:
    """log2(magnitude) as above for a positive finite magnitude, subnormal ones included."""
    parts = split_exponent(math, magnitude, root=True)
    return fast_two_sum(*_log2_of_parts(math, *parts))


def exp2_pair(math: Builder, x: Val, low: Val) -> Val:
    """2^(x + low) with |x| <= limit; the power of two is applied in two halves, as 2^n itself need
    not be a normal number: only the second product may round, to a subnormal result."""
    layout = FORMAT[x.type]
    shifted = x + layout.magic
    reduced = (x - (shifted - layout.magic)) + low
    exponent = math.bitcast(shifted, layout.signed) - math.bitcast(
        math.const(x.type, layout.magic), layout.signed
    )
    half = exponent >> 1  # floor: exponent - half is the other half, whatever the sign
    first = math.bitcast((half << layout.nmant) + layout.one, x.type)
    second = math.bitcast(((exponent - half) << layout.nmant) + layout.one, x.type)
    first = vanishing(math, first, x < -float(layout.bias + layout.nmant + 2))
    fraction: Val = math.fma(reduced, horner(math, reduced, _EXP2[x.type]), 1.0)
    return fraction * first * second


def pow(math: Builder, x: Val, y: Val) -> Val:
    """2^(y log2|x|) where |x| is normal and the result far from subnormal; on a detour all other
    results; where x is not positive, or on the detour, the signs and special values."""
    layout, magnitude = FORMAT[x.type], math.abs(x)
    high, low = _log2_of_parts(math, *normal_exponent(math, magnitude, root=True))
    product, product_low = two_prod(math, y, high)
    product_low = math.fma(y, low, product_low)
    strange = outside(math, magnitude, INF) | ~(math.abs(product) < float(layout.bias - 2))
    shifted = product + layout.shift
    reduced = (product - (shifted - layout.shift)) + product_low
    power = exponent_of_shifted(math, shifted)
    result = math.fma(power * reduced, horner(math, reduced, _EXP2[x.type]), power)
    result = math.select(math.unlikely(strange), _pow_of_every(math, magnitude, y), result)
    seldom = strange | (math.bitcast(x, layout.signed) < 0)
    return math.select(math.unlikely(seldom), _c99(math, x, y, result), result)


def _pow_of_every(math: Builder, magnitude: Val, y: Val) -> Val:
    """magnitude^y with any magnitude and result, NaN where 0 and infinity meet."""
    high, low = log2_pair(math, magnitude)
    high = _log_of_special(math, magnitude, high)
    product, product_low = two_prod(math, y, high)
    product_low = math.fma(y, low, product_low)
    limit = _LIMIT[y.type]
    beyond = ~(math.abs(product) < limit)  # there the low part may be inf - inf
    product = clamp(math, product, -limit, limit)
    product_low = math.select(beyond, math.const(y.type, 0.0), product_low)
    return exp2_pair(math, product, product_low)


def _log_of_special(math: Builder, magnitude: Val, logarithm: Val) -> Val:
    """Bits of 0, inf and NaN have no logarithm: it is put in, and y * infinity gives the rest."""
    logarithm = math.select(magnitude < INF, logarithm, magnitude)
    return math.select(magnitude == 0, math.const(magnitude.type, -INF), logarithm)


def _c99(math: Builder, x: Val, y: Val, result: Val) -> Val:
    """C99's special cases, where `result` is |x|^y: an odd whole y keeps the sign of x, a y that is
    not whole has no power of negative x; all large numbers are whole and even, so trunc decides for
    every y."""
    magnitude, layout = math.abs(x), FORMAT[x.type]
    half = y * 0.5
    whole, even = math.trunc(y) == y, math.trunc(half) == half
    negative = math.bitcast(x, layout.signed) < 0  # by the bit, for -0
    result = math.select((x < 0) & ~whole & (magnitude < INF), NAN, result)
    odd_sign = math.select(
        negative & whole & ~even,
        math.const(layout.unsigned, layout.sign),
        math.const(layout.unsigned, 0),
    )
    result = flip_sign(math, result, odd_sign)
    unit = (magnitude == 1.0) & (math.abs(y) == INF)  # 0 * inf would be NaN
    return math.select((y == 0) | (x == 1.0) | unit, 1.0, result)


def rsqrt(math: Builder, x: Val) -> Val:
    root: Val = math.sqrt(x)
    return 1.0 / root


def hypot(math: Builder, x: Val, y: Val) -> Val:
    """sqrt(x^2 + y^2) with operands scaled by a power of two, the sum of squares to twice the
    precision.

    Scaled, the larger square does not overflow, and its rounding error does not underflow; powers
    of two round nothing."""
    layout = FORMAT[x.type]
    x_size, y_size = math.abs(x), math.abs(y)
    swapped = x_size < y_size
    larger, smaller = math.select(swapped, y_size, x_size), math.select(swapped, x_size, y_size)
    reach = layout.bias // 2 - 3
    upscale, downscale = 2.0 ** (reach + layout.nmant), 2.0 ** -(reach + 5)
    large, little = larger > 2.0**reach, larger < 2.0 ** -(reach - layout.nmant)
    scale = math.select(large, downscale, math.select(little, upscale, math.const(x.type, 1.0)))
    back = math.select(
        large, 1 / downscale, math.select(little, 1 / upscale, math.const(x.type, 1.0))
    )
    larger, smaller = larger * scale, smaller * scale
    square, square_low = two_prod(math, larger, larger)
    total, total_low = fast_two_sum(square, smaller * smaller)
    total_low = total_low + (square_low + math.fma(smaller, smaller, -(smaller * smaller)))
    root = math.sqrt(total)  # then one step of Newton, 0/0 left out
    correction = math.fma(-root, root, total) + total_low
    result = math.select(total > 0, math.fma(correction, 0.5 / root, root), root) * back
    return math.select((x_size == INF) | (y_size == INF), INF, result)  # even beside NaN


# ((1 - h)^(-1/3) - 1) / h, |h| <= 0.108
_INVERSE_ROOT = (0.333326161, 0.223629624, 0.174875304)
_LEAST_CUBE = {"f32": 2.0**-90, "f64": 2.0**-900}  # from here on no rounding error underflows


def _inverse_cbrt_seed(math: Builder, x: Val) -> Val:
    """x^(-1/3) to 3.5 %: a constant minus a third of the bits, which divides the exponent and,
    roughly, the fraction.

    A third of 32 bits: of them as a float, in units of 2^9, the sum with 2^23 has whole numbers in
    its low bits. Of 64 bits the upper half is enough, times 2^32 / 3."""
    if x.type == "f32":
        bits = math.convert(math.bitcast(x, "i32"), "f32")
        units = math.fma(bits, -1.0 / (3 * 2.0**9), 2.0**23 + float(0x54A20000 >> 9))
        return math.bitcast(math.bitcast(units, "u32") << 9, "f32")
    third = (math.bitcast(x, "u64") >> 32) * 0x55555556
    return math.bitcast(math.const("u64", 0x553EEAAAC0000000) - third, "f64")


def _positive_cbrt(math: Builder, x: Val) -> Val:
    """x times the square of an inverse root, which needs no division, then one step of Newton whose
    residual is exact.

    With h = 1 - x y^3 the inverse root is y (1 - h)^(-1/3): a polynomial, for float64 one more step
    with its first term."""
    inverse = _inverse_cbrt_seed(math, x)
    defect = math.fma(-(inverse * inverse), x * inverse, 1.0)
    inverse = math.fma(inverse * defect, horner(math, defect, _INVERSE_ROOT), inverse)
    if x.type == "f64":
        defect = math.fma(-(inverse * inverse), x * inverse, 1.0)
        inverse = math.fma(inverse * defect, 1.0 / 3.0, inverse)
    inverse_square = inverse * inverse
    root = x * inverse_square
    square, square_low = two_prod(math, root, root)
    residual = math.fma(-square_low, root, math.fma(-square, root, x))
    return math.fma(residual, inverse_square * (1.0 / 3.0), root)


def cbrt(math: Builder, x: Val) -> Val:
    magnitude, least = math.abs(x), _LEAST_CUBE[x.type]
    # small numbers are scaled by a power of two whose cube root is one
    lift = 33 if x.type == "f32" else 300
    scaled = _positive_cbrt(math, magnitude * 2.0 ** (3 * lift)) * 2.0**-lift
    itself = (magnitude == 0) | ~(magnitude < INF)  # 0, inf and NaN
    rare = math.select(itself, magnitude, scaled)
    seldom = outside(math, magnitude, INF, least)
    return math.copysign(math.select(seldom, rare, _positive_cbrt(math, magnitude)), x)
