"""The records of whole random numbers: Poisson, binomial and Zipf.

Invariant: small means by inversion of the distribution function, large ones by transformed
rejection with a fixed number of tries, in float64 (what is accepted is decided in float32); -1
where a parameter is no number that the distribution takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core import dtypes as dt
from .sources import Number, Source, first_accepted, one_of, pairs_of_words, sampler

__all__ = ["BINOMIAL", "POISSON", "ZIPF", "stirling"]

_STEPS = 46  # of an inversion: a mean of 10 is passed by more with a probability below 2^-53
_PAIRS = 6  # of tries: each fails with a probability of 1/3 or less
_ZIPF_PAIRS = 12  # of tries: each fails with a probability of 0.29 or less
_SMALL = 10.0
_LOG_2, _LOG_MOST = 0.6931471805599453, 43.66827237527655  # of 2 and 2^63
_LOG_ROOT = 0.9189385332046727  # log(2 pi) / 2
_AT_ONE = 0.08106146679532726  # 1 - log(2 pi) / 2


def stirling(source: Source, above: Number) -> Number:
    """log gamma(x) less (x - 1/2) log x - x + log(2 pi)/2, for x = 1, 2, 3, ... (DLMF 5.11.1)."""
    inverse = 1.0 / above
    square = inverse * inverse
    series = (
        (((1 / 1188 * square - 1 / 1680) * square + 1 / 1260) * square - 1 / 360) * square + 1 / 12
    ) * inverse
    return source.select(above < 1.5, _AT_ONE, series)


def _deviance(source: Source, above: Number, mean: Number, inverse: Number) -> Number:
    """mean h((above - mean) / mean) - log(above / mean) / 2 and Stirling's rest, with h(x) =
    (1 + x) log(1 + x) - x: -log of a probability, up to what the mean decides.  In float32; near 0
    h is the series of x^k / (k (k - 1)), signs alternating from k = 2 on."""
    ratio = source.narrow((above - mean) * inverse)
    logarithm = source.log1p(ratio)
    straight = (1.0 + ratio) * logarithm - ratio
    series = ratio * (1 / 56) - 1 / 42
    for order in (6, 5, 4, 3):
        series = ratio * series + (1 if order % 2 == 0 else -1) / (order * (order - 1))
    series = (ratio * series + 0.5) * (ratio * ratio)
    bent = source.select(source.abs(ratio) < 0.125, series, straight)
    rest = stirling(source, source.narrow(above))
    return source.narrow(mean) * bent - 0.5 * logarithm + rest


def _near_normal(source: Source, mean: Number, spread: Number, skew: Number) -> Number:
    """A quantile by two terms of Cornish and Fisher's expansion, where no try was accepted."""
    words = source.words(_PAIRS + 1)
    radius = source.sqrt(source.log(source.unit(words[0])) * -2.0)
    normal = radius * source.cos_turns(source.unit(words[1]))
    bent = mean + spread * (normal + (normal * normal - 1.0) * (skew / 6.0))
    return source.floor(source.maximum(bent + 0.5, source.const(0.0)))


def _tries(
    source: Source, first: Number, slope: Number, hat: tuple[Number, ...], judge: Number
) -> Number:
    """The first whole number that is accepted, of pairs of words; `first` if none is.

    Hörmann, Insurance: Mathematics and Economics 12 (1993): k = floor((2a/us + b) u + c), taken
    where alpha v / (a/us^2 + b) is below the probability of k; judge: k -> (possible, its log)."""
    width, centre, factor = hat
    narrow = source.narrow(width), source.narrow(slope), source.narrow(factor)

    def tries() -> Iterator[tuple[Number, Number]]:
        for one, other in pairs_of_words(source, range(1, _PAIRS + 1)):
            part = source.unit(one) - 0.5
            inverse = 1.0 / source.narrow(0.5 - source.abs(part))
            found = source.floor((2.0 * width * source.widen(inverse) + slope) * part + centre)
            possible, level = judge(found)
            height = source.narrow_unit(other) * narrow[2]
            height = height / (narrow[0] * (inverse * inverse) + narrow[1])
            yield found, possible & (source.log(height) <= level)

    return first_accepted(source, first, tries())


def _poisson_large(source: Source, rate: Number) -> Number:
    rate = source.maximum(rate, source.const(_SMALL))
    root = source.sqrt(rate)
    slope = 0.931 + 2.53 * root
    width = slope * 0.02483 - 0.059
    factor = 1.1239 + 1.1328 / (slope - 3.4)
    rest = source.narrow(0.5 * source.log(rate) + _LOG_ROOT)
    inverse = 1.0 / rate

    def judge(found: Number) -> tuple[Number, Number]:
        above = source.maximum(found, source.const(0.0)) + 1.0
        return found >= 0.0, -_deviance(source, above, rate, inverse) - rest

    first = _near_normal(source, rate, root, 1.0 / root)
    return _tries(source, first, slope, (width, rate + 0.43, factor), judge)


