"""The records of floating distributions that are no function of uniform and normal numbers.

Invariant: a sampler that rejects makes a fixed number of tries, each from words of its own, and
keeps the first that is accepted; none is with a probability below 2^-64 (von Mises: 2^-61).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core import dtypes as dt
from .sources import Number, Source, first_accepted, pairs_of_words, sampler

__all__ = ["CAUCHY", "EXPONENTIAL", "GAMMA", "LAPLACE", "VON_MISES", "WALD"]

_PAIRS = 6  # of tries of a gamma number: each fails with a probability of 0.0184 or less
_BOOST = _PAIRS  # the attempt that draws the power of a small shape
_ANGLES = 20  # pairs of tries of an angle: each fails with a probability of 0.343 or less

_EDGE = np.array([0.3, 1.0, 2.5, 50.0, 2e4])


def _exponential(source: Source) -> Number:
    return source.exponential(source.words(0))


def _laplace(source: Source) -> Number:
    """An exponential number with the sign of a word."""
    words = source.words(0)
    size = source.exponential(words)
    return source.select(words[2] < 2**31, size, -size)


def _cauchy(source: Source) -> Number:
    """The cotangent of an angle below a quarter turn, with the sign of a word."""
    words = source.words(0)
    turns = source.unit(words[0]) * 0.25
    size = source.cos_turns(turns) / source.sin_turns(turns)
    return source.select(words[1] < 2**31, size, -size)


def _log_accept(source: Source, scale: Number, normal: Number, bend: Number) -> Number:
    """log of the probability to accept d (1 + bend)^3, bend = normal / sqrt(9 d): normal^2/2 +
    d (1 - v + log v), by its series in bend where that cancels."""
    square = bend * bend
    series = ((bend * (-3.0 / 7.0) + 0.5) * bend - 0.6) * bend + 0.75
    grown = 1.0 + bend
    straight = 0.5 * normal * normal + scale * (
        3.0 * source.log(grown) - bend * (3.0 + bend * (3.0 + bend))
    )
    near = source.abs(bend) < 0.0625
    return source.select(near, -(scale * square * square * series), straight)


def _gamma(source: Source, shape_: Number, *, log: bool) -> Number:
    """Marsaglia and Tsang, ACM TOMS 26 (2000): a normal number bent by a cube, two tries from the
    four words of an attempt.  A shape below 2 is that of one more times u^(1/shape), below 1 twice
    so, that a try seldom fails.  Whether one is accepted is decided in float32 for float64, too."""
    low, lower = shape_ < 2.0, shape_ < 1.0
    more = source.select(lower, source.const(2.0), source.select(low, source.const(1.0), 0.0))
    scale = (shape_ + more) - 1.0 / 3.0
    slope = (1.0 / 3.0) / source.sqrt(scale)
    judged = source.narrow(source.minimum(scale, source.const(1e30)))

    def tries() -> Iterator[tuple[Number, Number]]:
        for attempt in range(_PAIRS):
            words = source.words(attempt)
            radius = source.sqrt(source.log(source.unit(words[0])) * -2.0)
            turns = source.unit(words[1])
            for wave, word in ((source.cos_turns, words[2]), (source.sin_turns, words[3])):
                normal = radius * wave(turns)
                bend = slope * normal
                level = _log_accept(source, judged, source.narrow(normal), source.narrow(bend))
                good = (bend > -1.0) & (source.log(source.narrow_unit(word)) < level)
                yield 1.0 + bend, good

    kept = first_accepted(source, source.const(1.0), tries(), shape_ >= 0.0)
    words, none = source.words(_BOOST), source.const(0.0)
    further = source.exponential(words[2:]) / (shape_ + 1.0)
    boost = source.exponential(words) / shape_ + source.select(source.seldom(lower), further, none)
    boost = source.select(source.seldom(low), boost, none)
    if log:
        result = source.log(scale) + 3.0 * source.log(kept) - boost
    else:
        result = scale * kept * kept * kept * source.exp(-boost)
    return source.select(shape_ >= 0.0, result, source.const(float("nan")))


def _von_mises(source: Source, kappa: Number) -> Number:
    """Best and Fisher, Applied Statistics 28 (1979): a wrapped Cauchy number, written with the
    tangent of its half so that nothing cancels, whatever kappa."""
    root = source.sqrt(4.0 * kappa * kappa + 1.0)
    level = 0.5 + 0.5 / (root + 2.0 * kappa)
    slope = source.sqrt(level / (level + 2.0 * kappa))

    def tries() -> Iterator[tuple[Number, Number]]:
        for turn, word in pairs_of_words(source, range(_ANGLES)):
            turns = (source.unit(turn) - 0.5) * 0.5
            tangent = slope * (source.sin_turns(turns) / source.cos_turns(turns))
            cost = level + kappa * (2.0 / (1.0 + 1.0 / (tangent * tangent)))
            yield tangent, source.log(cost / source.unit(word)) + 1.0 - cost >= 0.0

    kept = first_accepted(source, slope, tries(), kappa >= 0.0)
    return source.select(kappa >= 0.0, 2.0 * source.atan(kept), source.const(float("nan")))


def _wald(source: Source, mean: Number, scale: Number) -> Number:
    """Michael, Schucany and Haas, American Statistician 30 (1976): the smaller root of a
    chi-squared number, without a difference, or the larger one."""
    words = source.words(0)
    radius = source.log(source.unit(words[0])) * -2.0
    wave = source.cos_turns(source.unit(words[1]))
    part = radius * (wave * wave) * (mean / (2.0 * scale))
    grown = 1.0 + part + source.sqrt(part * (2.0 + part))
    smaller = source.unit(words[2]) * (1.0 + 1.0 / grown) <= 1.0
    return mean * source.select(smaller, 1.0 / grown, grown)


EXPONENTIAL = sampler(
    "random_exponential",
    _exponential,
    ((70,), {"dtype": dt.float32}),
    ((3, 5), {"dtype": dt.float64}),
    doc="Standard exponential numbers.",
)
LAPLACE = sampler(
    "random_laplace",
    _laplace,
    ((70,), {"dtype": dt.float32}),
    ((3, 5), {"dtype": dt.float64}),
    doc="Standard Laplace numbers.",
)
CAUCHY = sampler(
    "random_cauchy",
    _cauchy,
    ((70,), {"dtype": dt.float32}),
    ((3, 5), {"dtype": dt.float64}),
    doc="Standard Cauchy numbers.",
)
GAMMA = sampler(
    "random_gamma",
    _gamma,
    ((14, 5), _EDGE.astype(np.float32), {"dtype": dt.float32, "log": False}),
    ((3, 5), _EDGE, {"dtype": dt.float64, "log": True}),
    takes=1,
    params=("log",),
    ulp=4096.0,
    doc="Standard gamma numbers of a shape, or their logarithms.",
)
VON_MISES = sampler(
    "random_von_mises",
    _von_mises,
    ((14, 5), _EDGE.astype(np.float32), {"dtype": dt.float32}),
    ((3, 5), _EDGE, {"dtype": dt.float64}),
    takes=1,
    ulp=4096.0,
    doc="Angles around 0 of the von Mises distribution of a concentration.",
)
WALD = sampler(
    "random_wald",
    _wald,
    ((14, 5), _EDGE.astype(np.float32), np.array(2.0, np.float32), {"dtype": dt.float32}),
    ((3, 5), np.array(2.0), _EDGE, {"dtype": dt.float64}),
    takes=2,
    ulp=4096.0,
    doc="Inverse Gaussian numbers of a mean and a scale.",
)
