"""erf, erfc and the normal distribution function.

Invariant: erf and erfc are at most 2 ulp from the true value, relative to the tail too (erfc(10) is
not 0). Method: x*P(x^2) near 0; elsewhere erfc(a) = e^(-a^2) * erfcx(a), where (1 + 2a) erfcx(a) is
a minimax polynomial in (a - c)/(a + c) (the transformation of Shepherd and Laframboise, Math. Comp.
36, 1981) and a^2 keeps its rounding error.  erf uses erfc(a) = 2^(-a*P(a)) far from 0.
"""

from __future__ import annotations

from ...ir.scalar.program import Builder, Val
from .exponential import exp_parts
from .tools import (
    FORMAT,
    Pair,
    clamp,
    exponent_of_shifted,
    fast_two_sum,
    horner,
    horner_halves,
    two_prod,
    vanishing,
)

__all__ = ["erf", "erf_near", "erfc", "erfcx_numerator", "normal_tail"]

# up to here erf is a polynomial; beyond it the tail is at most 0.29, of a result of 0.71 or more
_BORDER = 0.75
# erf(x)/x - 1 in x^2
_NEAR = {
    "f32": (
        0.128379166,
        -0.3761262,
        0.112833984,
        -0.0268355031,
        0.00511588715,
        -0.000675935822,
    ),
    "f64": (
        0.1283791670955126,
        -0.37612638903183887,
        0.11283791670958922,
        -0.026866170645521603,
        0.005223977625829216,
        -0.0008548326785645681,
        0.0001205531105378408,
        -1.4924685289677425e-05,
        1.64375140819813e-06,
        -1.5993504290806898e-07,
        1.1651816745680947e-08,
    ),
}
# -log2(erfc(a))/a in a, from the border to where 1 - erfc(a) rounds to 1
_LOG_TAIL = {
    "f32": (
        1.62813115,
        0.917047381,
        0.151995301,
        -0.0331110582,
        0.00466606393,
        -0.000312152726,
    ),
    "f64": (
        1.6279070482916855,
        0.9184479241090199,
        0.14827118102945158,
        -0.02760294331168321,
        -0.00028445929417782114,
        0.0024125262693950305,
        -0.000798535655835399,
        -2.5933052608132034e-05,
        0.00015319599901523923,
        -8.850057437782195e-05,
        3.2349655244519686e-05,
        -8.683220164638192e-06,
        1.7715806457565773e-06,
        -2.7391129466222897e-07,
        3.122843573797199e-08,
        -2.4810407502166293e-09,
        1.2273457607987386e-10,
        -2.845755601218628e-12,
    ),
}
# (2^r - 1) / r, |r| <= 1/2
_EXP2 = {
    "f32": (
        0.693147182,
        0.240226507,
        0.0555033013,
        0.00961800572,
        0.00133996375,
        0.000154759022,
    ),
    "f64": (
        0.6931471805599453,
        0.2402265069591011,
        0.055504108664821715,
        0.009618129107601113,
        0.001333355814654687,
        0.0001540353044959363,
        1.5252733634287183e-05,
        1.3215438580730983e-06,
        1.01781596172011e-07,
        7.073273936919606e-09,
        4.4389637412473297e-10,
    ),
}
_TAIL_END = {"f32": 4.0, "f64": 6.0}  # 1 - erfc(end) rounds to 1
# (1 + 2a) erfcx(a) in t = (a - c)/(a + c)
_CENTRE = {"f32": 3.0, "f64": 4.0}
_FAR = {
    "f32": (
        1.25300801,
        -0.135621145,
        -0.0475623943,
        0.129646391,
        -0.119271047,
        0.0682959184,
        -0.0237971973,
        0.00256711687,
        0.00200121733,
        -0.000777599518,
        -0.000267950323,
    ),
    "f64": (
        1.2329951186255526,
        -0.13962111684056253,
        0.015379652102620085,
        0.06809705425469291,
        -0.10103906603632791,
        0.09373283499833851,
        -0.06633036581158153,
        0.037167515537781456,
        -0.016197734066611624,
        0.005031969973253753,
        -0.0007577732175681024,
        -0.00019925664953083147,
        0.00015062132274667753,
        -2.4399478343249025e-05,
        -1.1220925753696525e-05,
        5.710698126084745e-06,
        2.916693315250586e-07,
        -8.276407624156043e-07,
        7.703637510908572e-08,
        1.1316337984030007e-07,
        -1.9137726898681414e-08,
        -1.6548523472964452e-08,
        1.7139867164824937e-09,
        2.0919675541225307e-09,
        2.8477476684866214e-10,
    ),
}
_FAR_LOW = {"f32": 5.10371834e-08, "f64": -4.635002085106635e-17}  # what _FAR[0] lost in rounding
_LIMIT = {"f32": 10.1, "f64": 27.3}  # erfc(limit) rounds to 0
# (a + 3) erfcx(a) / sqrt 2 in t = (a - 3)/(a + 3): both denominators are the same, so float32, the
# case that gelu needs often, divides once instead of twice
_SQRT_HALF = 0.7071067811865476
_NORMAL32 = tuple(
    c * _SQRT_HALF
    for c in (
        1.07400692,
        -0.88339448,
        0.590228319,
        -0.310466051,
        0.119528964,
        -0.0268395878,
        -0.00122582086,
        0.00308006257,
        -0.000484370044,
        -0.000325949484,
    )
)