def _poisson_small(source: Source, rate: Number) -> Number:
    words = source.words(0)
    level = source.wide(words[1], words[0])
    chance = source.exp(-source.minimum(rate, source.const(_SMALL)))
    reached, count = chance, source.const(0.0)
    for step in range(1, _STEPS):
        count = source.select(level > reached, source.const(float(step)), count)
        chance = chance * rate * (1.0 / step)
        reached = reached + chance
    return count


def _poisson(source: Source, rate: Number) -> Number:
    small, large = _poisson_small(source, rate), _poisson_large(source, rate)
    result = one_of(source, rate < _SMALL, small, large)
    return source.select(rate >= 0.0, result, source.const(-1.0))


def _binomial_large(source: Source, number: Number, chance: Number) -> Number:
    """BTRS of the same paper's sequel (J. Stat. Comput. Simul. 46, 1993), chance 1/2 or less."""
    mean = source.maximum(number * chance, source.const(_SMALL))
    other = source.maximum(number * (1.0 - chance), source.const(_SMALL))
    spread = source.sqrt(source.maximum(mean * (1.0 - chance), source.const(1.0)))
    slope = 1.15 + 2.53 * spread
    width = 0.0248 * slope + 0.01 * chance - 0.0873
    factor = (2.83 + 5.1 / slope) * spread

    inverse, other_inverse = 1.0 / mean, 1.0 / other

    def cost(found: Number) -> Number:
        inside = source.minimum(source.maximum(found, source.const(0.0)), number)
        return _deviance(source, inside + 1.0, mean, inverse) + _deviance(
            source, number - inside + 1.0, other, other_inverse
        )

    least = cost(source.floor((number + 1.0) * chance))

    def judge(found: Number) -> tuple[Number, Number]:
        return (found >= 0.0) & (found <= number), least - cost(found)

    first = _near_normal(source, mean, spread, (1.0 - 2.0 * chance) / spread)
    first = source.minimum(first, number)
    return _tries(source, first, slope, (width, mean + 0.5, factor), judge)


def _binomial_small(source: Source, number: Number, chance: Number) -> Number:
    words = source.words(0)
    level = source.wide(words[1], words[0])
    odds = chance / (1.0 - chance)
    here = source.exp(number * source.log1p(-chance))
    reached, count = here, source.const(0.0)
    for step in range(1, _STEPS):
        count = source.select(level > reached, source.const(float(step)), count)
        here = here * odds * ((number - (step - 1.0)) * (1.0 / step))
        reached = reached + here
    return source.minimum(count, number)


def _binomial(source: Source, number: Number, chance: Number) -> Number:
    flipped = chance > 0.5
    rarer = source.select(flipped, 1.0 - chance, chance)
    result = one_of(
        source,
        number * rarer < _SMALL,
        _binomial_small(source, number, rarer),
        _binomial_large(source, number, rarer),
    )
    result = source.select(flipped, number - result, result)
    known = (number >= 0.0) & (chance >= 0.0) & (chance <= 1.0)
    return source.select(known, result, source.const(-1.0))


def _zipf(source: Source, power: Number) -> Number:
    """Devroye, Non-Uniform Random Variate Generation (1986), X.6.1: the whole part of a Pareto
    number that is below 2^63."""
    less = power - 1.0
    least = source.exp(less * -_LOG_MOST)
    bound = -source.expm1(less * -_LOG_2)

    def tries() -> Iterator[tuple[Number, Number]]:
        for one, other in pairs_of_words(source, range(_ZIPF_PAIRS)):
            share = source.unit(one)
            level = source.log(share + (1.0 - share) * least)
            found = source.floor(source.exp(-level / less))
            step = -source.expm1(-(less * source.log1p(1.0 / found)))
            yield found, source.unit(other) * found * step <= bound

    kept = first_accepted(source, source.const(1.0), tries(), power > 1.0)
    return source.select(power > 1.0, kept, source.const(-1.0))


POISSON = sampler(
    "random_poisson",
    _poisson,
    ((12, 6), np.array([0.0, 0.3, 9.0, 11.0, 500.0, 6e4]), {"dtype": dt.int64}),
    takes=1,
    inner="f64",
    doc="Poisson numbers of a rate.",
)
BINOMIAL = sampler(
    "random_binomial",
    _binomial,
    (
        (12, 6),
        np.array([0.0, 5.0, 100.0, 100.0, 5e4, 60.0]),
        np.array([0.5, 0.3, 0.02, 0.7, 0.5, 1.0]),
        {"dtype": dt.int64},
    ),
    takes=2,
    inner="f64",
    doc="Numbers of successes in so many trials of a probability.",
)
ZIPF = sampler(
    "random_zipf",
    _zipf,
    ((12, 4), np.array([1.1, 2.0, 3.5, 40.0]), {"dtype": dt.int64}),
    takes=1,
    inner="f64",
    doc="Zipf numbers of an exponent.",
)
