"""sin, cos, tan for every argument.

Invariant: at most 2 ulp from the true value, however large the argument.
Method: Payne and Hanek's reduction in integer arithmetic: the bits of 1/(2 pi) that matter for the
exponent of x are picked by a barrel shift over inline words (no memory), multiplied by the
significand, and the fraction is normalised before it becomes a float pair.  Then the kernels of
fdlibm with our own Remez coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.scalar.program import Builder, Val
from .tools import (
    FORMAT,
    INF,
    Pair,
    divide_pair,
    fast_two_sum,
    flip_sign,
    horner,
    sign_bits,
    two_prod,
)

__all__ = ["sin", "cos", "tan", "sin_turns", "cos_turns"]

# 1/(2 pi) after one word of zeros, in words of the float's width
_TURNS = {
    "f32": (
        0x0,
        0x28BE60DB,
        0x9391054A,
        0x7F09D5F4,
        0x7D4D3770,
        0x36D8A566,
        0x4F10E410,
        0x7F9458EA,
    ),
    "f64": (
        0x0,
        0x28BE60DB9391054A,
        0x7F09D5F47D4D3770,
        0x36D8A5664F10E410,
        0x7F9458EAF7AEF158,
        0x6DC91B8E909374B8,
        0x1924BBA82746487,
        0x3F877AC72C4A69CF,
        0xBA208D7D4BAED121,
        0x3A671C09AD17DF90,
        0x4E64758E60D4CE7D,
        0x272117E2EF7E4A0E,
        0xC7FE25FFF7816603,
        0xFBCBC462D6829B47,
        0xDB4D9FB3C9F2C26D,
        0xD3D18FD9A797FA8B,
        0x5D49EEB1FAF97C5E,
        0xCF41CE7DE294A4BA,
        0x9AFED7EC47E35742,
        0x1580CC11BF1EDAEA,
    ),
}
_TWO_PI = {
    "f32": (6.2831854820251465, -1.7484555314695172e-07),
    "f64": (6.283185307179586, 2.4492935982947064e-16),
}
_QUARTER_PI = 0.78539
# (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4 in r^2, |r| <= pi/4
_SIN = {
    "f32": (-0.166666552, 0.008332178, -0.000195172412),
    "f64": (
        -0.16666666666666632,
        0.008333333333322415,
        -0.00019841269829808385,
        2.7557313692111275e-06,
        -2.5050758144270274e-08,
        1.5896797271059926e-10,
    ),
}
_COS = {
    "f32": (0.0416666456, -0.00138873677, 2.44384173e-05),
    "f64": (
        0.0416666666666666,
        -0.0013888888888874125,
        2.480158728948315e-05,
        -2.7557314352599146e-07,
        2.0875723308496414e-09,
        -1.1359649599334355e-11,
    ),
}


def _window(s: Builder, start: Val, words: Sequence[int], steps: int) -> list[Val]:
    """Three words of the bit string `words` from bit `start` on: a barrel shift by whole words,
    then by bits."""
    uint = start.type
    width = FORMAT["f32" if uint == "u32" else "f64"].width
    index, bit = start >> (width.bit_length() - 1), start & (width - 1)
    row = [s.const(uint, w) for w in words]
    for step in reversed(range(steps)):
        jump = 1 << step
        taken = (index & jump) != 0
        need = 3 + jump  # later, smaller jumps reach at most jump - 1 further
        zero = s.const(uint, 0)
        row = [
            s.select(taken, row[j + jump] if j + jump < len(row) else zero, row[j])
            for j in range(min(need, len(row)))
        ]
    left = s.const(uint, width) - bit
    return [(row[j] << bit) | (row[j + 1] >> left) for j in range(3)]


def _fraction(s: Builder, a: Val) -> tuple[Val, Val]:
    """|x| / (2 pi) modulo 1 as two words, most significant first."""
    fmt = FORMAT[a.type]
    bits = s.bitcast(a, fmt.unsigned)
    significand = (bits & ((1 << fmt.mant) - 1)) | (1 << fmt.mant)
    # x = significand * 2^e; the bits of weight 2^-i with i <= e only give whole turns
    start = (bits >> fmt.mant) + (fmt.width - fmt.bias - fmt.mant)
    words = _TURNS[a.type]
    w0, w1, w2 = _window(s, start, words, (len(words) - 4).bit_length())
    low, carry = significand * w1, s.mulhi(significand, w2)
    low = low + carry
    high = significand * w0 + s.mulhi(significand, w1)
    return high + s.select(low < carry, s.const(fmt.unsigned, 1), s.const(fmt.unsigned, 0)), low


def _angle(s: Builder, high: Val, low: Val, ty: str) -> Pair:
    """The signed fraction of a turn (two words, two's complement, below 1/8) as an angle in
    radians, a pair."""
    fmt = FORMAT[ty]
    mask = s.bitcast(s.bitcast(high, fmt.signed) >> (fmt.width - 1), fmt.unsigned)
    high, low = high ^ mask, low ^ mask  # ones' complement: off by 2^-2width of a turn
    lead = s.op("clz", high) - 1  # one bit left free for the signed conversions
    back = s.const(fmt.unsigned, fmt.width) - lead
    top = (high << lead) | (low >> back)
    rest = low << lead
    drop = fmt.width - 2 - fmt.mant  # bits of `top` beyond a float's precision
    head = s.convert(s.bitcast((top >> drop) << drop, fmt.signed), ty)
    tail = s.convert(s.bitcast(((top << (fmt.width - drop)) | (rest >> drop)) >> 1, fmt.signed), ty)
    unit = s.bitcast((s.const(fmt.unsigned, fmt.bias - fmt.width) - lead) << fmt.mant, ty)
    tail = tail * 2.0 ** (drop + 1 - fmt.width)
    turn, turn_low = _TWO_PI[ty]
    r, r_low = two_prod(s, head, s.const(ty, turn))
    r_low = r_low + s.fma(tail, turn, head * turn_low)
    r, r_low = fast_two_sum(r, r_low)
    sign = mask & fmt.sign
    return flip_sign(s, r * unit, sign), flip_sign(s, r_low * unit, sign)


def _reduce(s: Builder, x: Val) -> tuple[Val, Val, Val]:
    """(q, r, r_low): |x| = q*pi/2 + r + r_low modulo 2 pi, |r| <= pi/4."""
    a, fmt = s.abs(x), FORMAT[x.type]
    high, low = _fraction(s, a)
    q = (high + (1 << fmt.width - 3)) >> (fmt.width - 2)
    r, r_low = _angle(s, high - (q << (fmt.width - 2)), low, x.type)
    small = a < _QUARTER_PI
    zero = s.const(x.type, 0.0)
    return (
        s.select(small, s.const(fmt.unsigned, 0), q),
        s.select(small, a, r),
        s.select(small, zero, r_low),
    )


def _sin_parts(s: Builder, r: Val, low: Val) -> Pair:
    """sin(r + low) as r plus a small part."""
    z = r * r
    return r, s.fma(r * z, horner(s, z, _SIN[r.type]), low)


def _cos_parts(s: Builder, r: Val, low: Val) -> Pair:
    """cos(r + low) as a number near 1 plus a small part."""
    z = r * r
    half = z * 0.5
    w = 1.0 - half
    part = s.fma(z * z, horner(s, z, _COS[r.type]), (1.0 - w) - half)
    # z is not exact; its rounding error counts half
    return w, s.fma(-r, low, part) - s.fma(r, r, -z) * 0.5


def _finish(s: Builder, x: Val, out: Val) -> Val:
    return s.select(s.abs(x) < INF, out, x - x)


def _wave(s: Builder, r: Val, low: Val, q: Val) -> Val:
    """sin(r + low + q*pi/2)."""
    fmt = FORMAT[r.type]
    sin_high, sin_low = _sin_parts(s, r, low)
    cos_high, cos_low = _cos_parts(s, r, low)
    out = s.select((q & 1) != 0, cos_high + cos_low, sin_high + sin_low)
    return flip_sign(s, out, (q >> 1) << (fmt.width - 1))


def sin(s: Builder, x: Val) -> Val:
    q, r, low = _reduce(s, x)
    return _finish(s, x, flip_sign(s, _wave(s, r, low, q), sign_bits(s, x)))


def cos(s: Builder, x: Val) -> Val:
    q, r, low = _reduce(s, x)
    return _finish(s, x, _wave(s, r, low, q + 1))


def _turns(s: Builder, t: Val) -> tuple[Val, Val, Val]:
    """(q, r, r_low): 2 pi t = q*pi/2 + r + r_low for |t| below 2^20; no reduction is needed."""
    f = FORMAT[t.type]
    shifted = s.fma(t, 4.0, f.magic)
    part = s.fma(shifted - f.magic, -0.25, t)
    turn, turn_low = _TWO_PI[t.type]
    r, r_low = two_prod(s, part, s.const(t.type, turn))
    return s.bitcast(shifted, f.unsigned), r, s.fma(part, turn_low, r_low)


def sin_turns(s: Builder, t: Val) -> Val:
    """sin(2 pi t) for |t| below 2^20: a fifth of the cost of sin."""
    q, r, low = _turns(s, t)
    return _wave(s, r, low, q)


def cos_turns(s: Builder, t: Val) -> Val:
    """cos(2 pi t) for |t| below 2^20."""
    q, r, low = _turns(s, t)
    return _wave(s, r, low, q + 1)


def tan(s: Builder, x: Val) -> Val:
    """Quotient of the two kernels as pairs, corrected once."""
    fmt = FORMAT[x.type]
    q, r, low = _reduce(s, x)
    sin_pair = fast_two_sum(*_sin_parts(s, r, low))
    cos_pair = fast_two_sum(*_cos_parts(s, r, low))
    odd = (q & 1) != 0
    top, top_low = (s.select(odd, c, n) for n, c in zip(sin_pair, cos_pair))
    bottom, bottom_low = (s.select(odd, n, c) for n, c in zip(sin_pair, cos_pair))
    out, out_low = divide_pair(s, top, bottom, top_low, bottom_low)
    out = s.select(
        s.abs(out) < FORMAT[x.type].eps ** 2, out, out + out_low
    )  # keeps zeros and subnormals
    out = flip_sign(s, out, (q << (fmt.width - 1)) ^ sign_bits(s, x))
    return _finish(s, x, out)
