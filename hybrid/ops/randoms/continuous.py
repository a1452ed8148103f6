"""Continuous distributions that are functions of one standard number.

Invariant: the numbers are differentiable functions of the parameters (reparametrised), and the tape
sees them.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import ArgumentError
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, negative, subtract
from ..elementwise.functions import exp, expm1, log, sqrt
from ..elementwise.logic import equal, greater, less, logical_and
from ..elementwise.powers import power as raised
from ..elementwise.selection import clip, where
from ..indexing.draws import NORMAL, UNIFORM
from ..indexing.generators import Generator
from ..special.normal import ndtr, ndtri
from .parameters import ANY, AT_LEAST_ZERO, POSITIVE, Sampling
from .samplers import CAUCHY, EXPONENTIAL, LAPLACE

Tensor = Any


@public(hybrid=False, random=True)
def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Uniform numbers between low and high (numbers, sequences or tensors that broadcast), one for
    each element where no size is given.

    dtype: float32 by default, float64 where a bound is a float64 tensor or array.

    ShapeError where the bounds do not broadcast to the size.  Gradients flow to both.

    >>> hybrid.random.uniform([0.0, 10.0], [1.0, 20.0], generator=hybrid.Generator(0))
    tensor([ 0.399 , 19.7224])
    >>> hybrid.random.uniform(-1, 1, (2, 3)).shape
    (2, 3)
    """
    call = Sampling(
        "uniform", size, (dtype, generator, device), {"low": (low, ANY), "high": (high, ANY)}
    )
    low, high = call.values
    width = (
        high - low if isinstance(low, float) and isinstance(high, float) else subtract(high, low)
    )
    return add(multiply(call.draw(UNIFORM), width), low)


