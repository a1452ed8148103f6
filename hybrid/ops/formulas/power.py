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

__all__ = ["pow", "hypot", "rsqrt", "cbrt"]

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


def _log2_pair(s: Builder, a: Val) -> Pair:
    """log2(a) to about 1.3 times the precision, for positive finite a."""
    k, f = split_exponent(s, a, root=True)
    d, d_low = fast_two_sum(s.const(a.type, 2.0), f)
    t, t_low = divide_pair(s, f, d, None, d_low)
    z = t * t
    z_low = s.fma(t, t, -z) + (t + t) * t_low
    third, third_low = _THIRD[a.type]
    w, w_low = fast_two_sum(s.const(a.type, third), z * horner(s, z, _ATANH[a.type]))
    u = z * w
    u_low = s.fma(z, w, -u) + s.fma(z, w_low + third_low, z_low * w)
    v, v_low = two_prod(s, t, u)
    v_low = s.fma(t, u_low, s.fma(t_low, u, v_low))
    h, h_low = fast_two_sum(t, v)
    h_low = h_low + (t_low + v_low)
    c, c_low = _TWO_LOG2E[a.type]
    p, p_low = two_prod(s, h, s.const(a.type, c))
    p_low = p_low + s.fma(h, c_low, h_low * c)
    out, low = fast_two_sum(k, p)
    return fast_two_sum(out, low + p_low)


def _exp2_pair(s: Builder, x: Val, low: Val) -> Val:
    """2^(x + low) with |x| <= limit; the power of two is applied in two halves."""
    f = FORMAT[x.type]
    shifted = x + f.magic
    r = (x - (shifted - f.magic)) + low
    n = s.bitcast(shifted, f.signed) - s.bitcast(s.const(x.type, f.magic), f.signed)
    half = n >> 1
    first = s.bitcast((half << f.mant) + f.one, x.type)
    second = s.bitcast(((n - half) << f.mant) + f.one, x.type)
    return s.fma(r, horner(s, r, _EXP2[x.type]), 1.0) * first * second


def pow(s: Builder, x: Val, y: Val) -> Val:
    a, f = s.abs(x), FORMAT[x.type]
    high, low = _log2_pair(s, a)
    high = s.select(a < INF, high, a)  # inf and NaN
    high = s.select(a == 0, s.const(x.type, -INF), high)
    t, t_low = two_prod(s, y, high)
    t_low = s.fma(y, low, t_low)
    limit = _LIMIT[x.type]
    inside = s.abs(t) < limit
    t = s.select(t < -limit, -limit, s.select(t > limit, limit, t))
    out = _exp2_pair(s, t, s.select(inside, t_low, 0.0))
    half = y * 0.5
    whole, even = s.trunc(y) == y, s.trunc(half) == half
    negative = s.bitcast(x, f.signed) < 0
    out = s.select((x < 0) & ~whole & (a < INF), NAN, out)
    odd_sign = s.select(
        negative & whole & ~even, s.const(f.unsigned, f.sign), s.const(f.unsigned, 0)
    )
    out = flip_sign(s, out, odd_sign)
    unit = (a == 1.0) & (s.abs(y) == INF)
    return s.select((y == 0) | (x == 1.0) | unit, 1.0, out)


def rsqrt(s: Builder, x: Val) -> Val:
    return 1.0 / s.sqrt(x)


def hypot(s: Builder, x: Val, y: Val) -> Val:
    """sqrt(x^2 + y^2) with operands scaled by a power of two,
    the sum of squares to twice the precision."""
    f = FORMAT[x.type]
    ax, ay = s.abs(x), s.abs(y)
    swap = ax < ay
    big, small = s.select(swap, ay, ax), s.select(swap, ax, ay)
    reach = f.bias // 2 - 3
    up, down = 2.0 ** (reach + f.mant), 2.0 ** -(reach + 5)
    large, little = big > 2.0**reach, big < 2.0 ** -(reach - f.mant)
    scale = s.select(large, down, s.select(little, up, s.const(x.type, 1.0)))
    back = s.select(large, 1 / down, s.select(little, 1 / up, s.const(x.type, 1.0)))
    big, small = big * scale, small * scale
    h, h_low = two_prod(s, big, big)
    t, t_low = fast_two_sum(h, small * small)
    t_low = t_low + (h_low + s.fma(small, small, -(small * small)))
    root = s.sqrt(t)
    fix = s.fma(-root, root, t) + t_low
    out = s.select(t > 0, s.fma(fix, 0.5 / root, root), root) * back
    out = s.select((ax == INF) | (ay == INF), INF, out)
    return out


def cbrt(s: Builder, x: Val) -> Val:
    """A seed from the exponent divided by three, then Halley steps;
    the last one carries the residual exactly."""
    f = FORMAT[x.type]
    a = s.abs(x)
    lift = 3 * (f.mant // 3 + 1)
    sub, large = a < f.tiny, a > 2.0 ** (f.bias - 4)
    m = a * s.select(sub, 2.0**lift, s.select(large, 2.0**-6, s.const(x.type, 1.0)))
    third = s.mulhi(s.bitcast(m, f.unsigned), s.const(f.unsigned, ((1 << f.width) + 2) // 3))
    t = s.bitcast(third + (f.one - f.one // 3 - (1 << f.mant) // 21), x.type)
    for _ in range(2 if x.type == "f32" else 3):
        cube = t * t * t
        t = t * ((cube + (m + m)) / (cube + cube + m))
    square, square_low = two_prod(s, t, t)
    residual = s.fma(-square, t, m) - square_low * t
    t = s.fma(residual, 1.0 / (3.0 * square), t)
    t = t * s.select(sub, 2.0 ** -(lift // 3), s.select(large, 4.0, s.const(x.type, 1.0)))
    return s.copysign(s.select((a == 0) | ~(a < INF), a, t), x)
