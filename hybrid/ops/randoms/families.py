"""Distributions made of gamma numbers, and whole numbers.

Invariant: parameters that only a rejection sees get no gradient, whole: where one would reach a
parameter in part, the tape is cut.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes as dt
from ...ir.door.bind import convert as astype
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, negative, subtract
from ..elementwise.functions import expm1, log, log1p, sigmoid, sqrt
from ..elementwise.logic import greater_equal, isnan, less
from ..elementwise.numeric import rint
from ..elementwise.rounding import floor
from ..elementwise.selection import maximum, where
from ..indexing.draws import NORMAL, UNIFORM
from ..indexing.generators import Generator
from .counts import BINOMIAL, POISSON, ZIPF
from .parameters import ANY, AT_LEAST_ZERO, CHANCE, POSITIVE, RATE, SOME_CHANCE, Allowed, Sampling
from .samplers import EXPONENTIAL, GAMMA, VON_MISES, WALD

Tensor = Any

TURN = 6.283185307179586


def _half(degrees: Any) -> Any:
    return degrees * 0.5 if isinstance(degrees, float) else multiply(degrees, 0.5)


def _noncentral(call: Sampling, df: Any, nonc: Any) -> Tensor:
    rate = astype(call.operand(_half(nonc)), dt.float64)
    more = call.draw(POISSON, rate, dtype=dt.int64)
    known = where(less(more, 0), float("nan"), astype(more, call.dtype))
    return multiply(call.draw(GAMMA, add(known, _half(df)), log=False), 2.0)


@public(hybrid=False, random=True)
def gamma(
    shape: Any,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Gamma numbers of a shape and a scale; size and dtype as for `uniform`.

    By Marsaglia and Tsang's method (ACM TOMS 26, 2000): 12 tries, each from words of its own, of
    which none is accepted with a probability below 2^-64.  ArgumentError for a negative shape or
    scale (NaN in tensors).  The gradient flows to scale only.

    >>> hybrid.random.gamma(3.0, 2.0, 3, generator=hybrid.Generator(0))
    tensor([9.2694, 4.8471, 2.3213])
    """
    call = Sampling(
        "gamma",
        size,
        (dtype, generator, device),
        {"shape": (shape, AT_LEAST_ZERO), "scale": (scale, AT_LEAST_ZERO)},
    )
    shape, scale = call.values
    return multiply(call.draw(GAMMA, shape, log=False), scale)


