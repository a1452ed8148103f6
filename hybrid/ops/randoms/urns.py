"""Draws from an urn without replacement: hypergeometric numbers, of one colour and of several.

Invariant: small means by inversion, with weights relative to that of 0 so that nothing overflows,
large ones by the ratio of uniforms with a fixed number of tries, all in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...core.errors import ArgumentError
from ...core.shapes import as_shape
from ...ir.door.bind import convert as astype
from ..axes.views import broadcast_to
from ..base.surface import public
from ..build.join import stack
from ..elementwise.arithmetic import subtract
from ..indexing.generators import Generator
from .counts import stirling
from .parameters import Allowed, Sampling
from .sources import Number, Source, first_accepted, one_of, pairs_of_words, sampler

__all__ = ["HYPERGEOMETRIC"]

Tensor = Any
_STEPS = 46  # of an inversion: a mean of 10 is passed by more with a probability below 2^-53
_PAIRS = 6  # of tries: each fails with a probability of 0.3 or less
_SMALL = 10.0
_SLOPE, _BASE = 1.7155277699214135, 0.8989161620588988  # 2 sqrt(2 / e), 3 - 2 sqrt(3 / e)
BALLS = Allowed("0 to 10^9", 0.0, 1e9)


def _small(source: Source, rarer: Number, other: Number, taken: Number) -> Number:
    """By inversion: how many of `taken` balls are of the rarer colour."""
    word = source.words(0)
    here = reached = source.const(1.0)
    sums = [reached]
    for step in range(1, _STEPS):
        ways = (rarer - (step - 1.0)) * (taken - (step - 1.0))
        below = source.maximum(other - taken + float(step), source.const(1.0))
        here = here * (source.maximum(ways, source.const(0.0)) / (below * float(step)))
        reached = reached + here
        sums.append(reached)
    level = source.wide(word[1], word[0]) * reached
    count = source.const(0.0)
    for step, below in enumerate(sums[:-1], 1):
        count = source.select(level > below, source.const(float(step)), count)
    return source.minimum(count, source.minimum(rarer, taken))


def _log_factorial(source: Source, count: Number) -> Number:
    """log k! up to log(2 pi)/2; of 0 for negative numbers, which are never taken."""
    above = source.maximum(count, source.const(0.0)) + 1.0
    return (above - 0.5) * source.log(above) - above + stirling(source, above)


def _large(source: Source, rarer: Number, other: Number, taken: Number) -> Number:
    """By the ratio of uniforms, Stadlober, J. Comput. Appl. Math. 31 (1990): HRUA."""
    total = source.maximum(rarer + other, source.const(2.0))
    chance = rarer / total
    mean = taken * chance
    spread = mean * (1.0 - chance) * ((total - taken) / (total - 1.0))
    spread = source.sqrt(source.maximum(spread, source.const(0.0)) + 0.5)
    width = _SLOPE * spread + _BASE
    top = source.minimum(rarer, taken)

    def cost(found: Number) -> Number:
        parts = (found, rarer - found, taken - found, other - taken + found)
        logs = [_log_factorial(source, part) for part in parts]
        return (logs[0] + logs[1]) + (logs[2] + logs[3])

    mode = source.floor((taken + 1.0) * ((rarer + 1.0) / (total + 2.0)))
    least = cost(mode)

    def tries() -> Iterator[tuple[Number, Number]]:
        for first, second in pairs_of_words(source, range(1, _PAIRS + 1)):
            part = source.unit(first)
            found = source.floor(mean + 0.5 + width * (source.unit(second) - 0.5) / part)
            good = (found >= 0.0) & (found <= top)
            yield found, good & (2.0 * source.log(part) <= least - cost(found))

    return first_accepted(source, mode, tries())


def _hypergeometric(source: Source, good: Number, bad: Number, sample: Number) -> Number:
    total = good + bad
    flipped, more = good > bad, sample + sample > total
    rarer, other = source.minimum(good, bad), source.maximum(good, bad)
    taken = source.select(more, total - sample, sample)
    result = one_of(
        source,
        taken * rarer < _SMALL * total,
        _small(source, rarer, other, taken),
        _large(source, rarer, other, taken),
    )
    result = source.select(flipped, taken - result, result)  # of `good`, in what is taken
    result = source.select(more, good - result, result)
    known = (good >= 0.0) & (bad >= 0.0) & (sample >= 0.0) & (sample <= total)
    return source.select(known, result, source.const(-1.0))


HYPERGEOMETRIC = sampler(
    "random_hypergeometric",
    _hypergeometric,
    (
        (12, 6),
        np.array([0.0, 5.0, 100.0, 2e3, 60.0, 7.0]),
        np.array([4.0, 3.0, 900.0, 6e3, 50.0, 0.0]),
        np.array([2.0, 4.0, 40.0, 1e3, 100.0, 7.0]),
        {"dtype": dt.int64},
    ),
    takes=3,
    inner="f64",
    doc="How many of the balls that are taken are of the first of two colours.",
)


@public(hybrid=False, random=True)
def hypergeometric(
    ngood: Any,
    nbad: Any,
    nsample: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """How many of nsample balls are good, taken without replacement from ngood good and nbad bad
    ones: int64; size as for `uniform`.

    By inversion for small means, else by the ratio of uniforms (Stadlober, J. Comput. Appl. Math.
    31, 1990), 12 tries; the mode where none is accepted, with a probability below 2^-20.

    ArgumentError unless all are 0 to 10^9 and nsample <= ngood + nbad (-1 in the place of such
    elements of tensors).

    >>> hybrid.random.hypergeometric(30, 20, 10, 5, generator=hybrid.Generator(0))
    tensor([6, 3, 9, 5, 4])
    """
    call = Sampling(
        "hypergeometric",
        size,
        (None, generator, device),
        {"ngood": (ngood, BALLS), "nbad": (nbad, BALLS), "nsample": (nsample, BALLS)},
        counts=True,
    )
    good, bad, sample = call.values
    if all(isinstance(v, float) for v in call.values) and sample > good + bad:
        raise ArgumentError(f"hypergeometric: nsample is {nsample}, of {ngood} + {nbad} balls")
    return call.draw(HYPERGEOMETRIC, good, bad, sample, dtype=dt.int64)


@public(hybrid=False, random=True)
def multivariate_hypergeometric(
    colors: Any,
    nsample: int,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """How many balls of each colour are among nsample, taken without replacement from colors[i]
    balls of the colour i: int64 of shape (*size, number of colours).

    One hypergeometric number after the other.  ArgumentError unless colors is a sequence of
    numbers from 0 to 10^9 whose sum is nsample or more.

    >>> hybrid.random.multivariate_hypergeometric([3, 5, 2], 4, generator=hybrid.Generator(0))
    tensor([1, 2, 1])
    """
    counts = [int(c) for c in np.asarray(colors).ravel()]
    left, shape = sum(counts), () if size is None else as_shape(size)
    if np.ndim(colors) != 1 or not counts or min(counts) < 0 or left > BALLS.most:
        raise ArgumentError("multivariate_hypergeometric: colors is a sequence of numbers of balls")
    if not 0 <= nsample <= left:
        raise ArgumentError(f"multivariate_hypergeometric: {nsample} of {left} balls")
    taken: Any = float(nsample)
    found = []
    for count in counts[:-1]:
        left -= count
        rules = {"ngood": (count, BALLS), "nbad": (left, BALLS), "nsample": (taken, BALLS)}
        call = Sampling(
            "multivariate_hypergeometric", shape, (None, generator, device), rules, counts=True
        )
        found.append(call.draw(HYPERGEOMETRIC, *call.values, dtype=dt.int64))
        taken = subtract(taken, astype(found[-1], dt.float64))
    call = Sampling(
        "multivariate_hypergeometric",
        shape,
        (None, generator, device),
        {"n": (taken, BALLS)},
        counts=True,
    )
    last = call.operand(call.values[0])
    found.append(astype(broadcast_to(last, shape), dt.int64))
    return stack(found, -1)
