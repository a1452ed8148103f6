"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor
from .ops.typed import cbrt as cbrt
from .ops.typed import erf as erf
from .ops.typed import erfc as erfc
from .ops.typed import erfinv as erfinv
from .ops.typed import exp2 as exp2
from .ops.typed import expit as expit
from .ops.typed import expm1 as expm1
from .ops.typed import i0 as i0
from .ops.typed import log1p as log1p
from .ops.typed import logit as logit
from .ops.typed import sinc as sinc
from .ops.typed import xlogy as xlogy

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def beta(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """gamma(a) gamma(b) / gamma(a + b). Infinite where a or b is 0, -1, -2, ... The error is 8 last places while all three are finite; beyond, the relative error is 10 last places of betaln(a, b)."""

def betainc(alpha: ArrayLike, omega: ArrayLike, point: ArrayLike, /) -> Tensor:
    """The regularised incomplete beta function: the integral of t^(a-1) (1-t)^(b-1) from 0 to x, over beta(a, b). NaN for negative a or b and for x outside of [0, 1]."""

def betaincc(alpha: ArrayLike, omega: ArrayLike, point: ArrayLike, /) -> Tensor:
    """1 - betainc(a, b, x), with all digits where it is small. Domain and gradient are those of betainc."""

def betainccinv(a: ArrayLike, b: ArrayLike, y: ArrayLike) -> Tensor:
    """x with betaincc(a, b, x) = y: 1 - betaincinv(b, a, y)."""

def betaincinv(a: ArrayLike, b: ArrayLike, y: ArrayLike) -> Tensor:
    """x with betainc(a, b, x) = y; NaN unless a, b > 0 and y in [0, 1]."""

def betaln(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """log |beta(a, b)|, exact for large arguments too. Infinite where a or b is 0, -1, ... Next to its zeros the error is 10 last places of 1."""

def binom(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """The binomial coefficient of real arguments: gamma(n + 1) / (gamma(k + 1) gamma(n - k + 1)). Exact for whole n and k < 20 while products are whole numbers of the dtype; else the relative error is that of `beta`. NaN for n = -1, -2, ..."""

def chdtr(v: ArrayLike, x: ArrayLike) -> Tensor:
    """The distribution function of the chi-squared distribution with v degrees of freedom."""

def chdtrc(v: ArrayLike, x: ArrayLike) -> Tensor:
    """The tail of the chi-squared distribution: 1 - chdtr(v, x), with all digits where it is small."""

def comb(
    N: ArrayLike,
    k: ArrayLike,
    *,
    exact: builtins.bool = False,
    repetition: builtins.bool = False,
) -> Tensor:
    """The number of ways to choose k things out of N, as a floating number; 0 where k > N or one is negative. `repetition` counts choices that may take a thing again."""

def cosm1(x: ArrayLike, /, out: Any = None) -> Tensor:
    """cos(x) - 1, exact near 0."""

def dawsn(x: ArrayLike, /, out: Any = None) -> Tensor:
    """Dawson's integral: e^(-x^2) times the integral of e^(t^2) from 0 to x."""

def digamma(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The derivative of gammaln. Signed infinities at the zeros, NaN at the other poles. Next to its negative zeros the error is 3 last places of the larger of log |x| and cot(pi x)."""

def entr(x: ArrayLike, /, out: Any = None) -> Tensor:
    """-x log(x), 0 at 0, minus infinity below: the terms of an entropy."""

def erfcinv(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The inverse of erfc: y with erfc(y) = x, for the smallest x too; infinite at 0 and 2, NaN beyond."""

def erfcx(x: ArrayLike, /, out: Any = None) -> Tensor:
    """e^(x^2) erfc(x): erfc without the factor that makes its tail vanish."""

def exp1(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The exponential integral E1: that of e^-t / t from x to infinity; infinite at 0, NaN below."""

def expi(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The exponential integral Ei: the principal value of that of e^t / t up to x; minus infinity at 0."""

def expn(n: builtins.int, x: ArrayLike) -> Tensor:
    """The exponential integral E_n: that of e^(-x t) / t^n from 1 to infinity; n is a whole number, 0 or more, not a tensor."""

def exprel(x: ArrayLike, /, out: Any = None) -> Tensor:
    """(e^x - 1) / x, 1 at 0."""

def factorial(n: ArrayLike, exact: builtins.bool = False) -> Tensor:
    """n! = gamma(n + 1) as a floating number, 0 for n < 0."""

def fdtr(upper: ArrayLike, lower: ArrayLike, place: ArrayLike, /) -> Tensor:
    """The distribution function of the F distribution with dfn and dfd degrees of freedom; NaN unless both are above 0 and x is not negative. The gradient is that by x; by the degrees of freedom it raises UnsupportedError."""

def gamma(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The gamma function: (x - 1)! for whole x. Signed infinities at the zeros, NaN at the other poles."""

def gammainc(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """The regularised lower incomplete gamma function: the integral of t^(a-1) e^-t from 0 to x, over gamma(a). NaN for negative a or x. The gradient is that by x; by a it raises UnsupportedError."""

def gammaincc(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """The regularised upper incomplete gamma function, 1 - gammainc(a, x), with all digits where it is small. Domain and gradient are those of gammainc."""

def gammainccinv(a: ArrayLike, q: ArrayLike) -> Tensor:
    """x with gammaincc(a, x) = q, for the smallest q too; infinite for q = 0, 0 for q = 1."""

def gammaincinv(a: ArrayLike, p: ArrayLike) -> Tensor:
    """x with gammainc(a, x) = p; 0 for p = 0, infinite for p = 1, NaN unless a > 0 and p in [0, 1]."""

def gammaln(x: ArrayLike, /, out: Any = None) -> Tensor:
    """log |gamma(x)|; infinite at 0, -1, -2, ... Next to the zeros between those the error is 3 last places of the larger of 1 and log gamma(|x|)."""

def gammasgn(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The sign of gamma(x): 1 or -1, that of x at the zeros, NaN at the other poles. Its gradient is zero."""

def i0e(x: ArrayLike, /, out: Any = None) -> Tensor:
    """i0(x) e^-|x|, which does not overflow."""

def i1(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The modified Bessel function of the first kind of order 1; infinite at both infinities."""

def i1e(x: ArrayLike, /, out: Any = None) -> Tensor:
    """i1(x) e^-|x|, which does not overflow."""

def j0(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The Bessel function of the first kind of order 0. From 8 on, and for y0 next to its first zero, the error is 3 last places of the amplitude, sqrt(2 / (pi |x|)) and at most 1; 0 at infinity."""

def j1(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The Bessel function of the first kind of order 1. From 8 on, and for y0 next to its first zero, the error is 3 last places of the amplitude, sqrt(2 / (pi |x|)) and at most 1; 0 at infinity."""

def k0(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The modified Bessel function of the second kind of order 0; infinite at 0, NaN below."""

def k0e(x: ArrayLike, /, out: Any = None) -> Tensor:
    """k0(x) e^x, which does not vanish."""

def k1(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The modified Bessel function of the second kind of order 1; infinite at 0, NaN below."""

def k1e(x: ArrayLike, /, out: Any = None) -> Tensor:
    """k1(x) e^x, which does not vanish."""

def kl_div(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """x log(x / y) - x + y, without cancellation for y next to x; y for x = 0 <= y, infinite for other x or y that are not positive. `nn.functional.kl_div` is the loss."""

def log_expit(x: ArrayLike, /, out: Any = None) -> Tensor:
    """log(expit(x)) = -log(1 + e^-x), exact in both tails."""

def log_ndtr(x: ArrayLike, /, out: Any = None) -> Tensor:
    """log(ndtr(x)), exact in both tails."""

def log_softmax(x: ArrayLike, axis: Any = None) -> Tensor:
    """Logarithm of `softmax` over axes, all of them where axis is None."""

def logsumexp(
    a: ArrayLike,
    axis: Any = None,
    b: Any = None,
    keepdims: builtins.bool = False,
    return_sign: builtins.bool = False,
) -> Any:
    """log(sum(b exp(a))) over axes without overflow; b is 1 where it is None."""

def multigammaln(a: ArrayLike, d: builtins.int) -> Tensor:
    """log of the multivariate gamma function of dimension d; NaN unless a > (d - 1) / 2."""

def ndtr(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The distribution function of the standard normal distribution: P(Z <= x)."""

def ndtri(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The inverse of ndtr: the quantile of the standard normal distribution; infinite at 0 and 1, NaN beyond."""

def polygamma(n: builtins.int, x: ArrayLike) -> Tensor:
    """The n-th derivative of digamma; n is a whole number, 0 or more, not a tensor."""

def psi(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The derivative of gammaln. Signed infinities at the zeros, NaN at the other poles. Next to its negative zeros the error is 3 last places of the larger of log |x| and cot(pi x)."""

def rel_entr(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """x log(x / y), exact for y next to x; 0 for x = 0 <= y, infinite for other x or y that are not positive: the terms of a relative entropy."""

def softmax(x: ArrayLike, axis: Any = None) -> Tensor:
    """exp(x) divided by its sum over axes, all of them where axis is None; `hybrid.softmax` is over the last one."""

def stdtr(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """The distribution function of Student's t distribution with df degrees of freedom; NaN unless df > 0, that of the normal distribution for infinite df. The gradient is that by t; by df it raises UnsupportedError."""

def xlog1py(x: ArrayLike, y: ArrayLike, /, out: Any = None) -> Tensor:
    """x log(1 + y), 0 for x = 0 unless y is NaN. There the gradient by x is 0 for y <= -1."""

def y0(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The Bessel function of the second kind of order 0; minus infinity at 0, NaN below. From 8 on, and for y0 next to its first zero, the error is 3 last places of the amplitude, sqrt(2 / (pi |x|)) and at most 1; 0 at infinity."""

def y1(x: ArrayLike, /, out: Any = None) -> Tensor:
    """The Bessel function of the second kind of order 1; minus infinity at 0, NaN below. From 8 on, and for y0 next to its first zero, the error is 3 last places of the amplitude, sqrt(2 / (pi |x|)) and at most 1; 0 at infinity."""

def zeta(x: ArrayLike, q: Any = None) -> Tensor:
    """The Hurwitz zeta function: the sum of (q + k)^-x over k = 0, 1, 2, ...; Riemann's, q = 1, where q is None."""
