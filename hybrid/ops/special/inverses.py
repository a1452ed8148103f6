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


def _step_body(algebra: Builder, start: Val, alpha: Val, target: Val, *, upper: bool) -> Val:
    value = (F.gammaincc if upper else F.gammainc)(algebra, alpha, start)
    step = (target - value) / F.gamma_density(algebra, alpha, start)
    step = algebra.select(algebra.abs(step) < 0.25 * start, step, 0.0)  # NaN at the ends, too
    return start - step if upper else start + step


def _step_vjp(
    gradient: Tensor, out: Tensor, start: Tensor, alpha: Tensor, target: Tensor, upper: bool
) -> tuple[Any, Any, Any]:
    def by_target() -> Tensor:
        slope = divide(gradient, density(alpha, out))
        return negative(slope) if upper else slope

    return None, no_slope, by_target


def _step_reference(point: np.ndarray, alpha: np.ndarray, chance: np.ndarray, upper: bool) -> Any:
    value = incomplete(alpha, point)[int(upper)]
    step = (chance - value) / np.exp((alpha - 1) * np.log(point) - point - log_gamma(alpha))
    return point - step if upper else point + step


def _solved(rng: np.random.Generator) -> Any:
    """Starts that solve the equation: whole a, the start has no gradient."""
    for shape, upper in (((7,), False), ((3, 5), True), ((), False), ((0, 2), True)):
        alpha = ints(rng, *shape, low=1, high=12)
        point = alpha * rng.uniform(0.6, 1.5, shape)
        with np.errstate(all="ignore"):
            wide = [np.asarray(each, np.longdouble).reshape(-1) for each in (alpha, point)]
            chance = incomplete(*wide)[int(upper)].reshape(shape).astype(np.float64)
        yield [point, alpha, chance], {"upper": upper}


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


def _start(alpha: Tensor, chance: Tensor, remainder: Tensor) -> Tensor:
    """The cube of Wilson and Hilferty (1931); for small results the first term of the series at 0,
    for small a or q that of the tail."""
    quantile = where(less(chance, remainder), ndtri(chance), negative(ndtri(remainder)))
    ninth = divide(1.0, multiply(alpha, 9.0))
    root = add(subtract(1.0, ninth), multiply(quantile, sqrt(ninth)))
    cube = multiply(alpha, multiply(root, square(root)))
    first = exp(divide(add(log(chance), gammaln(add(alpha, 1.0))), alpha))
    start = where(logical_or(less(alpha, 1.0), less(cube, multiply(alpha, 0.2))), first, cube)
    tail = negative(add(log(remainder), gammaln(alpha)))
    tail = add(tail, multiply(subtract(alpha, 1.0), log(maximum(tail, 1.0))))
    few = logical_or(less(alpha, 1.0), logical_and(less(alpha, 8.0), less(remainder, 1e-5)))
    late = logical_and(few, logical_and(greater(tail, 1.5), less(remainder, 0.3)))
    return where(late, tail, start)


def _solve(alpha: Any, chance: Tensor, remainder: Tensor, upper: bool) -> Tensor:
    alpha = as_tensor(alpha)
    start = _start(alpha, chance, remainder)
    lower_is_small = less_equal(chance, remainder)
    target = where(lower_is_small, chance, remainder)
    for _ in range(_STEPS):
        value = where(lower_is_small, gammainc(alpha, start), gammaincc(alpha, start))
        slope = divide(multiply(start, density(alpha, start)), value)
        step = divide(subtract(log(target), log(value)), slope)
        # where the function vanished at the start, back towards the median
        step = where(equal(step, step), step, 0.25)
        step = clip(where(lower_is_small, step, negative(step)), -2.0, 2.0)
        start = multiply(start, exp(step))
    given = remainder if upper else chance
    result = bind(STEP, start, alpha, given, upper=upper)
    result = where(equal(chance, 0.0), 0.0, where(equal(remainder, 0.0), np.inf, result))
    inside = logical_and(greater(alpha, 0.0), less(alpha, np.inf))
    inside = logical_and(inside, logical_and(less_equal(0.0, chance), less_equal(0.0, remainder)))
    return where(inside, result, np.nan)


def _operands(alpha: Any, value: Any) -> tuple[Tensor, Tensor]:
    return as_tensor(alpha), as_tensor(value)


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
def _beta_step_body(algebra: Builder, start: Val, alpha: Val, omega: Val, target: Val) -> Val:
    value = F.betainc(algebra, alpha, omega, start)
    step = (target - value) / F.beta_density(algebra, alpha, omega, start)
    inside = (algebra.abs(step) < 0.25 * start) & (algebra.abs(step) < 1.0 - start)
    return start + algebra.select(inside, step, 0.0)


