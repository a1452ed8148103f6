"""Records of entropies, divergences and odds, and of small functions with a removable singularity.

Invariant: x log y is 0 for x = 0; what is outside of the domain is infinite or NaN as in SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.op import extend, map_op
from ..base.surface import public
from ..elementwise.arithmetic import (
    abs,
    add,
    divide,
    multiply,
    negative,
    square,
    subtract,
)
from ..elementwise.functions import exp, log, sigmoid, unary
from ..elementwise.logic import equal, less, less_equal, logical_and
from ..elementwise.selection import where
from ..elementwise.trigonometry import cos, sin
from ..formulas import special as F
from .oracles import oracle

Tensor = Any
Function = Callable[..., Any]


# ---- x log y
def _times_log(x: np.ndarray, y: np.ndarray, function: Callable[..., Any]) -> Any:
    return np.where((x == 0) & ~np.isnan(y), 0, x * function(y))


def _unless_empty(left: Tensor, edge: Tensor, value: Tensor) -> Tensor:
    """0 where x is 0 and the logarithm is not finite."""
    return where(logical_and(equal(left, 0.0), edge), 0.0, value)


xlogy: Function = public(
    map_op(
        "xlogy",
        2,
        F.xlogy,
        vjp=lambda gradient, out, left, right: (
            lambda: _unless_empty(left, less_equal(right, 0.0), xlogy(gradient, right)),
            lambda: divide(multiply(gradient, left), right),
        ),
        reference=oracle(lambda x, y: _times_log(x, y, np.log)),
        result="float",
        accepts="f",
        domain=(0.3, 4.0),
        ulp=3.0,
        doc="""x log(y), 0 for x = 0 unless y is NaN. There the gradient by x is 0 for y <= 0, as
        PyTorch's.

        >>> hybrid.xlogy(hybrid.tensor([0.0, 2.0]), hybrid.tensor([0.0, 3.0]))
        tensor([0.    , 2.1972])
        """,
    ),
    special=True,
    method=True,
)
xlog1py: Function = public(
    map_op(
        "xlog1py",
        2,
        F.xlog1py,
        vjp=lambda gradient, out, left, right: (
            lambda: _unless_empty(left, less_equal(right, -1.0), xlog1py(gradient, right)),
            lambda: divide(multiply(gradient, left), add(right, 1.0)),
        ),
        reference=oracle(lambda x, y: _times_log(x, y, np.log1p)),
        result="float",
        accepts="f",
        domain=(0.3, 4.0),
        ulp=3.0,
        doc="""x log(1 + y), 0 for x = 0 unless y is NaN. There the gradient by x is 0 for y <= -1.

        >>> hybrid.special.xlog1py(hybrid.tensor([0.0, 2.0]), hybrid.tensor([-1.0, 1e-8]))
        tensor([0.e+00, 2.e-08])
        """,
    ),
    hybrid=False,
    special=True,
)


# ---- entropies
def _entr_reference(x: np.ndarray) -> Any:
    result = np.where(x > 0, -x * np.log(x), np.where(x == 0, 0, -np.inf))
    return np.where(np.isnan(x), x, result)


entr: Function = public(
    unary(
        "entr",
        F.entr,
        lambda gradient, out, operand: (multiply(negative(gradient), add(log(operand), 1.0)),),
        np.log,
        """-x log(x), 0 at 0, minus infinity below: the terms of an entropy.

        >>> hybrid.special.entr(hybrid.tensor([0.0, 0.5, 1.0, -1.0]))
        tensor([ 0.    ,  0.3466, -0.    ,    -inf])
        """,
        reference=oracle(_entr_reference),
        domain=(0.1, 2.0),
        ulp=3.0,
    ),
    hybrid=False,
    special=True,
)


def _log_ratio(x: np.ndarray, y: np.ndarray) -> Any:
    """log(x / y); where they are near each other by their difference, which is exact."""
    near = np.abs(x - y) < 0.5 * y
    return np.where(near, np.log1p((x - y) / y), np.log(x) - np.log(y))


def _edges(x: np.ndarray, y: np.ndarray, inside: Any, edge: Any) -> Any:
    result = np.where((x > 0) & (y > 0), inside, np.where((x == 0) & (y >= 0), edge, np.inf))
    return np.where(np.isnan(x) | np.isnan(y), np.nan, result)


def _rel_entr_reference(x: np.ndarray, y: np.ndarray) -> Any:
    return _edges(x, y, x * _log_ratio(x, y), 0)


def _kl_div_reference(x: np.ndarray, y: np.ndarray) -> Any:
    return _edges(x, y, x * _log_ratio(x, y) + (y - x), y)


rel_entr: Function = public(
    map_op(
        "rel_entr",
        2,
        F.rel_entr,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, add(subtract(log(left), log(right)), 1.0)),
            lambda: negative(divide(multiply(gradient, left), right)),
        ),
        reference=oracle(_rel_entr_reference),
        result="float",
        accepts="f",
        domain=(0.3, 4.0),
        ulp=3.0,
        doc="""x log(x / y), exact for y next to x; 0 for x = 0 <= y, infinite for other x or y that
        are not positive: the terms of a relative entropy.

        >>> hybrid.special.rel_entr(hybrid.tensor([0.5, 0.0, 1.0]), hybrid.tensor([0.25, 1.0, 0.0]))
        tensor([0.3466, 0.    ,    inf])
        """,
    ),
    hybrid=False,
    special=True,
)
kl_div: Function = public(
    map_op(
        "kl_divergence",
        2,
        F.kl_div,
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, subtract(log(left), log(right))),
            lambda: multiply(gradient, subtract(1.0, divide(left, right))),
        ),
        reference=oracle(_kl_div_reference),
        result="float",
        accepts="f",
        domain=(0.3, 4.0),
        ulp=16.0,
        doc="""x log(x / y) - x + y, without cancellation for y next to x; y for x = 0 <= y,
        infinite for other x or y that are not positive. `nn.functional.kl_div` is the loss.

        >>> hybrid.special.kl_div(hybrid.tensor([0.5, 0.0, 1.0]), hybrid.tensor([0.25, 1.0, 0.0]))
        tensor([0.0966, 1.    ,    inf])
        """,
    ),
    hybrid=False,
    special="kl_div",
)


# ---- odds
def _logit_reference(x: np.ndarray) -> Any:
    near = np.log1p((2 * x - 1) / (1 - x))
    result = np.where(np.abs(x - 0.5) < 0.2, near, np.log(x) - np.log1p(-x))
    return np.where((x >= 0) & (x <= 1), result, np.nan)


logit: Function = public(
    unary(
        "logit",
        F.logit,
        lambda gradient, out, operand: (
            divide(gradient, multiply(operand, subtract(1.0, operand))),
        ),
        np.log,
        """log(x / (1 - x)), the inverse of expit, exact next to 1/2; infinite at 0 and 1, NaN
        beyond.

        >>> hybrid.logit(hybrid.tensor([0.0, 0.25, 0.5, 1.0]))
        tensor([   -inf, -1.0986,  0.    ,     inf])
        """,
        reference=oracle(_logit_reference),
        domain=(0.1, 0.9),
        ulp=3.0,
    ),
    special=True,
    method=True,
)


def _log_expit_reference(x: np.ndarray) -> Any:
    return -np.abs(np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))


log_expit: Function = public(
    unary(
        "log_expit",
        F.log_expit,
        lambda gradient, out, operand: (multiply(gradient, sigmoid(negative(operand))),),
        np.log,
        """log(expit(x)) = -log(1 + e^-x), exact in both tails.

        >>> hybrid.special.log_expit(hybrid.tensor([-100.0, 0.0, 100.0]))
        tensor([-1.0000e+02, -6.9315e-01, -3.7835e-44])
        """,
        reference=oracle(_log_expit_reference),
        ulp=3.0,
    ),
    hybrid=False,
    special=True,
)


# ---- with a removable singularity at 0
def _series(operand: Tensor, coefficients: list[float]) -> Tensor:
    """A polynomial in the operand; by public operations."""
    total = multiply(operand, coefficients[-1])
    for coefficient in reversed(coefficients[1:-1]):
        total = multiply(add(total, coefficient), operand)
    return add(total, coefficients[0])


_SINC_SLOPE = [
    (-1.0) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 11)
]
_EXPREL_SLOPE = [(k + 1) / math.factorial(k + 2) for k in range(16)]


def _sinc_slope(operand: Tensor) -> Tensor:
    """(cos(pi x) - sinc(x)) / x, where that cancels its series x (-pi^2/3 + ...)."""
    near = less(abs(operand), 0.4)
    safe = where(near, 1.0, operand)
    small = where(near, operand, 0.0)
    far = divide(subtract(cos(multiply(safe, math.pi)), sinc(safe)), safe)
    return where(near, multiply(small, _series(square(small), _SINC_SLOPE)), far)


def _exprel_slope(operand: Tensor) -> Tensor:
    """(e^x - exprel(x)) / x, where that cancels its series 1/2 + x/3 + ..."""
    near = less(abs(operand), 0.5)
    safe = where(near, 1.0, operand)
    small = where(near, operand, 0.0)
    far = divide(subtract(exp(safe), exprel(safe)), safe)
    return where(near, _series(small, _EXPREL_SLOPE), far)


def _sinc_reference(x: np.ndarray) -> Any:
    size, whole = np.abs(x), np.rint(np.abs(x))
    pi = np.longdouble("3.14159265358979323846264338327950288")
    sine = np.sin(pi * (size - whole))
    sine = np.where(np.mod(whole, 2) == 1, 0 - sine, sine)
    return np.where(x == 0, 1, sine / size / pi)


sinc: Function = public(
    unary(
        "sinc",
        F.sinc,
        lambda gradient, out, operand: (multiply(gradient, _sinc_slope(operand)),),
        np.sinc,
        """sin(pi x) / (pi x), 1 at 0 and exactly 0 at other whole numbers; NaN at infinity.

        >>> hybrid.sinc(hybrid.tensor([0.0, 0.5, 1.0]))
        tensor([1.    , 0.6366, 0.    ])
        """,
        reference=oracle(_sinc_reference),
        ulp=4.0,
    ),
    special=True,
    method=True,
)


def _complex_sinc(x: Tensor) -> Tensor:
    none = equal(x, 0)
    angle = multiply(where(none, 1.0, x), math.pi)
    return where(none, 1.0, divide(sin(angle), angle))


extend(sinc.op, on_complex=_complex_sinc)  # type: ignore[attr-defined]


def _exprel_reference(x: np.ndarray) -> Any:
    small = np.minimum(x, 11000)
    result = np.where(x == 0, 1, np.expm1(small) / small)
    return np.where(np.isinf(x) & (x > 0), np.inf, result)


exprel: Function = public(
    unary(
        "exprel",
        F.exprel,
        lambda gradient, out, operand: (multiply(gradient, _exprel_slope(operand)),),
        np.exp,
        """(e^x - 1) / x, 1 at 0.

        >>> hybrid.special.exprel(hybrid.tensor([-1.0, 0.0, 1.0]))
        tensor([0.6321, 1.    , 1.7183])
        """,
        reference=oracle(_exprel_reference),
        ulp=4.0,
    ),
    hybrid=False,
    special=True,
)
cosm1: Function = public(
    unary(
        "cosm1",
        F.cosm1,
        lambda gradient, out, operand: (negative(multiply(gradient, sin(operand))),),
        np.cos,
        """cos(x) - 1, exact near 0.

        >>> hybrid.special.cosm1(hybrid.tensor([0.0, 1e-10, 1.0]))
        tensor([ 0.000e+00, -5.000e-21, -4.597e-01])
        """,
        reference=oracle(lambda x: np.where(x == 0, 0, -2 * np.sin(x / 2) ** 2)),
        ulp=4.0,
    ),
    hybrid=False,
    special=True,
)
