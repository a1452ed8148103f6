"""The inverses of the incomplete gamma functions.

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
from ..elementwise.functions import exp, log, sqrt
from ..elementwise.logic import equal, greater, less, less_equal, logical_and, logical_or
from ..elementwise.selection import clip, maximum, where
from ..formulas import special as F
from .distributions import density, gammainc, gammaincc, no_slope
from .gammas import gammaln
from .normal import ndtri
from .oracles import gammaln as log_gamma
from .oracles import incomplete, oracle

Tensor = Any
_STEPS = 6


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