@public(hybrid=False, random=True)
def standard_gamma(
    shape: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """`gamma` with a scale of 1.  No gradient flows to shape.

    >>> hybrid.random.standard_gamma(3.0, 3, generator=hybrid.Generator(0))
    tensor([4.6347, 2.4236, 1.1606])
    """
    call = Sampling(
        "standard_gamma", size, (dtype, generator, device), {"shape": (shape, AT_LEAST_ZERO)}
    )
    (shape,) = call.values
    return call.draw(GAMMA, shape, log=False)


@public(hybrid=False, random=True)
def beta(
    a: Any,
    b: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Beta numbers of the parameters a and b: x / (x + y) of gamma numbers, by their logarithms, so
    that small parameters do no harm; size and dtype as for `uniform`.

    Two draws.  ArgumentError unless both are more than 0 (NaN in tensors).  No gradient flows to
    them.

    >>> hybrid.random.beta(2.0, 3.0, 3, generator=hybrid.Generator(0))
    tensor([0.4066, 0.3037, 0.1753])
    """
    call = Sampling(
        "beta", size, (dtype, generator, device), {"a": (a, POSITIVE), "b": (b, POSITIVE)}
    )
    a, b = call.values
    first, second = call.draw(GAMMA, a, log=True), call.draw(GAMMA, b, log=True)
    return sigmoid(subtract(first, second))


@public(hybrid=False, random=True)
def chisquare(
    df: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Chi-squared numbers of df degrees of freedom; size and dtype as for `uniform`.

    ArgumentError unless df > 0 (NaN in a tensor).  No gradient flows to df.

    >>> hybrid.random.chisquare(3.0, 3, generator=hybrid.Generator(0))
    tensor([4.611 , 1.0716, 0.8838])
    """
    call = Sampling("chisquare", size, (dtype, generator, device), {"df": (df, POSITIVE)})
    (df,) = call.values
    return multiply(call.draw(GAMMA, _half(df), log=False), 2.0)


@public(hybrid=False, random=True)
def noncentral_chisquare(
    df: Any,
    nonc: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Noncentral chi-squared numbers: chi-squared with df plus twice a Poisson number (of the rate
    nonc / 2) of degrees of freedom; size and dtype as for `uniform`.

    Two draws.  ArgumentError unless df > 0 and nonc >= 0 (NaN in tensors).  No gradient flows to
    them.

    >>> hybrid.random.noncentral_chisquare(3.0, 2.0, 3, generator=hybrid.Generator(0))
    tensor([ 8.2973, 10.0983,  2.8011])
    """
    call = Sampling(
        "noncentral_chisquare",
        size,
        (dtype, generator, device),
        {"df": (df, POSITIVE), "nonc": (nonc, AT_LEAST_ZERO)},
    )
    df, nonc = call.values
    return _noncentral(call, df, nonc)


@public(hybrid=False, random=True)
def f(
    dfnum: Any,
    dfden: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """F numbers: the quotient of chi-squared numbers, each divided by its degrees of freedom; size
    and dtype as for `uniform`.

    Two draws.  ArgumentError unless both are more than 0 (NaN in tensors).  No gradient flows to
    them.

    >>> hybrid.random.f(3.0, 4.0, 3, generator=hybrid.Generator(0))
    tensor([0.8885, 0.3181, 0.3618])
    """
    call = Sampling(
        "f",
        size,
        (dtype, generator, device),
        {"dfnum": (dfnum, POSITIVE), "dfden": (dfden, POSITIVE)},
    )
    dfnum, dfden = call.values
    dfnum, dfden = [call.cut(v) for v in call.values]
    above = divide(call.draw(GAMMA, _half(dfnum), log=False), dfnum)
    return divide(above, divide(call.draw(GAMMA, _half(dfden), log=False), dfden))


@public(hybrid=False, random=True)
def noncentral_f(
    dfnum: Any,
    dfden: Any,
    nonc: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Noncentral F numbers: as for `f`, with a noncentral chi-squared number above.

    Three draws.  ArgumentError unless dfnum, dfden > 0 and nonc >= 0 (NaN in tensors).  No gradient
    flows to them.

    >>> hybrid.random.noncentral_f(3.0, 4.0, 1.0, 3, generator=hybrid.Generator(0))
    tensor([3.3689, 1.7813, 0.9523])
    """
    given = {"dfnum": (dfnum, POSITIVE), "dfden": (dfden, POSITIVE), "nonc": (nonc, AT_LEAST_ZERO)}
    call = Sampling("noncentral_f", size, (dtype, generator, device), given)
    dfnum, dfden, nonc = [call.cut(v) for v in call.values]
    above = divide(_noncentral(call, dfnum, nonc), dfnum)
    return divide(above, multiply(divide(call.draw(GAMMA, _half(dfden), log=False), dfden), 2.0))


@public(hybrid=False, random=True)
def standard_t(
    df: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Student's t numbers of df degrees of freedom; size and dtype as for `uniform`.

    Two draws.  ArgumentError unless df > 0 (NaN in a tensor).  No gradient flows to df.

    >>> hybrid.random.standard_t(4.0, 3, generator=hybrid.Generator(0))
    tensor([ 0.7536, -0.145 , -1.3148])
    """
    call = Sampling("standard_t", size, (dtype, generator, device), {"df": (df, POSITIVE)})
    (df,) = call.values
    half = _half(call.cut(df))
    normal = call.draw(NORMAL)
    return multiply(normal, sqrt(divide(half, call.draw(GAMMA, half, log=False))))


@public(hybrid=False, random=True)
def vonmises(
    mu: Any,
    kappa: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Angles in [-pi, pi] of the von Mises distribution around mu with concentration kappa; size
    and dtype as for `uniform`.

    By Best and Fisher's method (Applied Statistics 28, 1979): 40 tries, each from words of its
    own, of which none is accepted with a probability below 2^-61.  ArgumentError for a negative
    kappa (NaN in a tensor).  The gradient flows to mu only.

    >>> hybrid.random.vonmises(0.0, 4.0, 3, generator=hybrid.Generator(0))
    tensor([-0.1634,  0.3448, -0.9687])
    """
    call = Sampling(
        "vonmises",
        size,
        (dtype, generator, device),
        {"mu": (mu, ANY), "kappa": (kappa, AT_LEAST_ZERO)},
    )
    mu, kappa = call.values
    angle = add(call.draw(VON_MISES, kappa), mu)
    return subtract(angle, multiply(rint(divide(angle, TURN)), TURN))


@public(hybrid=False, random=True)
def wald(
    mean: Any,
    scale: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Wald (inverse Gaussian) numbers; size and dtype as for `uniform`.

    By Michael, Schucany and Haas' transformation (American Statistician 30, 1976).  ArgumentError
    unless both are more than 0 (NaN in tensors).  No gradient flows to them.

    >>> hybrid.random.wald(1.0, 2.0, 3, generator=hybrid.Generator(0))
    tensor([1.9882, 1.1147, 0.4422])
    """
    call = Sampling(
        "wald",
        size,
        (dtype, generator, device),
        {"mean": (mean, POSITIVE), "scale": (scale, POSITIVE)},
    )
    mean, scale = call.values
    return call.draw(WALD, mean, scale)


@public(hybrid=False, random=True)
def poisson(
    lam: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Poisson numbers of a rate, int64; size as for `uniform`.

    By inversion below a rate of 10, else by transformed rejection (Hörmann, Insurance: Mathematics
    and Economics 12, 1993), 12 tries, each from words of its own; where none is accepted, with a
    probability below 2^-24, by a quantile of the normal distribution, corrected for skewness.

    ArgumentError for a negative rate (-1 in the place of one in a tensor, or of NaN).

    >>> hybrid.random.poisson(4.0, 5, generator=hybrid.Generator(0))
    tensor([3, 8, 1, 6, 7])
    """
    call = Sampling("poisson", size, (None, generator, device), {"lam": (lam, RATE)}, counts=True)
    (lam,) = call.values
    return call.draw(POISSON, lam, dtype=dt.int64)


@public(hybrid=False, random=True)
def binomial(
    n: Any,
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of successes in n trials of probability p, int64; size as for `uniform`.

    By inversion where n p or n (1 - p) is below 10, else by transformed rejection (Hörmann, J.
    Stat. Comput. Simul. 46, 1993) as for `poisson`.

    ArgumentError unless n >= 0 and 0 <= p <= 1 (-1 in the place of such elements of tensors).

    >>> hybrid.random.binomial(10, 0.5, 5, generator=hybrid.Generator(0))
    tensor([5, 8, 2, 6, 7])
    """
    call = Sampling(
        "binomial",
        size,
        (None, generator, device),
        {"n": (n, RATE), "p": (p, CHANCE)},
        counts=True,
    )
    n, p = call.values
    return call.draw(BINOMIAL, n, p, dtype=dt.int64)


@public(hybrid=False, random=True)
def negative_binomial(
    n: Any,
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of failures before n successes of probability p, int64; size as for `uniform`.

    A Poisson number of a gamma rate, two draws.  ArgumentError unless n > 0 and 0 < p <= 1 (-1 in
    the place of such elements of tensors).

    >>> hybrid.random.negative_binomial(3, 0.5, 5, generator=hybrid.Generator(0))
    tensor([5, 4, 2, 0, 4])
    """
    call = Sampling(
        "negative_binomial",
        size,
        (None, generator, device),
        {"n": (n, POSITIVE), "p": (p, SOME_CHANCE)},
        counts=True,
    )
    n, p = call.values
    odds = divide(subtract(1.0, call.operand(p)), p)
    rate = multiply(call.draw(GAMMA, n, log=False), odds)
    return call.draw(POISSON, rate, dtype=dt.int64)


@public(hybrid=False, random=True)
def geometric(
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of trials until the first success, of probability p, int64; size as for `uniform`.

    By inversion.  ArgumentError unless 0 < p <= 1 (-1 in the place of such elements of a
    tensor).

    >>> hybrid.random.geometric(0.3, 5, generator=hybrid.Generator(0))
    tensor([ 3,  1, 12,  1,  1])
    """
    call = Sampling(
        "geometric", size, (None, generator, device), {"p": (p, SOME_CHANCE)}, counts=True
    )
    (p,) = call.values
    rate = negative(log1p(negative(call.operand(p))))
    trials = add(floor(divide(call.draw(EXPONENTIAL), rate)), 1.0)
    return astype(where(isnan(trials), -1.0, trials), dt.int64)


@public(hybrid=False, random=True)
def logseries(
    p: Any, size: Any = None, *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Numbers of the logarithmic series distribution, -p^k / (k log(1 - p)), int64; size as for
    `uniform`.

    By Kemp's method (Applied Statistics 30, 1981), two draws.  ArgumentError unless 0 <= p < 1
    (-1 in the place of such elements of a tensor).

    >>> hybrid.random.logseries(0.6, 5, generator=hybrid.Generator(0))
    tensor([1, 1, 1, 4, 1])
    """
    below = Allowed("0 or more, and below 1", 0.0, 1.0 - 2.0**-53)
    call = Sampling("logseries", size, (None, generator, device), {"p": (p, below)}, counts=True)
    level = log1p(negative(call.operand(call.values[0])))
    part = negative(expm1(multiply(level, call.draw(UNIFORM))))
    height = maximum(call.draw(UNIFORM), 2.0**-54)
    count = add(floor(divide(log(height), log(part))), 1.0)
    count = where(greater_equal(height, part), 1.0, count)
    return astype(where(isnan(level), -1.0, count), dt.int64)


@public(hybrid=False, random=True)
def zipf(
    a: Any, size: Any = None, *, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """Numbers k = 1, 2, ... with probabilities k^-a / zeta(a), cut at 2^63, int64; size as for
    `uniform`.

    By Devroye's rejection (Non-Uniform Random Variate Generation, 1986): 24 tries, each from words
    of its own, of which none is accepted with a probability below 2^-42, and 1 is taken then.
    ArgumentError unless a > 1 (-1 in the place of such elements of a tensor).

    >>> hybrid.random.zipf(2.0, 5, generator=hybrid.Generator(0))
    tensor([ 1,  1, 51,  1,  1])
    """
    above = Allowed("more than 1", 1.0, open=True)
    call = Sampling("zipf", size, (None, generator, device), {"a": (a, above)}, counts=True)
    return call.draw(ZIPF, *call.values, dtype=dt.int64)
