"""Made by `python tests/support/surface.py` from the marks at the functions: do not edit."""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .eager.tensor import Tensor
from .ops.typed import Generator as Generator
from .ops.typed import bernoulli as bernoulli
from .ops.typed import categorical as categorical
from .ops.typed import default_generator as default_generator
from .ops.typed import dropout as dropout
from .ops.typed import manual_seed as manual_seed
from .ops.typed import rand as rand
from .ops.typed import rand_like as rand_like
from .ops.typed import randint as randint
from .ops.typed import randn as randn
from .ops.typed import randn_like as randn_like
from .ops.typed import random_bits as random_bits
from .ops.typed import randperm as randperm

ArrayLike: TypeAlias = Any  # what hybrid.asarray takes

def beta(
    a: Any,
    b: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Beta numbers of the parameters a and b: x / (x + y) of gamma numbers, by their logarithms, so that small parameters do no harm; size and dtype as for `uniform`."""

def binomial(
    n: Any,
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of successes in n trials of probability p, int64; size as for `uniform`."""

def cauchy(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Cauchy numbers of median loc and half width scale; size and dtype as for `uniform`."""

def chisquare(
    df: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Chi-squared numbers of df degrees of freedom; size and dtype as for `uniform`."""

def choice(
    a: Any,
    size: Any = None,
    replace: builtins.bool = True,
    p: Any = None,
    axis: builtins.int = 0,
    shuffle: builtins.bool = True,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Elements of 0..a-1 for an int, or slices of a along an axis, drawn with or without replacement; p: their probabilities, equal where it is None."""

def dirichlet(
    alpha: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Vectors of shares that sum to 1, of concentrations alpha, whose last axis is that of a vector; shape (*size, *alpha.shape)."""

def exponential(
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Exponential numbers of mean scale; size and dtype as for `uniform`."""

def f(
    dfnum: Any,
    dfden: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """F numbers: the quotient of chi-squared numbers, each divided by its degrees of freedom; size and dtype as for `uniform`."""

def gamma(
    shape: Any,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Gamma numbers of a shape and a scale; size and dtype as for `uniform`."""

def geometric(
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of trials until the first success, of probability p, int64; size as for `uniform`."""

def get_state() -> Tensor:
    """State of the default generator: uint64 [seed, offset]."""

def gumbel(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Gumbel numbers: loc - scale log(e), e standard exponential; size and dtype as for `uniform`."""

def hypergeometric(
    ngood: Any,
    nbad: Any,
    nsample: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """How many of nsample balls are good, taken without replacement from ngood good and nbad bad ones: int64; size as for `uniform`."""

def integers(
    low: Any,
    high: Any = None,
    size: Any = None,
    dtype: Any = None,
    endpoint: builtins.bool = False,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Integers low..high-1 (low..high with `endpoint`; 0..low-1 where one bound is given), int64 by default; bounds are ints, or sequences and tensors of ints that broadcast."""

def laplace(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Laplace numbers: loc plus or minus an exponential number of mean scale; size and dtype as for `uniform`."""

def logistic(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Logistic numbers, whose distribution function is sigmoid((x - loc) / scale); size and dtype as for `uniform`."""

def lognormal(
    mean: Any = 0.0,
    sigma: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """e^x with x normal, of mean `mean` and standard deviation sigma; size and dtype as for `uniform`."""

def logseries(
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of the logarithmic series distribution, -p^k / (k log(1 - p)), int64; size as for `uniform`."""

def multinomial(
    n: Any,
    pvals: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Counts of n throws among k outcomes of probabilities pvals (their last axis), int64, of shape (*size, k); n may be a tensor that broadcasts with the other axes of pvals."""

def multivariate_hypergeometric(
    colors: Any,
    nsample: builtins.int,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """How many balls of each colour are among nsample, taken without replacement from colors[i] balls of the colour i: int64 of shape (*size, number of colours)."""

def multivariate_normal(
    mean: Any,
    cov: Any,
    size: Any = None,
    check_valid: builtins.str = 'raise',
    tol: builtins.float = 1e-08,
    *,
    method: builtins.str = 'cholesky',
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal vectors of that mean [k] and covariance [k, k], of shape (*size, k)."""

def negative_binomial(
    n: Any,
    p: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers of failures before n successes of probability p, int64; size as for `uniform`."""

def noncentral_chisquare(
    df: Any,
    nonc: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Noncentral chi-squared numbers: chi-squared with df plus twice a Poisson number (of the rate nonc / 2) of degrees of freedom; size and dtype as for `uniform`."""

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
    """Noncentral F numbers: as for `f`, with a noncentral chi-squared number above."""

def normal(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal numbers of mean loc and standard deviation scale; size and dtype as for `uniform`."""

def pareto(
    a: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Pareto II (Lomax) numbers of shape a: (1 - u)^(-1/a) - 1; size and dtype as for `uniform`."""

def permutation(
    x: Any,
    axis: builtins.int = 0,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """0..x-1 in random order for an int, else x with the slices along an axis in random order."""

def permuted(
    x: Any,
    *,
    axis: builtins.int | None = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """x with its elements in random order: each line along an axis in an order of its own, or all elements where axis is None."""

def poisson(
    lam: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Poisson numbers of a rate, int64; size as for `uniform`."""

def power(
    a: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers in [0, 1] of density a x^(a - 1): u^(1/a); size and dtype as for `uniform`."""

def random(
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Uniform numbers in [0, 1), one where no size is given; float32 by default."""

def rayleigh(
    scale: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Rayleigh numbers: scale sqrt(2 e), e standard exponential; size and dtype as for `uniform`."""

def seed(seed: builtins.int) -> Generator:
    """Seed the default generators of all devices; gives that of the default device."""

def set_state(state: Any) -> None:
    """Make the default generator go on from a state of `get_state`."""

def shuffle(
    x: ArrayLike,
    axis: builtins.int = 0,
    *,
    generator: Generator | None = None,
) -> None:
    """Give x its slices along an axis in random order."""

def standard_cauchy(
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Cauchy numbers around 0 of half width 1, one where no size is given; float32 by default."""

def standard_exponential(
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Exponential numbers of mean 1, one where no size is given; float32 by default."""

def standard_gamma(
    shape: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """`gamma` with a scale of 1. No gradient flows to shape."""

def standard_normal(
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Standard normal numbers, one where no size is given; float32 by default."""

def standard_t(
    df: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Student's t numbers of df degrees of freedom; size and dtype as for `uniform`."""

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
    """Numbers of a triangular density over left..right, highest at mode; size and dtype as for `uniform`."""

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
    """Normal numbers of that mean and standard deviation, between low and high (which are values, as for PyTorch's trunc_normal_); size and dtype as for `uniform`."""

def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Uniform numbers between low and high (numbers, sequences or tensors that broadcast), one for each element where no size is given."""

def vonmises(
    mu: Any,
    kappa: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Angles in [-pi, pi] of the von Mises distribution around mu with concentration kappa; size and dtype as for `uniform`."""

def wald(
    mean: Any,
    scale: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Wald (inverse Gaussian) numbers; size and dtype as for `uniform`."""

def weibull(
    a: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Weibull numbers of shape a: e^(1/a), e standard exponential, and 0 for a = 0; size and dtype as for `uniform`."""

def zipf(
    a: Any,
    size: Any = None,
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers k = 1, 2, ... with probabilities k^-a / zeta(a), cut at 2^63, int64; size as for `uniform`."""
