"""Elementwise records of powers: power with its quick exponents, hypot.

Invariant: hypot is at most 2 ulp and power at most 4 from the true value; integer powers wrap.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import dtypes as dt
from ...ir.door.bind import as_tensor
from ...ir.door.flat import function_of
from ...ir.door.foreign import data_of, holds_tensors, listed
from ...ir.op import map_op
from ...ir.scalar.program import Builder, Val
from ...ir.tensor import Handle
from .. import formulas as F
from ..base.common import wide
from ..base.surface import public
from .arithmetic import multiply, reciprocal, reference_of, square, subtract
from .functions import log, sqrt
from .logic import equal, greater_equal, logical_and
from .selection import flat_quotient, where

Tensor = Any
Function = Callable[..., Any]


hypot: Function = public(
    map_op(
        "hypot",
        2,
        F.hypot,
        result="float",
        accepts="f",
        facts=frozenset(["commutative"]),
        vjp=lambda gradient, out, left, right: (
            lambda: multiply(gradient, flat_quotient(left, out)),
            lambda: multiply(gradient, flat_quotient(right, out)),
        ),
        reference=reference_of(np.hypot),
        doc="""sqrt(x^2 + y^2) without overflow. Its gradient at the origin is zero, as norm's.

        >>> hybrid.hypot(hybrid.tensor([3.0, 1e30]), hybrid.tensor([4.0, 1e30]))
        tensor([5.0000e+00, 1.4142e+30])
        """,
    )
)


def _integer_power(algebra: Builder, left: Val, right: Val) -> Val:
    """x^y modulo 2^width by squaring; a negative power is 0 unless |x| is 1."""
    width = {"8": 8, "6": 16, "2": 32, "4": 64}[left.type[-1]]
    out, base = algebra.const(left.type, 1), left
    for bit in range(width):
        out = algebra.select((right & (1 << bit)) != 0, out * base, out)
        base = base * base
    if left.type[0] == "u":
        return out
    return algebra.select(
        (right < 0) & (left != 1) & (left != -1), algebra.const(left.type, 0), out
    )


def _power_of_ints(left: int, right: int) -> int:
    """a^b modulo 2^64, 0 for a negative power unless |a| is 1."""
    if right < 0:
        return left ** (right % 2) % 2**64 if left in (1, -1) else 0
    return builtins.pow(left, right, 2**64)


def _power_reference(left: np.ndarray, right: np.ndarray) -> Any:
    if left.dtype.kind not in "iu":
        return np.power(wide(left), wide(right))
    bases, exponents = np.broadcast_arrays(left, right)
    out = [_power_of_ints(int(a), int(b)) for a, b in zip(bases.ravel(), exponents.ravel())]
    return np.array(out, np.uint64).astype(left.dtype).reshape(bases.shape)


def _power_body(algebra: Builder, left: Val, right: Val) -> Val:
    power = F.pow if left.type in ("f32", "f64") else _integer_power
    return power(algebra, left, right)


real_power: Function = function_of(
    map_op(
        "power",
        2,
        _power_body,
        accepts="iuf",
        ulp=4.0,
        domain=(0.2, 3.0),
        reference=_power_reference,
        vjp=lambda gradient, out, left, right: (
            lambda: where(
                equal(right, 0.0),
                0.0,
                multiply(gradient, multiply(right, real_power(left, subtract(right, 1.0)))),
            ),
            lambda: where(
                logical_and(equal(left, 0.0), greater_equal(right, 0.0)),
                0.0,
                multiply(gradient, multiply(out, log(left))),
            ),
        ),
        doc="x to the power y with the special values of C's pow; integers wrap.",
    )
)


@public(hybrid=("power", "pow"), method="pow", inplace="pow_", operator="pow")
def power(x: Tensor, y: Any) -> Tensor:
    """x to the power y.  The exponents 2, 3, -1 and 0.5, given as Python numbers, are products, a
    reciprocal and a square root.

    Complex numbers to a whole power below 100 are products, as in NumPy; other complex powers are
    exp(y log(x)), within 2 + 2 |y log(x)| units in the last place of their size.

    Integer tensors wrap.  An integer to a negative integer power raises ValueError where the power
    is a number, a sequence or an array, as in NumPy and PyTorch; where it is a tensor the result is
    PyTorch's, the integer part: 0 unless the base is 1 or -1.

    >>> hybrid.power(hybrid.tensor([2.0, 4.0]), -1).tolist()
    [0.5, 0.25]
    """
    if type(y) is not float and not (type(y) is int and y >= 0) and not isinstance(y, Handle):
        _refuse_negative(x, y)
    if type(y) in (int, float) and isinstance(x, Handle):
        floating = dt.is_inexact(x._a.dtype)
        if y == 2 and (floating or type(y) is int):
            return square(x)
        if y == 3 and (floating or type(y) is int):
            return multiply(square(x), x)
        if floating and y in (-1, 0.5):
            return sqrt(x) if y > 0 else reciprocal(x)
    return real_power(x, y)


def _refuse_negative(left: Any, right: Any) -> None:
    """ValueError for an integer base with a negative integer among the powers."""
    if holds_tensors(listed(right)):
        return
    powers = data_of(right).array
    whole = powers.dtype.kind == "i" and (powers < 0).any()
    if whole and not dt.is_inexact(
        left._a.dtype if isinstance(left, Handle) else as_tensor(left).dtype
    ):
        raise ValueError(
            "power: an integer to a negative integer power is no integer; convert the base with "
            ".astype('float32')"
        )
