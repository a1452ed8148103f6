"""The inverses of the incomplete gamma and beta functions.

Invariant: a fixed number of Newton steps on the logarithm of the smaller of the two functions, from
starts that are near enough for all parameters; the last step is a record, whose gradient is that of
the inverse.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.door.bind import as_tensor, bind
from ...ir.op import Op, map_op
from ...ir.scalar.program import Builder, Val
from ..base.common import ints
from ..base.surface import public
from ..elementwise.arithmetic import add, divide, multiply, negative, square, subtract
from ..elementwise.functions import exp, log, log1p, sigmoid, sqrt
from ..elementwise.logic import equal, greater, less, less_equal, logical_and, logical_or
from ..elementwise.selection import clip, maximum, minimum, where
from ..formulas import special as F
from .distributions import beta_density, betainc, betaincc, density, gammainc, gammaincc, no_slope
from .gammas import betaln, gammaln
from .normal import ndtri
from .oracles import beta as log_beta
from .oracles import gammaln as log_gamma
from .oracles import incomplete, incomplete_beta, oracle

Tensor = Any
_STEPS, _BETA_STEPS = 6, 9


def _step_body(algebra: Builder, start: Val, a: Val, target: Val, *, upper: bool) -> Val:
    value = (F.gammaincc if upper else F.gammainc)(algebra, a, start)
    step = (target - value) / F.gamma_density(algebra, a, start)
    step = algebra.select(algebra.abs(step) < 0.25 * start, step, 0.0)  # NaN at the ends, too
    return start - step if upper else start + step


def _step_vjp(
    gradient: Tensor, out: Tensor, start: Tensor, a: Tensor, target: Tensor, upper: bool
) -> tuple[Any, Any, Any]:
    def by_target() -> Tensor:
        slope = divide(gradient, density(a, out))
        return negative(slope) if upper else slope

    return None, no_slope, by_target


def _step_reference(x: np.ndarray, a: np.ndarray, p: np.ndarray, upper: bool) -> Any:
    value = incomplete(a, x)[int(upper)]
    step = (p - value) / np.exp((a - 1) * np.log(x) - x - log_gamma(a))
    return x - step if upper else x + step


def _solved(rng: np.random.Generator) -> Any:
    """Starts that solve the equation: whole a, the start has no gradient."""
    for shape, upper in (((7,), False), ((3, 5), True), ((), False), ((0, 2), True)):
        a = ints(rng, *shape, low=1, high=12)
        x = a * rng.uniform(0.6, 1.5, shape)
        with np.errstate(all="ignore"):
            wide = [np.asarray(v, np.longdouble).reshape(-1) for v in (a, x)]
            p = incomplete(*wide)[int(upper)].reshape(shape).astype(np.float64)
        yield [x, a, p], {"upper": upper}


STEP: Op = map_op(
    "gammainc_inverse",
    3,
    _step_body,
    vjp=_step_vjp,
    reference=oracle(_step_reference),
    result="float",
    accepts="f",
    fixed=(0,),
    params=("upper",),
    samples=_solved,
    ulp=64.0,
    doc="One step of Newton's method towards gammainc(a, x) = p from x next to it; the gradient by "
    "p is that of the solution.",
)


def _start(a: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """The cube of Wilson and Hilferty (1931); for small results the first term of the series at 0,
    for small a or q that of the tail."""
    z = where(less(p, q), ndtri(p), negative(ndtri(q)))
    ninth = divide(1.0, multiply(a, 9.0))
    root = add(subtract(1.0, ninth), multiply(z, sqrt(ninth)))
    cube = multiply(a, multiply(root, square(root)))
    first = exp(divide(add(log(p), gammaln(add(a, 1.0))), a))
    start = where(logical_or(less(a, 1.0), less(cube, multiply(a, 0.2))), first, cube)
    tail = negative(add(log(q), gammaln(a)))
    tail = add(tail, multiply(subtract(a, 1.0), log(maximum(tail, 1.0))))
    few = logical_or(less(a, 1.0), logical_and(less(a, 8.0), less(q, 1e-5)))
    late = logical_and(few, logical_and(greater(tail, 1.5), less(q, 0.3)))
    return where(late, tail, start)


def _solve(a: Any, p: Tensor, q: Tensor, upper: bool) -> Tensor:
    a = as_tensor(a)
    start = _start(a, p, q)
    lower_is_small = less_equal(p, q)
    target = where(lower_is_small, p, q)
    for _ in range(_STEPS):
        value = where(lower_is_small, gammainc(a, start), gammaincc(a, start))
        slope = divide(multiply(start, density(a, start)), value)
        step = divide(subtract(log(target), log(value)), slope)
        # where the function vanished at the start, back towards the median
        step = where(equal(step, step), step, 0.25)
        step = clip(where(lower_is_small, step, negative(step)), -2.0, 2.0)
        start = multiply(start, exp(step))
    given = q if upper else p
    result = bind(STEP, start, a, given, upper=upper)
    result = where(equal(p, 0.0), 0.0, where(equal(q, 0.0), np.inf, result))
    inside = logical_and(greater(a, 0.0), less(a, np.inf))
    inside = logical_and(inside, logical_and(less_equal(0.0, p), less_equal(0.0, q)))
    return where(inside, result, np.nan)


def _operands(a: Any, value: Any) -> tuple[Tensor, Tensor]:
    return as_tensor(a), as_tensor(value)


@public(hybrid=False, special=True)
def gammaincinv(a: Tensor, p: Tensor) -> Tensor:
    """x with gammainc(a, x) = p; 0 for p = 0, infinite for p = 1, NaN unless a > 0 and p in [0, 1].

    Six steps of Newton's method: the error is that of gammainc, over the slope.  The gradient is
    that by p; by a it raises UnsupportedError.

    >>> hybrid.special.gammaincinv(hybrid.tensor([0.5, 2.0, 100.0]), 0.5)
    tensor([ 0.2275,  1.6783, 99.6669])
    """
    a, p = _operands(a, p)
    return _solve(a, p, subtract(1.0, p), upper=False)


@public(hybrid=False, special=True)
def gammainccinv(a: Tensor, q: Tensor) -> Tensor:
    """x with gammaincc(a, x) = q, for the smallest q too; infinite for q = 0, 0 for q = 1.

    Domain, error and gradient are those of `gammaincinv`.

    >>> hybrid.special.gammainccinv(2.0, hybrid.tensor([1e-30, 0.5, 1.0]))
    tensor([73.3868,  1.6783,  0.    ])
    """
    a, q = _operands(a, q)
    return _solve(a, subtract(1.0, q), q, upper=True)


# ---- beta
def _beta_step_body(algebra: Builder, start: Val, a: Val, b: Val, target: Val) -> Val:
    value = F.betainc(algebra, a, b, start)
    step = (target - value) / F.beta_density(algebra, a, b, start)
    inside = (algebra.abs(step) < 0.25 * start) & (algebra.abs(step) < 1.0 - start)
    return start + algebra.select(inside, step, 0.0)


def _beta_step_reference(x: np.ndarray, a: np.ndarray, b: np.ndarray, p: np.ndarray) -> Any:
    powers = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x)
    return x + (p - incomplete_beta(a, b, x)) / np.exp(powers - log_beta(a, b)[1])


def _beta_solved(rng: np.random.Generator) -> Any:
    for shape in ((7,), (3, 5), (), (0, 2)):
        a, b = (ints(rng, *shape, low=1, high=12) for _ in range(2))
        x = a / (a + b) * rng.uniform(0.7, 1.05, shape)
        wide = [np.asarray(v, np.longdouble).reshape(-1) for v in (a, b, x)]
        with np.errstate(all="ignore"):
            p = incomplete_beta(*wide).reshape(shape).astype(np.float64)
        yield [x, a, b, p], {}


BETA_STEP: Op = map_op(
    "betainc_inverse",
    4,
    _beta_step_body,
    vjp=lambda gradient, out, start, left, right, target: (
        None,
        no_slope,
        no_slope,
        lambda: divide(gradient, beta_density(left, right, out)),
    ),
    reference=oracle(_beta_step_reference),
    result="float",
    accepts="f",
    fixed=(0,),
    samples=_beta_solved,
    ulp=64.0,
    doc="One step of Newton's method towards betainc(a, b, x) = p from x next to it; the gradient "
    "by p is that of the solution.",
)


def _odds_of_power(logarithm: Tensor) -> Tensor:
    """logit of e^l."""
    below = minimum(logarithm, -1e-3)
    return subtract(logarithm, log1p(negative(exp(below))))


def _normal_start(a: Tensor, b: Tensor, z: Tensor) -> Tensor:
    """Abramowitz and Stegun 26.5.22, as a logit."""
    left, right = (divide(1.0, subtract(multiply(v, 2.0), 1.0)) for v in (a, b))
    part = divide(subtract(square(z), 3.0), 6.0)
    height = divide(2.0, add(left, right))
    first = divide(multiply(negative(z), sqrt(add(part, height))), height)
    rest = subtract(add(part, 5.0 / 6.0), divide(2.0 / 3.0, height))
    shift = subtract(first, multiply(subtract(right, left), rest))
    return subtract(subtract(log(a), log(b)), multiply(shift, 2.0))


def _beta_start(a: Tensor, b: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """A logit near that of the solution: by the normal distribution, or by the first term at an
    end."""
    z = where(less(p, q), ndtri(p), negative(ndtri(q)))
    scale = betaln(a, b)
    low = divide(add(log(p), add(log(a), scale)), a)
    high = divide(add(log(q), add(log(b), scale)), b)
    at_low, at_high = _odds_of_power(low), negative(_odds_of_power(high))
    mean = log(a) - log(add(a, b)), log(b) - log(add(a, b))
    start = _normal_start(a, b, z)
    # the second term at an end is about b x
    near_low = logical_and(less(add(low, log(b)), 0.7), less(low, subtract(mean[0], 1.0)))
    near_high = logical_and(less(add(high, log(a)), 0.7), less(high, subtract(mean[1], 1.0)))
    start = where(logical_and(near_low, less(p, q)), at_low, start)
    start = where(logical_and(near_high, less(q, p)), at_high, start)
    plain = logical_and(greater(a, 1.0), greater(b, 1.0))
    return where(plain, start, where(less(low, high), at_low, at_high))


def _beta_solve(a: Any, b: Any, p: Tensor, q: Tensor) -> Tensor:
    a, b = as_tensor(a), as_tensor(b)
    odds = _beta_start(a, b, p, q)
    lower_is_small = less_equal(p, q)
    target = where(lower_is_small, p, q)
    for _ in range(_BETA_STEPS):
        x, rest = sigmoid(odds), sigmoid(negative(odds))
        left = less(x, rest)  # from the side where x or 1 - x has its digits
        operands = where(left, a, b), where(left, b, a), where(left, x, rest)
        value = where(equal(left, lower_is_small), betainc(*operands), betaincc(*operands))
        slope = divide(multiply(multiply(x, rest), beta_density(*operands)), value)
        step = divide(subtract(log(target), log(value)), slope)
        step = where(equal(step, step), step, 0.5)
        step = clip(where(lower_is_small, step, negative(step)), -3.0, 3.0)
        odds = add(odds, step)
    result = bind(BETA_STEP, sigmoid(odds), a, b, p)
    result = where(equal(p, 0.0), 0.0, where(equal(q, 0.0), 1.0, result))
    inside = logical_and(less_equal(0.0, p), less_equal(0.0, q))
    for side in (a, b):
        inside = logical_and(inside, logical_and(greater(side, 0.0), less(side, np.inf)))
    return where(inside, result, np.nan)


@public(hybrid=False, special=True)
def betaincinv(a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """x with betainc(a, b, x) = y; NaN unless a, b > 0 and y in [0, 1].

    Nine steps of Newton's method: the error is that of betainc, over the slope.  The gradient is
    that by y; by a and b it raises UnsupportedError.

    >>> hybrid.special.betaincinv(2.0, 3.0, hybrid.tensor([0.0, 0.2617, 0.6875, 1.0]))
    tensor([0.  , 0.25, 0.5 , 1.  ])
    """
    y = as_tensor(y)
    return _beta_solve(a, b, y, subtract(1.0, y))


@public(hybrid=False, special=True)
def betainccinv(a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """x with betaincc(a, b, x) = y: 1 - betaincinv(b, a, y).

    Domain, error and gradient are those of `betaincinv`.

    >>> hybrid.special.betainccinv(2.0, 3.0, hybrid.tensor([0.0, 0.3125, 1.0]))
    tensor([1. , 0.5, 0. ])
    """
    return subtract(1.0, betaincinv(b, a, y))