def erfcx_numerator(math: Builder, magnitude: Val) -> Val:
    """(1 + 2a) erfcx(a). The transformed argument lies in [-1, 1) however large a is, and the
    factor keeps the polynomial between 1 and 1.3: erfcx itself falls like 1/a."""
    centre = _CENTRE[magnitude.type]
    return horner(math, (magnitude - centre) / (magnitude + centre), _FAR[magnitude.type])


def _erfcx_parts(math: Builder, magnitude: Val) -> tuple[Val, Val, Val]:
    """(t, 1 + 2a, its inverse) for one division, that of 1 by the product of both denominators.

    t and the inverse are off by some ulp, which neither the flat polynomial nor a correction
    feels."""
    centre = _CENTRE[magnitude.type]
    total, denominator = magnitude + centre, math.fma(magnitude, 2.0, 1.0)
    both = 1.0 / (total * denominator)
    return (magnitude - centre) * (denominator * both), denominator, total * both


def _erfcx_pair(math: Builder, magnitude: Val) -> Pair:
    """erfcx(a) as a pair: the leading coefficient and the denominator with what they lost."""
    far = _FAR[magnitude.type]
    transformed, denominator, inverse = _erfcx_parts(math, magnitude)
    numerator, numerator_low = fast_two_sum(
        math.const(magnitude.type, far[0]), transformed * horner(math, transformed, far[1:])
    )
    numerator_low = numerator_low + _FAR_LOW[magnitude.type]
    denominator_low = math.fma(magnitude, 2.0, 1.0 - denominator)  # exact: 1 - denominator is
    quotient = numerator * inverse
    remainder = math.fma(-quotient, denominator, numerator) + numerator_low
    return quotient, math.fma(-quotient, denominator_low, remainder) * inverse


def erf_near(math: Builder, x: Val) -> Val:
    """erf for |x| <= 3/4."""
    return math.fma(x, horner(math, x * x, _NEAR[x.type]), x)


def erfc(math: Builder, x: Val) -> Val:
    magnitude = clamp(math, math.abs(x), None, _LIMIT[x.type])
    # an absolute error of a^2 is a relative one of the tail, and a^2 goes up to 745
    square, square_low = two_prod(math, magnitude, magnitude)
    excess, power, excess_low = exp_parts(math, -square, -square_low)
    power = vanishing(math, power, math.abs(x) > _LIMIT[x.type])
    mantissa, mantissa_low = fast_two_sum(math.const(x.type, 1.0), excess)
    if excess_low is not None:
        mantissa_low = mantissa_low + excess_low
    erfcx, erfcx_low = _erfcx_pair(math, magnitude)
    product = math.fma(mantissa, erfcx, math.fma(mantissa, erfcx_low, mantissa_low * erfcx))
    tail = product * power * power
    far = math.select(x < 0, 2.0 - tail, tail)
    # below 1/2 erf is not near 1 and nothing cancels
    return math.select(magnitude < 0.5, 1.0 - erf_near(math, x), far)


def erf(math: Builder, x: Val) -> Val:
    layout, magnitude = FORMAT[x.type], math.abs(x)
    limited = clamp(math, magnitude, None, _TAIL_END[x.type])
    series = horner_halves(math, limited, limited * limited, _LOG_TAIL[x.type])
    # one number, no pair, is enough for the tail and for the exponent of 2
    exponent = -(limited * series)
    shifted = exponent + layout.shift
    reduced = exponent - (shifted - layout.shift)
    power = exponent_of_shifted(math, shifted)
    tail = math.fma(power * reduced, horner(math, reduced, _EXP2[x.type]), power)
    return math.select(magnitude < _BORDER, erf_near(math, x), math.copysign(1.0 - tail, x))


def normal_tail(math: Builder, x: Val) -> Pair:
    """(P(Z < -|x|), e^(-x^2/2)) of a normal variable Z."""
    limit = 14.6 if x.type == "f32" else 38.7  # both results are 0 there
    magnitude = clamp(math, math.abs(x), None, limit)
    square = magnitude * magnitude * 0.5
    square_low = math.fma(magnitude * 0.5, magnitude, -square)
    excess, power, excess_low = exp_parts(math, -square, -square_low)
    power = vanishing(math, power, math.abs(x) > limit)
    mantissa = (1.0 + excess) if excess_low is None else 1.0 + (excess + excess_low)
    if x.type == "f32":
        inverse = 1.0 / (magnitude + 3.0 / _SQRT_HALF)
        scaled = horner(math, (magnitude - 3.0 / _SQRT_HALF) * inverse, _NORMAL32) * inverse
    else:
        transformed, _, inverse = _erfcx_parts(math, magnitude * _SQRT_HALF)
        scaled = horner(math, transformed, _FAR["f64"]) * (inverse * 0.5)
    return mantissa * scaled * power * power, mantissa * power * power