@public(hybrid=False, random=True)
def normal(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal numbers of mean loc and standard deviation scale; size and dtype as for `uniform`.

    ArgumentError for a negative scale (NaN in a tensor).  Gradients flow to both.

    >>> x = hybrid.random.normal(5.0, [1e-3, 1.0], (10000, 2), generator=hybrid.Generator(0))
    >>> hybrid.round(x.std(axis=0), 3)
    tensor([0.001, 0.999])
    """
    call = Sampling(
        "normal",
        size,
        (dtype, generator, device),
        {"loc": (loc, ANY), "scale": (scale, AT_LEAST_ZERO)},
    )
    loc, scale = call.values
    return add(multiply(call.draw(NORMAL), scale), loc)


@public(hybrid=False, random=True)
def exponential(
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Exponential numbers of mean scale; size and dtype as for `uniform`.

    By inversion, -log(u) with full precision at both ends.  ArgumentError for a negative scale
    (NaN in a tensor).  The gradient flows to scale.

    >>> hybrid.random.exponential(2.0, 3, generator=hybrid.Generator(0))
    tensor([1.8374, 0.0563, 7.8799])
    """
    call = Sampling(
        "exponential", size, (dtype, generator, device), {"scale": (scale, AT_LEAST_ZERO)}
    )
    (scale,) = call.values
    return multiply(call.draw(EXPONENTIAL), scale)


@public(hybrid=False, random=True)
def laplace(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Laplace numbers: loc plus or minus an exponential number of mean scale; size and dtype as for
    `uniform`.

    ArgumentError for a negative scale (NaN in a tensor).  Gradients flow to both.

    >>> hybrid.random.laplace(0.0, 1.0, 3, generator=hybrid.Generator(0))
    tensor([-0.9187, -0.0282,  3.9399])
    """
    call = Sampling(
        "laplace",
        size,
        (dtype, generator, device),
        {"loc": (loc, ANY), "scale": (scale, AT_LEAST_ZERO)},
    )
    loc, scale = call.values
    return add(multiply(call.draw(LAPLACE), scale), loc)


@public(hybrid=False, random=True)
def logistic(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Logistic numbers, whose distribution function is sigmoid((x - loc) / scale); size and dtype
    as for `uniform`.

    ArgumentError for a negative scale (NaN in a tensor).  Gradients flow to both.

    >>> hybrid.random.logistic(0.0, 1.0, 3, generator=hybrid.Generator(0))
    tensor([ 0.4094, -3.5561,  3.9203])
    """
    call = Sampling(
        "logistic",
        size,
        (dtype, generator, device),
        {"loc": (loc, ANY), "scale": (scale, AT_LEAST_ZERO)},
    )
    loc, scale = call.values
    standard = log(expm1(call.draw(EXPONENTIAL)))
    return add(multiply(standard, scale), loc)


@public(hybrid=False, random=True)
def gumbel(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Gumbel numbers: loc - scale log(e), e standard exponential; size and dtype as for `uniform`.

    ArgumentError for a negative scale (NaN in a tensor).  Gradients flow to both.

    >>> hybrid.random.gumbel(0.0, 1.0, 3, generator=hybrid.Generator(0))
    tensor([ 0.0848,  3.5702, -1.3712])
    """
    call = Sampling(
        "gumbel",
        size,
        (dtype, generator, device),
        {"loc": (loc, ANY), "scale": (scale, AT_LEAST_ZERO)},
    )
    loc, scale = call.values
    return subtract(loc, multiply(log(call.draw(EXPONENTIAL)), scale))


@public(hybrid=False, random=True)
def cauchy(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Cauchy numbers of median loc and half width scale; size and dtype as for `uniform`.

    ArgumentError for a negative scale (NaN in a tensor).  Gradients flow to both.

    >>> hybrid.random.cauchy(0.0, 1.0, 3, generator=hybrid.Generator(0))
    tensor([-1.3807,  0.0436, 32.7219])
    """
    call = Sampling(
        "cauchy",
        size,
        (dtype, generator, device),
        {"loc": (loc, ANY), "scale": (scale, AT_LEAST_ZERO)},
    )
    loc, scale = call.values
    return add(multiply(call.draw(CAUCHY), scale), loc)


@public(hybrid=False, random=True)
def lognormal(
    mean: Any = 0.0,
    sigma: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """e^x with x normal, of mean `mean` and standard deviation sigma; size and dtype as for
    `uniform`.

    ArgumentError for a negative sigma (NaN in a tensor).  Gradients flow to both.

    >>> hybrid.random.lognormal(0.0, 1.0, 3, generator=hybrid.Generator(0))
    tensor([2.6943, 0.8576, 0.3053])
    """
    call = Sampling(
        "lognormal",
        size,
        (dtype, generator, device),
        {"mean": (mean, ANY), "sigma": (sigma, AT_LEAST_ZERO)},
    )
    mean, sigma = call.values
    return exp(add(multiply(call.draw(NORMAL), sigma), mean))


@public(hybrid=False, random=True)
def rayleigh(
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Rayleigh numbers: scale sqrt(2 e), e standard exponential; size and dtype as for `uniform`.

    ArgumentError for a negative scale (NaN in a tensor).  The gradient flows to scale.

    >>> hybrid.random.rayleigh(1.0, 3, generator=hybrid.Generator(0))
    tensor([1.3555, 0.2373, 2.8071])
    """
    call = Sampling("rayleigh", size, (dtype, generator, device), {"scale": (scale, AT_LEAST_ZERO)})
    (scale,) = call.values
    return multiply(sqrt(multiply(call.draw(EXPONENTIAL), 2.0)), scale)


@public(hybrid=False, random=True)
def weibull(
    a: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Weibull numbers of shape a: e^(1/a), e standard exponential, and 0 for a = 0; size and dtype
    as for `uniform`.

    ArgumentError for a negative a (NaN in a tensor).  The gradient flows to a.

    >>> hybrid.random.weibull(2.0, 3, generator=hybrid.Generator(0))
    tensor([0.9585, 0.1678, 1.9849])
    """
    call = Sampling("weibull", size, (dtype, generator, device), {"a": (a, AT_LEAST_ZERO)})
    (a,) = call.values
    drawn = call.draw(EXPONENTIAL)
    a = call.operand(a)
    return where(equal(a, 0.0), 0.0, raised(drawn, divide(1.0, a)))


@public(hybrid=False, random=True)
def pareto(
    a: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Pareto II (Lomax) numbers of shape a: (1 - u)^(-1/a) - 1; size and dtype as for `uniform`.

    ArgumentError unless a > 0 (NaN in a tensor).  The gradient flows to a.

    >>> hybrid.random.pareto(3.0, 3, generator=hybrid.Generator(0))
    tensor([0.3583, 0.0094, 2.7185])
    """
    call = Sampling("pareto", size, (dtype, generator, device), {"a": (a, POSITIVE)})
    (a,) = call.values
    return expm1(divide(call.draw(EXPONENTIAL), a))


@public(hybrid=False, random=True)
def power(
    a: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers in [0, 1] of density a x^(a - 1): u^(1/a); size and dtype as for `uniform`.

    ArgumentError unless a > 0 (NaN in a tensor).  The gradient flows to a.

    >>> hybrid.random.power(3.0, 3, generator=hybrid.Generator(0))
    tensor([0.7362, 0.9907, 0.2689])
    """
    call = Sampling("power", size, (dtype, generator, device), {"a": (a, POSITIVE)})
    (a,) = call.values
    return exp(negative(divide(call.draw(EXPONENTIAL), a)))


@public(hybrid=False, random=True)
def triangular(
    left: Any,
    mode: Any,
    right: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of a triangular density over left..right, highest at mode; size and dtype as for
    `uniform`.

    By inversion.  ArgumentError unless left <= mode <= right and left < right (NaN in tensors).
    Gradients flow to all three.

    >>> hybrid.random.triangular(0.0, 1.0, 4.0, 3, generator=hybrid.Generator(0))
    tensor([1.3146, 3.4228, 0.2789])
    """
    call = Sampling(
        "triangular",
        size,
        (dtype, generator, device),
        {"left": (left, ANY), "mode": (mode, ANY), "right": (right, ANY)},
    )
    left, mode, right = call.values
    if all(isinstance(v, float) for v in call.values):
        if not left <= mode <= right or not left < right:
            raise ArgumentError(f"triangular: not {left} <= {mode} <= {right}, or both ends equal")
    left, mode, right = [call.operand(v) for v in call.values]
    drawn = call.draw(UNIFORM)
    width, rise, fall = subtract(right, left), subtract(mode, left), subtract(right, mode)
    known = logical_and(rise >= 0.0, logical_and(fall >= 0.0, width > 0.0))
    width = where(known, width, float("nan"))
    below = less(multiply(drawn, width), rise)
    up = add(left, sqrt(where(below, multiply(multiply(drawn, width), rise), 1.0)))
    rest = multiply(multiply(subtract(1.0, drawn), width), fall)
    down = subtract(right, sqrt(where(below, 1.0, rest)))
    return where(below, up, down)


@public(hybrid=False, random=True)
def truncated_normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    low: Any = -2.0,
    high: Any = 2.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal numbers of that mean and standard deviation, between low and high (which are values,
    as for PyTorch's trunc_normal_); size and dtype as for `uniform`.

    By inversion in the nearer tail, so bounds as far as 12 standard deviations to one side are
    served (float64: 37).  ArgumentError unless std > 0 (NaN in a tensor).  Gradients flow to all
    four.

    >>> hybrid.random.truncated_normal(0.0, 1.0, 1.0, 2.0, 3, generator=hybrid.Generator(0))
    tensor([1.4257, 1.0157, 1.9533])
    """
    call = Sampling(
        "truncated_normal",
        size,
        (dtype, generator, device),
        {"mean": (mean, ANY), "std": (std, POSITIVE), "low": (low, ANY), "high": (high, ANY)},
    )
    mean, std, low, high = call.values
    drawn = call.draw(UNIFORM)
    first = divide(subtract(low, call.operand(mean)), std)
    last = divide(subtract(high, call.operand(mean)), std)
    mirrored = greater(add(first, last), 0.0)  # the lower tail has all digits
    bottom = where(mirrored, negative(last), first)
    top = where(mirrored, negative(first), last)
    least = ndtr(bottom)
    inside = ndtri(add(least, multiply(drawn, subtract(ndtr(top), least))))
    inside = clip(inside, bottom, top)
    return add(multiply(where(mirrored, negative(inside), inside), std), mean)