def _beta_step_reference(
    point: np.ndarray, alpha: np.ndarray, omega: np.ndarray, chance: np.ndarray
) -> Any:
    powers = (alpha - 1) * np.log(point) + (omega - 1) * np.log1p(-point)
    return point + (chance - incomplete_beta(alpha, omega, point)) / np.exp(
        powers - log_beta(alpha, omega)[1]
    )


def _beta_solved(rng: np.random.Generator) -> Any:
    for shape in ((7,), (3, 5), (), (0, 2)):
        alpha, omega = (ints(rng, *shape, low=1, high=12) for _ in range(2))
        point = alpha / (alpha + omega) * rng.uniform(0.7, 1.05, shape)
        wide = [np.asarray(each, np.longdouble).reshape(-1) for each in (alpha, omega, point)]
        with np.errstate(all="ignore"):
            chance = incomplete_beta(*wide).reshape(shape).astype(np.float64)
        yield [point, alpha, omega, chance], {}


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


def _normal_start(alpha: Tensor, omega: Tensor, quantile: Tensor) -> Tensor:
    """Abramowitz and Stegun 26.5.22, as a logit."""
    left, right = (divide(1.0, subtract(multiply(each, 2.0), 1.0)) for each in (alpha, omega))
    part = divide(subtract(square(quantile), 3.0), 6.0)
    height = divide(2.0, add(left, right))
    first = divide(multiply(negative(quantile), sqrt(add(part, height))), height)
    rest = subtract(add(part, 5.0 / 6.0), divide(2.0 / 3.0, height))
    shift = subtract(first, multiply(subtract(right, left), rest))
    return subtract(subtract(log(alpha), log(omega)), multiply(shift, 2.0))


def _beta_start(alpha: Tensor, omega: Tensor, chance: Tensor, remainder: Tensor) -> Tensor:
    """A logit near that of the solution: by the normal distribution, or by the first term at an
    end."""
    quantile = where(less(chance, remainder), ndtri(chance), negative(ndtri(remainder)))
    scale = betaln(alpha, omega)
    low = divide(add(log(chance), add(log(alpha), scale)), alpha)
    high = divide(add(log(remainder), add(log(omega), scale)), omega)
    at_low, at_high = _odds_of_power(low), negative(_odds_of_power(high))
    mean = log(alpha) - log(add(alpha, omega)), log(omega) - log(add(alpha, omega))
    start = _normal_start(alpha, omega, quantile)
    # the second term at an end is about b x
    near_low = logical_and(less(add(low, log(omega)), 0.7), less(low, subtract(mean[0], 1.0)))
    near_high = logical_and(less(add(high, log(alpha)), 0.7), less(high, subtract(mean[1], 1.0)))
    start = where(logical_and(near_low, less(chance, remainder)), at_low, start)
    start = where(logical_and(near_high, less(remainder, chance)), at_high, start)
    plain = logical_and(greater(alpha, 1.0), greater(omega, 1.0))
    return where(plain, start, where(less(low, high), at_low, at_high))


def _beta_solve(alpha: Any, omega: Any, chance: Tensor, remainder: Tensor) -> Tensor:
    alpha, omega = as_tensor(alpha), as_tensor(omega)
    odds = _beta_start(alpha, omega, chance, remainder)
    lower_is_small = less_equal(chance, remainder)
    target = where(lower_is_small, chance, remainder)
    for _ in range(_BETA_STEPS):
        point, rest = sigmoid(odds), sigmoid(negative(odds))
        left = less(point, rest)  # from the side where x or 1 - x has its digits
        operands = where(left, alpha, omega), where(left, omega, alpha), where(left, point, rest)
        value = where(equal(left, lower_is_small), betainc(*operands), betaincc(*operands))
        slope = divide(multiply(multiply(point, rest), beta_density(*operands)), value)
        step = divide(subtract(log(target), log(value)), slope)
        step = where(equal(step, step), step, 0.5)
        step = clip(where(lower_is_small, step, negative(step)), -3.0, 3.0)
        odds = add(odds, step)
    result = bind(BETA_STEP, sigmoid(odds), alpha, omega, chance)
    result = where(equal(chance, 0.0), 0.0, where(equal(remainder, 0.0), 1.0, result))
    inside = logical_and(less_equal(0.0, chance), less_equal(0.0, remainder))
    for side in (alpha, omega):
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
