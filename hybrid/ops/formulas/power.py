"""pow, hypot, rsqrt, cbrt.

Invariant: pow is at most 4 ulp from the true value and has the special values of C99; the others 2
ulp. Method of pow: log2|x| as a pair through the atanh series with its leading terms in
double-length arithmetic, times y exactly, then 2^r on |r| <= 1/2 by a minimax polynomial (Remez
exchange).
"""

from __future__ import annotations

from ...ir.scalar.program import Builder, Val
from .logarithm import split_exponent
from .tools import FORMAT, INF, NAN, Pair, divide_pair, fast_two_sum, flip_sign, horner, two_prod

__all__ = ["pow", "hypot", "rsqrt", "cbrt", "log2_pair", "exp2_pair"]

_THIRD = {
    "f32": (0.3333333432674408, -9.934107758624577e-09),
    "f64": (0.3333333333333333, 1.850371707708594e-17),
}
_TWO_LOG2E = {
    "f32": (2.885390043258667, 3.851926067000022e-08),
    "f64": (2.8853900817779268, 4.0710547481862066e-17),
}
# (atanh(t)/t - 1 - z/3) / z^2 in z = t^2, |t| <= 0.1716
_ATANH = {
    "f32": (0.199999988, 0.14285937, 0.110925011, 0.0973404497),
    "f64": (
        0.2,
        0.14285714285714188,
        0.11111111111145389,
        0.09090909084610896,
        0.07692308378025214,
        0.06666620140456335,
        0.05884339402090065,
        0.052114079168488994,
        0.055069828384401276,
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


def log2_pair(math: Builder, magnitude: Val) -> Pair:
    """log2(magnitude) to about 1.3 times the precision, for a positive finite magnitude.

    In pow its product with y goes up to 1100 (160 in f32), and 2^r turns the absolute error of that
    into a relative one: the logarithm needs about 10 (7) bits more than the type has. The leading
    terms of atanh(t) = t + t (t^2/3 + t^4 P(t^2)) are pairs, the polynomial is one number, as t^2
    is below 0.03."""
    # the fraction around 0 on a logarithmic scale: |t| <= 0.1716 on both sides
    exponent, fraction = split_exponent(math, magnitude, root=True)
    denominator, denominator_low = fast_two_sum(math.const(magnitude.type, 2.0), fraction)
    ratio, ratio_low = divide_pair(
        math, fraction, denominator, None, denominator_low, moderate=True
    )
    square = ratio * ratio
    square_low = math.fma(ratio, ratio, -square) + (ratio + ratio) * ratio_low
    third, third_low = _THIRD[magnitude.type]
    series, series_low = fast_two_sum(
        math.const(magnitude.type, third), square * horner(math, square, _ATANH[magnitude.type])
    )
    inner = square * series
    inner_low = math.fma(square, series, -inner) + math.fma(
        square, series_low + third_low, square_low * series
    )
    higher, higher_low = two_prod(math, ratio, inner)
    higher_low = math.fma(ratio, inner_low, math.fma(ratio_low, inner, higher_low))
    half_log, half_log_low = fast_two_sum(ratio, higher)
    half_log_low = half_log_low + (ratio_low + higher_low)
    scale, scale_low = _TWO_LOG2E[magnitude.type]
    product, product_low = two_prod(math, half_log, math.const(magnitude.type, scale))
    product_low = product_low + math.fma(half_log, scale_low, half_log_low * scale)
    high, low = fast_two_sum(exponent, product)
    return fast_two_sum(high, low + product_low)


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
    fraction: Val = math.fma(reduced, horner(math, reduced, _EXP2[x.type]), 1.0)
    return fraction * first * second


def pow(math: Builder, x: Val, y: Val) -> Val:
    magnitude = math.abs(x)
    special = ~((x > 0) & (x < INF))
    high, low = log2_pair(math, magnitude)
    high = math.select(math.unlikely(special), _log_of_special(math, magnitude, high), high)
    product, product_low = two_prod(math, y, high)
    product_low = math.fma(y, low, product_low)
    limit = _LIMIT[x.type]
    outside = ~(math.abs(product) < limit)  # there the low part may be inf - inf
    clamped = math.select(product < -limit, -limit, math.select(product > limit, limit, product))
    wild = math.unlikely(outside)
    product = math.select(wild, clamped, product)
    product_low = math.select(wild, math.const(x.type, 0.0), product_low)
    result = exp2_pair(math, product, product_low)
    return math.select(math.unlikely(special | outside), _c99(math, x, y, result), result)


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


def cbrt(math: Builder, x: Val) -> Val:
    """A seed from the exponent divided by three, then Halley steps, then one of Newton whose
    residual is exact.

    Halley's step cubes the relative error, times 2/3: of the seed's 4.4 % two leave 1e-13, enough
    for f32, and three 2e-39."""
    layout = FORMAT[x.type]
    magnitude = math.abs(x)
    # scaled to normal numbers, and to cubes that do not overflow, by a power whose cube root is one
    lift = 3 * (layout.nmant // 3 + 1)
    subnormal, large = magnitude < layout.tiny, magnitude > 2.0 ** (layout.bias - 4)
    scaled = magnitude * math.select(
        subnormal, 2.0**lift, math.select(large, 2.0**-6, math.const(x.type, 1.0))
    )
    third = math.mulhi(
        math.bitcast(scaled, layout.unsigned),
        math.const(layout.unsigned, ((1 << layout.width) + 2) // 3),
    )
    # bits / 3 by the high half of a product: it divides the exponent and, roughly, the fraction;
    # two thirds of the bias come back, and 1/21 centres the error: 0 to 5.8 % becomes -4.4 to 2.0 %
    root = math.bitcast(third + (layout.one - layout.one // 3 - (1 << layout.nmant) // 21), x.type)
    for _ in range(2 if x.type == "f32" else 3):
        cube = root * root * root
        root = root * ((cube + (scaled + scaled)) / (cube + cube + scaled))
    square, square_low = two_prod(math, root, root)
    residual = math.fma(-square, root, scaled) - square_low * root
    root = math.fma(residual, 1.0 / (3.0 * square), root)
    root = root * math.select(
        subnormal, 2.0 ** -(lift // 3), math.select(large, 4.0, math.const(x.type, 1.0))
    )
    itself = (magnitude == 0) | ~(magnitude < INF)  # 0, inf and NaN
    return math.copysign(math.select(itself, magnitude, root), x)
