"""sin, cos, tan for every argument.

Invariant: at most 2 ulp from the true value, however large the argument.
Method: Cody and Waite's reduction by pi/2 in three parts; on a detour for large arguments, Payne
and Hanek's in integers: the bits of 1/(2 pi) that matter for the exponent of x, picked by a barrel
shift over inline words, times the significand. Then fdlibm's kernels, our own coefficients; tan is
one polynomial, and minus its reciprocal in odd quadrants.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.scalar.program import Builder, ScalarType, Val
from .tools import (
    FORMAT,
    INF,
    Pair,
    fast_two_sum,
    flip_sign,
    horner,
    horner_halves,
    sign_bits,
    two_prod,
)

__all__ = ["sin", "cos", "tan", "sin_turns", "cos_turns"]

# 1/(2 pi) after one word of zeros, in words of the float's width; as many as the window
# of the largest exponent reaches
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
# 2 pi rounded, and what that lost
_TWO_PI = {
    "f32": (6.2831854820251465, -1.7484555314695172e-07),
    "f64": (6.283185307179586, 2.4492935982947064e-16),
}
# pi/2 as a sum of three, each rounded; 2/pi
_HALF_PI = {
    "f32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "f64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
_PER_HALF_PI = 0.6366197723675814
# up to here the count of quarters times the last part of pi/2 is far below the reduced argument
_NEAR = {"f32": 2.0**16, "f64": 2.0**30}
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
# (tan r - r) / r^3 in r^2, |r| <= pi/4
_TAN = {
    "f32": (
        0.333333492,
        0.133326769,
        0.0540586933,
        0.0212874059,
        0.0108243786,
        0.000101973979,
        0.00437095761,
    ),
    "f64": (
        0.33333333333332776,
        0.13333333333414743,
        0.053968253926632924,
        0.02186948960950597,
        0.008863219160116929,
        0.003592289099449347,
        0.0014547579010717009,
        0.000595064883526274,
        0.00022237963636010055,
        0.00013652555469191057,
        -2.6385845454475454e-05,
        8.945185517159789e-05,
        -4.4876258702089355e-05,
        2.086318922868365e-05,
    ),
}


def _window(math: Builder, start: Val, words: Sequence[int], steps: int) -> list[Val]:
    """Three words of the bit string `words` from bit `start` on: a barrel shift by whole words,
    then by bits.

    Each step of the shift halves what can still be reached, by selects of constants: lanes with
    different exponents need no table in memory and no gather."""
    uint = start.type
    width = FORMAT["f32" if uint == "u32" else "f64"].width
    index, bit = start >> (width.bit_length() - 1), start & (width - 1)
    row = [math.const(uint, w) for w in words]
    for step in reversed(range(steps)):
        jump = 1 << step
        taken = (index & jump) != 0
        need = 3 + jump  # later, smaller jumps reach at most jump - 1 further
        zero = math.const(uint, 0)
        row = [
            math.select(taken, row[j + jump] if j + jump < len(row) else zero, row[j])
            for j in range(min(need, len(row)))
        ]
    left = math.const(uint, width) - bit  # the algebra's shift by the whole width gives 0
    return [(row[j] << bit) | (row[j + 1] >> left) for j in range(3)]


def _fraction(math: Builder, magnitude: Val) -> tuple[Val, Val]:
    """|x| / (2 pi) modulo 1 as two words, most significant first."""
    layout = FORMAT[magnitude.type]
    bits = math.bitcast(magnitude, layout.unsigned)
    significand = (bits & ((1 << layout.nmant) - 1)) | (1 << layout.nmant)
    # x = significand * 2^e; the bits of weight 2^-i with i <= e only give whole turns, and so does
    # what products lose by wrapping around; the third product's low half is below all that is kept
    start = (bits >> layout.nmant) + (layout.width - layout.bias - layout.nmant)
    words = _TURNS[magnitude.type]
    first, second, third = _window(math, start, words, (len(words) - 4).bit_length())
    low, carry = significand * second, math.mulhi(significand, third)
    low = low + carry
    high = significand * first + math.mulhi(significand, second)
    wrapped = low < carry  # the sum of the low words carries where it is below a term of it
    one, none = math.const(layout.unsigned, 1), math.const(layout.unsigned, 0)
    return high + math.select(wrapped, one, none), low


def _angle(math: Builder, high: Val, low: Val, float_type: ScalarType) -> Pair:
    """The signed fraction of a turn (two words, two's complement, below 1/8) as an angle in
    radians, a pair."""
    layout = FORMAT[float_type]
    mask = math.bitcast(math.bitcast(high, layout.signed) >> (layout.width - 1), layout.unsigned)
    high, low = high ^ mask, low ^ mask  # ones' complement: off by 2^-2width of a turn
    # normalised first: near a multiple of pi/2 the leading bits are zeros, and a conversion of the
    # raw word would leave few bits of the angle
    leading = math.op("clz", high) - 1  # one bit left free for the signed conversions
    opposite = math.const(layout.unsigned, layout.width) - leading
    top = (high << leading) | (low >> opposite)
    rest = low << leading
    drop = layout.width - 2 - layout.nmant  # bits of `top` beyond a float's precision
    head = math.convert(math.bitcast((top >> drop) << drop, layout.signed), float_type)
    tail = math.convert(
        math.bitcast(((top << (layout.width - drop)) | (rest >> drop)) >> 1, layout.signed),
        float_type,
    )
    unit = math.bitcast(
        (math.const(layout.unsigned, layout.bias - layout.width) - leading) << layout.nmant,
        float_type,
    )
    tail = tail * 2.0 ** (drop + 1 - layout.width)
    turn, turn_low = _TWO_PI[float_type]
    angle, angle_low = two_prod(math, head, math.const(float_type, turn))
    angle_low = angle_low + math.fma(tail, turn, head * turn_low)
    angle, angle_low = fast_two_sum(angle, angle_low)
    sign = mask & layout.sign
    return flip_sign(math, angle * unit, sign), flip_sign(math, angle_low * unit, sign)


def _reduce(math: Builder, x: Val) -> tuple[Val, Val, Val]:
    """(quadrant, reduced, reduced_low): |x| = quadrant*pi/2 + reduced + reduced_low modulo 2 pi,
    |reduced| <= pi/4."""
    magnitude = math.abs(x)
    large = math.unlikely(magnitude >= _NEAR[x.type])
    far, near = _reduce_large(math, magnitude), _reduce_near(math, magnitude)
    quadrant, reduced, low = (math.select(large, f, n) for f, n in zip(far, near))
    return quadrant, reduced, low


def _reduce_near(math: Builder, magnitude: Val) -> tuple[Val, Val, Val]:
    """Cody and Waite's: quarters times the parts of pi/2 come off one after the other.

    The first difference is exact: both sides are multiples of the last place of 1, and it is below
    1. So is the second with its low part: what comes off is smaller than that place."""
    layout = FORMAT[magnitude.type]
    first, second, third = _HALF_PI[magnitude.type]
    shifted = math.fma(magnitude, _PER_HALF_PI, layout.magic)
    count = shifted - layout.magic
    rest = math.fma(-count, first, magnitude)
    product, product_low = two_prod(math, count, math.const(magnitude.type, second))
    reduced = rest - product
    low = ((rest - reduced) - product) - product_low
    return math.bitcast(shifted, layout.unsigned), reduced, math.fma(-count, third, low)


def _reduce_large(math: Builder, magnitude: Val) -> tuple[Val, Val, Val]:
    """Payne and Hanek's; NaN for infinity."""
    layout = FORMAT[magnitude.type]
    high, low = _fraction(math, magnitude)
    # the fraction of a turn rounded to quarters: the two top bits after half a quarter is added
    quadrant = (high + (1 << layout.width - 3)) >> (layout.width - 2)
    angle, rest = _angle(math, high - (quadrant << (layout.width - 2)), low, magnitude.type)
    return quadrant, math.select(magnitude < INF, angle, magnitude - magnitude), rest


def _sin_parts(math: Builder, reduced: Val, low: Val) -> Pair:
    """sin(reduced + low) as reduced plus a small part."""
    square = reduced * reduced
    return reduced, math.fma(reduced * square, horner(math, square, _SIN[reduced.type]), low)


def _cos_parts(math: Builder, reduced: Val, low: Val) -> Pair:
    """cos(reduced + low) as a number near 1 plus a small part."""
    square = reduced * reduced
    half = square * 0.5
    near_one = 1.0 - half
    part = math.fma(
        square * square, horner(math, square, _COS[reduced.type]), (1.0 - near_one) - half
    )
    # the square is not exact; its rounding error counts half
    return near_one, math.fma(-reduced, low, part) - math.fma(reduced, reduced, -square) * 0.5


def _wave(math: Builder, reduced: Val, low: Val, quadrant: Val) -> Val:
    """sin(reduced + low + quadrant*pi/2): an odd quadrant takes the cosine, the upper half of the
    turn the other sign; lanes differ, so both kernels are computed."""
    layout = FORMAT[reduced.type]
    sin_high, sin_low = _sin_parts(math, reduced, low)
    cos_high, cos_low = _cos_parts(math, reduced, low)
    result = math.select((quadrant & 1) != 0, cos_high + cos_low, sin_high + sin_low)
    return flip_sign(math, result, (quadrant >> 1) << (layout.width - 1))


def sin(math: Builder, x: Val) -> Val:
    quadrant, reduced, low = _reduce(math, x)
    return flip_sign(math, _wave(math, reduced, low, quadrant), sign_bits(math, x))


def cos(math: Builder, x: Val) -> Val:
    quadrant, reduced, low = _reduce(math, x)
    return _wave(math, reduced, low, quadrant + 1)


def _turns(math: Builder, turns: Val) -> tuple[Val, Val, Val]:
    """(quadrant, reduced, reduced_low): 2 pi turns = quadrant*pi/2 + reduced + reduced_low, for
    |turns| below 2^20: the quarters come off exactly, before pi has a part in it."""
    layout = FORMAT[turns.type]
    shifted = math.fma(turns, 4.0, layout.magic)
    part = math.fma(shifted - layout.magic, -0.25, turns)
    turn, turn_low = _TWO_PI[turns.type]
    reduced, reduced_low = two_prod(math, part, math.const(turns.type, turn))
    return math.bitcast(shifted, layout.unsigned), reduced, math.fma(part, turn_low, reduced_low)


def sin_turns(math: Builder, turns: Val) -> Val:
    """sin(2 pi turns) for |turns| below 2^20: a fifth of the cost of sin."""
    quadrant, reduced, low = _turns(math, turns)
    return _wave(math, reduced, low, quadrant)


def cos_turns(math: Builder, turns: Val) -> Val:
    """cos(2 pi turns) for |turns| below 2^20."""
    quadrant, reduced, low = _turns(math, turns)
    return _wave(math, reduced, low, quadrant + 1)


def tan(math: Builder, x: Val) -> Val:
    """The tangent of the reduced argument as a pair; in odd quadrants minus its reciprocal,
    corrected once."""
    layout = FORMAT[x.type]
    quadrant, reduced, low = _reduce(math, x)
    square = reduced * reduced
    tail = math.fma(
        reduced * square, horner_halves(math, square, square * square, _TAN[x.type]), low
    )
    result, result_low = fast_two_sum(reduced, tail)
    inverse = 1.0 / result
    error = math.fma(-inverse, result_low, math.fma(-inverse, result, 1.0))
    result = math.select((quadrant & 1) != 0, math.fma(inverse, error, inverse), result)
    return flip_sign(math, result, (quadrant << (layout.width - 1)) ^ sign_bits(math, x))
