"""erf, erfc and the normal distribution function.

Invariant: erf and erfc are at most 2 ulp from the true value, relative to the tail too (erfc(10) is
not 0). Method: x*P(x^2) near 0; elsewhere erfc(a) = e^(-a^2) * erfcx(a), where (1 + 2a) erfcx(a) is
a minimax polynomial in (a - c)/(a + c) (the transformation of Shepherd and Laframboise, Math. Comp.
36, 1981) and a^2 keeps its rounding error.  float32 erf uses erfc(a) = exp(-a*P(a)) beyond 1.
"""

from __future__ import annotations

from ...ir.scalar.program import Builder, Val
from .exponential import exp_parts
from .tools import Pair, clamp, divide_pair, fast_two_sum, horner, two_prod

__all__ = ["erf", "erfc", "normal_tail"]

# erf(x)/x - 1 in x^2, |x| <= 1
_NEAR = {
    "f32": (
        0.128379166,
        -0.37612626,
        0.112836003,
        -0.0268544443,
        0.00518953661,
        -0.000802085444,
        7.88916514e-05,
    ),
    "f64": (
        0.12837916709551256,
        -0.3761263890318355,
        0.11283791670945252,
        -0.026866170643276056,
        0.0052239776074224946,
        -0.0008548325989663323,
        0.000120552953198177,
        -1.492474465563391e-05,
        1.6447517639512486e-06,
        -1.6209175996683016e-07,
        1.3722978065719944e-08,
        -7.801194572888797e-10,
    ),
}
# -log(erfc(a))/a in a, 1 <= a <= 4
_LOG_TAIL32 = (
    1.1286943,
    0.634969473,
    0.10653092,
    -0.0240101144,
    0.00375749799,
    -0.00035059714,
    1.39629428e-05,
)
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
_FAR_LOW = {"f32": 5.10371834e-08, "f64": -4.635002085106635e-17}  # what far[0] lost in rounding
_LIMIT = {"f32": 10.1, "f64": 27.3}  # erfc(limit) rounds to 0
# (a + 3) erfcx(a) / sqrt 2 in t = (a - 3)/(a + 3): one division instead of two, for the hot float32
# case
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


def _numerator(s: Builder, a: Val) -> Val:
    c = _CENTRE[a.type]
    return horner(s, (a - c) / (a + c), _FAR[a.type])


def _erfcx_pair(s: Builder, a: Val) -> Pair:
    c, far = _CENTRE[a.type], _FAR[a.type]
    t = (a - c) / (a + c)
    p, p_low = fast_two_sum(s.const(a.type, far[0]), t * horner(s, t, far[1:]))
    p_low = p_low + _FAR_LOW[a.type]
    d = s.fma(a, 2.0, 1.0)
    d_low = s.select(a < 0.5, s.fma(a, 2.0, 1.0 - d), s.fma(a, 2.0, -d) + 1.0)
    return divide_pair(s, p, d, p_low, d_low)


def _near(s: Builder, x: Val) -> Val:
    """erf for |x| <= 1."""
    return s.fma(x, horner(s, x * x, _NEAR[x.type]), x)


def erfc(s: Builder, x: Val) -> Val:
    a = clamp(s, s.abs(x), None, _LIMIT[x.type])
    square, low = two_prod(s, a, a)
    v, power, v_low = exp_parts(s, -square, -low)
    e, e_low = fast_two_sum(s.const(x.type, 1.0), v)
    if v_low is not None:
        e_low = e_low + v_low
    q, q_low = _erfcx_pair(s, a)
    tail = s.fma(e, q, s.fma(e, q_low, e_low * q)) * power * power
    far = s.select(x < 0, 2.0 - tail, tail)
    return s.select(a < 0.5, 1.0 - _near(s, x), far)


def erf(s: Builder, x: Val) -> Val:
    a = s.abs(x)
    if x.type == "f32":
        b = clamp(s, a, None, 4.0)
        v, power, _ = exp_parts(s, -(b * horner(s, b, _LOG_TAIL32)))
        tail = (v + 1.0) * power * power
    else:
        b = clamp(s, a, None, 6.0)
        v, power, _ = exp_parts(s, -(b * b))
        tail = (v + 1.0) * (_numerator(s, b) / s.fma(b, 2.0, 1.0)) * power * power
    return s.select(a < 1.0, _near(s, x), s.copysign(1.0 - tail, x))


def normal_tail(s: Builder, x: Val) -> Pair:
    """(P(Z < -|x|), e^(-x^2/2)) of a normal variable Z."""
    limit = 14.6 if x.type == "f32" else 38.7  # both results are 0 there
    a = clamp(s, s.abs(x), None, limit)
    square = a * a * 0.5
    low = s.fma(a * 0.5, a, -square)
    v, power, v_low = exp_parts(s, -square, -low)
    e = (1.0 + v) if v_low is None else 1.0 + (v + v_low)
    if x.type == "f32":
        inverse = 1.0 / (a + 3.0 / _SQRT_HALF)
        scaled = horner(s, (a - 3.0 / _SQRT_HALF) * inverse, _NORMAL32) * inverse
    else:
        b = a * _SQRT_HALF
        scaled = _numerator(s, b) * 0.5 / s.fma(b, 2.0, 1.0)
    return e * scaled * power * power, e * power * power
